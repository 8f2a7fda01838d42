"""One repository of one forge, and the token that goes there and nowhere else."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from smoldebug.errors import AccessDenied

# A variable whose name holds one of these words is for that forge only
_OWN = {
    "github": ("GITHUB", "GH"),
    "gitlab": ("GITLAB", "CI_JOB_TOKEN"),
    "gitea": ("GITEA", "FORGEJO", "CODEBERG"),
}
PRACTICE = "ghp_practice_"  # how tokens of the lab's forge begin, which are worth nothing elsewhere
NAMES = {"github": "GitHub", "gitlab": "GitLab", "gitea": "Gitea or Forgejo"}


class Token(str):
    """A token and the variable it is from; "" where none is set, with those that would do."""

    variable: str

    def __new__(cls, value: str, variable: str) -> "Token":
        token = super().__new__(cls, value)
        token.variable = variable
        return token

    def __repr__(self) -> str:
        return f"Token({self.variable})"


@dataclass(frozen=True, slots=True)
class Site:
    kind: str  # github | gitlab | gitea
    web: str  # "https://github.com"
    api: str  # "https://api.github.com"; the token goes to this address only
    path: str  # "shop/manifests"
    token: str

    @property
    def host(self) -> str:
        return self.web.partition("://")[2]

    @property
    def variable(self) -> str:
        return getattr(self.token, "variable", "") or f"{self.kind.upper()}_TOKEN"

    @property
    def page(self) -> str:
        return f"{self.web}/{self.path}"


def compare_url(kind: str, page: str, base: str, branch: str) -> str:
    """Where a person opens the pull request of a branch by hand."""
    if kind == "gitlab":
        wanted = {"merge_request[source_branch]": branch, "merge_request[target_branch]": base}
        return f"{page}/-/merge_requests/new?{urlencode(wanted, quote_via=quote)}"
    address = f"{page}/compare/{quote(base)}...{quote(branch)}"
    return f"{address}?expand=1" if kind == "github" else address


def forge_token(names: Iterable[str], environ: Mapping[str, str], kind: str) -> Token:
    """The first of the variables that is set and may go to a forge of this kind: one that is named
    after a forge goes to that one only. Raises AccessDenied for a value that is no token."""
    usable = [name for name in names if _belongs(name) in ("", kind)]
    for name in usable:
        value = environ.get(name, "").strip()
        if value and not re.fullmatch(r"[\x21-\x7e]+", value):
            raise AccessDenied(f"what is in {name} is no token")
        if value:
            return Token(value, name)
    return Token("", " or ".join(usable) or f"{kind.upper()}_TOKEN")


def _belongs(name: str) -> str:
    """The kind of forge a variable is named after, or ""."""
    for kind, marks in _OWN.items():
        if any(re.search(rf"(?:^|_){mark}(?:_|$)", name.upper()) for mark in marks):
            return kind
    return ""
