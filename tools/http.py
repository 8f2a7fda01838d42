"""HTTP checks of URLs the playbook allows: GET and HEAD, nothing else."""

import re
from typing import Annotated, Any, Literal

from msgspec import Meta

from smoldebug.errors import ToolError, UnreachableError
from smoldebug.records import Observation
from smoldebug.toolset import ToolContext, tool

BODY = 200  # characters of an answer in the text
KEPT = 2000  # in the data

# scheme, host, port and path are compared one by one, so that a `*` never crosses from one part
# into the next: http://evil.example/x.shop.svc:80/ does not match http://*.shop.svc:*/*
_PARTS = re.compile(r"(https?)://([^/:@?#\[\]]+|\[[0-9a-fA-F:.]+\])(?::([\d*]+))?(/[^#]*)?")
_PORTS = {"http": "80", "https": "443"}


@tool(effect="probe", timeout=40)
def http_check(
    ctx: ToolContext,
    url: str,
    times: Annotated[int, Meta(ge=1, le=5)] = 1,
    method: Literal["GET", "HEAD"] = "GET",
) -> Observation:
    """Ask a URL, several times where answers vary; each time another pod of a Service answers.

    Args:
        url: http(s)://HOST:PORT/PATH; NAME.NAMESPACE.svc works from anywhere.
        times: Samples.
        method: GET, or HEAD for the status alone.
    """
    allowed = [str(pattern) for pattern in ctx.settings.get("allow", [])]
    if not any(matches(pattern, url) for pattern in allowed):
        listed = ", ".join(allowed) or "nothing (tools.http.allow is empty)"
        raise ToolError(f"the playbook does not allow {url}; it allows: {listed}")
    samples = [_sample(ctx, url, method, index) for index in range(times)]
    answered = [item for item in samples if "status" in item]
    lines = [f"{method} {url}: {len(answered)} of {times} answered"]
    lines += [_line(index, item) for index, item in enumerate(samples, 1)]
    return Observation("\n".join(lines), {"url": url, "samples": samples}, "probe", url)


def _sample(ctx: ToolContext, url: str, method: str, index: int) -> dict[str, Any]:
    try:
        reply = ctx.world.http.get(url, timeout=5.0, method=method, sample=index)
    except UnreachableError as error:
        return {"error": str(error)}
    return {
        "status": reply.status,
        "ms": round(reply.seconds * 1000),
        "route": reply.route,
        "body": reply.body[:KEPT],
    }


def _line(index: int, item: dict[str, Any]) -> str:
    if "error" in item:
        return f"{index}: no answer: {item['error']}"
    body = " ".join(item["body"].split())[:BODY]
    return f"{index}: {item['status']} in {item['ms']} ms, {item['route']}: {body}".rstrip(": ")


def matches(pattern: str, url: str) -> bool:
    """Whether a URL fits a pattern, part by part; `*` stands for any text within its part."""
    wanted, given = _PARTS.fullmatch(pattern), _PARTS.fullmatch(url)
    if wanted is None or given is None:
        return False
    return all(map(_fits, _split(wanted), _split(given)))


def _split(found: re.Match[str]) -> tuple[str, str, str, str]:
    scheme, host, port, path = found.groups()
    return scheme, host.lower(), port or _PORTS[scheme], path or "/"


def _fits(pattern: str, text: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text))
