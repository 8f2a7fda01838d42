"""Requests that go wrong on purpose, as GitHub's do: denied, throttled, failed, cut off."""

import fnmatch
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests it meets, and what becomes of them.

    `method` and `path` are patterns as in a shell (`*` meets slashes too); the path is that of
    the request with its query. Two more things can be met: `CHECK /OWNER/REPO/NAME`, a check that
    is to run, and `PUSH /OWNER/REPO`, a push, as the pre-receive hook sees it. `times` is how many
    it meets before it is used up (0: all).

    The request waits `delay` seconds, then is answered with `status` (0: as always) and `message`;
    a check or a push with a status fails. With `drop` the connection ends without an answer; with
    `after` all this happens once the request has been carried out. A 403 with `retry_after`
    (seconds) is GitHub's secondary rate limit, a 429 its primary one.
    """

    method: str = "*"
    path: str = "*"
    times: int = 1
    status: int = 0
    message: str = ""
    retry_after: int = 0
    delay: float = 0.0
    drop: bool = False
    after: bool = False

    def meets(self, method: str, path: str) -> bool:
        return fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(path, self.path)


class Faults:
    """The rules in force; the first that meets a request decides. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Rule, int]] = []

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._left.append((rule, rule.times))

    def clear(self) -> None:
        with self._lock:
            self._left.clear()

    def take(self, method: str, path: str) -> Rule | None:
        """The rule this meets now, which is one of the `times` it does so."""
        with self._lock:
            for index, (rule, left) in enumerate(self._left):
                if rule.meets(method, path):
                    if left == 1:
                        del self._left[index]
                    elif left:
                        self._left[index] = rule, left - 1
                    return rule
        return None
