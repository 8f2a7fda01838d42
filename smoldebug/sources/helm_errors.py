"""What a Helm that failed means: its words to our errors."""

import re

from smoldebug.errors import AccessDenied, NotFound, SmoldebugError, ToolError, UnreachableError
from smoldebug.sources.kube_errors import Asked
from smoldebug.untrusted import one_line

# Lines of logs and warnings, which come before what failed
_NOISE = re.compile(
    r"WARNING: |W\d{4} |[IE]\d{4} |level=|time=|(?:\d{4}/\d\d/\d\d )?(?:\d\d:\d\d:\d\d )?warning: "
)
_PREFIX = re.compile(r"(?:(?:Error|[A-Z]{2,} FAILED): )+")
_REQUEST = re.compile(r'\b(?:Get|Head|Post|Put|Patch|Delete) "[^"]*": ')  # may hold a token
# Words of whoever wrote the chart or runs an admission webhook, which may say anything else
_THEIRS = re.compile(r"template: |execution error at|parse error|YAML|webhook|denied the request")
_DENIED = re.compile(
    r'cannot (?P<verb>[a-z]+) resource "(?P<resource>[^"]+)"(?: in API group "[^"]*")?'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)
_LOGIN = re.compile(r"asked for the client to provide credentials|[Uu]nauthorized|\b401\b")
_NONE = re.compile(r"release: not found|has no deployed releases|has no \d+ version")
_NETWORK = re.compile(
    r"cluster unreachable|[Cc]onnection (?:refused|reset|timed out|lost)|i/o timeout|no such host"
    r"|TLS handshake|x509: |no route to host|network is unreachable|server misbehaving"
    r"|Client\.Timeout|unable to handle the request|etcdserver: |apiserver is shutting down"
    r"|: (?:unexpected )?EOF$"
)


def failure(said: str, about: str) -> SmoldebugError:
    """The error for what Helm said. `about` is what it was asked about: `release shop/platform in
    context eu`."""
    words = words_of(said)
    if not _THEIRS.search(words):
        if denied := _DENIED.search(words):
            asked = str(Asked(denied["verb"], denied["resource"], denied["namespace"] or ""))
            return AccessDenied(f"Helm is not allowed for {about}: {asked}", needs=asked)
        if _LOGIN.search(words):
            return AccessDenied(f"the credentials for {about} are expired or wrong: {words}")
        if _NETWORK.search(words):
            return UnreachableError(f"Helm cannot reach what it needs for {about}: {words}")
    if _NONE.search(words):
        return NotFound(f"Helm finds no {about}, or not that revision of it: {words}")
    return ToolError(f"Helm failed on {about}: {words}")


def words_of(said: str) -> str:
    """Helm's own words on one line, without what it logs and repeats."""
    lines = [line for line in said.splitlines() if not _NOISE.match(line)]
    begins = (i for i, line in enumerate(lines) if line.startswith("Error: "))
    words = " ".join(lines[next(begins, 0) :])
    return one_line(_PREFIX.sub("", _REQUEST.sub("", words)), 400) or "it gives no reason"
