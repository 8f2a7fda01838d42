"""The load on the shop: starts the customers, speeds them up and sends them away."""

from smoldebug.errors import ToolError
from smoldebug.lab.images import PYTHON
from smoldebug.sources.process import PIPE, Process, spawn, terminate

NORMAL, SURGE = 8.0, 30.0  # requests per second


class Customers:
    """Starts, speeds up and ends the load."""

    def __init__(self, address: str, port: int, path: str, env: dict[str, str]) -> None:
        argv = [PYTHON, "-m", "smoldebug.lab.shop.customers", address, str(port), path]
        self._process: Process = spawn(argv, env=env, stdin=PIPE, dies_with_parent=True)
        self.rate = NORMAL

    def come(self, rate: float) -> None:
        """From now on `rate` requests per second. Raises ToolError when the process is gone."""
        stdin = self._process.stdin
        try:
            if stdin is not None:
                stdin.write(f"{rate}\n".encode())
                stdin.flush()
        except OSError as error:
            raise ToolError(f"the customers have stopped: {error}") from None
        self.rate = rate

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        terminate(self._process, grace=0.2)
