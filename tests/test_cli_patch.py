"""`smoldebug patch` at the command line: whose token goes where, what its words promise."""

from pathlib import Path

import pytest
from msgspec import structs

from smoldebug.cli import program
from smoldebug.cli.patch import _without_pull_request
from tests.clusters import web_server
from tests.test_patch import Patching

REAL, PRACTICE = "ghp_0123456789abcdefghij0123456789abcdefgh", "ghp_practice_0123456789"
IMPOSTOR = {"/api/v3/meta": (200, {"Content-Type": "application/json"}, b"{}")}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {"HOME": tmp_path, "SMOLDEBUG_HOME": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("token", "asked", "words"),
    [
        (REAL, ["GET /api/v3/meta"], "no token but the practice forge's goes to 127.0.0.1:"),
        (PRACTICE, ["GET /api/v3/meta", "GET /shop/x.git/info/refs?service"], "/shop/x.git"),
    ],
)
def test_whatever_listens_on_this_machine_gets_no_real_token(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str,
    asked: list[str],
    words: str,
):
    monkeypatch.setenv("GITHUB_TOKEN", token)
    with web_server(IMPOSTOR) as (url, seen):
        status = program(["patch", "-p", "add-env-var", "--repo", f"{url}/shop/x.git", "--dry-run"])
    assert status != 0
    assert [each.partition("=")[0] for each in dict.fromkeys(seen)] == asked
    assert words in capsys.readouterr().err
    assert not [each for each in home.rglob("*") if each.is_file() and token in each.read_text()]


def test_a_run_that_never_began_leaves_no_clone(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("GITHUB_TOKEN", PRACTICE)
    Patching(home).plan()  # writes it
    with web_server(IMPOSTOR) as (url, _):
        named = ["-p", str(home / "add-flag.yaml"), "--repo", f"{url}/shop/x.git", "-y"]
        assert program(["patch", *named]) != 0
    assert "/shop/x.git" in capsys.readouterr().err
    assert [path.name for path in (home / "runs").glob("*")] == []


@pytest.mark.parametrize("part", ["all", "any"])
def test_patch_files_are_judged_without_a_pull_request(tmp_path: Path, part: str):
    plan = Patching(tmp_path).plan()
    checks = plan.playbook.goal.all
    goal = structs.replace(plan.playbook.goal, **{"all": [], "any": [], part: checks})
    plan = structs.replace(plan, playbook=structs.replace(plan.playbook, goal=goal))
    left = _without_pull_request(plan).playbook.goal
    assert [*left.all, *left.any] == [check for check in checks if check.pull_request is None]
    only = structs.replace(goal, **{part: [check for check in checks if check.pull_request]})
    plan = structs.replace(plan, playbook=structs.replace(plan.playbook, goal=only))
    assert _without_pull_request(plan).playbook.goal == only  # a goal measures something
