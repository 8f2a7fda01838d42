"""Imported by the process that tests fork from (crashes.py): a run and its undo, so that whatever
is imported, compiled or cached on the way is so in all of them."""

import gc
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from crashes import perform
from crashlab import crash_lab

with tempfile.TemporaryDirectory() as folder, crash_lab(Path(folder)) as lab:
    job = lab.job("scale")
    for command in (("triage",), ("undo", "last", "-y")):
        with suppress(SystemExit):
            perform(replace(job, command=command))
gc.collect()
gc.freeze()  # what is never looked at again is never copied
gc.disable()
