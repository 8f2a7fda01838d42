"""Views: events in, words out. They know nothing of what made the events.

rich    a terminal: finished steps scroll, goal, budget and hypotheses stay at the bottom
plain   a log: one line per event on stderr, the report on stdout
github  the same, with what the log of GitHub Actions can show; gitlab: of GitLab CI
json    nothing until the end, then one document on stdout
jsonl   one line per event on stdout
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol, TextIO

from smoldebug.clock import Clock, SystemClock
from smoldebug.events import Stamped
from smoldebug.records import Card, Json, Section


class OutputFormat(StrEnum):
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    JSONL = "jsonl"
    GITHUB = "github"
    GITLAB = "gitlab"


class Asking(Protocol):
    """What a prompt needs of a view."""

    def paused(self) -> AbstractContextManager[None]:
        """Nothing is drawn inside it: a prompt has the terminal to itself."""
        ...

    def evidence(self, ids: Sequence[str]) -> None:
        """Show recorded evidence in full, for whoever decides on a change."""
        ...

    def full_diff(self, card: Card) -> None:
        """Show how the whole object would change, for the same reader."""
        ...


class View(Asking, Protocol):
    def show(self, stamped: Stamped) -> None:
        """Show one event. Never raises for what is in it."""
        ...

    def recall(self, past: Sequence[Stamped]) -> None:
        """Know what an earlier process of a run that is taken up again has shown already."""
        ...

    def closing(self, sections: Sequence[Section]) -> None:
        """Show the final report, for good."""
        ...

    def close(self) -> None:
        """Give the terminal back. May be called twice, and at any time."""
        ...


_SYSTEMS = {"GITHUB_ACTIONS": OutputFormat.GITHUB, "GITLAB_CI": OutputFormat.GITLAB}


def output_format(
    asked: OutputFormat | None, stdout: TextIO | None = None, env: Mapping[str, str] | None = None
) -> OutputFormat:
    """What was asked for; else that of the CI system this runs in; else rich on a terminal that can
    draw, plain everywhere else."""
    if asked is not None:
        return asked
    env = os.environ if env is None else env
    for variable, known in _SYSTEMS.items():
        if env.get(variable, "").lower() == "true":
            return known
    terminal = (stdout or sys.stdout).isatty() and env.get("TERM") != "dumb"
    in_ci = env.get("CI", "").lower() not in ("", "0", "false")
    return OutputFormat.RICH if terminal and not in_ci else OutputFormat.PLAIN


def open_view(
    output: OutputFormat,
    document: Callable[[Sequence[Stamped]], Json],
    *,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    clock: Clock | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> View:
    """A view on the given streams. `document` makes the one document of `json`; `stopping` tells
    whether the operator has asked for the end, which may take as long as a model thinks."""
    out, err = stdout or sys.stdout, stderr or sys.stderr
    if output is OutputFormat.RICH:
        from smoldebug.view.console import ConsoleView

        return ConsoleView(out, clock or SystemClock(), stopping)
    if output is OutputFormat.GITHUB:
        from smoldebug.view.github import GithubView

        return GithubView(out, err)
    if output in (OutputFormat.PLAIN, OutputFormat.GITLAB):
        from smoldebug.view.plain import PlainView

        return PlainView(out, err)
    from smoldebug.view.jsonl import JsonlView, JsonView

    if output is OutputFormat.JSON:
        return JsonView(out, err, document)
    return JsonlView(out, err)
