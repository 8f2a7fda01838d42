"""What the API server asks of whoever runs the pods: the kubelet implements it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from smoldebug.sources.process import Process
from smoldebug.sources.world import Object


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The parameters of `pods/log`. `since` is absolute, `tail` in lines, `limit` in bytes."""

    previous: bool = False
    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: datetime | None = None
    limit: int | None = None


class Usage(NamedTuple):
    """What a container uses now: `cpu` in cores, `memory` in bytes."""

    cpu: float
    memory: int


class Runtime(Protocol):
    def logs(self, pod: Object, container: str, options: LogOptions) -> Iterable[bytes]:
        """A container's log in pieces. With `follow` it goes on until the container ends; an
        empty piece then says "nothing new", at least every second, so that the server can
        notice a client that has gone. Raises ApiError 400 where there is no such log."""
        ...

    def exec(self, pod: Object, container: str, argv: Sequence[str], *, stdin: bool) -> Process:
        """Start a command in the container's environment, stdout and stderr as pipes, stdin too
        if asked for. Raises ToolError or ApiError when it cannot be started."""
        ...

    def usage(self, pod: Object) -> dict[str, Usage]:
        """By container; {} for a pod that does not run."""
        ...
