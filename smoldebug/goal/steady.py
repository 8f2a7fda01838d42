"""Which checks hold steadily, so that a change that breaks one is told from a sample by chance."""

from smoldebug.records import Outcome, Verdict

SURE = 2  # samples in a row: one alone may be chance
Check = tuple[int, str]  # two checks of a goal may read the same


class Steady:
    def __init__(self) -> None:
        self._samples: dict[Check, int] = {}  # in a row: met, or (below 0) missed

    def add(self, verdict: Verdict) -> None:
        """An inconclusive sample says nothing about its check."""
        for place, result in enumerate(verdict.results):
            check = (place, result.check)
            before = self._samples.get(check, 0)
            if result.outcome is Outcome.MET:
                self._samples[check] = max(before, 0) + 1
            elif result.outcome is Outcome.NOT_MET:
                self._samples[check] = min(before, 0) - 1

    def held(self) -> set[Check]:
        """The checks that hold now, and did the time before."""
        return {check for check, samples in self._samples.items() if samples >= SURE}

    def worse(self, held: set[Check]) -> list[str]:
        """What those of `held` are called that fail now, and did the time before."""
        fail = (check for check in held if self._samples.get(check, 0) <= -SURE)
        return [name for _, name in sorted(fail)]
