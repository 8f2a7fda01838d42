"""What a run has just read, and need not read again: for a few seconds, until anything changes.

It stays in the process and in the run. The cluster and the default namespace are the same for all
that is in it; another operator's reads are not answered from it, because the cluster answered them
with the rights of whoever asked.
"""

from collections.abc import Mapping

import msgspec

from smoldebug.clock import Clock
from smoldebug.records import Evidence, Json


class Reads:
    """Evidence by call, fresh for `seconds`; 0 keeps nothing."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._kept: dict[bytes, tuple[Evidence, float]] = {}

    def known(self, tool: str, arguments: Mapping[str, Json]) -> tuple[Evidence, float] | None:
        """What the same call brought, and how many seconds ago that was read."""
        evidence, at = self._kept.get(_key(tool, arguments), (None, 0.0))
        age = self._clock.monotonic() - at
        return (evidence, age) if evidence is not None and age < self._seconds else None

    def keep(self, evidence: Evidence, took: float) -> None:
        """`took` seconds: what it shows may be as old as the moment it was asked for."""
        self._kept[_key(evidence.tool, evidence.arguments)] = (
            evidence,
            self._clock.monotonic() - took,
        )

    def forget(self) -> None:
        """Something is about to change, or was waited for."""
        self._kept.clear()


def _key(tool: str, arguments: Mapping[str, Json]) -> bytes:
    return msgspec.json.encode((tool, arguments), order="deterministic")
