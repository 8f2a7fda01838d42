"""What the forge remembers besides Git: one JSON file, written whole or not at all."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from smoldebug.errors import UsageError
from smoldebug.lab.folder import write_private


def now() -> str:
    """RFC 3339, as GitHub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pull:
    """A pull request. `head` and `base` are branches; `head_sha` follows its branch while open."""

    id: int
    number: int
    title: str
    body: str
    head: str
    head_sha: str
    base: str
    base_sha: str
    draft: bool
    created: str
    updated: str
    open: bool = True
    closed: str = ""
    merged: str = ""
    merge_sha: str = ""
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)


@dataclass
class Comment:
    id: int
    number: int  # of its pull request
    body: str
    created: str
    updated: str
    author: str = ""  # "": whoever the token is of


@dataclass
class Check:
    """A check run: `status` is queued, in_progress or completed; `conclusion` then says how."""

    id: int
    name: str
    sha: str
    argv: list[str]
    status: str = "queued"
    conclusion: str = ""
    started: str = ""
    completed: str = ""
    title: str = ""
    summary: str = ""
    text: str = ""


@dataclass
class Status:
    """A commit status: `state` is error, failure, pending or success."""

    id: int
    sha: str
    state: str
    context: str
    description: str
    target_url: str
    created: str


@dataclass
class Project:
    """One repository. `protected` are branches that nobody may push to."""

    id: int
    owner: str
    name: str
    created: str
    default_branch: str = "main"
    last_number: int = 0
    protected: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    pulls: list[Pull] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass
class State:
    """Projects by full name; `last_id` numbers everything that has an id."""

    last_id: int = 0
    projects: dict[str, Project] = field(default_factory=dict)

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id


def load(path: Path) -> State:
    """Raises UsageError when the file is not what `save` writes."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise UsageError(f"cannot read the forge's state {path}: {error}") from None


def save(path: Path, state: State) -> None:
    write_private(path, msgspec.json.encode(state).decode())
