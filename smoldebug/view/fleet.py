"""Views of a matrix: what happens in several clusters, in one place, each line with its cluster.

While one cluster is asked about a change, the others go on, and what they do is shown afterwards.
A card is shown when its turn has come: nothing of another cluster stands between it and its
question.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from smoldebug.cells import WORDS, Cell
from smoldebug.clock import Clock, SystemClock
from smoldebug.events import PASSING, ChangeProposed, RunEnded, Stamped, to_json
from smoldebug.playbook.upgrades import Matrix
from smoldebug.records import Card, Json, Section, Verdict
from smoldebug.untrusted import inert, one_line
from smoldebug.view import Asking, OutputFormat
from smoldebug.view.jsonl import dumps, shown
from smoldebug.view.phrases import standing
from smoldebug.view.plain import CardsOnly, PlainView
from smoldebug.view.stream import Prefixed, encodable

NAME = 20  # columns of a cluster's name
CARD = 5.0  # seconds that a question waits for its card to be shown

Document = Callable[[Sequence[Cell]], Json]


class FleetView(Protocol):
    def show(self, cluster: str, stamped: Stamped) -> None:
        """Show one event. Never raises for what is in it."""
        ...

    def of(self, cluster: str) -> Asking:
        """For the prompt of that cluster's run, from whatever thread it is in: `paused` waits until
        nobody else is being asked, and its card is the last thing on the screen."""
        ...

    def closing(self, cells: Sequence[Cell], sections: Sequence[Section]) -> None:
        """Show the final report, for good."""
        ...

    def close(self) -> None:
        """Give the terminal back. May be called twice, and at any time."""
        ...


def open_fleet_view(
    output: OutputFormat,
    matrix: Matrix,
    document: Document,
    *,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    clock: Clock | None = None,
) -> FleetView:
    """A view on the given streams. `document` makes the one document of `json`."""
    out, err, clusters = stdout or sys.stdout, stderr or sys.stderr, matrix.cluster
    if output is OutputFormat.RICH:
        from smoldebug.view.fleet_console import ConsoleFleet

        return ConsoleFleet(matrix, out, clock or SystemClock())
    if output is OutputFormat.JSON:
        return JsonFleet(clusters, out, err, document)
    if output is OutputFormat.JSONL:
        return JsonlFleet(clusters, out, err)
    if output is OutputFormat.GITHUB:
        from smoldebug.view.github import GithubFleet

        return GithubFleet(clusters, out, err)
    if output is OutputFormat.GITLAB:
        from smoldebug.view.gitlab import GitlabFleet

        return GitlabFleet(clusters, out, err, clock or SystemClock())
    return PlainFleet(clusters, out, err)


def named(cluster: str) -> str:
    """Its name in at most so many columns: the end tells clusters apart, the beginning rarely."""
    name = inert(one_line(cluster, 300)) or "?"
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"


class Turns:
    """Who has the terminal: the events of all clusters, or the question of one."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._asking = self._closed = False
        self._cards: dict[str, Stamped] = {}  # of clusters whose turn has not come
        self._held: list[tuple[str, Stamped]] = []

    def show(self, cluster: str, stamped: Stamped) -> None:
        if isinstance(stamped.event, PASSING):
            return
        with self._turn:
            if self._asking:
                self._held.append((cluster, stamped))
            else:
                self._tell(cluster, stamped)

    def of(self, cluster: str) -> Asking:
        return _One(self, cluster)

    def close(self) -> None:
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    @contextmanager
    def paused(self, cluster: str) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: self._free() and self._is_known(cluster), CARD)
            self._turn.wait_for(self._free)
            self._asking = True
            self._hide()
            self._show_card(cluster)
        try:
            yield
        finally:
            with self._turn:
                self._asking = False
                self._draw()
                held, self._held = self._held, []
                for item in held:
                    self._tell(*item)
                self._turn.notify_all()

    def _free(self) -> bool:
        return self._closed or not self._asking

    def _is_known(self, cluster: str) -> bool:
        return self._closed or cluster in self._cards

    def _tell(self, cluster: str, stamped: Stamped) -> None:
        self._show_card(cluster)
        if isinstance(stamped.event, ChangeProposed):
            self._cards[cluster] = stamped
        else:
            self._shown(cluster, stamped)
        self._turn.notify_all()

    def _show_card(self, cluster: str) -> None:
        """Right before its question, or what was decided without one."""
        if card := self._cards.pop(cluster, None):
            self._shown(cluster, card)

    # --- what each does in its own way ----------------------------------------------------------

    def asking(self, cluster: str) -> Asking:
        """Whose `evidence` and `full_diff` are shown."""
        raise NotImplementedError

    def _shown(self, cluster: str, stamped: Stamped) -> None:
        raise NotImplementedError

    def _hide(self) -> None:
        """Nothing is drawn from here on."""

    def _draw(self) -> None: ...


@dataclass(frozen=True)
class _One:
    """One cluster of a fleet, for its prompt."""

    fleet: Turns
    cluster: str

    def paused(self) -> AbstractContextManager[None]:
        return self.fleet.paused(self.cluster)

    def evidence(self, ids: Sequence[str]) -> None:
        self.fleet.asking(self.cluster).evidence(ids)

    def full_diff(self, card: Card) -> None:
        self.fleet.asking(self.cluster).full_diff(card)


class PlainFleet(Turns):
    """Lines of a log, each begun by its cluster: `eu-staging  goal    MET held 5m of 5m: ...`."""

    def __init__(self, clusters: Sequence[str], stdout: TextIO, stderr: TextIO) -> None:
        super().__init__()
        self._out, self._err = encodable(stdout), encodable(stderr)
        width = max(len(named(cluster)) for cluster in clusters) + 2
        self._views = {
            cluster: _Quiet(
                self._out, self._stream(cluster, f"{named(cluster):{width}}"), taken=width
            )
            for cluster in clusters
        }

    def closing(self, cells: Sequence[Cell], sections: Sequence[Section]) -> None:
        PlainView(self._out, self._err).closing(sections)

    def asking(self, cluster: str) -> Asking:
        return self._views[cluster]

    def _stream(self, cluster: str, prefix: str) -> TextIO:
        return Prefixed(self._err, prefix)  # type: ignore[return-value]

    def _shown(self, cluster: str, stamped: Stamped) -> None:
        self._views[cluster].show(stamped)


class _Quiet(PlainView):
    """Says no more of a goal whose checks stand as before: time that passes is no news. Ends with
    the word of the report."""

    def _news(self, verdict: Verdict) -> str:
        return standing(verdict)

    def _how(self, event: RunEnded) -> str:
        return WORDS[event.status]


class JsonlFleet(Turns):
    """A line per event, with a field `cluster`. Who is asked sees cards on stderr."""

    def __init__(self, clusters: Sequence[str], stdout: TextIO, stderr: TextIO) -> None:
        super().__init__()
        self._out = stdout
        self._views = {}
        for cluster in clusters:
            prefix = f"{named(cluster)}  "
            stream: TextIO = Prefixed(encodable(stderr), prefix)  # type: ignore[assignment]
            self._views[cluster] = CardsOnly(stream, stream, len(prefix))

    def closing(self, cells: Sequence[Cell], sections: Sequence[Section]) -> None:
        """Nothing: what is on stdout holds it."""

    def asking(self, cluster: str) -> Asking:
        return self._views[cluster]

    def _tell(self, cluster: str, stamped: Stamped) -> None:
        self._write(cluster, stamped)
        super()._tell(cluster, stamped)

    def _shown(self, cluster: str, stamped: Stamped) -> None:
        self._views[cluster].show(stamped)

    def _write(self, cluster: str, stamped: Stamped) -> None:
        self._out.write(dumps({"cluster": cluster, **shown(to_json(stamped))}) + "\n")
        self._out.flush()


class JsonFleet(JsonlFleet):
    """Keeps the events and writes the document when the view is closed, also after an error."""

    def __init__(
        self, clusters: Sequence[str], stdout: TextIO, stderr: TextIO, document: Document
    ) -> None:
        super().__init__(clusters, stdout, stderr)
        self._document = document
        self._seen: dict[str, list[Stamped]] = {cluster: [] for cluster in clusters}

    def close(self) -> None:
        super().close()
        if any(self._seen.values()):
            cells = [Cell(cluster, events) for cluster, events in self._seen.items()]
            self._out.write(dumps(self._document(cells), indent=2) + "\n")
            self._out.flush()
            self._seen.clear()

    def _write(self, cluster: str, stamped: Stamped) -> None:
        self._seen[cluster].append(stamped)
