"""Which checks hold or fail steadily, so that a change that breaks one is told from chance."""

from collections import Counter

from smoldebug.records import CheckResult, Outcome, Verdict

SURE = 2  # samples in a row: one alone may be chance
BROKEN = 3  # samples in a row that fail without anything under way: waiting does not mend it
UNSAID = 2  # the same for what never mends: one more, in which others may show why
NEVER_MENDS = ("logs", "restarts")  # kinds: a line that was logged stays so
Check = tuple[str, str, int]  # service, label, and which of those that read the same


class Steady:
    def __init__(self) -> None:
        self._samples: dict[Check, int] = {}  # in a row: met, or (below 0) missed
        self._final: dict[Check, int] = {}  # in a row: missed and not pending
        self._latest: dict[Check, CheckResult] = {}

    def add(self, verdict: Verdict) -> None:
        """An inconclusive sample says nothing about its check, nor does a result that was only
        carried over from the sample before."""
        latest, self._latest = self._latest, {}
        met: Counter[tuple[str, str]] = Counter()
        for result in verdict.results:
            name = (result.service, result.check)
            check = (*name, met[name])
            met[name] += 1
            self._latest[check] = result
            if latest.get(check) is result:
                continue
            before = self._samples.get(check, 0)
            if result.outcome is Outcome.MET:
                self._samples[check] = max(before, 0) + 1
            elif result.outcome is Outcome.NOT_MET:
                self._samples[check] = min(before, 0) - 1
            final = result.outcome is Outcome.NOT_MET and not result.pending
            self._final[check] = self._final.get(check, 0) + 1 if final else 0

    def held(self) -> set[Check]:
        """The checks that hold now, and did the time before."""
        return {check for check, samples in self._samples.items() if samples >= SURE}

    def worse(self, held: set[Check]) -> list[str]:
        """What those of `held` are called that fail now, and did the time before."""
        fail = (check for check in held if self._samples.get(check, 0) <= -SURE)
        return [name for _, name, _ in sorted(fail)]

    def broken(self) -> list[int]:
        """The checks that waiting does not mend, by their place in the latest verdict."""
        return [
            place
            for place, (check, result) in enumerate(self._latest.items())
            if self._final[check] >= (UNSAID if result.kind in NEVER_MENDS else BROKEN)
        ]

    def restart(self) -> None:
        """What was so far says nothing about what follows."""
        self._samples, self._final, self._latest = {}, {}, {}
