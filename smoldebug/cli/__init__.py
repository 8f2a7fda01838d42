"""The command line. `main` handles errors; everything else works or raises."""

import os
import signal
import sys
from types import FrameType, TracebackType


def main() -> None:
    """Entry point of the `smoldebug` and `kubectl-smoldebug` scripts."""
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")  # smolagents' import reads .env otherwise
    signal.signal(signal.SIGTERM, _interrupt)  # `finally` must run: a demo has a lab to end
    if "--debug" not in sys.argv:
        sys.excepthook = _bug
    try:
        sys.exit(program(sys.argv[1:]))
    except KeyboardInterrupt:  # while the imports are still under way
        sys.exit(complain("interrupted", "", 130))


def program(arguments: list[str]) -> int:
    """Run one command; returns its exit status. Errors become one sentence on stderr."""
    from typer.exceptions import Abort, TyperException

    from smoldebug.cli.app import app
    from smoldebug.errors import SmoldebugError
    from smoldebug.status import ExitStatus

    debug = "--debug" in arguments
    try:
        status = app(arguments, standalone_mode=False, prog_name="smoldebug")
        sys.stdout.flush()
    except SmoldebugError as error:
        if debug:
            raise
        return complain(str(error), error.hint, error.status)
    except TyperException as error:  # bad flags: Typer's own words
        if debug:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help
            print(error, file=sys.stderr)  # noqa: T201
            return ExitStatus.USAGE
        show = getattr(error, "format_message", None)
        return complain(show() if show else str(error), "smoldebug --help", ExitStatus.USAGE)
    except (Abort, KeyboardInterrupt):
        return complain("interrupted", "", ExitStatus.INTERRUPTED)
    except (BrokenPipeError, SystemExit):  # `smoldebug ... | head`, for which Typer exits
        drop_unread()
        return ExitStatus.MET
    return status if isinstance(status, int) else ExitStatus.MET


def _bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What escapes `program` is a mistake of ours, not of the user."""
    complain(
        f"internal error: {kind.__name__}: {error}", "--debug shows where; please report it", 1
    )


def complain(message: str, hint: str, status: int) -> int:
    from smoldebug.untrusted import inert, plain

    print(inert(f"smoldebug: {plain(message)}"), file=sys.stderr)  # noqa: T201 the one place that does
    if hint:
        print(inert(f"hint: {plain(hint)}"), file=sys.stderr)  # noqa: T201
    return status


def drop_unread() -> None:
    """Send what is written to a pipe that nobody reads any more to nowhere."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
