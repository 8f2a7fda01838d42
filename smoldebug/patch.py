"""A playbook's edits: from manifests to one change that pushes a branch and opens a pull request.

Edits are made and committed in the run's own clone before anybody is asked. What is then approved,
once, is the commit (its id stands for every byte) with the pull request that follows it.
"""

import shlex
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import msgspec

from smoldebug import __version__, pull_request
from smoldebug.agent import Agent
from smoldebug.appliers.branches import COMMENT, SET, START, TIP, marker
from smoldebug.change import CHANGED, Executor, Outcome
from smoldebug.coverage import EDITED, counted
from smoldebug.edits.documents import find, selected
from smoldebug.edits.draft import Draft, draft, drafted, selection
from smoldebug.edits.render import render
from smoldebug.edits.rendered import Rendered, Rendering
from smoldebug.edits.workspace import Workspace
from smoldebug.errors import SmoldebugError, ToolError
from smoldebug.events import AnyEvent, Drafted, Note
from smoldebug.goal.covers_cluster import gaps
from smoldebug.playbook.fieldpath import pointer_of
from smoldebug.playbook.models import RunPlan
from smoldebug.playbook.patches import (
    Edit,
    GitTool,
    RemovePath,
    Select,
    SetPath,
)
from smoldebug.playbook.patchrules import fixed
from smoldebug.pointers import child, lookup
from smoldebug.prompt import summary_prompt
from smoldebug.records import Change, ChangeKind, Edited, Json, ObjectRef, PullRequest, Quote
from smoldebug.signals.words import count
from smoldebug.sources.forge import codeowners
from smoldebug.sources.forge.open import compare_url
from smoldebug.sources.repository import Forge, Tree
from smoldebug.sources.world import World
from smoldebug.untrusted import one_line

UNCHANGED = "unchanged"  # state of the outcome where there is nothing to patch


@dataclass
class Patch:
    """The edits of one run. `patches` is a folder for patch files, in place of a push; `quotes` are
    evidence for the pull request's text; `shown` masks secrets."""

    plan: RunPlan
    world: World
    run: str
    revision: str = ""  # of the playbook
    patches: str = ""
    quotes: Sequence[Quote] = ()
    model: str = ""  # that may propose edits of its own, "" for none
    shown: Callable[[str], str] = str
    _done: Draft | None = field(default=None, init=False)

    @cached_property
    def workspace(self) -> Workspace:
        return Workspace(self.world.repository, self._git)

    # --- what code does ---------------------------------------------------------------------

    def steps(self, agent: Agent) -> Generator[AnyEvent, None, Outcome]:
        """Make the edits, commit, ask once, push, open the pull request; or say that there is
        nothing to do. Raises what opening the repository does; nothing was pushed then."""
        began = self.world.clock.monotonic()
        done = self._done = drafted(self.plan.playbook, self.workspace.tree)
        self.workspace.put(done.files)
        refused = [row for row in done.edited if row.state == "refused"]
        commit = "" if refused else self._committed()
        yield self._event(done, commit, self.world.clock.monotonic() - began)
        if refused:
            return _incomplete(refused)
        if commit and (self.patches or not self.workspace.repository.url):
            return (yield from self._as_files(commit))
        executor = agent.executor
        if commit:
            diff = self.workspace.repository.diff(self.workspace.start, commit)
            summary = yield from agent.words(summary_prompt(self.plan, diff))
            change = self._push(commit, self._why(), done.warnings)
            if self.world.forge:
                change = replace(change, then=self._request("", summary))
            outcome = yield from executor.execute(change)
        elif self._unrequested():
            outcome = yield from executor.execute(self._request("", ""))
        else:
            return Outcome(UNCHANGED, f"nothing to do: {counted(done.edited)}")
        if self.world.forge is None and outcome.state in CHANGED:
            yield Note(self._by_hand())
        return self._where_it_stands(outcome, executor)

    def tell_failure(self, executor: Executor) -> Generator[AnyEvent, None, None]:
        """Comment on the pull request of this run which of its checks failed, and why."""
        opened = [c for c in executor.applied if c.change.kind is ChangeKind.PULL_REQUEST]
        forge = self.world.forge
        if not opened or forge is None:
            return
        try:
            found = _open(forge, self._git.branch)
            checks = forge.checks(found.head) if found else ()
        except SmoldebugError as error:
            yield Note(f"the pull request cannot be commented on: {error}", "warning")
            return
        failed = [check.name for check in checks if check.state == "failed"]
        if not failed:
            return
        reason = self.shown(one_line(f"failed: {', '.join(failed)}", 1000))
        body = pull_request.failure_comment(self.run, reason, checks, marker(self.run), self.shown)
        comment = self._change(ChangeKind.PULL_REQUEST, {}, {COMMENT: body}, reason)
        outcome = yield from executor.follow(comment, opened[-1])
        yield Note(outcome.text)

    # --- what tools and code propose ----------------------------------------------------------

    def described(self, kind: str, name: str, namespace: str) -> Rendering:
        tree = self.workspace.tree
        found = find(tree, ["**"])
        made = render(tree, found)
        chosen = [
            each
            for each in made.objects
            if selected(each, Select(kind=kind or each.ref.kind, name=name, namespace=namespace))
        ]
        return Rendering(tuple(chosen), (*found.problems, *made.problems))

    def edited(self, target: ObjectRef, field: str, value: Json, *, remove: bool) -> list[Edited]:
        select = Select(kind=target.kind, name=target.name, namespace=target.namespace)
        edit = Edit(select=select, paths=["**"])
        if remove:
            edit = msgspec.structs.replace(edit, remove=RemovePath(path=field))
        else:
            edit = msgspec.structs.replace(edit, set=SetPath(path=field, value=value))
        pointer = pointer_of(field)
        if problem := fixed(pointer):
            raise ToolError(f"{field} {problem}")
        done = draft(self.workspace.tree, [edit], None, self.plan.playbook.scope.paths)
        refused = [each for each in done.edited if each.state == "refused"]
        if refused or not done.edited:
            why = refused[0].detail if refused else f"no manifest describes {target}"
            raise ToolError(why)
        self.workspace.put(done.files)
        for each in done.edited:
            if each.state in EDITED:
                self.workspace.set_by_model.setdefault(_name(each), set()).add(pointer)
        return list(done.edited)

    def pushed(self, why: str) -> Change:
        """Of what a model drafted: without a pull request, which it proposes by itself."""
        workspace = self.workspace
        if self.patches or not workspace.repository.url:
            raise ToolError("nothing is pushed in this run: it writes patch files")
        if not workspace.start or not workspace.files:  # what is pushed already is none any more
            raise ToolError("nothing is drafted: patch_k8s_manifest drafts an edit")
        change = self._push(self._committed(), why)
        was, now = (self._in_fields_of_model(tree) for tree in (workspace.before, workspace.tree))
        return replace(change, before={**change.before, **was}, after={**change.after, **now})

    def requested(self, title: str, summary: str) -> Change:
        if not self.workspace.repository.tip():
            raise ToolError("the branch is not there yet: commit_and_push comes first")
        return self._request(title, summary)

    # --- parts ------------------------------------------------------------------------------

    def _request(self, title: str, summary: str) -> Change:
        repository, settings = self.workspace.repository, self.plan.playbook.tools.pull_request
        if self.patches or self.world.forge is None or settings is None:
            raise ToolError(f"no pull request can be opened here: {self._by_hand()}")
        found = _open(self.world.forge, repository.branch)
        facts = self._facts(summary, found)
        after: dict[str, Json] = {
            "/base": repository.base,
            "/title": pull_request.quiet(title, pull_request.SUBJECT)
            or settings.title
            or pull_request.title(facts.edits, facts.edited),
            "/body": pull_request.body(facts, self.shown),
            "/draft": settings.draft,
            "/labels": settings.labels,
            "/reviewers": self._reviewers(),
            "/assignees": settings.assignees,
        }
        before = _fields(found, repository.base) if found else {}
        return self._change(ChangeKind.PULL_REQUEST, before, after, self._why())

    def _in_fields_of_model(self, tree: Tree) -> dict[str, Json]:
        """What stands where a model edited. Of a field inside another one that: no part of a change
        is told twice."""
        found = {}
        for each in render(tree, find(tree, ["**"])).objects if self.workspace.set_by_model else ():
            pointers = self.workspace.set_by_model.get(_name(each), set())
            for pointer in sorted(pointers):
                inside = any(pointer.startswith(f"{other}/") for other in pointers)
                if not inside and (value := lookup(each.object, pointer)) is not None:
                    found[f"{child(SET, _name(each))}{pointer}"] = value
        return found

    @property
    def _git(self) -> GitTool:
        return self.plan.playbook.tools.git or GitTool()

    @property
    def _base(self) -> Tree:
        repository = self.workspace.repository
        return repository.tree(repository.base_commit())

    @cached_property
    def _brought(self) -> tuple[Edited, ...]:
        """All that the pull request brings, also by commits of an earlier run; and of objects that
        only its branch has."""
        new = self._done.edited if self._done else ()
        if self._done and self.workspace.start == self.workspace.repository.base_commit():
            return new
        rows = drafted(self.plan.playbook, self._base).edited
        known = {_place(row) for row in rows}
        return (*rows, *(row for row in new if _place(row) not in known))

    def _committed(self) -> str:
        facts = self._told(self._done.edited if self._done else ())
        subject = self._git.message

        def message(paths: tuple[str, ...]) -> str:
            one = paths[0] if self._git.commit_per == "file" else ""
            return pull_request.commit_message(facts, one, subject)

        for data in self.workspace.files.values():  # a diff may show a secret without its name
            self.shown(data.decode(errors="replace"))
        return self.workspace.commit(message) if self.workspace.files else ""

    def _push(self, commit: str, why: str, notes: Sequence[str] = ()) -> Change:
        before = {START: self.workspace.start}
        if tip := self.workspace.repository.tip():
            before[TIP] = tip
        return self._change(ChangeKind.GIT_COMMIT, before, {TIP: commit}, why, notes)

    def _change(
        self,
        kind: ChangeKind,
        before: Mapping[str, Json],
        after: Mapping[str, Json],
        why: str,
        notes: Sequence[str] = (),
    ) -> Change:
        of = "Branch" if kind is ChangeKind.GIT_COMMIT else "PullRequest"
        target = ObjectRef(of, "", self._git.branch)
        uid = self.workspace.repository.url
        return Change(kind, target, before, after, why, uid=uid, settle=0.0, notes=tuple(notes))

    def _why(self) -> str:
        return self.plan.playbook.description or pull_request.title(self.plan.playbook.edits, ())

    def _told(self, edited: Sequence[Edited]) -> pull_request.Facts:
        """What commits say."""
        playbook = self.plan.playbook
        return pull_request.Facts(
            run=self.run,
            version=__version__,
            playbook=playbook.name,
            revision=self.revision,
            edits=playbook.edits,
            edited=edited,
            why=playbook.description,
            incident=str(self.plan.inputs.get("incident") or ""),
            quotes=self.quotes,
            model=self.model if self.workspace.set_by_model else "",
        )

    def _facts(self, summary: str, found: PullRequest | None) -> pull_request.Facts:
        """What the pull request says: all that it brings, and what it does not."""
        playbook = self.plan.playbook
        uncovered, drift, problems = gaps(self.world, playbook, selection(playbook))
        kept = found.body if found else codeowners.template(self._base)
        return replace(
            self._told(self._brought),
            problems=(*(self._done.problems if self._done else ()), *problems),
            uncovered=uncovered,
            drift=drift,
            template=kept,
            summary=summary,
            writer=self.model if summary else "",
        )

    def _reviewers(self) -> list[str]:
        settings = self.plan.playbook.tools.pull_request
        if settings is None:
            return []
        asked = dict.fromkeys(settings.reviewers)
        if settings.reviewers_from == "CODEOWNERS":
            edited = {row.path for row in self._brought if row.state in EDITED}
            paths = sorted(edited | self.workspace.touched)
            asked |= dict.fromkeys(codeowners.owners(codeowners.find(self._base), paths))
        return list(asked)

    def _unrequested(self) -> bool:
        """Whether an earlier run pushed the branch and got no further. Where its commits were
        squashed into the base, they are in it under other names: then there is nothing to ask."""
        forge, brought = self.world.forge, any(row.state in EDITED for row in self._brought)
        if self.patches or forge is None or not brought:
            return False
        return _open(forge, self._git.branch) is None

    def _as_files(self, commit: str) -> Generator[AnyEvent, None, Outcome]:
        """Nothing is pushed: whoever gets the files does that."""
        folder = Path(self.patches or f"smoldebug-{self.run}").absolute()
        made = self.workspace.repository.format_patches(self.workspace.start, commit, folder)
        files = count(len(made), "patch file")
        # Files of an earlier run may lie there too
        which = (
            shlex.join(map(str, made)) if not made[1:] else f"{shlex.quote(str(folder))}/*.patch"
        )
        # Without it Git takes the line ends of Windows out of a patch, which then fits no file
        yield Note(f"{files}: git am --keep-cr {which}")
        return Outcome(UNCHANGED, f"{files} written to {folder}, nothing pushed")

    def _by_hand(self) -> str:
        repository = self.workspace.repository
        url = compare_url(repository.url, repository.base, repository.branch)
        return f"open the pull request by hand: {url or repository.url}"

    def _where_it_stands(self, outcome: Outcome, executor: Executor) -> Outcome:
        """Of a pull request that could not be opened after its branch was pushed."""
        pushed = any(each.kind is ChangeKind.GIT_COMMIT for each in executor.changes)
        if outcome.state in CHANGED or not pushed:
            return outcome
        stays = f"Branch {self._git.branch} is pushed and stays; the same command goes on from it."
        return replace(outcome, text=f"{outcome.text.rstrip('.')}. {stays}")

    def _event(self, done: Draft, commit: str, seconds: float) -> Drafted:
        repository = self.workspace.repository
        return Drafted(
            repository=repository.name,
            base=f"{repository.base} {repository.base_commit()[:7]}",
            branch=repository.branch,
            commit=commit,
            edited=done.edited,
            problems=done.problems,
            seconds=round(seconds, 3),
        )


def _incomplete(refused: Sequence[Edited]) -> Outcome:
    """All or nothing: a pull request that forgets two objects is what nobody wants."""
    first = refused[0]
    more = f"; and {len(refused) - 1} more" if refused[1:] else ""
    where = f"{first.path}:{first.line} {first.ref}: {first.detail}"
    return Outcome("refused", f"nothing was pushed, {len(refused)} cannot be edited: {where}{more}")


def _name(each: Rendered | Edited) -> str:
    """Of an object, and of the way it comes about."""
    return f"{each.ref} {each.via}".strip()


def _place(row: Edited) -> tuple[ObjectRef, str]:
    """Which object a row is about. One that is built of layers is found in another file where the
    edit is in it already: below what was edited."""
    return row.ref, row.via or row.path


def _open(forge: Forge, branch: str) -> PullRequest | None:
    found = forge.find(branch)
    return found if found and found.state == "open" else None


def _fields(found: PullRequest, base: str) -> dict[str, Json]:
    """What its undo writes."""
    return {"/base": base, "/title": found.title, "/body": found.body, "/draft": found.draft}
