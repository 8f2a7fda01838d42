"""A file -> RunPlan: find, parse with positions, substitute, convert, judge. All errors at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from stat import S_ISFIFO
from typing import Any

import msgspec

from smoldebug.errors import PlaybookError, UsageError
from smoldebug.playbook.convert import Converter
from smoldebug.playbook.find import Place, find
from smoldebug.playbook.inputs import Substitution, Values
from smoldebug.playbook.models import Check, Input, Playbook, RunPlan
from smoldebug.playbook.rules import RULES
from smoldebug.playbook.tree import At, Block, Node, Problem, place
from smoldebug.playbook.upgraderules import actions_of
from smoldebug.playbook.upgrades import Step
from smoldebug.untrusted import one_line

SHOWN = 20  # problems of one file in one error


class Draft(msgspec.Struct, frozen=True):
    """A file that has been read, with everything that is wrong with it.

    `plan` is None when there are problems. `missing` are required inputs nobody gave: samples
    stand in for them, so that the rest could be judged. `marks` says where each path stands.
    """

    file: str
    problems: tuple[Problem, ...] = ()
    plan: RunPlan | None = None
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()  # inputs that no expression names
    marks: Mapping[str, At] = {}


def load(
    name_or_path: str,
    overrides: Mapping[str, str] | None = None,
    *,
    search: Sequence[Place] | None = None,
    matrix: Mapping[str, str] | None = None,
) -> RunPlan:
    """The playbook of that name or path with `overrides` (from --set) applied.

    `search` replaces the usual places; `matrix={"cluster": "eu"}` loads it for that cluster of its
    matrix. Raises PlaybookError with every problem of the file, one
    line each, and UsageError for inputs that are unknown, missing or of the wrong type.
    """
    result = draft(find(name_or_path, search), overrides, matrix)
    plan = planned(result)
    if result.missing:
        wanted = " ".join(f"--set {name}=..." for name in result.missing)
        raise UsageError(f"{result.file}: required inputs are missing: {wanted}")
    return plan


def planned(result: Draft) -> RunPlan:
    """The plan of a draft, with samples for what is missing. Raises PlaybookError, as `load`."""
    if result.plan is not None:
        return result.plan
    raise problems_error(result.file, result.problems)


def problems_error(file: str, problems: Sequence[Problem]) -> PlaybookError:
    """All that is wrong with a file, one line each."""
    first, *others = problems
    lines = [problem.text(file) for problem in others[: SHOWN - 1]]
    if len(others) >= SHOWN:
        lines.append(f"and {len(others) - SHOWN + 1} more")
    return PlaybookError("\n".join([first.message, *lines]), place(file, first.at))


def summary(path: Path) -> str:
    """A playbook's description, or why it cannot be read, on one line."""
    try:
        return planned(draft(path)).playbook.description
    except UsageError as error:
        return one_line(f"cannot be used: {error}")


def assignments(words: Sequence[str]) -> dict[str, str]:
    """`["service=checkout"]` -> {"service": "checkout"}. Raises UsageError, naming `--set`."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(f"--set takes NAME=VALUE, not: {one_line(word, 80)}")
        if name in found:
            raise UsageError(f"--set gives an input twice: {one_line(name, 80)}")
        found[name] = value
    return found


def require_supported(plan: RunPlan) -> None:
    """Raises PlaybookError when the playbook holds parts that this version does not run."""
    if plan.unsupported:
        raise PlaybookError(
            f"this version does not run yet: {', '.join(plan.unsupported)}",
            one_line(plan.source, 4096),
            hint="remove these parts, or use a version that runs them",
        )


def draft(
    path: Path,
    overrides: Mapping[str, str] | None = None,
    matrix: Mapping[str, str] | None = None,
) -> Draft:
    """Read one file as far as it can be read. Raises PlaybookError when it is no YAML, and
    UsageError for overrides that are unknown, of the wrong type or wrong where they land."""
    from smoldebug.playbook.parse import MAX_BYTES, parse  # PyYAML: only when a file is read

    file = str(path)
    root, problems = parse(read_file(path, MAX_BYTES + 1), file)
    if not isinstance(root, Block):
        says = "expected a playbook: a map that begins with apiVersion"
        return Draft(file, (*problems, Problem(root.at if root else At(1, 1), "", says)))
    values = _values(root, overrides or {})
    substitution = Substitution(values.find, [*values.given, *values.missing], matrix)
    converter = Converter(RULES)
    playbook = converter.convert(substitution.tree(root), Playbook)
    problems = [*problems, *substitution.problems, *converter.problems]
    if playbook is not None and not problems:
        problems += _missing_files(path, playbook, converter.marks)
    _blame(problems, substitution.whole, overrides or {})
    if problems:
        return Draft(file, tuple(sorted(set(problems))), marks=converter.marks)
    plan = RunPlan(
        playbook=settle(playbook),
        inputs=values.given,
        source=file,
        folder=str(path.parent),
        unsupported=_unsupported(converter, file),
    )
    unused = tuple(name for name in playbook.inputs if name not in substitution.used)
    return Draft(file, (), plan, tuple(values.missing), unused, converter.marks)


def _blame(
    problems: Sequence[Problem], whole: Mapping[str, str], overrides: Mapping[str, str]
) -> None:
    """Raises UsageError where values of the command line are all that is wrong."""
    named = [(whole.get(problem.key), problem.says) for problem in problems]
    if named and all(name in overrides for name, _ in named):
        name, says = named[0]
        raise UsageError(f"{name}: {one_line(says, 400)}")


def read_file(path: Path, most: int) -> bytes:
    """Its first bytes. Raises PlaybookError when it cannot be read."""
    try:
        # opening a pipe might never end, not by Ctrl-C either
        if not S_ISFIFO(path.stat().st_mode):
            with path.open("rb") as file:
                return file.read(most)
        reason = "it is a pipe"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise PlaybookError(f"cannot be read: {reason}", one_line(str(path), 4096))


def _values(root: Block, overrides: Mapping[str, str]) -> Values:
    """The inputs, from as much of their section as is well formed."""
    section = root.nodes.get("inputs")
    declared: dict[str, Input] = {}
    for name, node in section.nodes.items() if isinstance(section, Block) else ():
        declared[name] = _declared(node)
    return Values(declared, overrides)


def _declared(node: Node) -> Input:
    """One input; a malformed one is reported by the converter, and here only has to exist."""
    found = Converter({}).convert(node, Input)
    return found if isinstance(found, Input) else Input(required=True)


def _missing_files(path: Path, playbook: Playbook, marks: Mapping[str, At]) -> list[Problem]:
    """Those beside it that it names. One whose name waits for its cluster is seen to be there
    when it is loaded for that."""
    named = {"hints": playbook.hints} if playbook.hints else {}
    for index, step in enumerate(playbook.steps):
        if step.helm_upgrade is not None:
            for place_, name in enumerate(step.helm_upgrade.values):
                named[f"steps[{index}].helm_upgrade.values[{place_}]"] = name
        if step.kubectl_apply is not None:
            named[f"steps[{index}].kubectl_apply.path"] = step.kubectl_apply.path
    return [
        Problem(marks[key], key, f"no such file beside it: {name}")
        for key, name in named.items()
        if "${{" not in name and not (path.parent / name).exists()
    ]


def settle(playbook: Playbook) -> Playbook:
    """What optional inputs leave open: an empty metrics URL is no metrics block, and a check's
    or step's target `deployment/web` lies in the scope's only namespace."""
    replace, tools = msgspec.structs.replace, playbook.tools
    if tools.metrics is not None and not tools.metrics.url:
        playbook = replace(playbook, tools=replace(tools, metrics=None))
    if len(playbook.scope.namespaces) != 1:
        return playbook
    namespace, goal = playbook.scope.namespaces[0], playbook.goal
    every, some = ([_within(c, namespace) for c in part] for part in (goal.all, goal.any))
    if (each := goal.each_service) is not None:
        listed = [_full(target, namespace) for target in each.workloads]
        each = replace(each, workloads=listed)
    steps = [_placed(step, namespace) for step in playbook.steps]
    goal = replace(goal, all=every, any=some, each_service=each)
    return replace(playbook, goal=goal, steps=steps)


def _within(check: Check, namespace: str) -> Check:
    changed: dict[str, Any] = {}
    for key in ("all", "any"):
        if nested := getattr(check, key):
            changed[key] = [_within(part, namespace) for part in nested]
    for key in ("rollout", "restarts", "findings", "logs"):
        part = getattr(check, key)
        if part is not None and part.target:
            target = _full(part.target, namespace)
            changed[key] = msgspec.structs.replace(part, target=target)
    return msgspec.structs.replace(check, **changed)


def _placed(step: Step, namespace: str) -> Step:
    changed: dict[str, Any] = {}
    for action, block in actions_of(step):
        if target := getattr(block, "target", ""):
            target = _full(target, namespace)
            changed[action] = msgspec.structs.replace(block, target=target)
        elif getattr(block, "namespace", None) == "":
            changed[action] = msgspec.structs.replace(block, namespace=namespace)
    return msgspec.structs.replace(step, **changed)


def _full(target: str, namespace: str) -> str:
    """`deployment/web` -> `Deployment/shop/web`."""
    from smoldebug.sources.kinds import kind_name

    kind, *rest = target.split("/")
    return "/".join((kind_name(kind), *([namespace, *rest][-2:])))


def _unsupported(converter: Converter, file: str) -> tuple[str, ...]:
    marks = converter.marks
    return tuple(
        f"{path} ({place(file, marks[path])})"
        for path in sorted(converter.later, key=marks.__getitem__)
    )
