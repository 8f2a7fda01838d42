"""The checks of a goal: its own and, with each_service, a row of them for each service."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smoldebug.errors import SmoldebugError
from smoldebug.goal.check import Check, Setting
from smoldebug.goal.measure import Result, failed
from smoldebug.goal.services import Service, find, which, with_example
from smoldebug.records import ObjectRef

Key = tuple[ObjectRef | None, int]  # service (None: the goal's own), place of the check


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single check of the playbook. `per_service`: it is measured for each of them."""

    kind: str
    block: Any
    make: Callable[[Any, Setting], Check]
    prefix: str
    per_service: bool

    def check(self, setting: Setting) -> Check:
        made = self.make(self.block, setting)
        return replace(made, label=self.prefix + made.label)


class Rows:
    """`services` are those known by the latest look, and `lost` says why they are not the latest
    ones; once they are `outdated` they are looked up again. `labels` has one for each leaf."""

    def __init__(self, leaves: Sequence[Leaf], setting: Setting) -> None:
        self._block, self._setting = setting.plan.playbook.goal.each_service, setting
        self._per_service = [(place, leaf) for place, leaf in enumerate(leaves) if leaf.per_service]
        example = with_example(setting)
        made = [leaf.check(example if leaf.per_service else setting) for leaf in leaves]
        self.labels = [check.label for check in _distinct(made)]
        own = [place for place, leaf in enumerate(leaves) if not leaf.per_service]
        checks = _distinct([made[place] for place in own])
        self._own: dict[Key, Check] = {
            (None, place): check for place, check in zip(own, checks, strict=True)
        }
        self._rows: dict[ObjectRef, dict[Key, Check]] = {}
        self.services: dict[ObjectRef, Service] = {}
        self.lost: Result | None = None
        self.outdated = True

    def look(self) -> None:
        """At every service, once for all its checks."""
        if self._block is not None and self.outdated:
            try:
                refs = find(self._block, self._setting)
            except SmoldebugError as error:
                self.lost = failed(which(self._block), error)
            else:
                self.lost, self.outdated = None, False
                self._keep(refs)
        for service in self.services.values():
            service.look()

    def checks(self) -> Iterator[tuple[Key, Check]]:
        """The goal's own, then row by row."""
        yield from self._own.items()
        for row in self._rows.values():
            yield from row.items()

    def _keep(self, refs: Sequence[ObjectRef]) -> None:
        """Services that stay keep what is known of them; those that went have no row any more."""
        known, setting = self.services, self._setting
        self.services = {
            ref: known.get(ref) or Service(ref, setting.seen, setting.clock) for ref in refs
        }
        self._rows = {
            ref: self._rows.get(ref) or self._row(service) for ref, service in self.services.items()
        }

    def _row(self, service: Service) -> dict[Key, Check]:
        setting = replace(self._setting, service=service)
        checks = _distinct([leaf.check(setting) for _, leaf in self._per_service])
        places = [place for place, _ in self._per_service]
        return {(service.ref, place): check for place, check in zip(places, checks, strict=True)}


def _distinct(checks: list[Check]) -> list[Check]:
    """Checks with the same label get their subject added."""
    seen = Counter(check.label for check in checks)
    return [
        replace(check, label=f"{check.label} ({check.subject})")
        if seen[check.label] > 1 and check.subject
        else check
        for check in checks
    ]
