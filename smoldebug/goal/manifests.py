"""manifests: does every object that a repository would have applied satisfy the property?"""

from collections.abc import Sequence
from functools import partial

import msgspec

from smoldebug.edits.documents import nowhere, selected
from smoldebug.edits.fields import container_problems
from smoldebug.edits.rendered import Rendered, Rendering
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.objects import difference
from smoldebug.goal.renderings import proposed, rendering
from smoldebug.playbook.patches import ManifestsCheck, Select
from smoldebug.signals.words import count
from smoldebug.sources.world import World
from smoldebug.untrusted import one_line


def manifests(check: ManifestsCheck, setting: Setting) -> Check:
    label = f"manifests of {_selection(check.select)}"
    return Check(label, "manifests", partial(_measure, check, setting.world), _wanted(check))


def _measure(check: ManifestsCheck, world: World, sample: int) -> Measured:
    return measured_at(check, world, proposed(world))


def measured_at(check: ManifestsCheck, world: World, commit: str) -> Measured:
    """The check, on one commit of the run's repository."""
    made = rendering(world, commit, check.paths)
    chosen = [each for each in made.objects if selected(each, check.select)]
    failing = [f"{place(each)}: {why}" for each in chosen if (why := _problem(check, each))]
    good = len(chosen) - len(failing)
    if failing:
        return not_met(_first(failing), float(good))
    problems = _first(made.problems)
    if not chosen and not problems:
        return not_met(_none(check, made), 0.0)
    says = f"{good} of {count(len(chosen), check.select.kind)} {_wanted(check)} ({commit[:7]})"
    return inconclusive(f"{says}, but {problems}") if problems else met(says, float(good))


def place(made: Rendered) -> str:
    """`deploy/auth.yaml:14 Deployment/staging/auth`, and how it comes about."""
    via = f" ({made.via})" if made.via else ""
    return f"{made.document.path}:{made.document.line} {made.ref}{via}"


def _problem(check: ManifestsCheck, made: Rendered) -> str:
    """What an object lacks, "" for nothing."""
    if check.every_container_has is not None:
        lacking = container_problems(made.object, check.every_container_has, check.include)
        if lacking:
            return lacking[0]
    return difference(msgspec.to_builtins(check.matches, str_keys=True), made.object)


def _first(lines: Sequence[str]) -> str:
    """The first one, short enough to leave room for how many there are besides."""
    more = f"; and {len(lines) - 1} more" if lines[1:] else ""
    return one_line(lines[0], 240) + more if lines else ""


def _none(check: ManifestsCheck, made: Rendering) -> str:
    says = f"no {_selection(check.select)} below {', '.join(check.paths)}"
    unnamed = [why for each in made.objects if (why := nowhere(each, check.select))]
    return f"{says}: {_first(unnamed)}" if unnamed else says


def _selection(select: Select) -> str:
    """`Deployment auth of namespace staging with team=shop`."""
    words = [select.kind, select.name]
    words += ["of namespace", select.namespace] if select.namespace else []
    words += ["with", one_line(select.labels, 40)] if select.labels else []
    return " ".join(filter(None, words))


def _wanted(check: ManifestsCheck) -> str:
    """The property, as what the objects do."""
    has, does = check.every_container_has, []
    if has and has.env:
        does.append(f"set {has.env.name}")
    if has and has.image:
        does.append(f"run {has.image}")
    if check.matches or (has and has.matches):
        does.append("match")
    return " and ".join(does)
