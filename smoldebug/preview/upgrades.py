"""What `smoldebug validate` does with a playbook's steps, in plain English."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from smoldebug.playbook.base import Duration, Model
from smoldebug.playbook.models import Playbook
from smoldebug.playbook.rules import checks_of
from smoldebug.playbook.upgraderules import actions_of
from smoldebug.playbook.upgrades import (
    Baseline,
    HelmRollback,
    HelmUpgrade,
    Step,
    WaitForRollout,
)

TAKES_BACK = ("undo", "rollback")  # on_failure, which mean the same


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds by the playbook's limits: `forward` up to the verdict of one cluster (None: no
    deadline), `back` to take its steps back and see the goal hold again, `all` over all clusters.
    """

    forward: float | None
    back: float
    all: float | None


def clusters(playbook: Playbook) -> Iterator[str]:
    matrix = playbook.matrix
    if matrix is None:
        yield "one: that of --context, else the kubeconfig's current one"
        return
    several = len(matrix.cluster) > 1
    pace = "one at a time" if matrix.parallel == 1 else f"{matrix.parallel} at a time"
    yield f"{', '.join(matrix.cluster)}{f'; {pace}, in this order' if several else ''}"
    if several and (most := matrix.stop_after_failures):
        yield f"once {_failed(most)}, no other is begun; those under way go on"
    elif several:
        yield "all are tried, whatever becomes of one"
    if matrix.wall:
        yield f"none is begun after {matrix.wall}; those under way go on"


def before(playbook: Playbook) -> Iterator[str]:
    """What each cluster is asked before the first step."""
    yield "releases, charts and files are looked up; if one is missing, nothing is touched"
    if (baseline := playbook.baseline) is None:
        yield "no baseline: the steps begin even where the goal does not hold"
    else:
        held = f"hold for {baseline.for_}" if baseline.for_ else "hold"
        wait = Duration(_baseline_seconds(baseline))
        yield f"the goal must {held}, within {wait}; else nothing is touched (exit 3)"
    checks = list(checks_of([*playbook.goal.all, *playbook.goal.any]))
    normal = [
        ("kinds of error lines", any(check.logs for check in checks)),
        ("restarts", any(check.restarts for check in checks)),
    ]
    if noted := [name for name, counts in normal if counts]:
        yield f"noted as normal, right before the first step: {' and '.join(noted)}"


def steps(playbook: Playbook) -> Iterator[str]:
    for number, step in enumerate(playbook.steps, 1):
        yield f"{number}. {_step(step)}"
    yield "what is so already is not changed; each step begins when the one before it has ended"


def reads(playbook: Playbook) -> Iterator[str]:
    for target in dict.fromkeys(_release(each) for each in _of_helm(playbook)):
        where = target.split("/")[1]
        yield f"{target}, which Helm keeps in Secrets of {where}, and all objects it has"


def asks(playbook: Playbook, unanswered: str) -> Iterator[str]:
    """Who is asked under `approval: auto`."""
    names, contexts = playbook.allow_auto_when, playbook.matrix.cluster if playbook.matrix else []
    if {*names} == {"cluster"} and contexts:
        free = [each for each in contexts if any(fnmatchcase(each, p) for p in names["cluster"])]
        asked = [each for each in contexts if each not in free]
        yield from [f"nobody in {', '.join(free)}"] if free else []
        yield from [f"you in {', '.join(asked)}, for every step; {unanswered}"] if asked else []
    else:
        yield f"nobody{pinned(playbook)}"
    if any(_of_helm(playbook)):
        yield (
            "you all the same, where objects of the release gain rights or cannot be read, or "
            f"where somebody's Helm operation never ended; {unanswered}"
        )


_PINNED = {"cluster": "called", "uid": "with the id", "server": "at"}


def pinned(playbook: Playbook) -> str:
    """` in clusters called *-staging; elsewhere you`, "" where nothing is said."""
    conditions = [
        f"{_PINNED[key]} {' or '.join(names)}" for key, names in playbook.allow_auto_when.items()
    ]
    return f" in clusters {' and '.join(conditions)}; elsewhere you" if conditions else ""


def failure(playbook: Playbook) -> Iterator[str]:
    matrix = playbook.matrix
    yield "pods, warnings and logs are read first; the service that broke it is named, or none is"
    if playbook.on_failure in TAKES_BACK:
        lasting = _lasting(playbook)
        held = f" for {Duration(lasting)}" if lasting else ""
        yield "then that cluster's steps are taken back unasked, newest first, and each is verified"
        wait = Duration(_again(playbook))
        yield f"the goal must hold again{held}, within {wait} (exit 4); else exit 5: page somebody"
        yield "Ctrl-C or SIGTERM: the step under way is ended, then all are taken back (exit 130)"
    else:
        yield "what was changed stays (exit 1); smoldebug undo RUN takes it back"
    if matrix and len(matrix.cluster) > 1:
        back = playbook.on_failure_others == "rollback" and playbook.on_failure in TAKES_BACK
        what = "are taken back, too, one by one" if back else "stay upgraded"
        yield f"clusters that were upgraded before {what}"


def times(playbook: Playbook) -> Times:
    matrix = playbook.matrix
    bounds = [float(bound) for bound in (playbook.limits.wall, playbook.goal.within) if bound]
    waits = _baseline_seconds(playbook.baseline) if playbook.baseline else 0.0
    acts = [block for step in playbook.steps for _, block in actions_of(step)]
    forward = max(min(bounds), waits + sum(map(_seconds, acts))) if bounds else None
    undone = sum(map(_seconds, _of_helm(playbook)))
    back = undone + _again(playbook) if playbook.on_failure in TAKES_BACK else 0.0
    if forward is None or matrix is None:
        return Times(forward, back, None if forward is None else forward + back)
    rounds = math.ceil(len(matrix.cluster) / matrix.parallel)
    failing = min(rounds, matrix.stop_after_failures or rounds)
    total = rounds * forward + failing * back
    if matrix.wall:
        total = min(total, matrix.wall + forward + back)
    others = playbook.on_failure_others == "rollback"
    return Times(forward, back, total + others * (len(matrix.cluster) - 1) * back)


def at_most(playbook: Playbook) -> Iterator[str]:
    worst = times(playbook)
    long = "no deadline" if worst.forward is None else Duration(worst.forward)
    taken = f", then {Duration(worst.back)} to take it back" if worst.back else ""
    where = ", in each cluster" if playbook.matrix else ""
    yield f"{long} to a verdict{taken}{where}; waiting for answers not counted"
    if worst.all is not None and playbook.matrix:
        yield f"{Duration(worst.all)} for all clusters"


# --- helpers --------------------------------------------------------------------------------


def _failed(most: int) -> str:
    return "one has not ended as met" if most == 1 else f"{most} have not ended as met"


def _baseline_seconds(baseline: Baseline) -> float:
    return float(baseline.within or 60 + 2 * baseline.for_)


def _again(playbook: Playbook) -> float:
    """Seconds that the goal gets to hold again."""
    from smoldebug.upgrade import AGAIN  # with it comes smolagents

    return AGAIN + _lasting(playbook)


def _lasting(playbook: Playbook) -> float:
    return float(playbook.baseline.for_) if playbook.baseline else 0.0


def _seconds(block: Model) -> float:
    if isinstance(block, HelmUpgrade | HelmRollback):
        return float(block.timeout)
    return float(block.within) if isinstance(block, WaitForRollout) else 0.0


def _of_helm(playbook: Playbook) -> Iterator[HelmUpgrade | HelmRollback]:
    for step in playbook.steps:
        if found := step.helm_upgrade or step.helm_rollback:
            yield found


def _step(step: Step) -> str:
    if step.helm_upgrade:
        return _upgrade(step.helm_upgrade)
    if back := step.helm_rollback:
        where = f"revision {back.revision}" if back.revision else "what was deployed before"
        limit = f"at most {back.timeout}; undo: helm-rollback to where it was"
        return f"helm-rollback {_release(back)} to {where}, {limit}"
    if new := step.kubectl_apply:
        undo = "undo: the fields as they were, what is new deleted"
        return f"apply-object or create-object, each manifest of {new.path}; {undo}"
    if image := step.set_image:
        which = f", container {image.container}," if image.container else ""
        return f"set-image {image.target}{which} to {image.image}; undo: the image it had"
    wait = step.wait_for_rollout or WaitForRollout()
    what = wait.target or "every workload in scope"
    return f"wait until the rollout of {what} is complete, at most {wait.within}"


def _upgrade(block: HelmUpgrade) -> str:
    version = f" {block.version}" if block.version else ""
    over = ", ".join((*block.values, *block.set))
    values = f"the values it has{f', over them {over}' if over else ''}"
    return (
        f"helm-upgrade {_release(block)} to {block.chart}{version}, with {values}, at most "
        f"{block.timeout}; undo: helm-rollback, but for what hooks and CRDs did"
    )


def _release(block: HelmUpgrade | HelmRollback) -> str:
    return f"HelmRelease/{block.namespace}/{block.release}"
