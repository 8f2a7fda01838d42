"""What Git is given as a remote's address, a branch or a remote's name: only what is on a list.

Git reads `ext::sh -c ...`, `--upload-pack=...` and `-o...` as commands and options, so such text is
refused here, before Git runs.
"""

import ipaddress
import re
from dataclasses import dataclass

from smoldebug.errors import UsageError
from smoldebug.untrusted import one_line, plain

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_USER = r"(?:(?P<user>\w[\w.%+~-]*)(?P<password>:[\w.%+~!$&'()*,;=:-]*)?@)?"
_URL = re.compile(
    rf"(?P<scheme>https|http|ssh)://{_USER}{_HOST}(?P<port>:[0-9]{{1,5}})?/+(?P<path>\S+)",
)
_SCP = re.compile(rf"(?:(?P<user>\w[\w.-]*)@)?{_HOST}:(?P<path>[^:\s]\S*)")
_PATH = re.compile(r"[\w~][\w.~/%+@,=()-]*")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{))[^\x00-\x20\x7f~^:?*\[\\]{1,240}")


@dataclass(frozen=True, slots=True)
class Address:
    """Of a repository on a server. `host` has its port where one is named."""

    url: str  # as Git is given it, with credentials
    scheme: str  # https | http | ssh
    host: str
    path: str
    user: str
    password: str

    @property
    def site(self) -> str:
        """`https://git.corp.example:8443`"""
        return f"{self.scheme}://{self.host}"

    @property
    def shown(self) -> str:
        """Without credentials; the user of ssh (`git`) is none."""
        user = f"{self.user}@" if self.scheme == "ssh" and self.user else ""
        return f"{self.scheme}://{user}{self.host}/{self.path}"

    @property
    def name(self) -> str:
        """`shop/manifests`"""
        return self.path.strip("/").removesuffix(".git").strip("/")


def is_url(repo: str) -> bool:
    """Whether it is meant as an address; else it is a folder. As Git tells them apart: a colon
    before any slash makes an address."""
    return ":" in repo.partition("/")[0]


def parse(url: str) -> Address:
    """Raises UsageError for all but https, ssh, and http to this machine."""
    found = _URL.fullmatch(url) or (None if "://" in url else _SCP.fullmatch(url))
    parts: dict[str, str | None] = found.groupdict() if found else {}
    scheme, host, path = parts.get("scheme") or "ssh", parts.get("host") or "", parts.get("path")
    if not path or not _PATH.fullmatch(path) or ".." in path.split("/"):
        named = re.match(r"[\w./~-]+$|\w+(?=::|://)", url)  # no more: it may hold a password
        raise UsageError(
            f"not an address of a Git repository that may be used: {named[0] if named else '…'}",
            "use https://HOST/OWNER/REPO, ssh://git@HOST/OWNER/REPO or git@HOST:OWNER/REPO",
        )
    if scheme == "http" and not is_loopback(host):
        raise UsageError(f"http shows everything to everybody: use https for {host}")
    host += parts.get("port") or ""
    return Address(url, scheme, host, path, parts["user"] or "", (parts.get("password") or "")[1:])


def check_branch(name: str, what: str = "branch") -> str:
    """The name, if Git takes it (git-check-ref-format) and nothing reads it as anything else."""
    parts = name.split("/")
    good = (
        _BRANCH.fullmatch(name)
        and name == plain(name)
        and not name.startswith(("-", "refs/"))
        and not name.endswith(".")
        and name not in ("@", "HEAD")
        and all(part and not part.startswith((".", "-")) for part in parts)
        and not any(part.endswith(".lock") for part in parts)
    )
    if not good:
        raise UsageError(f"not a name for a {what}: {one_line(name, 80) or '(empty)'}")
    return name


def is_loopback(host: str) -> bool:
    """Of a name or an address without a port."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
