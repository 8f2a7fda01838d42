"""Every error smoldebug raises on purpose, and the exit status each one means.

    SmoldebugError                  what the user can do about it is in the message
    ├── UsageError            (2)   bad flag, input or file: nothing was run
    │   └── PlaybookError     (2)   file:line:col key: what is wrong
    ├── UnreachableError      (8)   cluster, metrics, model or server does not answer
    │   └── AccessDenied      (8)   it answers, and says no: expired token, missing RBAC verb
    ├── ToolError             (1)   a tool could not do what was asked; becomes an observation
    │   └── NotFound          (1)   the named object does not exist
    ├── ChangeRefused         (1)   the guard, the server's dry run or the operator said no
    │   └── Conflict          (1)   somebody else changed the same fields, or owns them
    ├── ChangeFailed          (1)   an apply or an undo did not take
    └── LimitReached          (6)   steps, time, cost or changes used up

A message is one sentence a user can act on, ends in a value after a colon where there is one, and
never holds a secret. `hint` goes on a line of its own.
"""

from smoldebug.status import ExitStatus


class SmoldebugError(Exception):
    """Root of the tree. `status` is the exit status if it reaches the command line."""

    status = ExitStatus.NOT_MET

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SmoldebugError):
    status = ExitStatus.USAGE


class PlaybookError(UsageError):
    """A playbook that cannot be used. `where` is `file:line:col`, 1-based, or just the file."""

    def __init__(self, message: str, where: str = "", hint: str = "") -> None:
        super().__init__(f"{where} {message}" if where else message, hint)
        self.where = where


class UnreachableError(SmoldebugError):
    status = ExitStatus.UNREACHABLE


class AccessDenied(UnreachableError):
    """`needs` names what is missing, e.g. the RBAC verb: `get pods/log in namespace shop`."""

    def __init__(self, message: str, needs: str = "", hint: str = "") -> None:
        super().__init__(message, hint)
        self.needs = needs


class ToolError(SmoldebugError):
    pass


class NotFound(ToolError):
    pass


class ChangeRefused(SmoldebugError):
    pass


class Conflict(ChangeRefused):
    pass


class ChangeFailed(SmoldebugError):
    pass


class LimitReached(SmoldebugError):
    status = ExitStatus.LIMIT
