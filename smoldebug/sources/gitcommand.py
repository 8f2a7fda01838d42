"""Git, run through GitPython: fixed verbs, a time limit each, and errors a user can act on.

GitPython lets options through wherever it is given words, so whoever calls this passes as a word
nothing that came from outside: object ids, full ref names, and `--option=` before what is free.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from smoldebug.errors import (
    AccessDenied,
    SmoldebugError,
    ToolError,
    UnreachableError,
    UsageError,
)
from smoldebug.redact import Redactor
from smoldebug.sources.gitrepo import gitpython
from smoldebug.untrusted import one_line

LOCAL, NETWORK, HOOKS = 120.0, 300.0, 900.0  # seconds
_OLDEST = (2, 32)  # reads GIT_CONFIG_GLOBAL: an older one would not be held to our settings

Settings = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "surrogateescape")


class GitCommand:
    """Git in one folder. `env` is added to this process's; `where` names it in errors."""

    def __init__(
        self, folder: Path, where: str, env: Mapping[str, str], settings: Settings = ()
    ) -> None:
        self._exc = gitpython().exc
        self.git = gitpython().Git(folder)
        self.git.update_environment(GIT_TERMINAL_PROMPT="0", **env)
        self.env = env
        self.where, self.settings = where, tuple(settings)
        self.redactor = Redactor(classes=())

    def ask(
        self, *words: str, stdin: bytes = b"", settings: Settings = (), seconds: float = LOCAL
    ) -> Answer:
        """The verb, then its arguments; `settings` are those of this call, in the environment."""
        with written_to_disk(), tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            try:
                code, out, err = getattr(self.git, words[0].replace("-", "_"))(
                    *words[1:],
                    istream=file,
                    env=environment((*self.settings, *settings)),
                    with_extended_output=True,
                    with_exceptions=False,
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                    kill_after_timeout=seconds,
                )
            except self._exc.GitCommandNotFound:
                raise UsageError("git is not installed", "install Git 2.32 or newer") from None
        return Answer(code, out, self.redactor.text(err))

    def run(
        self, *words: str, stdin: bytes = b"", settings: Settings = (), seconds: float = LOCAL
    ) -> str:
        """What it says; an error where it fails."""
        answer = self.ask(*words, stdin=stdin, settings=settings, seconds=seconds)
        if answer.code:
            raise self.failure(answer)
        return answer.text

    def failure(self, answer: Answer) -> SmoldebugError:
        for pattern, kind, sentence, hint in _CAUSES:
            if re.search(pattern, answer.err):
                hint = hint.format(where=self.where)
                return kind(
                    sentence.format(where=self.where, words=words_of(answer.err)), hint=hint
                )
        return ToolError(f"git failed on {self.where}: {words_of(answer.err)}")

    def close(self) -> None:
        self.git.clear_cache()


@contextlib.contextmanager
def written_to_disk() -> Iterator[None]:
    """Raises ToolError where that fails: a full disk, a folder without permission."""
    try:
        yield
    except OSError as error:
        raise ToolError(f"the run's clone cannot be written: {error.strerror or error}") from None


def environment(settings: Settings) -> dict[str, str]:
    """Settings of Git as environment variables: unlike arguments, other users cannot see them."""
    env, count = {}, 0
    for count, (key, value) in enumerate(settings, 1):
        env[f"GIT_CONFIG_KEY_{count - 1}"], env[f"GIT_CONFIG_VALUE_{count - 1}"] = key, value
    return {**env, "GIT_CONFIG_COUNT": str(count)} if count else {}


@cache
def check_version() -> None:
    said = GitCommand(Path(os.curdir), "this machine", {}).run("version")
    found = re.search(r"(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise UsageError(f"Git {oldest} or newer is needed, this is: {one_line(said)}")


def words_of(text: str, limit: int = 300) -> str:
    """What Git, a server or a hook says, on one line, without prefixes, hints and repetitions."""
    lines = [re.sub(r"^(?:(?:remote|fatal|error):\s*)+", "", line.strip()) for line in _lines(text)]
    return one_line("; ".join(dict.fromkeys(line for line in lines if line)), limit) or "no reason"


def _lines(text: str) -> list[str]:
    noise = ("hint:", "To ", "error: failed to push some refs", "Done")
    return [line for line in text.splitlines() if not line.startswith(noise)]


_LOGIN = (
    r"[Aa]uthentication failed|could not read (?:Username|Password)|error: 401"
    r"|Permission denied \(|Invalid username or"
)
_RIGHTS = r"error: 403|[Pp]ermission to \S+ denied|[Ww]rite access to \S+ not granted"
_NETWORK = (
    r"Timeout: the command|[Cc]ould not resolve|unable to access|hung up|early EOF|RPC failed"
    r"|[Cc]onnection (?:refused|reset|timed out|closed)|Could not read from remote"
    r"|disconnect|error: 5\d\d|unexpected (?:EOF|flush)|invalid response"
)
_CAUSES: tuple[tuple[str, type[SmoldebugError], str, str], ...] = (
    (
        "detected dubious ownership",
        UsageError,
        "another user owns this repository, so Git does not trust it: {where}",
        "if you do: git config --global --add safe.directory {where}",
    ),
    ("not a git repository", UsageError, "not in a Git repository: {where}", ""),
    (
        "No space left on device|Disk quota exceeded",
        ToolError,
        "there is no space left for the run's clone: {words}",
        "",
    ),
    (
        _LOGIN,
        AccessDenied,
        "no valid credentials for {where}",
        "set the forge's token (GITHUB_TOKEN, ...), or use a credential helper or an ssh agent",
    ),
    (
        "Host key verification failed",
        AccessDenied,
        "ssh does not know the host yet, or not by this key: {where}",
        "connect to it once by hand",
    ),
    (
        _RIGHTS,
        AccessDenied,
        "the credentials for {where} do not allow this: {words}",
        "the token must be one that may read and write the repository's contents",
    ),
    (
        "error: 404|[Rr]epository .*not found|does not appear to be a git repository",
        UsageError,
        "no such repository, or it is not shown to you: {where}",
        "",
    ),
    (
        "error: 30[0-9]|unable to update url base from redirection",
        UsageError,
        "the server says the repository has moved, and a token follows nobody: {where}",
        "use its new address: git remote set-url",
    ),
    (_NETWORK, UnreachableError, "{where} cannot be reached: {words}", ""),
)
