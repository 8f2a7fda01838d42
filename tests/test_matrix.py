"""Clusters of a matrix: in order, some at a time, and no more once too many have failed."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from smoldebug.cells import status
from smoldebug.clock import FakeClock
from smoldebug.errors import UnreachableError, UsageError
from smoldebug.events import Continued, PhaseBegan, RunEnded, Stamp, Stamped
from smoldebug.matrix import Fleet
from smoldebug.playbook.base import Duration
from smoldebug.playbook.upgrades import Matrix
from smoldebug.records import Outcome, Usage, Who
from smoldebug.status import ExitStatus

MET, UNDONE, INCONCLUSIVE = ExitStatus.MET, ExitStatus.UNDONE, ExitStatus.INCONCLUSIVE


def ended(found: ExitStatus) -> RunEnded:
    outcome = Outcome.MET if found is MET else Outcome.NOT_MET
    return RunEnded(found, outcome, "as it came", Usage())


@dataclass
class Run:
    """One that ends as it is told; `before` runs in its thread."""

    cluster: str
    found: ExitStatus
    before: threading.Barrier | None = None
    closed: bool = False

    def events(self) -> Iterator[Stamped]:
        stamp = Stamp(self.cluster, FakeClock())
        yield stamp(PhaseBegan("steps"))
        if self.before:
            self.before.wait(5)
        yield stamp(ended(self.found))

    def roll_back(self, reason: str) -> Iterator[Stamped]:
        stamp = Stamp(self.cluster, FakeClock(), 2)
        yield stamp(Continued("validate", Who("anna")))
        self.found = UNDONE
        yield stamp(RunEnded(UNDONE, Outcome.NOT_MET, reason, Usage()))

    def close(self) -> None:
        self.closed = True


@dataclass
class Clusters:
    ends: dict[str, ExitStatus]
    before: threading.Barrier | None = None
    begun: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def begin(self, cluster: str) -> Run:
        self.begun.append(cluster)
        run = Run(cluster, self.ends[cluster], self.before)
        self.runs.append(run)
        return run

    def fleet(self, **options) -> Fleet:
        others_back = options.pop("others_back", False)
        matrix = Matrix(cluster=list(self.ends), **options)
        return Fleet(matrix, self.begin, FakeClock(), threading.Event(), others_back)


def test_clusters_follow_each_other_in_the_order_given():
    clusters = Clusters({"eu": MET, "us": MET, "ap": MET})
    fleet = clusters.fleet()
    assert [cluster for cluster, _ in fleet.events()] == ["eu", "eu", "us", "us", "ap", "ap"]
    assert status(fleet.cells()) is MET
    assert all(run.closed for run in clusters.runs)


def test_after_a_canary_that_fails_no_other_cluster_is_touched():
    clusters = Clusters({"eu": UNDONE, "us": MET, "ap": MET})
    fleet = clusters.fleet()
    list(fleet.events())
    assert clusters.begun == ["eu"]
    assert [cell.skipped.partition(",")[0] for cell in fleet.cells()] == [
        "",
        "not begun",
        "not begun",
    ]
    assert "eu failed" in fleet.cells()[1].skipped
    assert status(fleet.cells()) is UNDONE


def test_a_baseline_that_does_not_hold_stops_the_others_too():
    clusters = Clusters({"eu": INCONCLUSIVE, "us": MET})
    fleet = clusters.fleet()
    list(fleet.events())
    assert clusters.begun == ["eu"]
    assert status(fleet.cells()) is INCONCLUSIVE


def test_as_many_failures_as_the_playbook_allows_stop_it():
    clusters = Clusters({"eu": UNDONE, "us": MET, "ap": UNDONE, "sa": MET})
    list(clusters.fleet(stop_after_failures=2).events())
    assert clusters.begun == ["eu", "us", "ap"]


def test_none_is_skipped_where_failures_do_not_stop_it():
    clusters = Clusters({"eu": UNDONE, "us": UNDONE, "ap": MET})
    list(clusters.fleet(stop_after_failures=0).events())
    assert clusters.begun == ["eu", "us", "ap"]


def test_so_many_run_at_a_time():
    """Each waits for the two others: one after the other, nobody would ever go on."""
    clusters = Clusters({"eu": MET, "us": MET, "ap": MET}, threading.Barrier(3))
    fleet = clusters.fleet(parallel=3)
    list(fleet.events())
    assert status(fleet.cells()) is MET


def test_a_cluster_that_cannot_be_reached_does_not_keep_the_others():
    clusters = Clusters({"eu": MET, "us": MET})

    def begin(cluster: str) -> Run:
        if cluster == "eu":
            raise UnreachableError("eu does not answer")
        return clusters.begin(cluster)

    fleet = Fleet(
        Matrix(cluster=["eu", "us"], stop_after_failures=0), begin, FakeClock(), threading.Event()
    )
    list(fleet.events())
    assert [cell.status for cell in fleet.cells()] == [ExitStatus.UNREACHABLE, MET]
    assert fleet.cells()[0].ended.reason == "eu does not answer"
    assert status(fleet.cells()) is ExitStatus.UNREACHABLE


@pytest.mark.parametrize(
    ("others", "expected"), [(MET, INCONCLUSIVE), (UNDONE, UNDONE), (None, ExitStatus.USAGE)]
)
def test_a_mistake_that_shows_in_one_cluster_only_is_no_usage_error_of_all(others, expected):
    clusters = Clusters({"us": others} if others is not None else {})

    def begin(cluster: str) -> Run:
        if cluster == "eu":
            raise UsageError("no such namespace")
        return clusters.begin(cluster)

    matrix = Matrix(cluster=["eu", *clusters.ends], stop_after_failures=0)
    fleet = Fleet(matrix, begin, FakeClock(), threading.Event())
    list(fleet.events())
    assert status(fleet.cells()) is expected


def test_those_that_were_upgraded_go_back_for_the_sake_of_one_that_broke():
    clusters = Clusters({"eu": MET, "us": UNDONE})
    fleet = clusters.fleet(others_back=True)
    list(fleet.events())
    eu, us = fleet.cells()
    assert (eu.status, us.status) == (UNDONE, UNDONE)
    assert eu.ended.reason == "us failed (on_failure_others: rollback)"


def test_nobody_goes_back_for_a_cluster_that_was_never_touched():
    clusters = Clusters({"eu": MET, "us": INCONCLUSIVE})
    fleet = clusters.fleet(others_back=True)
    list(fleet.events())
    assert fleet.cells()[0].status is MET


def test_after_the_wall_nothing_new_is_begun():
    clusters = Clusters({"eu": MET, "us": MET})
    fleet = clusters.fleet(wall=Duration(60))
    for cluster, _ in fleet.events():
        if cluster == "eu":
            fleet.clock.sleep(61)
    assert clusters.begun == ["eu"]
    assert fleet.cells()[1].skipped == "not begun, since matrix.wall is over: 1m"
    assert status(fleet.cells()) is ExitStatus.LIMIT, "not every cluster was upgraded"


def test_an_operator_who_stops_it_begins_no_other():
    clusters = Clusters({"eu": MET, "us": MET})
    fleet = clusters.fleet()
    for _ in fleet.events():
        fleet.stop.set()
    assert clusters.begun == ["eu"]
    assert fleet.cells()[1].skipped == "stopped by the operator"
    assert status(fleet.cells()) is ExitStatus.INTERRUPTED


def test_closed_early_it_stops_the_runs_and_closes_them():
    clusters = Clusters({"eu": MET, "us": MET})
    fleet = clusters.fleet()
    events = fleet.events()
    next(events)
    events.close()
    assert fleet.stop.is_set()
    assert [run.closed for run in clusters.runs] == [True]


def test_a_defect_in_one_run_is_not_swallowed():
    def begin(cluster: str) -> Run:
        raise ZeroDivisionError(cluster)

    fleet = Fleet(Matrix(cluster=["eu"]), begin, FakeClock(), threading.Event())
    with pytest.raises(ZeroDivisionError):
        list(fleet.events())
