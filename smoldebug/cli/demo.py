"""`smoldebug demo`: a real incident on a practice cluster, found, fixed and proven fixed."""

import sys
import tempfile
import time
from pathlib import Path

from smoldebug.cli.options import ApiBase, Models, Output

EXAMPLES = """\
Examples:

  smoldebug demo

  smoldebug demo --output plain

  smoldebug demo --model openai/gpt-oss-20b --api-base http://localhost:11434/v1

It needs no cluster, no model and no network. Ctrl-C ends it and everything it started.
"""
FAULT = "traffic-surge"
QUIET = 8.0  # seconds of normal traffic first, so that "slower than before" can be seen
LOUD = 6.0  # seconds of the incident before anybody looks, as in life
INPUTS = {"service": "checkout", "window": "10s"}  # a short window: a demo is not a night shift


def demo(model: Models = None, api_base: ApiBase = "", output: Output = None) -> int:
    """Start a practice cluster, break it, triage it, tear it down; the built-in expert does it, or
    a model that you name.

    The shop's customers almost quadruple; its auth service saturates, and checkout answers 502
    now and then. All of it is real: processes, HTTP, logs, metrics, the Kubernetes API. Changes
    are approved automatically, in the practice cluster only.
    """
    from smoldebug.cli.drive import drive
    from smoldebug.cli.options import Options
    from smoldebug.lab import control
    from smoldebug.playbook.load import load
    from smoldebug.shipped import shipped

    with tempfile.TemporaryDirectory(prefix="smoldebug-demo-") as folder:
        place = Path(folder)
        try:
            say("starting a practice cluster on this machine (real processes, loopback only)")
            began = time.monotonic()
            info = control.start(place, dies_with_parent=True)
            say(f"up after {time.monotonic() - began:.1f} s; the shop serves its customers")
            say(f"letting normal traffic run for {QUIET:.0f} s, so that slower can be seen")
            time.sleep(QUIET)
            say("now almost four times as many customers arrive: checkout answers 502 now and then")
            control.break_(place, FAULT)
            time.sleep(LOUD)
            plan = load(str(shipped("playbooks") / "triage-502.yaml"), INPUTS)
            options = Options(
                kubeconfig=str(info.kubeconfig),
                models=tuple(model or ()),
                api_base=api_base,
                yes=True,
                command="demo",
            )
            return drive(plan, options, output, {})
        finally:
            control.stop(place)
            say("the practice cluster is gone")


def say(text: str) -> None:
    sys.stderr.write(f"demo: {text}\n")
