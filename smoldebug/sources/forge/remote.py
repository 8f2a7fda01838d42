"""Which host and repository a forge would know a remote's address by."""

import re
from dataclasses import dataclass

from smoldebug.errors import UsageError
from smoldebug.sources import giturl

_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,254}")
_ALIASES = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}  # for port 443


@dataclass(frozen=True, slots=True)
class Remote:
    scheme: str  # https | http | ssh
    host: str  # lower case; with the port of an http(s) URL that is not the usual one
    path: str  # "shop/manifests"; as it was written, without .git

    @property
    def loopback(self) -> bool:
        return giturl.is_loopback(_PORT.sub("", self.host))

    def repository(self, *, deeper: bool = False) -> str:
        """The path where it is owner/name (`deeper`: or group/.../name). Raises UsageError."""
        segments = self.path.split("/")
        many = len(segments) == 2 or (deeper and 2 < len(segments) <= 20)
        if not many or not all(map(_SEGMENT.fullmatch, segments)):
            raise UsageError(f"not a repository of {self.host}: {self.path!r}")
        return self.path


_PORT = re.compile(r":\d+$")
_USUAL = {"https": ":443", "http": ":80"}


def parse(url: str) -> Remote | None:
    """None for a folder. Credentials in an address are left out. Raises UsageError for one that Git
    is not given either."""
    if not giturl.is_url(url):
        return None
    address = giturl.parse(url)
    host = address.host.lower()
    if address.scheme == "ssh":  # its port says nothing of where the forge's pages are
        host = _PORT.sub("", host)
    host = host.removesuffix(_USUAL.get(address.scheme, ""))
    return Remote(address.scheme, _ALIASES.get(host, host), address.name)
