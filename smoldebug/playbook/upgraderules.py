"""What a playbook's words on clusters, services and steps must mean, beyond their types."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from smoldebug.errors import ToolError
from smoldebug.playbook.base import Model
from smoldebug.playbook.convert import Report, Rules
from smoldebug.playbook.inputs import asks_for_service
from smoldebug.playbook.models import Check, Playbook
from smoldebug.playbook.upgrades import (
    Baseline,
    EachService,
    HelmRollback,
    HelmUpgrade,
    KubectlApply,
    LogsCheck,
    Matrix,
    SetImage,
    Step,
    WaitForRollout,
)
from smoldebug.records import ChangeKind
from smoldebug.sources.selectors import holds

MOST_PARALLEL = 16  # clusters
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_RELEASE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,51}[a-z0-9])?")  # as Helm takes it
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PART = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")
KINDS_OF = {  # of each action: the kind of change that it is
    "helm_upgrade": ChangeKind.HELM_UPGRADE,
    "helm_rollback": ChangeKind.HELM_ROLLBACK,
    "kubectl_apply": ChangeKind.APPLY_OBJECT,
    "set_image": ChangeKind.SET_IMAGE,
}


def actions_of(step: Step) -> Iterator[tuple[str, Model]]:
    """The keys and blocks of its actions; a step that has been loaded has exactly one."""
    for key in step.__struct_fields__:
        if (block := getattr(step, key)) is not None:
            yield key, block


def per_service(check: Check) -> bool:
    """Whether a goal with each_service measures this check once for each of them."""
    for part in (check.rollout, check.restarts, check.logs):
        if part is not None:
            return not part.target
    return bool(check.http and check.http.path) or any(map(asks_for_service, _queries(check)))


def _queries(check: Check) -> list[str]:
    ratio = [check.ratio.bad, check.ratio.total] if check.ratio else []
    return [*ratio, *([check.metric.query] if check.metric else [])]


# --- blocks ---------------------------------------------------------------------------------


def _matrix(matrix: Matrix, report: Report) -> None:
    seen: set[str] = set()
    for index, name in enumerate(matrix.cluster):
        if not name or name in seen:
            says = f"is there twice: {name}" if name else "is empty: it must be a context's name"
            report(f"cluster[{index}]", says)
        seen.add(name)
    if not matrix.cluster:
        report("cluster", "is empty: it must name a context")
    if matrix.parallel > MOST_PARALLEL:
        report("parallel", f"at most {MOST_PARALLEL}, got {matrix.parallel}")
    if matrix.wall is not None and matrix.wall <= 0:
        report("wall", "must be longer than 0s")


def _baseline(baseline: Baseline, report: Report) -> None:
    if baseline.within is not None and baseline.within < baseline.for_:
        report("within", f"{baseline.within} is over before `for` can be: {baseline.for_}")


def _each_service(block: EachService, report: Report) -> None:
    given = [
        key
        for key, value in (
            ("from_release", block.from_release),
            ("selector", block.selector),
            ("list", block.workloads),
        )
        if value
    ]
    if len(given) != 1:
        has = f"has {len(given)} ({', '.join(given)})" if given else "has none"
        report("", f"is exactly one of from_release, selector, list; this {has}")
    namespace, slash, name = block.from_release.rpartition("/")
    if block.from_release and not (
        _RELEASE.fullmatch(name) and (not slash or _NAMESPACE.fullmatch(namespace))
    ):
        report("from_release", f"expected NAME or NAMESPACE/NAME, got {block.from_release!r}")
    _report_selector(block.selector, report)
    for index, target in enumerate(block.workloads):
        report_workload(target, f"list[{index}]", report)


def _report_selector(selector: str, report: Report) -> None:
    try:
        holds(selector, lambda _: None)
    except ToolError as error:
        report("selector", str(error))


def _logs(check: LogsCheck, report: Report) -> None:
    if not check.no_new_errors:
        report("no_new_errors", "is false: then there is nothing to check")
    if "" in check.ignore:
        report("ignore", "an empty word is in every line")
    if check.target:
        report_workload(check.target, "target", report)


def report_workload(target: str, key: str, report: Report) -> None:
    """KIND/NAME or KIND/NAMESPACE/NAME of what has rollouts."""
    from smoldebug.sources.kinds import kind_name

    kind, *rest = target.split("/")
    if len(rest) not in (1, 2) or not all(map(_PART.fullmatch, rest)):
        example = f"deployment/{target}" if target and not rest else "deployment/checkout"
        report(key, f"expected KIND/NAME, as in {example}, got {target!r}")
    elif kind_name(kind) not in WORKLOADS:
        report(key, f"expected one of {', '.join(WORKLOADS)}, got {kind!r}")


# --- steps ----------------------------------------------------------------------------------


def _step(step: Step, report: Report) -> None:
    given = [key for key, _ in actions_of(step)]
    if len(given) != 1:
        has = f"has {len(given)} ({', '.join(given)})" if given else "has none"
        known = ", ".join(step.__struct_fields__)
        report("", f"a step is exactly one of {known}; this {has}")


def _release(step: HelmUpgrade | HelmRollback, report: Report) -> None:
    if not _RELEASE.fullmatch(step.release):
        report("release", f"not a name that Helm takes: {step.release!r}")
    if step.namespace and not _NAMESPACE.fullmatch(step.namespace):
        report("namespace", f"not a namespace: {step.namespace!r}")
    if step.timeout <= 0:
        report("timeout", "must be longer than 0s")


def _upgrade(step: HelmUpgrade, report: Report) -> None:
    _release(step, report)
    if not step.chart.strip() or step.chart.startswith("-"):
        report("chart", f"expected a folder, archive, repo/name or oci://..., got {step.chart!r}")
    if step.version.startswith("-"):
        report("version", f"not a version: {step.version!r}")
    for index, path in enumerate(step.values):
        _report_path(path, f"values[{index}]", report)
    for path in step.set:
        if not all(path.split(".")):
            report("set", f"expected a dotted path such as payments.replicas, got {path!r}")


def _apply(step: KubectlApply, report: Report) -> None:
    _report_path(step.path, "path", report)


def _report_path(path: str, key: str, report: Report) -> None:
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\x00" in path:
        report(key, f"must lie in the playbook's folder, got {path!r}")


def _image(step: SetImage, report: Report) -> None:
    report_workload(step.target, "target", report)
    if not step.image or any(letter.isspace() for letter in step.image):
        report("image", f"not an image: {step.image!r}")


def _wait(step: WaitForRollout, report: Report) -> None:
    if step.target:
        report_workload(step.target, "target", report)
    if step.within <= 0:
        report("within", "must be longer than 0s")


# --- the whole ------------------------------------------------------------------------------


def report_upgrades(playbook: Playbook, checks: list[Check], report: Report) -> None:
    """What the parts of a playbook need of each other."""
    _report_rows(playbook, checks, report)
    if playbook.baseline is not None and not playbook.steps:
        report("baseline", "is what holds before the first step: there are no steps")
    if not playbook.steps:
        return
    if playbook.edits:
        report("steps", "are for clusters, edits for a repository: a playbook has one of them")
    if playbook.approval == "never":
        report("steps", "none can be carried out: approval is never")
    if playbook.scope.cluster == "read-only":
        report("steps", "none can be carried out: scope.cluster is read-only")
    for index, step in enumerate(playbook.steps):
        for action, block in actions_of(step):
            _report_needs(playbook, action, block, partial(_below, f"steps[{index}]", report))


def _report_rows(playbook: Playbook, checks: list[Check], report: Report) -> None:
    block, single = playbook.goal.each_service, len(playbook.scope.namespaces) == 1
    if block is None:
        if any(check.http and check.http.path for check in checks):
            report("goal", "its http check has a path: that needs each_service, else give url")
        if any(asks_for_service(query) for check in checks for query in _queries(check)):
            report("goal", "its query asks for a service: that needs each_service")
    elif not any(map(per_service, checks)):
        report("goal.each_service", "no check is measured per service: all name a target")
    elif not single and block.from_release and "/" not in block.from_release:
        says = "needs its namespace (NAMESPACE/NAME), unless scope.namespaces is one"
        report("goal.each_service.from_release", says)
    targets = [*(block.workloads if block else ()), *(c.logs.target for c in checks if c.logs)]
    for target in targets:
        if not single and target.count("/") == 1:
            report("goal", f"{target} needs its namespace, unless scope.namespaces is one")


def _below(path: str, report: Report, key: str, says: str) -> None:
    report(f"{path}.{key}", says)


def _report_needs(playbook: Playbook, action: str, block: Model, report: Report) -> None:
    single = len(playbook.scope.namespaces) == 1
    target = getattr(block, "target", "")
    if not single and target.count("/") == 1:
        report(f"{action}.target", "needs its namespace, unless scope.namespaces is one")
    if not single and getattr(block, "namespace", "there") == "":
        report(action, "needs namespace, unless scope.namespaces is one")
    kind = KINDS_OF.get(action)
    allowed = playbook.tools.change.allow if playbook.tools.change else []
    if kind is not None and kind not in allowed:
        report(action, f"needs {kind} in tools.change.allow")
    undone, back = playbook.on_failure in ("undo", "rollback"), ChangeKind.HELM_ROLLBACK
    if kind is ChangeKind.HELM_UPGRADE and undone and back not in allowed:
        report(action, f"on_failure: {playbook.on_failure} needs {back} in tools.change.allow")


UPGRADE_RULES: Rules = {
    Matrix: _matrix,
    Baseline: _baseline,
    EachService: _each_service,
    LogsCheck: _logs,
    Step: _step,
    HelmUpgrade: _upgrade,
    HelmRollback: _release,
    KubectlApply: _apply,
    SetImage: _image,
    WaitForRollout: _wait,
}
