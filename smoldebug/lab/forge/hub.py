"""The repositories of a forge and their pull requests: what happens when somebody pushes, opens,
changes or merges."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smoldebug.errors import ToolError, UsageError
from smoldebug.lab.forge.answers import ForgeError, invalid, not_found
from smoldebug.lab.forge.checks import CONFIG, Command, Runner, configured, finish
from smoldebug.lab.forge.faults import Faults
from smoldebug.lab.forge.repository import Bare, environment
from smoldebug.lab.forge.state import Check, Project, Pull, load, now, save

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(?<!\.git)(?<!\.)")
_BODY_LIMIT = 65_536  # characters, as on GitHub
_STATE = "state.json"


class Hub:
    """Everything below `folder`. Use it inside `with hub.changing():`, which holds the lock and
    saves, or `with hub.lock:` for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.faults = folder, Faults()
        self.env = environment(folder)
        self.state = load(folder / _STATE)
        self.lock = threading.RLock()
        self._settled = threading.Condition(self.lock)
        self._runner = Runner(self.faults, self._save)
        with self.changing():
            for project in self.state.projects.values():
                project.checks = [c for c in project.checks if c.status == "completed"]
                self.sync(project)
                for pull in project.pulls:
                    if pull.open:
                        self._start_checks(project, pull)

    def close(self) -> None:
        self._runner.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        with self.lock:
            try:
                yield
            finally:
                self._save()

    def _save(self) -> None:
        with self.lock:
            save(self.folder / _STATE, self.state)
            self._settled.notify_all()

    def wait_for_checks(self, seconds: float) -> bool:
        """Whether all checks were complete within so many seconds."""
        with self._settled:
            return self._settled.wait_for(self._is_settled, seconds)

    def _is_settled(self) -> bool:
        projects = self.state.projects.values()
        return all(check.status == "completed" for p in projects for check in p.checks)

    # -- repositories

    @property
    def repositories(self) -> Path:
        return self.folder / "repos"

    def project(self, owner: str, name: str) -> Project:
        """Raises ForgeError 404."""
        found = self.state.projects.get(f"{owner}/{name}")
        if found is None:
            raise not_found()
        return found

    def bare(self, project: Project) -> Bare:
        return Bare(self.repositories / project.owner / f"{project.name}.git", self.env)

    def create(self, full_name: str, folder: Path) -> Project:
        """A new repository of OWNER/NAME with the files of a plain folder as its first commit on
        main. Raises UsageError."""
        owner, _, name = full_name.partition("/")
        if not NAME.fullmatch(owner) or not NAME.fullmatch(name):
            raise UsageError(f"not the name of a repository (OWNER/NAME): {full_name}")
        if not folder.is_dir():
            raise UsageError(f"not a folder: {folder}")
        with self.changing():
            if full_name in self.state.projects:
                raise UsageError(f"there is such a repository already: {full_name}")
            project = Project(self.state.new_id(), owner, name, now())
            bare = self.bare(project)
            try:
                bare.create(folder)
            except ToolError as error:
                shutil.rmtree(bare.path, ignore_errors=True)
                raise UsageError(f"cannot import {folder}: {error}") from None
            self.state.projects[full_name] = project
        return project

    # -- pull requests

    def pull(self, project: Project, number: int) -> Pull:
        """Raises ForgeError 404."""
        found = next((pull for pull in project.pulls if pull.number == number), None)
        if found is None:
            raise not_found()
        return found

    def open_pull(self, project: Project, wanted: dict[str, object]) -> Pull:
        """Raises ForgeError 422 in GitHub's words."""
        title, body = str(wanted.get("title") or ""), str(wanted.get("body") or "")
        head = str(wanted.get("head") or "").removeprefix(f"{project.owner}:")
        base = str(wanted.get("base") or "")
        branches = self.bare(project).branches()
        for field, branch in (("head", head), ("base", base)):
            if branch not in branches:
                raise invalid("PullRequest", field)
        if not title:
            raise invalid("PullRequest", "title", "missing_field")
        _check_body(body)
        if not self.bare(project).commits(branches[base], branches[head]):
            raise _refused(f"No commits between {base} and {head}")
        self._no_other(project, head, base)
        project.last_number += 1
        pull = Pull(
            id=self.state.new_id(),
            number=project.last_number,
            title=title,
            body=body,
            head=head,
            head_sha="",
            base=base,
            base_sha=branches[base],
            draft=wanted.get("draft") is True,
            created=now(),
            updated=now(),
        )
        project.pulls.append(pull)
        self.sync(project)
        return pull

    def edit_pull(self, project: Project, pull: Pull, wanted: dict[str, object]) -> None:
        """Title, body, base and state. Raises ForgeError 422."""
        base, body = wanted.get("base", pull.base), wanted.get("body", pull.body)
        if base != pull.base and base not in self.bare(project).branches():
            raise invalid("PullRequest", "base")
        _check_body(str(body or ""))
        if "state" in wanted:
            self._set_state(project, pull, str(wanted["state"]))
        pull.title = str(wanted.get("title") or pull.title)
        pull.base, pull.body = str(base), str(body or "")
        pull.updated = now()
        self.sync(project)

    def _set_state(self, project: Project, pull: Pull, state: str) -> None:
        if state not in ("open", "closed"):
            raise invalid("PullRequest", "state")
        if state == "open" and not pull.open:
            self._reopen(project, pull)
        elif state == "closed" and pull.open:
            pull.open, pull.closed = False, now()

    def _reopen(self, project: Project, pull: Pull) -> None:
        if pull.merged:
            raise _refused("Cannot reopen a merged pull request", "state")
        if pull.head not in self.bare(project).branches():
            told = f"state cannot be changed. The {pull.head} branch has been deleted."
            raise _refused(told, "state")
        self._no_other(project, pull.head, pull.base)
        pull.open, pull.closed = True, ""

    def _no_other(self, project: Project, head: str, base: str) -> None:
        if any(p.open and (p.head, p.base) == (head, base) for p in project.pulls):
            raise _refused(f"A pull request already exists for {project.owner}:{head}.")

    def merge(self, project: Project, pull: Pull, wanted: dict[str, object]) -> str:
        """The commit that merges it. Raises ForgeError 405, 409."""
        bare = self.bare(project)
        base = bare.branches().get(pull.base, "")
        method = wanted.get("merge_method") or "merge"
        if wanted.get("sha") not in (None, pull.head_sha):
            raise ForgeError(409, "Head branch was modified. Review and try the merge again.")
        if pull.draft:
            raise ForgeError(405, "Pull Request is still a draft")
        if method not in ("merge", "squash"):
            raise ForgeError(405, "Rebase merges are not allowed on this repository.")
        tree = bare.merged_tree(base, pull.head_sha) if pull.open and base else ""
        if not tree:
            raise ForgeError(405, "Pull Request is not mergeable")
        message = f"Merge pull request #{pull.number} from {project.owner}/{pull.head}"
        parents: tuple[str, ...] = (base, pull.head_sha)
        if method == "squash":
            message, parents = f"{pull.title} (#{pull.number})", (base,)
        title, text = wanted.get("commit_title"), wanted.get("commit_message")
        commit = bare.commit_tree(tree, parents, f"{title or message}\n\n{text or pull.title}")
        bare.set_ref(f"refs/heads/{pull.base}", commit, base)
        _close_merged(pull, commit)
        self.sync(project)
        return commit

    def sync(self, project: Project) -> None:
        """Let the pull requests follow what became of the branches."""
        branches = self.bare(project).branches()
        for pull in project.pulls:
            if pull.open:
                self._follow(project, pull, branches.get(pull.head), branches.get(pull.base))

    def _follow(self, project: Project, pull: Pull, head: str | None, base: str | None) -> None:
        bare = self.bare(project)
        if head is None or base is None:
            pull.open, pull.closed = False, now()
            return
        moved = head != pull.head_sha
        if not moved and base == pull.base_sha:
            return
        if moved:
            pull.head_sha, pull.updated = head, now()
            bare.set_ref(f"refs/pull/{pull.number}/head", head)
        if not bare.within(head, base):
            pull.base_sha = base
            self._start_checks(project, pull)
        elif moved:  # it was reset to where it came from: nothing is left to merge
            pull.open, pull.closed = False, now()
        else:
            _close_merged(pull, base)

    # -- checks

    def _start_checks(self, project: Project, pull: Pull) -> None:
        """Those the base branch configures and this commit has not had."""
        known = {check.name for check in project.checks if check.sha == pull.head_sha}
        bare = self.bare(project)
        try:
            commands = configured(bare.read(pull.base_sha, CONFIG) or b"checks: []")
            problem = ""
        except ToolError as error:
            commands, problem = [Command(CONFIG, [])], str(error)
        for command in commands:
            if command.name in known:
                continue
            check = Check(self.state.new_id(), command.name, pull.head_sha, command.argv)
            project.checks.append(check)
            if problem:
                finish(check, 1, problem)
            else:
                self._runner.start(bare, project.full_name, check)


def _close_merged(pull: Pull, commit: str) -> None:
    pull.open, pull.merged, pull.merge_sha = False, now(), commit
    pull.closed = pull.updated = pull.merged


def _check_body(body: str) -> None:
    if len(body) > _BODY_LIMIT:
        raise _refused(f"body is too long (maximum is {_BODY_LIMIT} characters)", "body")


def _refused(message: str, field: str = "") -> ForgeError:
    return invalid("PullRequest", field, "custom", message)
