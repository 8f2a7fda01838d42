"""Which forge a remote belongs to, by its URL; its client is imported only when it is opened."""

from collections.abc import Callable
from typing import Protocol

from smoldebug.clock import Clock, SystemClock
from smoldebug.errors import UnreachableError, UsageError
from smoldebug.sources.forge.remote import Remote, parse
from smoldebug.sources.forge.site import NAMES, Site
from smoldebug.sources.forge.site import compare_url as site_compare_url
from smoldebug.sources.http import Router
from smoldebug.sources.repository import Forge
from smoldebug.sources.world import Cluster

PUBLIC = {
    "github.com": "github",
    "gitlab.com": "gitlab",
    "codeberg.org": "gitea",
    "gitea.com": "gitea",
}
_PROBES = {
    "github": ("/api/v3/meta", (200, 401)),
    "gitlab": ("/api/v4/version", (200, 401)),
    "gitea": ("/api/v1/version", (200,)),
}
_PROBE_TIME = 2.0  # seconds


class Settings(Protocol):
    """What `tools.pull_request` says of it."""

    @property
    def forge(self) -> str: ...
    @property
    def host(self) -> str: ...


def open_forge(
    settings: Settings,
    remote_url: str,
    token: Callable[[str, str], str],
    clock: Clock | None = None,
) -> Forge | None:
    """None where there is no forge, or one whose kind and host nobody has named.

    `token(kind, host)` is asked for when a host may have it; it is sent there only. A host on this
    machine is first asked what it is, without the token; no other is sent anything yet.
    Raises UsageError: another host than the playbook names, no repository, no client installed.
    """
    remote = parse(remote_url)
    if remote is None or settings.forge == "none":
        return None
    kind, web = _choose(settings, remote)
    if not kind:
        return None
    path = remote.repository(deeper=kind == "gitlab")
    host = web.partition("://")[2]
    site = Site(kind, web, _api(kind, web, host), path, token(kind, host))
    return client(site, clock or SystemClock())


def kind_at(settings: Settings, host: str) -> str:
    """Whose token Git may use at a remote's host; "" for that of no forge."""
    if settings.forge == "none":
        return ""
    remote = Remote("http", host.lower(), "")
    return _choose(settings, remote if remote.loopback else Remote("https", host.lower(), ""))[0]


def compare_url(remote_url: str, base: str, branch: str) -> str:
    """Where a person opens the pull request of a branch, on the public forges; else ""."""
    try:
        remote = parse(remote_url)
        kind = PUBLIC.get(remote.host) if remote else None
        if remote is None or kind is None:
            return ""
        path = remote.repository(deeper=kind == "gitlab")
    except UsageError:
        return ""
    return site_compare_url(kind, f"https://{remote.host}/{path}", base, branch)


def _choose(settings: Settings, remote: Remote) -> tuple[str, str]:
    """The kind, "" for none, and the address of its pages."""
    named = "" if settings.forge == "auto" else settings.forge
    public = PUBLIC.get(remote.host, "")
    _check_host(settings.host.lower(), remote, needed=bool(named and not public))
    if public:
        if named not in ("", public):
            raise UsageError(f"{remote.host} is no {NAMES[named]}: tools.pull_request.forge")
        return public, f"https://{remote.host}"
    host = settings.host.lower() or remote.host
    if remote.loopback:
        web = f"{'https' if remote.scheme == 'https' else 'http'}://{host}"
        return named or _probe(web), web
    return named, f"https://{host}"


def _check_host(named: str, remote: Remote, *, needed: bool) -> None:
    """Whoever can change a remote's URL must not be able to choose where the token goes."""
    # The port of an ssh URL is not that of the API
    same = named.partition(":")[0] if remote.scheme == "ssh" else named
    if same == remote.host or (not named and (remote.loopback or not needed)):
        return
    hint = f"set tools.pull_request.host: {remote.host}"
    if named:
        raise UsageError(f"the remote is at {remote.host}, the playbook says: {named}", hint)
    raise UsageError(
        f"no token goes to a host that the playbook does not name: {remote.host}", hint
    )


def _api(kind: str, web: str, host: str) -> str:
    if kind == "gitlab":
        return web
    if kind == "gitea":
        return f"{web}/api/v1"
    if host == "github.com" or host.endswith(".ghe.com"):
        return f"https://api.{host}"
    return f"{web}/api/v3"


def _probe(web: str) -> str:
    """What answers at an address of this machine: a kind, or ""."""
    router = Router(_no_cluster)
    for kind, (path, statuses) in _PROBES.items():
        try:
            reply = router.get(web + path, timeout=_PROBE_TIME)
        except UnreachableError:
            return ""
        if reply.status in statuses and reply.body.lstrip().startswith("{"):
            return kind
    return ""


def _no_cluster() -> Cluster:
    raise UsageError("a forge is not looked for in a cluster")


def client(site: Site, clock: Clock) -> Forge:
    """Raises UsageError where it is not installed."""
    try:
        if site.kind == "github":
            from smoldebug.sources.forge.github import GitHub

            return GitHub(site, clock)
        if site.kind == "gitlab":
            from smoldebug.sources.forge.gitlab import GitLab

            return GitLab(site, clock)
        from smoldebug.sources.forge.gitea import Gitea

        return Gitea(site, clock)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the client for {NAMES[site.kind]} is not installed: {error.name}",
            hint=f"pip install 'smoldebug[{site.kind}]'",
        ) from error
