"""Each example says what it shows and shows it; those that take longer run in CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from smoldebug.shipped import shipped

EXAMPLES = sorted(path.parent for path in shipped("examples").glob("*/run.sh"))
COMMAND = Path(sys.executable).parent / "smoldebug"
needs_command = pytest.mark.skipif(
    not COMMAND.exists(), reason="the smoldebug command is not installed"
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_a_page_and_one_command(example):
    assert os.access(example / "run.sh", os.X_OK)
    assert "bash run.sh" in (example / "README.md").read_text(encoding="utf-8")
    index = (example.parent / "README.md").read_text(encoding="utf-8")
    assert f"]({example.name}/)" in index


def run(name):
    done = subprocess.run(
        ["bash", str(shipped("examples") / name / "run.sh")],
        env={**os.environ, "SMOLDEBUG": str(COMMAND)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done


@needs_command
def test_the_local_web_server_is_found_down_and_started_again():
    done = run("01-local-web-server")
    assert "connection refused" in done.stderr
    assert "started pid" in done.stderr
    assert done.stdout.startswith("VERDICT   Fixed and verified")


BROKEN = {
    "deploy/staging/web.yaml": ("spec:\n", "spec: [\n", "no YAML"),
    "deploy/staging/auth.yaml": ('value: "4"', "value: 4", "WORKERS must be text"),
    "deploy/staging/jobs.yaml": ("kind: Deployment\n", "kind: Deployment\n" * 2, "a key twice"),
    "deploy/staging/reports.json": ('FORMAT",', 'FORMAT" "', "no YAML"),
    "deploy/staging/catalog.yaml": ("PAGE_SIZE", "SORT", "catalog sets SORT twice"),
    "deploy/charts/search/values-staging.yaml": ("nightly", "7", "INDEX must be text"),
}


@pytest.mark.parametrize("path", [None, *BROKEN])
def test_the_checks_of_its_repository_fail_for_a_bad_manifest_and_for_no_other(path, tmp_path):
    repo = shutil.copytree(shipped("examples") / "03-env-var-pull-request/repo", tmp_path / "repo")
    old, new, says = BROKEN.get(path, ("", "", "19 files, 0 problems"))
    if path:
        text = (repo / path).read_text()
        assert old in text
        (repo / path).write_text(text.replace(old, new, 1))
    done = subprocess.run(
        [sys.executable, "ci/validate.py"], cwd=repo, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == (1 if path else 0)
    assert says in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("version", "differs"),
    [
        ("2.5.1", "chart/settings/payments.yaml"),
        ("2.5.2", "image/app/auth.py"),
        ("2.5.3", "image/app/catalog.py"),
    ],
)
def test_a_bad_version_of_the_chart_is_one_file_away_from_a_good_one(version, differs):
    versions = shipped("examples") / "04-upgrade-three-clusters/versions"
    found = [path for path in (versions / version).rglob("*.*") if path.suffix != ".pyc"]
    assert [path.relative_to(versions / version).as_posix() for path in found] == [differs]
    assert any((versions / good / differs).is_file() for good in ("2.4.0", "2.5.0"))
