"""`patch --from-run`: what a triage changed live becomes a pull request, with what it found."""

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from oncall import OnCall, Said, on_call, scale_to

from smoldebug.lab.forge.server import Forge, serve_forge
from smoldebug.shipped import shipped
from smoldebug.status import ExitStatus

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: auth
  namespace: shop
spec:
  replicas: 2   # enough for a Tuesday
  template:
    spec:
      containers: [{name: auth, image: shop/auth:1}]
"""
CHECKS = 'checks: [{name: validate, run: [python3, -c, ""]}]'


@pytest.fixture
def me(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[OnCall]:
    with on_call(tmp_path, monkeypatch, capsys) as made:
        yield made


@pytest.fixture
def forge(tmp_path_factory) -> Iterator[Forge]:
    folder = tmp_path_factory.mktemp("forge")
    (folder / "tree" / "deploy").mkdir(parents=True)
    (folder / "tree" / "deploy" / "auth.yaml").write_text(MANIFEST)
    other = MANIFEST.replace("name: auth\n", "name: web\n", 1)
    (folder / "tree" / "deploy" / "other.yaml").write_text(other)
    (folder / "tree" / ".lab-ci.yaml").write_text(CHECKS)
    with serve_forge(folder / "hub") as served:
        served.create_repository("shop/manifests", folder / "tree")
        yield served


def patch(me: OnCall, repo: str, run: str = "last") -> Said:
    """With the shipped playbook, but for how often it looks."""
    text = (shipped("playbooks") / "durable-fix.yaml").read_text(encoding="utf-8")
    book = me.folder / "durable-fix.yaml"
    book.write_text(text.replace("within: 30m", "within: 30s\n  every: 50ms"), encoding="utf-8")
    options = ("-p", str(book), "--from-run", run, "--repo", repo, "-y", "-o", "json")
    return me.smoldebug("patch", *options)


@pytest.fixture
def url(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GITHUB_TOKEN", forge.token)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Anna")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "anna@shop.example")
    return f"{forge.url}/shop/manifests.git"


def test_a_fix_becomes_one_line_in_the_manifest_that_owns_it(me: OnCall, url: str):
    assert me.triage(scale_to(4), options=("-y",)).code == ExitStatus.MET
    said = patch(me, url)
    assert said.code == ExitStatus.MET, said.out + said.err
    assert [row["path"] for row in said.document["edited"]] == ["deploy/auth.yaml"]
    (commit, request) = said.document["changes"]
    assert commit["state"] == request["state"] == "verified"
    clone = me.folder / "seen"
    subprocess.run(
        ["git", *_login(), "clone", "-q", "-b", request["target"].partition("/")[2], url, clone],
        check=True,
    )
    text = (clone / "deploy" / "auth.yaml").read_text()
    assert text == MANIFEST.replace("replicas: 2", "replicas: 4")


def _login() -> list[str]:
    basic = base64.b64encode(f"x:{os.environ['GITHUB_TOKEN']}".encode()).decode()
    return ["-c", f"http.extraHeader=Authorization: Basic {basic}"]


def test_again_it_has_nothing_to_do(me: OnCall, url: str):
    me.triage(scale_to(4), options=("-y",))
    run = me.run
    for _ in range(2):
        said = patch(me, url, run)
        assert said.code == ExitStatus.MET, said.out
    assert said.document["changes"] == []


def test_a_run_that_changed_nothing_is_a_mistake_to_name(me: OnCall, url: str):
    me.triage()
    said = patch(me, url)
    assert said.code == ExitStatus.USAGE
    assert "made no change that a manifest could hold: it changed nothing" in said.err


def test_a_change_that_was_taken_back_is_none(me: OnCall, url: str):
    me.triage(scale_to(4), options=("-y",))
    me.smoldebug("undo", "last", "-y")
    assert patch(me, url).code == ExitStatus.USAGE


def test_an_object_that_no_manifest_describes_is_said(me: OnCall, forge: Forge, url: str):
    me.triage(scale_to(4), options=("-y",))
    empty = me.folder / "empty"
    (empty / "deploy").mkdir(parents=True)
    (empty / "deploy" / "web.yaml").write_text(MANIFEST.replace("name: auth\n", "name: web\n", 1))
    forge.create_repository("shop/other", empty)
    said = patch(me, f"{forge.url}/shop/other.git")
    assert said.code in (ExitStatus.NOT_MET, ExitStatus.INCONCLUSIVE)
    assert "no Deployment auth of namespace shop" in said.out
