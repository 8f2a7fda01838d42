"""Run a forge in the foreground: python -m smoldebug.lab.forge FOLDER [--port PORT]."""

import argparse
import contextlib
import json
import logging
import os
import sys
import threading
from pathlib import Path

from smoldebug import __version__
from smoldebug.errors import SmoldebugError
from smoldebug.lab.folder import INFO, claim, write_private
from smoldebug.lab.forge.server import serve_forge
from smoldebug.lab.forge.state import now
from smoldebug.lab.stopping import Told


def main() -> int:
    """Returns the exit status. SIGTERM and SIGINT end the forge."""
    parser = argparse.ArgumentParser(prog="python -m smoldebug.lab.forge", description=__doc__)
    parser.add_argument("folder", type=Path, help="for the repositories and the forge's state")
    parser.add_argument("--port", type=int, default=0, help="to listen on (0: any free one)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    told = Told()
    try:
        _serve(options.folder.absolute(), options.port, told)
    except SmoldebugError as error:
        sys.stderr.write(f"smoldebug: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.status
    return 0


def _serve(folder: Path, port: int, told: Told) -> None:
    with contextlib.ExitStack() as until:
        claim(folder, until)
        forge = until.enter_context(serve_forge(folder, port))
        info = {
            "pid": os.getpid(),
            "url": forge.url,
            "token": forge.token,
            "started": now(),
            "version": __version__,
        }
        write_private(folder / INFO, json.dumps(info))
        until.callback((folder / INFO).unlink, missing_ok=True)
        logging.info("ready: %s", forge.url)
        told.wait(threading.Event())


if __name__ == "__main__":
    sys.exit(main())
