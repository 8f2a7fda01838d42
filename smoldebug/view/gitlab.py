"""For GitLab CI: a section for each cluster, which a reader of the log can fold."""

import re
from collections.abc import Sequence
from typing import TextIO

from smoldebug.clock import Clock
from smoldebug.untrusted import inert, one_line
from smoldebug.view.sectioned import SectionedFleet

_MARK = "\x1b[0K"  # text of the world has none: `untrusted.plain` takes escape sequences away


class GitlabFleet(SectionedFleet):
    def __init__(
        self, clusters: Sequence[str], stdout: TextIO, stderr: TextIO, clock: Clock
    ) -> None:
        super().__init__(clusters, stdout, stderr)
        self._clock = clock
        self._open = 0  # how many sections have been begun: each needs a name of its own

    def _before(self, cluster: str) -> str:
        self._open += 1
        return f"{self._mark('start', cluster)}{inert(one_line(cluster, 300))}\n"

    def _after(self, cluster: str) -> str:
        return f"{self._mark('end', cluster)}\n"

    def _mark(self, what: str, cluster: str) -> str:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", cluster)[:60]
        at = int(self._clock.now().timestamp())
        return f"{_MARK}section_{what}:{at}:smoldebug_{self._open}_{name}\r{_MARK}"
