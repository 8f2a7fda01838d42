"""NAME FOLDER -- COMMAND...: an image for the clusters that $SMOLDEBUG_REALCLUSTER made, in which
FOLDER lies over Python. What EXAMPLE_LOAD_IMAGE of examples/04-upgrade-three-clusters asks for."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PYTHON = "images/docker.io_local_python_3.tar"  # below $REALCLUSTER_HOME


def main() -> None:
    name, folder, _, *command = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(Path(os.environ["REALCLUSTER_HOME"], PYTHON)) as image:
            unpack(image, scratch)
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        load = [os.environ["SMOLDEBUG_REALCLUSTER"], "load-image", name, scratch, *command]
        subprocess.run(load, check=True)


def unpack(image: tarfile.TarFile, folder: str) -> None:
    def read(path: str) -> bytes:
        member = image.extractfile(path)
        assert member
        return member.read()

    def blob(descriptor: dict[str, str]) -> bytes:
        return read("blobs/" + descriptor["digest"].replace(":", "/"))

    index = json.loads(read("index.json"))
    (layer,) = json.loads(blob(index["manifests"][0]))["layers"]
    with tarfile.open(fileobj=io.BytesIO(blob(layer))) as files:
        files.extractall(folder, filter="tar")


if __name__ == "__main__":
    main()
