"""One thing that is measured: what every kind of check is turned into, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smoldebug.clock import Clock
from smoldebug.errors import UsageError
from smoldebug.goal.seen import Seen
from smoldebug.playbook.models import RunPlan
from smoldebug.records import Fact, Json, Outcome
from smoldebug.sources.kinds import find
from smoldebug.sources.world import Cluster, World

if TYPE_CHECKING:
    from smoldebug.goal.services import Service


@dataclass(frozen=True, slots=True)
class Measured:
    """What a check saw; the fields of a CheckResult that differ from sample to sample."""

    outcome: Outcome
    says: str
    value: float | None = None
    subject: str = ""
    route: str = ""
    pending: bool = False  # it will be known later


def met(says: str, value: float | None = None, *, subject: str = "", route: str = "") -> Measured:
    return Measured(Outcome.MET, says, value, subject, route)


def not_met(
    says: str,
    value: float | None = None,
    *,
    subject: str = "",
    route: str = "",
    pending: bool = False,
) -> Measured:
    return Measured(Outcome.NOT_MET, says, value, subject, route, pending)


def inconclusive(
    says: str, *, subject: str = "", route: str = "", pending: bool = False
) -> Measured:
    return Measured(Outcome.INCONCLUSIVE, says, None, subject, route, pending)


@dataclass(frozen=True, slots=True)
class Check:
    """`measure` takes the number of the sample, from 0, and may raise any SmoldebugError; None
    leaves it out. `mark` takes what is now as normal, and returns what that is."""

    label: str  # short and stable: "http /health = 200"
    kind: str
    measure: Callable[[int], Measured | None]
    subject: str = ""  # object, URL or query; tells two checks with one label apart
    mark: Callable[[], Json] | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything a check may use of the run it belongs to."""

    plan: RunPlan
    world: World
    clock: Clock
    seen: Seen
    allow_code: bool = False
    state: Callable[[], Mapping[str, Json]] | None = None
    red: Callable[[], Sequence[Fact]] | None = None
    service: "Service | None" = None  # of the row that a check is for

    @property
    def cluster(self) -> Cluster:
        return self.seen.cluster

    @property
    def patient(self) -> bool:
        """Whether a rollout that is under way is worth waiting for: it is what the playbook does.
        A triage that waited for one would wait for what it was called for."""
        return bool(self.plan.playbook.steps) or self.plan.playbook.goal.each_service is not None

    @property
    def namespaces(self) -> tuple[str, ...]:
        """To look in, where a check names none; ("",) is all of them."""
        return tuple(self.plan.playbook.scope.namespaces) or ("",)

    def namespace_of(self, kind: str, namespace: str) -> str:
        """The namespace a check means: its own, or the only one in scope. Raises UsageError."""
        known = find(kind)
        if namespace or known is None or not known.namespaced:
            return namespace
        if len(self.namespaces) != 1 or not self.namespaces[0]:
            raise UsageError(f"the goal does not say in which namespace to look for: {kind}")
        return self.namespaces[0]
