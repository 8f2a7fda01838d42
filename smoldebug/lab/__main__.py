"""Run a lab in the foreground: python -m smoldebug.lab FOLDER [--port PORT] [--bare] ..."""

import argparse
import logging
import sys
from pathlib import Path

from smoldebug.errors import SmoldebugError
from smoldebug.lab.cluster import Lab
from smoldebug.lab.stopping import Told


def main() -> int:
    """Returns the exit status. SIGTERM, SIGINT and POST /lab/stop end the lab."""
    parser = argparse.ArgumentParser(prog="python -m smoldebug.lab", description=__doc__)
    parser.add_argument("folder", type=Path, help="for kubeconfig, lab.json and the pods' logs")
    parser.add_argument("--port", type=int, default=0, help="of the API server (0: any free one)")
    parser.add_argument("--name", default="lab", help="its context in the kubeconfig")
    parser.add_argument("--bare", action="store_true", help="without the shop and its customers")
    parser.add_argument("--images", type=Path, help="folder of the loaded images")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    lab = Lab(
        options.folder,
        options.port,
        name=options.name,
        bare=options.bare,
        images=options.images,
    )
    told = Told()
    try:
        with lab:
            logging.info("ready: %s", lab.server.url)
            told.wait(lab.stopping)
            logging.info("stopping")
    except SmoldebugError as error:
        sys.stderr.write(f"smoldebug: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
