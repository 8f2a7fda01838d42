"""What is shipped: a wheel holds what the checkout holds, whichever way it was built."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = ("playbooks", "tools", "examples")  # installed below smoldebug/_shipped
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = ("smoldebug", *SHIPPED, "pyproject.toml", "README.md", "LICENSE")


def files(folder: Path) -> set[str]:
    """Paths below a folder, without bytecode."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def expected(checkout: Path) -> set[str]:
    """What a wheel must hold, read off a checkout."""
    shipped = {
        f"smoldebug/_shipped/{kind}/{name}" for kind in SHIPPED for name in files(checkout / kind)
    }
    return {f"smoldebug/{name}" for name in files(checkout / "smoldebug")} | shipped


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`checkout/`: a copy; `sdist/`: a source archive of it and the wheel made of that;
    `direct/`: a wheel made of the copy."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    for place in ("smoldebug/lab", "tools", "examples"):  # what running them leaves behind
        (checkout / place / "__pycache__").mkdir(exist_ok=True)
        (checkout / place / "__pycache__/stale.cpython-311.pyc").write_bytes(b"stale")
    build(checkout, folder / "sdist")
    build(checkout, folder / "direct", "--wheel")
    return folder


def build(checkout: Path, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *options]
    done = subprocess.run(
        [*command, str(checkout)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def modules_and_data(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    return {name for name in names if ".dist-info/" not in name}


def test_every_package_is_listed_in_pyproject() -> None:
    """The list is explicit, so that `tools/` can be mapped: a new package is added by hand."""
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "smoldebug").rglob("__init__.py")
        if "_shipped" not in path.parts
    }
    shipped = {f"smoldebug._shipped.{kind}" for kind in SHIPPED}
    assert listed == found | shipped, "fix `packages` of [tool.setuptools] in pyproject.toml"


@pytest.mark.build
@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", ["direct", "sdist"])
def test_a_wheel_holds_what_the_checkout_holds(dist: Path, way: str) -> None:
    (wheel,) = (dist / way).glob("*.whl")
    names, wanted = modules_and_data(wheel), expected(dist / "checkout")
    assert sorted(names - wanted) == [], "only in the wheel"
    assert sorted(wanted - names) == [], "missing from the wheel"


@pytest.mark.build
def test_nothing_but_smoldebug_can_be_imported_from_it(dist: Path) -> None:
    (wheel,) = (dist / "direct").glob("*.whl")
    assert {PurePosixPath(name).parts[0] for name in modules_and_data(wheel)} == {"smoldebug"}


@pytest.mark.build
def test_types_licence_and_commands_come_along(dist: Path) -> None:
    (wheel,) = (dist / "direct").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert "smoldebug/py.typed" in names
    assert f"{info}/licenses/LICENSE" in names
    assert "smoldebug = smoldebug.cli:main" in entry_points
    assert "kubectl-smoldebug = smoldebug.cli:main" in entry_points


@pytest.mark.build
def test_the_source_archive_holds_what_a_build_needs(dist: Path) -> None:
    (sdist,) = (dist / "sdist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "smoldebug/__init__.py"} <= names
