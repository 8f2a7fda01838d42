"""What charts that lie on this machine would make, as far as their templates name it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smoldebug.errors import SmoldebugError
from smoldebug.playbook.models import RunPlan
from smoldebug.sources import helmcharts
from smoldebug.steps import local_chart

_KIND = re.compile(r"""^kind:[ \t]*["']?([A-Z][A-Za-z0-9]*|\{\{)""", re.MULTILINE)
_HOOK = re.compile(r"""["']?helm\.sh/hook["']?:""")
_NEXT = re.compile(r"^---", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Made:
    """By one chart: the kinds of its objects, those of them that Helm waits for as hooks, and
    whether some cannot be told without rendering it. `unseen` says why nothing is known."""

    kinds: frozenset[str] = frozenset()
    hooks: frozenset[str] = frozenset()
    more: bool = False
    unseen: str = ""


def made_by(plan: RunPlan) -> Mapping[tuple[str, str], Made]:
    """By (namespace of the release, chart) of each step that upgrades one."""
    upgrades = [step.helm_upgrade for step in plan.playbook.steps if step.helm_upgrade]
    return {(each.namespace, each.chart): _made(plan, each.chart) for each in upgrades}


def _made(plan: RunPlan, chart: str) -> Made:
    try:
        path = local_chart(plan, chart)
        if path is None:
            return Made(unseen="it is not on this machine")
        texts = helmcharts.templates(path, chart)
    except SmoldebugError as error:
        return Made(unseen=str(error))
    found = [(kind, is_hook) for text in texts for kind, is_hook in _kinds(text)]
    return Made(
        frozenset(kind for kind, _ in found if kind != "{{"),
        frozenset(kind for kind, is_hook in found if is_hook and kind != "{{"),
        any(kind == "{{" for kind, _ in found),
    )


def _kinds(text: str) -> Iterator[tuple[str, bool]]:
    for document in _NEXT.split(text):
        for kind in _KIND.findall(document):
            yield kind, _HOOK.search(document) is not None
