"""What a playbook must mean, beyond its types: one small judge per block, run by the converter."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from smoldebug.playbook.base import Duration
from smoldebug.playbook.convert import Report, Rules
from smoldebug.playbook.fields import did_you_mean
from smoldebug.playbook.inputs import SAMPLE, Refused, of_service
from smoldebug.playbook.models import (
    ChangeTool,
    Check,
    Freeze,
    Goal,
    HttpCheck,
    HttpTool,
    Input,
    Limits,
    LocalServer,
    MetricCheck,
    MetricsTool,
    Playbook,
    Rate,
    RatioCheck,
    RestartsCheck,
    RolloutCheck,
    Scope,
    Window,
)
from smoldebug.playbook.patchrules import PATCH_RULES, report_globs, report_patches
from smoldebug.playbook.upgraderules import UPGRADE_RULES, report_upgrades, report_workload
from smoldebug.playbook.windows import minutes, moment, zone

T = TypeVar("T")

_KIND = re.compile(r"[A-Z][A-Za-z0-9]*")
_PART = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_INPUT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_PYTHON = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def checks_of(checks: list[Check]) -> Iterator[Check]:
    """Every single check, out of nested all and any."""
    for check in checks:
        nested = [*(check.all or ()), *(check.any or ())]
        if nested:
            yield from checks_of(nested)
        else:
            yield check


def kinds_of(check: Check) -> list[str]:
    return [name for name in check.__struct_fields__ if getattr(check, name) is not None]


# --- goal -----------------------------------------------------------------------------------


def _goal(goal: Goal, report: Report) -> None:
    if not goal.all and not goal.any:
        report("", "needs at least one check under all or any")
    if goal.every <= 0:
        report("every", "must be longer than 0s")
    if goal.within is None:
        return
    window = max((goal.consecutive - 1) * goal.every, goal.for_)
    if goal.within <= 0 or goal.within < window:
        key = "for" if goal.for_ == window else "consecutive x every"
        report("within", f"{goal.within} is over before {key} can be: {Duration(window)}")


def _check(check: Check, report: Report) -> None:
    kinds = kinds_of(check)
    if len(kinds) != 1:
        given = f"has {len(kinds)} ({', '.join(kinds)})" if kinds else "has none"
        report("", f"a check is exactly one of {', '.join(check.__struct_fields__)}; this {given}")
    for kind in ("all", "any"):
        if getattr(check, kind) == []:
            report(kind, "needs at least one check")
    if check.python is not None and not _PYTHON.fullmatch(check.python):
        report("python", "expected module:function of the playbook's folder, such as checks:ready")


def _http(check: HttpCheck, report: Report) -> None:
    if not check.url and not check.path:
        report("", "needs url, what to GET (or path, with goal.each_service)")
    if check.url and check.path:
        report("path", "is for each_service, in place of url: leave out one of the two")
    if check.url:
        _report_url(check.url, "url", report)
    if check.path and not check.path.startswith("/"):
        report("path", "must begin with /")
    codes = check.status if isinstance(check.status, list) else [check.status]
    if not codes or not all(100 <= code <= 599 for code in codes):
        report("status", "expected HTTP status codes from 100 to 599")


def _metric(check: MetricCheck, report: Report) -> None:
    bounds = (check.below, check.above, check.at_most, check.at_least, check.equals)
    if all(bound is None for bound in bounds):
        report("", "needs a bound: below, above, at_most, at_least or equals")
    _report_promql(check.query, "query", report)


def _ratio(check: RatioCheck, report: Report) -> None:
    if check.below is None and check.at_most is None:
        report("", "needs a bound: below or at_most")
    _report_promql(check.bad, "bad", report)
    _report_promql(check.total, "total", report)


def _workload(check: RolloutCheck | RestartsCheck, report: Report) -> None:
    if check.target:
        report_workload(check.target, "target", report)


def _report_promql(text: str, key: str, report: Report) -> None:
    import promql_parser  # a playbook without metrics does not need it

    try:
        promql_parser.parse(of_service(text, SAMPLE))
    except Refused:
        pass  # reported where it stands
    except ValueError as error:
        report(key, f"not PromQL: {error}")


# --- scope, tools and inputs ----------------------------------------------------------------


def _input(entry: Input, report: Report) -> None:
    default = entry.default
    if default is msgspec.UNSET:
        return
    if entry.required:
        report("required", "an input with a default is never missing: leave out one of the two")
    for value in default if isinstance(default, list) else [default]:
        if not isinstance(value, str | int | float | bool):
            report("default", "expected text, a number, true or false, or a list of these")
        elif isinstance(value, str) and "${{" in value:
            report("default", "an expression is not allowed here")


def _scope(scope: Scope, report: Report) -> None:
    for index, namespace in enumerate(scope.namespaces):
        if not _NAMESPACE.fullmatch(namespace):
            report(f"namespaces[{index}]", f"not a namespace: {namespace!r}")
    report_globs(scope.paths, report)


def _change(tool: ChangeTool, report: Report) -> None:
    for key in ("allow", "targets"):
        if not getattr(tool, key):
            report(key, "is empty: leave out the change block for a read-only run")
    for index, target in enumerate(tool.targets):
        report_target(target, f"targets[{index}]", report)


def report_target(target: str, key: str, report: Report) -> None:
    from smoldebug.sources.kinds import find

    kind, *rest = target.split("/")
    known = find(kind)
    said = known.kind if known else "Deployment"
    if len(rest) == 1 and (known is None or known.namespaced):
        report(key, f"expected Kind/namespace/name, got {target!r}: the namespace is missing")
    elif kind != "*" and (not _KIND.fullmatch(kind) or (known and known.kind != kind)):
        report(key, f"expected a Kind such as {said}, got {kind!r}")
    elif any("*" in part and part != "*" for part in rest):
        report(key, f"`*` stands only for a whole part, got {target!r}")
    elif len(rest) not in (1, 2) or not all(p == "*" or _PART.fullmatch(p) for p in rest):
        report(key, f"expected Kind/namespace/name, got {target!r}")


def _metrics(tool: MetricsTool, report: Report) -> None:
    if tool.url:
        _report_url(tool.url, "url", report)


def _http_tool(tool: HttpTool, report: Report) -> None:
    for index, pattern in enumerate(tool.allow):
        if not pattern.startswith(("http://", "https://")):
            report(f"allow[{index}]", f"must begin with http:// or https://, got {pattern!r}")


def _server(server: LocalServer, report: Report) -> None:
    _report_url(server.url, "url", report)
    if server.cwd.startswith("/") or ".." in server.cwd.split("/"):
        report("cwd", "must lie in the playbook's folder")


def _report_url(url: str, key: str, report: Report) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        named = parts.username is not None
    except ValueError:
        usable = named = False
    if not usable:
        report(key, f"expected a URL such as http://host:port/path, got {url!r}")
    elif named:
        report(key, "a URL must not hold a user or password: see secrets")


# --- limits ---------------------------------------------------------------------------------


def _limits(limits: Limits, report: Report) -> None:
    for key in ("tokens", "calls"):  # msgspec takes no bounds for `int | None`
        if (most := getattr(limits, key)) is not None and most < 1:
            report(key, f"must be at least 1, got {most}")
    report_never_delete(limits.never_delete, report)


def report_never_delete(entries: Iterable[str], report: Report) -> None:
    for index, entry in enumerate(entries):
        if "/" in entry:
            report_target(entry, f"never_delete[{index}]", report)
        elif not _KIND.fullmatch(entry):
            report(f"never_delete[{index}]", f"expected a Kind such as Service, got {entry!r}")


def _rate(rate: Rate, report: Report) -> None:
    if rate.per <= 0:
        report("per", "must be longer than 0s")


def _window(window: Window, report: Report) -> None:
    opens, closes = (
        _read(minutes, text, key, report)
        for key, text in (("from", window.from_), ("to", window.to))
    )
    if opens is not None and opens == closes:
        report("to", f"it closes when it opens, at {window.to}; all day is 00:00 to 24:00")
    if opens == minutes("24:00"):
        report("from", "a window cannot open at 24:00: use 00:00 of the next day")
    _read(zone, window.timezone, "timezone", report)


def _freeze(freeze: Freeze, report: Report) -> None:
    begins = _read(moment, freeze.from_, "from", report)
    ends = _read(partial(moment, end=True), freeze.to, "to", report)
    if begins is not None and ends is not None and ends <= begins:
        report("to", f"it ends before it begins: {freeze.to}")


def _read(reader: Callable[[str], T], text: str, key: str, report: Report) -> T | None:
    try:
        return reader(text)
    except ValueError as error:
        report(key, str(error))
        return None


# --- the whole ------------------------------------------------------------------------------


def _playbook(playbook: Playbook, report: Report) -> None:
    checks = list(checks_of([*playbook.goal.all, *playbook.goal.any]))
    metrics = playbook.tools.metrics
    needs = next(
        (kind for kind in ("metric", "ratio") if any(getattr(c, kind) for c in checks)), ""
    )
    if needs and (metrics is None or not metrics.url):
        report("goal", f"its {needs} check needs tools.metrics.url")
    if len(playbook.scope.namespaces) != 1:
        for target in {
            part.target for c in checks for part in (c.rollout, c.restarts, c.findings) if part
        }:
            if target.count("/") == 1:
                report("goal", f"{target} needs its namespace, unless scope.namespaces is one")
    report_patches(playbook, checks, report)
    report_upgrades(playbook, checks, report)
    for name in playbook.inputs:
        if not _INPUT.fullmatch(name):
            report(f"inputs.{name}", "not a name for ${{ inputs.NAME }}: letters, digits, _ and -")
    for key in playbook.allow_auto_when:
        if key not in ("cluster", "uid", "server"):
            known = did_you_mean(key, ("cluster", "uid", "server"))
            report(f"allow_auto_when.{key}", f"unknown condition{known}")
    if playbook.hints.startswith("/") or ".." in playbook.hints.split("/"):
        report("hints", "must lie in the playbook's folder")


RULES: Rules = {
    Goal: _goal,
    Check: _check,
    HttpCheck: _http,
    MetricCheck: _metric,
    RatioCheck: _ratio,
    RolloutCheck: _workload,
    RestartsCheck: _workload,
    Input: _input,
    Scope: _scope,
    ChangeTool: _change,
    Limits: _limits,
    Rate: _rate,
    Window: _window,
    Freeze: _freeze,
    MetricsTool: _metrics,
    HttpTool: _http_tool,
    LocalServer: _server,
    Playbook: _playbook,
    **PATCH_RULES,
    **UPGRADE_RULES,
}
