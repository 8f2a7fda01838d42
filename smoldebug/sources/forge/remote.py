"""Which host and repository a remote's URL names: https, ssh, or `git@host:owner/name`."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from smoldebug.errors import UsageError

# What git takes for an option, a helper program, or another host than a browser does
_HOSTILE = re.compile(r"^-|^[\w.+-]*::|[\x00-\x1f\x7f\\]")
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>\[[0-9a-fA-F:]+\]|[^@/:\[\]]+):(?P<path>.+)")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|[0-9a-f]*:[0-9a-f:.]+")
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|\[::1\]")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,254}")
_SCHEMES = {"https": "https", "http": "http", "ssh": "ssh", "git+ssh": "ssh", "ssh+git": "ssh"}
_PORTS = {"https": 443, "http": 80}
_ALIASES = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}  # for port 443


@dataclass(frozen=True, slots=True)
class Remote:
    scheme: str  # https | http | ssh
    host: str  # lower case; with the port of an http(s) URL that is not the usual one
    path: str  # "shop/manifests"; as it was written, without .git

    @property
    def loopback(self) -> bool:
        return bool(_LOOPBACK.fullmatch(re.sub(r":\d+$", "", self.host)))

    def repository(self, *, deeper: bool = False) -> str:
        """The path where it is owner/name (`deeper`: or group/.../name). Raises UsageError."""
        segments = self.path.split("/")
        many = len(segments) == 2 or (deeper and 2 < len(segments) <= 20)
        if not many or not all(map(_SEGMENT.fullmatch, segments)):
            raise UsageError(f"not a repository of {self.host}: {self.path!r}")
        return self.path


def parse(url: str) -> Remote | None:
    """None where it has no host: a folder, a file. Credentials in a URL are left out.

    Raises UsageError for a URL made to be misread.
    """
    if _HOSTILE.search(url):
        raise UsageError(f"not the URL of a repository: {url!r}")
    if "://" in url:
        return _of_url(url)
    found = _SCP.fullmatch(url)
    return _remote("ssh", found["host"].strip("[]"), None, found["path"]) if found else None


def _of_url(url: str) -> Remote | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"not the URL of a repository: {url!r}") from None
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme and (parts.query or parts.fragment):
        raise UsageError(f"not the URL of a repository: {url!r}")
    return _remote(scheme, host, port, parts.path) if scheme else None


def _remote(scheme: str, host: str, port: int | None, path: str) -> Remote | None:
    host = host.lower().removesuffix(".")
    if not _HOST.fullmatch(host):
        raise UsageError(f"not a host: {host!r}")
    host = f"[{host}]" if ":" in host else _ALIASES.get(host, host)
    if port and scheme in _PORTS and port != _PORTS[scheme]:
        host = f"{host}:{port}"
    return Remote(scheme, host, path.strip("/").removesuffix(".git"))
