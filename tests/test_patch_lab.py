"""`smoldebug patch` with real git against the practice forge, and what goes wrong on the way."""

import hashlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from crashes import Job, Killer, Play, Point, play
from githost import git
from labkit import new_store
from realkubectl import KUBECTL, needs_kubectl

from smoldebug import journal
from smoldebug.cli import program
from smoldebug.cli.app import app  # imported before the first test is timed
from smoldebug.events import ChangeIntended, ChangeSettled, Stamped
from smoldebug.lab.forge.faults import Rule
from smoldebug.lab.forge.server import Forge, serve_forge
from smoldebug.lab.forge.state import Project, Pull
from smoldebug.lab.server import serve
from smoldebug.ledger import ledger
from smoldebug.report import sections
from smoldebug.shipped import shipped

assert app
BRANCH = "smoldebug/FLAG"
PLAYBOOK = """\
apiVersion: smoldebug.dev/v1
name: flag
inputs:
  value: {default: "on"}
  namespace: {default: staging}
goal:
  all:
    - manifests:
        repo: .
        paths: ["deploy/**"]
        select: {kind: Deployment, namespace: "${{ inputs.namespace }}"}
        every_container_has: {env: {name: FLAG, value: "${{ inputs.value }}"}}
    - pull_request: {checks: CHECKS}
  every: 100ms
  within: 20s
scope: {paths: ["deploy/**"]}
tools:
  git: {base: main, branch: smoldebug/FLAG}
  pull_request: {labels: [post-mortem]}
edits:
  - set_env: {name: FLAG, value: "${{ inputs.value }}"}
on_failure: keep-branch
secrets:
  forge_token: {from_env: [GITHUB_TOKEN], required: false}
"""
WEB = """\
# Owned by the web team.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: staging}
spec:
  template:
    spec:
      containers:
        - name: web
          image: web:1  # bumped by a robot
          env:
            # Shown in the footer.
            - name: BRANDING
              value: autumn
"""
CHECK = (
    "import sys; bad = 'broken' in open('deploy/web.yaml').read(); "
    "print('FLAG must not be broken' if bad else 'fine'); sys.exit(bad)"
)
CI = json.dumps({"checks": [{"name": "validate", "run": ["python3", "-c", CHECK]}]})


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with serve_forge(tmp_path_factory.mktemp("forge")) as running:
        yield running


_numbers = count(1)


@dataclass
class Shop:
    """A repository of its own on the forge, somebody's checkout of it, and a home for runs."""

    forge: Forge
    name: str
    url: str
    here: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def checkout(self) -> Path:
        return self.here / "checkout"

    def smoldebug(self, *arguments: str) -> tuple[int, str]:
        """Exit status, and all that was said."""
        status = program(list(arguments))
        said = self.capsys.readouterr()
        assert "Traceback" not in said.err
        assert self.forge.token not in said.out + said.err
        return status, said.out + said.err

    def patch(self, *more: str, value: str = "on") -> tuple[int, str]:
        book = str(self.here / "flag.yaml")
        return self.smoldebug("patch", "-p", book, "--set", f"value={value}", "-o", "plain", *more)

    @property
    def job(self) -> Job:
        """The same in a process of its own, with time for free: checks are not waited for."""
        book = self.here / "any.yaml"
        job = Job(self.here, "", book, book, "staging", repo=str(self.checkout))
        return replace(job, token=self.forge.token)

    @property
    def project(self) -> Project:
        return self.forge.hub.state.projects[self.name]

    @property
    def pull(self) -> Pull:
        (pull,) = self.project.pulls
        return pull

    @property
    def tip(self) -> str:
        return self.forge.hub.bare(self.project).branches().get(BRANCH, "")

    def fails(self, method: str, path: str, times: int = 1, **how: Any) -> None:
        self.forge.faults.add(Rule(method, f"*/{self.name}{path}", times=times, **how))

    def events(self) -> list[Stamped]:
        """Of the last run."""
        *_, last = sorted((self.here / "runs").glob("*/journal.jsonl"), key=_modified)
        return list(journal.read(last))

    def changes(self) -> dict[str, str]:
        """Of the last run: kind -> what became of it."""
        return {e.card.change.kind: e.state for e in ledger(self.events()).values() if e.card}


@pytest.fixture
def shop(
    forge: Forge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shop]:
    name = f"shop/manifests-{next(_numbers)}"
    yield made(forge, name, tmp_path, monkeypatch, capsys)
    forge.faults.clear()


def made(
    forge: Forge,
    name: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shop:
    files = here / "files"
    (files / "deploy").mkdir(parents=True)
    (files / "deploy/web.yaml").write_text(WEB)
    (files / ".lab-ci.yaml").write_text(CI)
    url = forge.create_repository(name, files)
    bare = forge.folder / "repos" / f"{name}.git"  # quicker than through HTTP
    git(here, "clone", "-q", str(bare), "checkout")
    git(here / "checkout", "remote", "set-url", "origin", url)
    (here / ".gitconfig").write_text("[user]\nname = On Call\nemail = on-call@example.org\n")
    (here / "flag.yaml").write_text(PLAYBOOK.replace("CHECKS", "passed"))
    (here / "any.yaml").write_text(PLAYBOOK.replace("CHECKS", "any"))
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("SMOLDEBUG_HOME", str(here))
    monkeypatch.setenv("GITHUB_TOKEN", forge.token)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.chdir(here / "checkout")
    return Shop(forge, name, url, here, capsys)


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def everything_in(folder: Path) -> dict[str, tuple[int, str]]:
    """What stands where, when it was written, and what is in it: .git too."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


# --- as it should be ----------------------------------------------------------------------------


def test_a_dirty_checkout_is_left_exactly_as_it_is(shop: Shop) -> None:
    """Nothing of it is read but its remote: local commits, the index and other branches are not
    in the pull request."""
    here = shop.checkout
    git(here, "switch", "-q", "-c", "mine")
    (here / "deploy/mine.yaml").write_text(WEB.replace("name: web", "name: mine"))
    git(here, "add", "deploy/mine.yaml")
    git(here, "commit", "-q", "-m", "not pushed")
    (here / "deploy/web.yaml").write_text(WEB.replace("autumn", "stashed"))
    git(here, "stash", "push", "-q")
    (here / "deploy/web.yaml").write_text(WEB.replace("autumn", "staged"))
    git(here, "add", "deploy/web.yaml")
    (here / "deploy/web.yaml").write_text(WEB.replace("autumn", "edited"))
    (here / "untracked").write_text("?")
    status = git(here, "status", "--porcelain", "--branch")
    before = everything_in(here)
    assert shop.patch("-y")[0] == 0
    assert everything_in(here) == before
    assert git(here, "status", "--porcelain", "--branch") == status
    bare = shop.forge.hub.bare(shop.project)
    (changed,) = bare.changed("main", BRANCH)
    assert (changed.path, changed.additions, changed.deletions) == ("deploy/web.yaml", 2, 0)
    flagged = WEB + '            - name: FLAG\n              value: "on"\n'
    assert bare.read(BRANCH, "deploy/web.yaml") == flagged.encode()


def test_a_second_run_has_nothing_to_do_also_after_the_merge(shop: Shop) -> None:
    assert shop.patch("-y")[0] == 0
    tip = shop.tip
    for merged in (False, True):
        if merged:
            shop.forge.hub.bare(shop.project).set_ref("refs/heads/main", tip)
        status, said = shop.patch("-y")
        assert (status, "Already true, nothing done" in said) == (0, True)
        assert shop.changes() == {}
    assert (shop.tip, len(shop.project.pulls)) == (tip, 1)


def test_undo_closes_the_pull_request_and_deletes_the_branch(shop: Shop) -> None:
    assert shop.patch("-y")[0] == 0
    assert shop.smoldebug("undo", "last", "-y")[0] == 0
    assert (shop.tip, shop.pull.open, shop.pull.merged) == ("", False, "")
    assert shop.patch("-y")[0] == 0, "and it can be done again"
    assert [pull.open for pull in shop.project.pulls] == [False, True]


# --- approval -----------------------------------------------------------------------------------


def test_without_a_terminal_a_yes_comes_later_and_is_for_exactly_that_commit(shop: Shop) -> None:
    status, said = shop.patch()
    assert (status, shop.tip, shop.project.pulls) == (7, "", [])
    assert "smoldebug runs approve" in said
    status, said = shop.smoldebug("runs", "approve", "last", "C1")
    assert status == 7, "it shows the card"
    assert '+              value: "on"' in said
    (card,) = [entry.card for entry in ledger(shop.events()).values() if entry.card]
    assert shop.smoldebug("runs", "approve", "last", "C1", "--hash", "0" * 16)[0] == 1
    assert shop.smoldebug("runs", "approve", "last", "C1", "--hash", card.digest)[0] == 0
    assert shop.tip == ""
    status, said = shop.smoldebug("runs", "resume", "last")
    assert status == 0, said
    assert shop.tip == card.change.after["/tip"]
    assert shop.pull.head_sha == shop.tip


def test_a_branch_that_moved_after_the_yes_is_not_overwritten(shop: Shop) -> None:
    assert shop.patch()[0] == 7
    (card,) = [entry.card for entry in ledger(shop.events()).values() if entry.card]
    assert shop.smoldebug("runs", "approve", "last", "C1", "--hash", card.digest)[0] == 0
    bare = shop.forge.hub.bare(shop.project)
    theirs = bare.commit_tree(bare.resolve("main") + "^{tree}", (bare.resolve("main"),), "theirs")
    bare.set_ref(f"refs/heads/{BRANCH}", theirs)
    status, said = shop.smoldebug("runs", "resume", "last")
    assert status != 0, said
    assert shop.tip == theirs
    assert shop.project.pulls == []


# --- what a forge says no to --------------------------------------------------------------------

REFUSALS = {
    "401": (dict(status=401), "does not accept the token in GITHUB_TOKEN"),
    "403": (dict(status=403), "may not open a pull request"),
    "404": (dict(status=404), "has no such thing, or the token in GITHUB_TOKEN cannot see it"),
    "422": (dict(status=422, message="No commits between main and x"), "No commits between"),
    "limit": (dict(status=429, retry_after=1200), "allows no more requests until"),
}


def test_a_refused_pull_request_is_one_sentence_and_the_next_run_opens_only_that(
    shop: Shop,
) -> None:
    tip = ""
    for how, says in REFUSALS.values():
        shop.fails("POST", "/pulls", times=0, **how)
        status, said = shop.patch("-y")
        shop.forge.faults.clear()
        assert status in (1, 8), said
        assert says in said
        if not tip:  # the first one pushed it
            tip = shop.tip
            assert "is pushed and stays; the same command goes on from it" in said
        assert tip
        assert (shop.tip, shop.project.pulls) == (tip, [])
    status, said = shop.patch("-y")
    assert (status, shop.tip, shop.pull.head_sha) == (0, tip, tip)
    assert shop.changes() == {"pull-request": "verified"}


def test_the_network_is_cut_between_the_push_and_the_pull_request(shop: Shop) -> None:
    shop.fails("POST", "/pulls", times=4, drop=True)  # it is tried four times
    ends: list[int | None] = []
    play([told(shop.job, ends)], Killer())  # with time for free
    tip = shop.tip
    assert (ends, shop.project.pulls) == ([1], [])
    assert tip
    assert shop.changes() == {"git-commit": "verified", "pull-request": "unknown"}
    said = {section.heading: section.lines for section in sections(shop.events())}
    assert said["VERDICT"][0] == "Nothing says whether the pull request is open"
    assert said["NEXT"][0] == "run the same command again: it goes on from what has arrived"
    assert shop.patch("-y")[0] == 0
    assert (shop.tip, shop.pull.head_sha) == (tip, tip)
    assert shop.changes() == {"pull-request": "verified"}


def test_the_network_is_cut_before_the_push_arrives(shop: Shop) -> None:
    shop.fails("POST", ".git/git-receive-pack", times=0, drop=True)
    ends: list[int | None] = []
    play([told(shop.job, ends)], Killer())
    assert (ends, shop.tip, shop.project.pulls) == ([1], "", [])
    said = {section.heading: section.lines for section in sections(shop.events())}
    assert said["VERDICT"][0] == "Nothing says whether the branch is pushed"
    shop.forge.faults.clear()
    assert shop.patch("-y")[0] == 0
    assert shop.pull.head_sha == shop.tip


def test_the_network_is_cut_once_the_push_has_arrived(shop: Shop) -> None:
    shop.fails("POST", ".git/git-receive-pack", drop=True, after=True)
    status, said = shop.patch("-y")
    assert status == 0, said
    assert shop.changes() == {"git-commit": "verified", "pull-request": "verified"}
    assert shop.pull.head_sha == shop.tip


def test_the_network_is_cut_once_the_pull_request_is_open(shop: Shop) -> None:
    shop.fails("POST", "/pulls", drop=True, after=True)
    status, said = shop.patch("-y")
    assert status == 0, said
    assert shop.pull.head_sha == shop.tip


def test_a_protected_branch_is_refused_before_anything_is_pushed(shop: Shop) -> None:
    shop.project.protected.append(BRANCH)
    status, said = shop.patch("-y")
    assert status == 1
    assert f"Protected branch update failed for refs/heads/{BRANCH}" in said
    assert (shop.tip, shop.project.pulls) == ("", [])


@pytest.mark.parametrize(
    ("method", "path", "how", "says"),
    [
        ("PUSH", "", dict(message="no flags in December"), "no flags in December"),
        ("GET", ".git/info/refs[?]service=git-receive-pack", dict(status=403), "403"),
    ],
)
def test_a_push_that_is_refused_says_why(
    method: str, path: str, how: dict[str, Any], says: str, shop: Shop
) -> None:
    shop.fails(method, path, times=0, **how)
    status, said = shop.patch("-y")
    assert status in (1, 8)
    assert says in said
    assert (shop.tip, shop.project.pulls) == ("", [])


# --- checks -------------------------------------------------------------------------------------


def test_failing_checks_leave_a_draft_that_says_what_failed(shop: Shop) -> None:
    status, said = shop.patch("-y", value="broken")
    assert status == 1, said
    assert (shop.pull.open, shop.pull.draft, shop.tip) == (True, True, shop.pull.head_sha)
    (comment,) = [each.body for each in shop.project.comments]
    assert "FLAG must not be broken" in comment
    assert "validate" in comment
    assert "validate" in said


# --- kills --------------------------------------------------------------------------------------


def told(job: Job, ends: list[int | None]) -> Play:
    ends.append((yield job))


def killed_and_resumed(job: Job, ends: list[int | None]) -> Play:
    yield from told(job, ends)
    yield from told(replace(job, command=("resume",), point=None), ends)


def test_killed_between_push_and_pull_request_it_is_taken_up_and_nothing_is_done_twice(
    forge: Forge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once the push has arrived, before and after that is written down; before the pull request is
    asked for; and once it is open, before that is."""

    def new(name: str) -> Shop:
        return made(forge, f"shop/{name}", tmp_path / name, monkeypatch, capsys)

    pilot = new("pilot")
    play([told(pilot.job, [])], Killer())
    kinds = [type(stamped.event) for stamped in pilot.events()]
    pushed = kinds.index(ChangeSettled)
    asked = kinds.index(ChangeIntended, pushed)
    lines = [pushed, pushed + 1, asked, kinds.index(ChangeSettled, asked)]
    crashes = [(new(f"killed-{number}"), number, list[int | None]()) for number in lines]
    plays = [
        killed_and_resumed(replace(shop.job, point=Point(number, "before")), ends)
        for shop, number, ends in crashes
    ]
    play(plays, Killer())
    for shop, number, ends in crashes:
        assert ends == [-signal.SIGKILL, 0], shop.job.output
        assert len(forge.hub.bare(shop.project).commits("main", BRANCH)) == 1, number
        assert shop.pull.head_sha == shop.tip, number
        carried_out = [entry for entry in ledger(shop.events()).values() if entry.touched]
        assert [entry.state for entry in carried_out] == ["verified", "verified"], number


# --- what an API server makes of the result -----------------------------------------------------


@pytest.mark.kubectl
@needs_kubectl
def test_the_edited_tree_is_accepted_by_an_api_server(
    forge: Forge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = shipped("examples") / "03-env-var-pull-request"
    book = (shipped("playbooks") / "add-env-var.yaml").read_text("utf-8")
    shop = made(forge, "shop/example", tmp_path / "shop", monkeypatch, capsys)
    url = forge.create_repository("shop/edited", example / "repo")
    plain = re.sub(r"    - (covers_cluster|pull_request): .*\n", "", book)
    (shop.here / "flag.yaml").write_text(plain.replace("name: add-env-var", "name: flag"))
    status, said = shop.patch("-y", "--repo", url, value="true")
    assert status == 0, said
    branch = "smoldebug/FEATURE_FLAG"
    bare = forge.folder / "repos/shop/edited.git"
    git(tmp_path, "clone", "-q", "-b", branch, str(bare), "edited")
    server = serve(new_store("staging"))
    (tmp_path / "kubeconfig").write_text(server.kubeconfig())
    try:
        for what in (("-R", "-f", "deploy/staging"), ("-k", "deploy/overlays/staging")):
            command = [str(KUBECTL), "apply", "--dry-run=server", *what, "-o", "json"]
            done = subprocess.run(
                [*command, "--kubeconfig", str(tmp_path / "kubeconfig")],
                cwd=tmp_path / "edited",
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert done.returncode == 0, done.stderr
            items = json.loads(done.stdout)["items"]
            deployments = [each for each in items if each["kind"] == "Deployment"]
            assert len(deployments) == (8 if "-R" in what else 3)
            for each in deployments:
                (container,) = each["spec"]["template"]["spec"]["containers"]
                assert {"name": "FEATURE_FLAG", "value": "true"} in container["env"]
    finally:
        server.close()
