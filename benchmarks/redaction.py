"""What cleaning text costs: ordinary log lines a second, alone and as one text.

    python benchmarks/redaction.py [--lines 20000] [--known 200]

Ordinary lines hold no secret: each of them must come back as it is, and how many do not is printed
too. `--known` values have been learned before, as from Secrets and variables.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from smoldebug.redact import Redactor
from smoldebug.untrusted import instruction_like, plain

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

ROUNDS = 5
COLUMNS = "{:<34} {:>14} {:>10}"


def main() -> None:
    from ordinary import lines

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--known", type=int, default=200)
    options = parser.parse_args()
    made = lines(options.lines)
    texts = ["\n".join(made[at : at + 50]) for at in range(0, len(made), 50)]
    fresh, learned = Redactor(), Redactor(f"value-{number:06}" for number in range(options.known))
    print(COLUMNS.format("", "lines/s", "changed"))
    for name, clean, given in (
        ("redact, line by line", fresh.text, made),
        ("redact, 50 lines at once", fresh.text, texts),
        (f"the same, {options.known} values known", learned.text, texts),
        ("plain, line by line", plain, made),
    ):
        changed = sum(clean(text) != text for text in given)
        print(COLUMNS.format(name, f"{rate(clean, given, len(made)):,.0f}", changed))
    flagged = sum(bool(instruction_like(line)) for line in made)
    speed = rate(instruction_like, made, len(made))
    print(COLUMNS.format("instruction_like, line by line", f"{speed:,.0f}", flagged))


def rate(clean: Callable[[str], object], texts: list[str], count: int) -> float:
    """Lines per second of CPU time, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for text in texts:
            clean(text)
        best = min(best, time.process_time() - began)
    return count / best


if __name__ == "__main__":
    main()
