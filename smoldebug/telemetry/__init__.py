"""Runs as OpenTelemetry traces and metrics, over OTLP/HTTP; docs/telemetry.md has all names.

    invoke_workflow PLAYBOOK           of a matrix: one trace, a run for each cluster
      invoke_agent smoldebug           the run
        phase steps                    of a run with fixed steps
        turn
          chat MODEL                   one call of a model
          execute_tool NAME
            change scale               from the card to what became of it
        undo C1

An onlooker like a view: all of it is made of events, so secrets are masked already. Nothing of
OpenTelemetry is imported unless its variables ask for it; and whoever does not take what is sent
costs a run two seconds at its end and one sentence, no more.
"""

import os
from collections.abc import Sequence
from typing import Protocol

from smoldebug.events import Stamped
from smoldebug.untrusted import one_line

SPEAKS = "http/protobuf"
ENDPOINT = "OTEL_EXPORTER_OTLP_{}ENDPOINT"
SIGNALS = ("TRACES", "METRICS")


class Telemetry(Protocol):
    def recall(self, past: Sequence[Stamped]) -> None:
        """Know what an earlier process of a run that is taken up again has told."""
        ...

    def show(self, stamped: Stamped, cluster: str = "") -> None:
        """Tell of one event; `cluster` names the run of a matrix. Neither raises nor waits."""
        ...

    def close(self) -> str:
        """Send what is left, for two seconds at most; a sentence where that did not work."""
        ...


class Off:
    """Nobody listens. `why` is said at the end where somebody wanted to."""

    def __init__(self, why: str = "") -> None:
        self._why = why

    def recall(self, past: Sequence[Stamped]) -> None: ...

    def show(self, stamped: Stamped, cluster: str = "") -> None: ...

    def close(self) -> str:
        return self._why


def opened(matrix: str = "") -> Telemetry:
    """As the standard variables of OpenTelemetry say; `matrix` is the playbook of several runs."""
    signals = [signal for signal in SIGNALS if _wanted(signal)]
    if not signals:
        return Off()
    spoken = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "") or SPEAKS
    if spoken != SPEAKS:
        return Off(
            f"no traces were sent: OTEL_EXPORTER_OTLP_PROTOCOL is {one_line(spoken, 40)}, and only "
            f"{SPEAKS} is spoken here"
        )
    try:
        from smoldebug.telemetry.export import Exporting

        return Exporting(signals, matrix)
    except ImportError:
        return Off("no traces were sent: `pip install 'smoldebug[otel]'` brings what sends them")
    except (ValueError, RuntimeError) as error:  # a variable that cannot be used
        return Off(one_line(f"no traces were sent: {error}", 300))


def _wanted(signal: str) -> bool:
    env = os.environ
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if env.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() == "none":
        return False
    return any(env.get(ENDPOINT.format(part), "").strip() for part in ("", f"{signal}_"))
