"""The network as a pod's Python sees it: names of Services resolve to their ClusterIPs, and all
addresses of the machine are the pod's own one.

Python imports this module at start because the kubelet puts its folder on PYTHONPATH. A short
name is completed as a pod's resolv.conf does it: first its own namespace, then svc, then the rest.
"""

import os
import socket
from typing import Any

_DOMAIN = "cluster.local"
_real = socket.getaddrinfo


def _search() -> tuple[str, ...]:
    namespace = os.environ.get("LAB_NAMESPACE", "default")
    return f".{namespace}.svc.{_DOMAIN}", f".svc.{_DOMAIN}", f".{_DOMAIN}", ""


def _lookup(name: str) -> str | None:
    """The address of a Service; None for a name that is none of the cluster's."""
    with open(os.environ["LAB_HOSTS"], encoding="utf-8") as hosts:  # noqa: PTH123 start-up time
        known = {host: address for address, host in map(str.split, hosts)}
    name = name.lower().rstrip(".")
    known |= {"localhost": "127.0.0.1", os.environ["HOSTNAME"]: os.environ["LAB_POD_IP"]}
    for suffix in _search():
        if name + suffix in known:
            return known[name + suffix]
    if name == _DOMAIN or name.endswith((".svc", f".{_DOMAIN}")) or "." not in name:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return None


def getaddrinfo(host: Any, port: Any, *args: Any, **named: Any) -> Any:
    """socket.getaddrinfo, the cluster's names first."""
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if isinstance(text, str) and text and "LAB_HOSTS" in os.environ:
        host = _lookup(text) or host
    return _real(host, port, *args, **named)


def gethostbyname(host: str) -> str:
    """socket.gethostbyname, the cluster's names first."""
    return str(getaddrinfo(host, None, socket.AF_INET)[0][4][0])


def bind(self: socket.socket, address: Any) -> None:
    """socket.bind; every pod has a network of its own, here a loopback address."""
    if self.family == socket.AF_INET and address[0] in ("", "0.0.0.0"):
        address = (os.environ.get("LAB_POD_IP", ""), *address[1:])
    _bind(self, address)


_bind = socket.socket.bind
socket.socket.bind = bind  # type: ignore[assignment,method-assign]
socket.getaddrinfo = getaddrinfo
socket.gethostbyname = gethostbyname
