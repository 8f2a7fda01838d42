"""How the process of a lab, or of its forge, is told to end."""

import signal
import threading
from types import FrameType

_LOOK = 0.1  # seconds


class Told:
    """Hears SIGTERM and SIGINT from now on; to be made and waited for by the main thread."""

    def __init__(self) -> None:
        self._heard = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """No event is set here: whoever is interrupted may hold its lock."""
        self._heard = True

    def wait(self, stopping: threading.Event) -> None:
        """Until a signal came, or somebody else set the event. A process that hung may take the
        signal in another thread once it goes on, which wakes nobody: hence the looks."""
        while not (self._heard or stopping.wait(_LOOK)):
            pass
