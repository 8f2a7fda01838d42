"""A run that begins with edits: one approval, one push, one pull request, and what stops it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from askers import chain_of
from msgspec import structs

from smoldebug.agent import Agent, Signals
from smoldebug.appliers import CommandApplier, ServerApplier, appliers
from smoldebug.change import Approver, Executor, Place
from smoldebug.errors import AccessDenied, Conflict, UnreachableError
from smoldebug.events import (
    ChangeDecided,
    ChangeProposed,
    ChangeSettled,
    Continued,
    Drafted,
    GoalChecked,
    ModelAsked,
    Note,
    RunEnded,
    RunStarted,
    Stamp,
    Stamped,
)
from smoldebug.evidence import EvidenceStore
from smoldebug.goal import Goal
from smoldebug.guard import Guard
from smoldebug.journal import Journal
from smoldebug.ledger import ledger
from smoldebug.model.scripted import ScriptedModel
from smoldebug.notebook import Notebook
from smoldebug.past import Past, past
from smoldebug.patch import Patch
from smoldebug.playbook.load import load
from smoldebug.playbook.models import RunPlan
from smoldebug.playbook.policy import Policy
from smoldebug.records import Answer, Card, CheckRun, Decision, PullRequest, Usage, Who
from smoldebug.redact import Redactor
from smoldebug.report import sections
from smoldebug.run import Crew, run
from smoldebug.sources.fake_repository import FakeForge, FakeRepository
from smoldebug.sources.fakes import FakeClock, FakeProcesses, fake_world
from smoldebug.status import ExitStatus
from smoldebug.toolset import ToolContext, Toolset, shipped_tools
from tests.crews import yes

PLAYBOOK = """\
apiVersion: smoldebug.dev/v1
name: add-flag
description: Every Deployment of staging gets the flag.
goal:
  all:
    - manifests:
        paths: ["deploy/**"]
        select: {kind: Deployment, namespace: staging}
        every_container_has: {env: {name: FLAG, value: "on"}}
WANTS    - pull_request: {checks: passed}
  within: 10m
scope: {paths: ["deploy/**"]}
tools:
  git: {base: main, branch: smoldebug/flag}
  pull_request: {labels: [post-mortem]}
edits:
  - set_env: {name: FLAG, value: "on", if_different: IF_DIFFERENT}
approval: APPROVAL
on_failure: ON_FAILURE
LIMITS
"""
STARTED = RunStarted(
    "patch", "add-flag", "flags", "expert", "", (), "ask", 5.0, Usage(), repository="shop/manifests"
)
PASSED, FAILED = CheckRun("validate", "passed"), CheckRun("lint", "failed", detail="line 3: tabs")
PENDING = CheckRun("validate", "pending")


def deployment(name: str, env: str = "") -> bytes:
    """One with a comment; `env` is the value of FLAG, where it has one."""
    lines = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: staging}}
spec:
  template:
    spec:
      containers:
        - name: app  # the only one
          image: shop/{name}:1
"""
    lines += (
        f'          env:\n            - name: FLAG\n              value: "{env}"\n' if env else ""
    )
    return lines.encode()


def shop(**env: str) -> dict[str, bytes]:
    """Two Deployments and a file that is none of anybody's business."""
    files = {f"deploy/{name}.yaml": deployment(name, env.get(name, "")) for name in ("auth", "web")}
    return {**files, "README.md": b"shop\n"}


@dataclass
class Patching:
    tmp_path: Path
    files: dict[str, bytes] = field(default_factory=shop)
    runs: list[CheckRun] = field(default_factory=lambda: [PASSED])
    approver: Approver = yes
    approval: str = "ask"
    if_different: str = "stop-and-ask"
    on_failure: str = "keep-branch"
    limits: str = ""
    wants: str = ""  # another check of the goal, in YAML
    glass: str = ""
    patches: str = ""
    policies: tuple[Policy, ...] = ()
    git: dict[str, Any] = field(default_factory=dict)  # of the playbook's tools
    pull_request: dict[str, Any] = field(default_factory=dict)
    forge: Any = FakeForge
    turns: list[dict[str, Any]] = field(default_factory=list)
    model: Any = None  # in place of one that has turns

    def __post_init__(self) -> None:
        self.repository = FakeRepository(self.files, branch="smoldebug/flag")
        self.hub = self.forge(self.repository, self.runs) if self.forge else None
        self.seen: list[Stamped] = []

    def plan(self) -> RunPlan:
        text = PLAYBOOK.replace("IF_DIFFERENT", self.if_different)
        text = text.replace("APPROVAL", self.approval).replace("ON_FAILURE", self.on_failure)
        text = text.replace("WANTS", f"    - {self.wants}\n" if self.wants else "")
        path = self.tmp_path / "add-flag.yaml"
        path.write_text(text.replace("LIMITS", self.limits), encoding="utf-8")
        plan = load(str(path), {})
        tools = plan.playbook.tools
        assert tools.git is not None
        assert tools.pull_request is not None
        git, request = structs.replace(tools.git, **self.git), tools.pull_request
        request = structs.replace(request, **self.pull_request)
        tools = structs.replace(tools, git=git, pull_request=request)
        return structs.replace(plan, playbook=structs.replace(plan.playbook, tools=tools))

    def play(self) -> RunEnded:
        """A run of its own each time, on the same repository and forge."""
        ended = list(self.events())[-1].event
        assert isinstance(ended, RunEnded)
        return ended

    def resume(self) -> RunEnded:
        """The last run is taken up by a new process."""
        ended = list(self.events(past(self.seen)))[-1].event
        assert isinstance(ended, RunEnded)
        return ended

    def approve(self) -> None:
        """`runs approve`, while nobody runs it."""
        before = past(self.seen)
        (entry,) = (each for each in before.ledger.values() if each.state == "waiting")
        said = ChangeDecided(entry.card.id, entry.card.digest, yes(entry.card))
        self.seen.append(Stamp(before.run, FakeClock(), before.events)(said))

    def events(self, before: Past | None = None) -> Iterator[Stamped]:
        """Those of one process; `seen` has those of the run. To stop asking is to kill it."""
        plan, clock = self.plan(), FakeClock()
        world = fake_world(repository=self.repository, forge=self.hub, clock=clock)
        self.repository.proposed = ""
        evidence = EvidenceStore(clock)
        notebook = Notebook(evidence)
        masks = Redactor()
        patch = Patch(plan, world, "run1", model="scripted", shown=masks.text)
        patch.patches = self.patches
        families = ("git", "pull_request", "manifests")
        specs = [spec for spec in shipped_tools() if spec.family in families]
        tools = Toolset(specs, lambda _: ToolContext(world, patch=patch), evidence, masks)
        server = ServerApplier(self.tmp_path, clock, lambda url: True)
        kinds = appliers(world, server, CommandApplier(FakeProcesses()))
        self.cards: list[Card] = []
        guard = Guard(plan.playbook, self.policies)
        self.executor = Executor(guard, kinds, self.asked, clock, Place("run1"), masks.text)
        self.executor.break_glass = self.glass
        named = [self.model or ScriptedModel(self.turns)] if self.turns or self.model else []
        self.signals = Signals()
        asked = chain_of(*named, folder=self.tmp_path / "accounts", clock=clock, mask=masks.text)
        agent = Agent(asked, tools, notebook, self.executor, self.signals, clock)
        agent.usage = Usage(max_turns=3)
        journal = Journal(self.tmp_path / f"{len(list(self.tmp_path.iterdir()))}.jsonl")
        crew = Crew(Goal(plan, world, clock), agent, None, journal, clock, "run1", patch)
        first = Continued("resume", Who("anna")) if before else STARTED
        self.seen = self.seen if before else []
        with closing(journal):
            for stamped in run(plan, crew, first, before):
                self.seen.append(stamped)
                yield stamped

    def asked(self, card: Card) -> Decision:
        self.cards.append(card)
        return self.approver(card)

    def of(self, kind: type) -> list[Any]:
        return [stamped.event for stamped in self.seen if isinstance(stamped.event, kind)]

    @property
    def request(self) -> PullRequest:
        found = self.hub.find("smoldebug/flag")
        assert found is not None
        return found


def nobody(card: Card) -> Decision:
    return Decision(Answer.PENDING, "nobody", "no terminal")


# --- the way it should go -------------------------------------------------------------------------


def test_one_approval_pushes_the_branch_and_opens_the_pull_request(tmp_path):
    patching = Patching(tmp_path)
    ended = patching.play()
    assert (ended.status, ended.reason) == (ExitStatus.MET, "the goal is met")
    assert [card.change.kind for card in patching.cards] == ["git-commit"]
    kinds = [event.card.change.kind for event in patching.of(ChangeProposed)]
    assert kinds == ["git-commit", "pull-request"]
    assert patching.of(ChangeDecided)[1].decision.reason == "with C1"
    request = patching.request
    assert (request.state, request.draft, request.labels) == ("open", True, ("post-mortem",))
    assert "FLAG=on in 2 Deployments of staging" in request.title
    tree = patching.repository.tree(patching.repository.tip())
    assert tree.read("deploy/web.yaml") == deployment("web", "on")
    assert tree.read("README.md") == b"shop\n"


def test_the_card_shows_every_file_and_the_pull_request_that_follows(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    (card,) = patching.cards
    assert card.diff.count('+              value: "on"') == 2
    assert card.limits == "2 of 50 files"
    assert card.change.then is not None
    assert card.change.then.after["/title"] == patching.request.title
    assert card.dry_run == "accepted"


def test_what_was_edited_is_told_before_anybody_is_asked(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    names = [type(stamped.event).__name__ for stamped in patching.seen]
    assert names.index("Drafted") < names.index("ChangeProposed")
    (drafted,) = patching.of(Drafted)
    assert [row.state for row in drafted.edited] == ["changed", "changed"]
    assert drafted.commit == patching.repository.tip()


def test_a_second_run_has_nothing_to_do(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    tip = patching.repository.tip()
    ended = patching.play()
    assert ended.status is ExitStatus.MET
    assert ended.reason == "nothing to do: 2 already so"
    assert (patching.cards, patching.repository.tip(), len(patching.hub.pulls)) == ([], tip, 1)


def test_a_base_that_conforms_needs_no_branch_and_no_pull_request(tmp_path):
    patching = Patching(tmp_path, shop(auth="on", web="on"))
    ended = patching.play()
    assert (ended.status, ended.reason) == (ExitStatus.MET, "nothing to do: 2 already so")
    assert (patching.repository.tip(), patching.hub.pulls) == ("", {})


def test_pending_checks_are_waited_for(tmp_path):
    patching = Patching(tmp_path, runs=[PENDING])

    class Slow(FakeForge):
        asked = 0

        def checks(self, commit):
            Slow.asked += 1
            return (PENDING,) if Slow.asked < 4 else (PASSED,)

    patching.hub = Slow(patching.repository)
    ended = patching.play()
    assert ended.status is ExitStatus.MET
    assert Slow.asked >= 4


def test_without_a_forge_the_branch_is_pushed_and_a_person_told_what_to_open(tmp_path):
    patching = Patching(tmp_path, forge=None)
    ended = patching.play()
    assert ended.status is ExitStatus.INCONCLUSIVE
    assert patching.repository.tip()
    notes = [str(event.text) for event in patching.of(Note)]
    assert any("by hand" in note for note in notes)


def test_a_model_writes_the_summary_and_nothing_else(tmp_path):
    patching = Patching(tmp_path, turns=[{"say": "Sets FLAG. Closes #1, see @anna."}])
    assert patching.play().status is ExitStatus.MET
    (asked,) = patching.of(ModelAsked)
    assert "deploy/auth.yaml" in asked.messages[0]["text"]
    body = patching.request.body
    assert "Summary, in the words of `scripted`" in body
    assert "Nobody has checked this summary" in body
    assert patching.request.title == "Set FLAG=on in 2 Deployments of staging"


def test_a_model_that_fails_costs_the_summary_only(tmp_path):
    patching = Patching(tmp_path, turns=[{"fail": "out of quota"}])
    assert patching.play().status is ExitStatus.MET
    assert "in the words of" not in patching.request.body


def test_patch_files_are_written_and_nothing_is_pushed(tmp_path):
    patching = Patching(tmp_path, patches=str(tmp_path / "out it goes"))
    ended = patching.play()
    (made,) = Path(patching.patches).iterdir()
    assert "no pull request of branch" in ended.reason  # a check that `--patches` leaves out
    assert '+              value: "on"' in made.read_text()
    notes = [event.text for event in patching.of(Note)]
    assert f"1 patch file: git am --keep-cr '{made}'" in notes
    assert (patching.repository.tip(), patching.hub.pulls, patching.cards) == ("", {}, [])


def test_a_repository_without_a_remote_gets_patch_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    patching = Patching(tmp_path, forge=None)
    patching.repository.url = ""
    patching.play()
    assert list((tmp_path / "smoldebug-run1").iterdir())
    assert (patching.repository.tip(), patching.cards) == ("", [])


def test_what_the_playbook_says_of_commits_and_the_pull_request_is_so(tmp_path):
    patching = Patching(tmp_path)
    patching.git = {"commit_per": "file", "message": "Flag on"}
    patching.pull_request = {"draft": False, "title": "All get the flag", "assignees": ["anna"]}
    messages, commit = [], patching.repository.commit

    def kept(parent, files, message):
        messages.append((sorted(files), message))
        return commit(parent, files, message)

    patching.repository.commit = kept  # type: ignore[method-assign]
    assert patching.play().status is ExitStatus.MET
    assert [paths for paths, _ in messages] == [["deploy/auth.yaml"], ["deploy/web.yaml"]]
    assert all(message.startswith("Flag on\n") for _, message in messages)
    request = patching.cards[0].change.then
    assert (patching.request.title, patching.request.draft) == ("All get the flag", False)
    assert request.after["/assignees"] == ["anna"]
    patching.git = {"commit_per": "file", "branch": "smoldebug/flag"}
    patching.files, messages[:] = shop(), []
    patching.__post_init__()
    patching.repository.commit, commit = kept, patching.repository.commit
    patching.play()
    assert ["auth" in message for _, message in messages] == [True, False]  # each says its own


def test_a_protected_branch_is_refused_before_anybody_is_asked(tmp_path):
    patching = Patching(tmp_path)
    patching.hub.guarded.add("smoldebug/flag")
    assert "the branch is protected: smoldebug/flag" in patching.play().reason
    assert (patching.repository.tip(), patching.cards) == ("", [])


def test_patch_files_of_a_branch_that_is_there_already_have_nothing_in_them(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    patching.hub.pulls.clear()
    patching.patches = str(tmp_path / "out")
    patching.play()
    assert not (tmp_path / "out").exists()
    assert any(event.verdict.results[0].outcome == "met" for event in patching.of(GoalChecked))


# --- what stops it --------------------------------------------------------------------------------


def test_failing_checks_keep_the_branch_and_are_explained_on_the_pull_request(tmp_path):
    patching = Patching(tmp_path, runs=[PASSED, FAILED])
    ended = patching.play()
    assert ended.status is ExitStatus.NOT_MET
    assert "lint" in ended.reason
    assert patching.request.state == "open"
    ((_, body),) = patching.hub.comments.items()
    assert "line 3: tabs" in body


def test_failing_checks_may_be_undone(tmp_path):
    patching = Patching(tmp_path, runs=[FAILED], on_failure="undo")
    ended = patching.play()
    assert ended.status is ExitStatus.UNDONE
    assert (patching.repository.tip(), patching.request.state) == ("", "closed")


def test_nobody_to_ask_suspends_the_run_before_anything_is_pushed(tmp_path):
    patching = Patching(tmp_path, approver=nobody)
    assert patching.play().status is ExitStatus.NEEDS_APPROVAL
    told = {section.heading: section.lines for section in sections(patching.seen)}
    assert "none of it was pushed" in told["COVERAGE"]
    assert (patching.repository.tip(), patching.hub.pulls) == ("", {})


def test_another_value_is_asked_about_even_under_auto(tmp_path):
    patching = Patching(tmp_path, shop(auth="off"), approval="auto", approver=nobody)
    assert patching.play().status is ExitStatus.NEEDS_APPROVAL
    (card,) = patching.cards
    assert any("off" in warning for warning in card.warnings)
    assert patching.repository.tip() == ""


@pytest.mark.parametrize(("how", "value"), [("overwrite", "on"), ("skip", "off")])
def test_another_value_may_be_overwritten_or_left(tmp_path, how, value):
    patching = Patching(tmp_path, shop(auth="off"), if_different=how, approval="auto")
    ended = patching.play()
    tree = patching.repository.tree(patching.repository.tip())
    assert tree.read("deploy/auth.yaml") == deployment("auth", value)
    assert (ended.status is ExitStatus.MET) == (how == "overwrite")


def test_one_object_that_cannot_be_edited_keeps_all_from_being_pushed(tmp_path):
    aliased = deployment("auth").replace(
        b"image:", b"env: &env []\n          x: *env\n          image:"
    )
    patching = Patching(tmp_path, {**shop(), "deploy/auth.yaml": aliased})
    ended = patching.play()
    assert ended.status is ExitStatus.NOT_MET
    assert ended.reason.startswith("nothing was pushed, 1 cannot be edited: deploy/auth.yaml")
    assert patching.repository.tip() == ""


def test_a_file_outside_the_scope_is_refused_by_the_guard_too(tmp_path):
    patching = Patching(tmp_path)
    plan = patching.plan()
    guard = Guard(plan.playbook)
    world = fake_world(repository=patching.repository, forge=patching.hub)
    repository = patching.repository
    commit = repository.commit(repository.base_commit(), {"README.md": b"mine\n"}, "x")
    patch = Patch(plan, world, "run1")
    change = patch._push(commit, "because")
    kinds = appliers(
        world, ServerApplier(tmp_path, FakeClock(), bool), CommandApplier(FakeProcesses())
    )
    executor = Executor(guard, kinds, yes, FakeClock(), Place("run1"))
    with pytest.raises(StopIteration) as done:
        next(executor.execute(change))
    assert "outside scope.paths: README.md" in done.value.value.text


def test_more_files_than_the_limit_are_refused(tmp_path):
    patching = Patching(tmp_path, limits="limits: {files: 1}")
    ended = patching.play()
    assert ended.status is ExitStatus.NOT_MET
    assert "it would change 2 files, limits.files is 1" in ended.reason
    assert patching.repository.tip() == ""


def test_more_lines_than_the_limit_are_refused(tmp_path):
    patching = Patching(tmp_path, limits="limits: {changed_lines_per_container: 1}")
    ended = patching.play()
    assert "limits.changed_lines_per_container is 1" in ended.reason


# --- what breaks in the middle --------------------------------------------------------------------


class Refusing(FakeForge):
    def open(self, text):
        raise AccessDenied("the token may not open pull requests", "pull_requests: write")


class Cut(FakeForge):
    """The network is cut between the push and the pull request."""

    def open(self, text):
        raise UnreachableError("connection reset")


@pytest.mark.parametrize("forge", [Refusing, Cut])
def test_a_pull_request_that_cannot_be_opened_leaves_the_branch_and_a_rerun_goes_on(
    tmp_path, forge
):
    patching = Patching(tmp_path, forge=forge)
    ended = patching.play()
    assert ended.status in (ExitStatus.NOT_MET, ExitStatus.INCONCLUSIVE)
    tip = patching.repository.tip()
    assert tip
    patching.hub = FakeForge(patching.repository, [PASSED])
    ended = patching.play()
    assert ended.status is ExitStatus.MET
    assert [card.change.kind for card in patching.cards] == ["pull-request"]
    assert (patching.repository.tip(), patching.request.head) == (tip, tip)


def test_an_object_of_an_overlay_is_told_once_however_often_it_is_looked_at(tmp_path):
    layers = {
        "deploy/base/kustomization.yaml": b"resources: [web.yaml]\n",
        "deploy/base/web.yaml": deployment("web"),
        "deploy/prod/kustomization.yaml": b"namespace: prod\nresources: [../base]\n",
        "deploy/staging/kustomization.yaml": b"namespace: staging\nresources: [../base]\n",
    }
    patching = Patching(tmp_path, files=layers, forge=Refusing)
    assert "open pull requests. Branch smoldebug/flag is pushed" in patching.play().reason
    patching.hub = FakeForge(patching.repository, [PASSED])
    patching.play()
    assert patching.request.body.count("Deployment/staging/web") == 1
    assert "already so" not in patching.request.body


def test_a_branch_that_somebody_else_moved_is_left_alone(tmp_path):
    patching = Patching(tmp_path)

    def meanwhile(card: Card) -> Decision:
        repository = patching.repository
        theirs = repository.commit(repository.base_commit(), {"deploy/x.yaml": b"x: 1\n"}, "mine")
        repository.push(theirs, "")
        patching.theirs = theirs
        return yes(card)

    patching.approver = meanwhile
    ended = patching.play()
    assert ended.status is ExitStatus.NOT_MET
    assert patching.repository.tip() == patching.theirs
    assert patching.of(ChangeSettled)[-1].state == "failed"


def test_a_branch_with_somebodys_commits_is_added_to(tmp_path):
    patching = Patching(tmp_path)
    repository = patching.repository
    theirs = repository.commit(repository.base_commit(), {"deploy/x.yaml": b"x: 1\n"}, "mine")
    repository.push(theirs, "")
    assert patching.play().status is ExitStatus.MET
    assert repository.within(theirs, repository.tip())


def test_undo_closes_the_pull_request_and_takes_the_branch_away(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    states = [
        event.state for event in patching.executor.take_back() if type(event) is ChangeSettled
    ]
    assert states == ["undone", "undone"]
    assert (patching.repository.tip(), patching.request.state) == ("", "closed")


def test_what_undo_would_do_is_shown_before_anybody_is_asked(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    pushed, requested = (patching.executor.rehearse(card) for card in patching.executor.applied)
    assert requested[0] == pushed[0] == "would be undone"
    assert requested[1].startswith("the pull request is closed\n$ close the pull request http")
    where = "git -C /clones/shop/manifests push https://git.example/shop/manifests.git"
    assert f"$ {where} --delete refs/heads/smoldebug/flag" in pushed[1]
    assert patching.request.state == "open"


def test_undo_is_blocked_where_it_was_merged_or_somebody_pushed(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    patching.hub.merge(1)
    repository = patching.repository
    repository.push(repository.commit(repository.tip(), {"a": b"b"}, "more"), repository.tip())
    settled = [each for each in patching.executor.take_back() if type(each) is ChangeSettled]
    assert [event.state for event in settled] == ["undo blocked", "undo blocked"]
    assert "merged" in settled[0].detail
    assert "somebody else moved it" in settled[1].detail


def test_what_happened_is_in_the_ledger(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    assert [entry.state for entry in ledger(patching.seen).values()] == ["verified", "verified"]
    assert patching.of(GoalChecked)[-1].verdict.outcome == "met"


def test_a_push_that_is_refused_says_so(tmp_path):
    patching = Patching(tmp_path)

    def refuse(commit: str, expected: str, *, dry_run: bool = False) -> None:
        raise Conflict("protected by a rule")

    patching.repository.push = refuse  # type: ignore[method-assign]
    ended = patching.play()
    assert "protected by a rule" in ended.reason
