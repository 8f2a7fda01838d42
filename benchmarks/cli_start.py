"""What starting the command costs: CPU time and peak memory, best of several runs.

    python benchmarks/cli_start.py [--runs 9]

Each run is a fresh process of this interpreter with warm bytecode. `pass` and `import smolagents`
are there to compare with: the floor, and what --help would cost if it loaded the agent.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence

CASES = {
    "python -c pass": ["-c", "pass"],
    "smoldebug version": ["-m", "smoldebug", "version"],
    "smoldebug --help": ["-m", "smoldebug", "--help"],
    "smoldebug triage --help": ["-m", "smoldebug", "triage", "--help"],
    "python -c 'import smolagents'": ["-c", "import smolagents"],
}
COLUMNS = "{:<32} {:>9} {:>12} {:>9} {:>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    print(COLUMNS.format("", "CPU ms", "(median)", "wall ms", "RSS MB"))
    for name, arguments in CASES.items():
        start(arguments)  # warms bytecode and disk caches
        seen = [start(arguments) for _ in range(runs)]
        cpu = [cpu for cpu, _, _ in seen]
        wall, peak = min(wall for _, wall, _ in seen), min(peak for _, _, peak in seen)
        cells = [f"{min(cpu):.0f}", f"({statistics.median(cpu):.0f})", f"{wall:.0f}", f"{peak:.0f}"]
        print(COLUMNS.format(name, *cells), flush=True)


def start(arguments: Sequence[str]) -> tuple[float, float, float]:
    """CPU ms, wall ms and peak MB of one process, as the kernel counted them."""
    began = time.perf_counter()
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    env = {**os.environ, "PYTHON_DOTENV_DISABLED": "1"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *arguments]
    pid = os.posix_spawn(sys.executable, command, env, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"exit status {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    return (used.ru_utime + used.ru_stime) * 1000, wall * 1000, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
