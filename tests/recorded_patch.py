"""A whole patch as events: twelve Deployments get FEATURE_FLAG, in one pull request that passes."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from smoldebug.clock import FakeClock
from smoldebug.events import (
    AnyEvent,
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Drafted,
    GoalChecked,
    RunEnded,
    RunStarted,
    Stamp,
    Stamped,
    Waiting,
)
from smoldebug.records import (
    Answer,
    Card,
    Change,
    ChangeKind,
    CheckResult,
    Decision,
    Edited,
    ObjectRef,
    Outcome,
    Usage,
    Verdict,
    Who,
)
from smoldebug.status import ExitStatus

BEGAN = datetime(2026, 11, 20, 9, 30, 0, tzinfo=UTC)
BRANCH = "smoldebug/FEATURE_FLAG"
COMMIT = "9ab12cd4e5f60718293a4b5c6d7e8f9012345678"
URL = "https://github.com/shop/manifests/pull/7"
SERVICES = ("auth", "billing", "cart", "catalog", "checkout", "email", "frontend", "orders")
SERVICES += ("payment", "ratings", "search", "shipping")
ANNA = Decision(Answer.YES, "operator", "", "anna")


def hunk(path: str, *lines: str) -> str:
    """One file of a diff as Git prints it."""
    added, removed = (sum(line[0] == sign for line in lines) for sign in "+-")
    kept = len(lines) - added - removed
    at = f"@@ -18,{kept + removed} +18,{kept + added} @@ spec:"
    names = (
        f"diff --git a/{path} b/{path}\nindex 4ab2f1f..587be6b 100644\n--- a/{path}\n+++ b/{path}"
    )
    return "\n".join([names, at, *lines]) + "\n"


def flag(service: str) -> str:
    return hunk(
        f"deploy/{service}.yaml",
        f"         - name: {service}",
        f"           image: registry.example/shop/{service}:1.4.2",
        "           env:",
        "+            - name: FEATURE_FLAG",
        '+              value: "true"',
        "             - name: PORT",
        '               value: "8080"',
        "           ports:",
    )


DIFF = "".join(map(flag, SERVICES))
EDITED = (
    *(
        Edited(ObjectRef("Deployment", "staging", name), f"deploy/{name}.yaml", 21, "changed")
        for name in SERVICES
    ),
    Edited(ObjectRef("Deployment", "staging", "gateway"), "deploy/gateway.yaml", 24, "already so"),
    Edited(
        ObjectRef("Deployment", "staging", "reports"),
        "charts/reports/values.yaml",
        0,
        "skipped",
        "no value of the chart sets it: its template would have to be changed",
        "helm charts/reports",
    ),
)
ASKED = Change(
    ChangeKind.PULL_REQUEST,
    ObjectRef("PullRequest", "", BRANCH),
    {},
    {
        "/base": "main",
        "/title": "Set FEATURE_FLAG=true in 12 Deployments of staging",
        "/body": "**Set FEATURE_FLAG=true**\n\n- one item\n",
        "/draft": True,
        "/labels": ["post-mortem"],
        "/reviewers": ["anna", "shop/platform"],
        "/assignees": [],
    },
    "Post-mortem fix of INC-4711",
)
PUSH = Change(
    ChangeKind.GIT_COMMIT,
    ObjectRef("Branch", "", BRANCH),
    {},
    {"/tip": COMMIT},
    "Post-mortem fix of INC-4711",
    then=ASKED,
)
CARD = Card(
    id="C1",
    change=PUSH,
    diff=DIFF,
    dry_run="accepted",
    command=f"git push https://github.com/shop/manifests {COMMIT[:12]}:refs/heads/{BRANCH}",
    limits="12 of 50 files",
    context="",
    digest="5d1f0e6a9c3b7a21",
)
FOLLOWS = Card(
    id="C2",
    change=ASKED,
    diff="open draft pull request: Set FEATURE_FLAG=true in 12 Deployments of staging\n\nbody",
    dry_run="not supported by forges",
    command=f"pull request at github.com/shop/manifests: {BRANCH} into main",
    limits="",
    context="",
    digest="0c9b8a7f6e5d4c3b",
)
DRAFTED = Drafted("shop/manifests", "main 3f2a1c9", BRANCH, COMMIT, EDITED, (), 0.412)


def recorded_patch() -> list[Stamped]:
    """What a journal of `smoldebug patch -p add-env-var` holds."""
    clock = FakeClock(BEGAN)
    stamp = Stamp("7f3a1c", clock)
    found = []
    for pause, event in _patch():
        clock.sleep(pause)
        found.append(stamp(event))
    return found


def _patch() -> Iterator[tuple[float, AnyEvent]]:
    """Seconds since the event before, and the event."""
    yield (
        0.0,
        RunStarted(
            command="patch",
            playbook="add-env-var",
            goal="Every Deployment manifest of the namespace sets the variable",
            model="expert",
            context="",
            namespaces=(),
            mode="ask",
            check_every=10.0,
            limits=Usage(max_turns=25, max_seconds=1800.0),
            version="0.2.0",
            revision="1c2d3e4",
            who=Who("anna"),
            repository=f"shop/manifests on github.com, main -> {BRANCH}",
        ),
    )
    yield 0.3, GoalChecked(0, verdict(Outcome.NOT_MET, "no pull request of the branch"))
    yield 0.5, DRAFTED
    yield 0.2, ChangeProposed(CARD)
    yield 6.0, ChangeDecided("C1", CARD.digest, ANNA)
    yield 0.0, ChangeIntended(CARD, {})
    yield 0.6, ChangeSettled("C1", "verified", f"branch {BRANCH} of shop/manifests new→9ab12cd")
    yield 0.1, ChangeProposed(FOLLOWS)
    yield 0.0, ChangeDecided("C2", FOLLOWS.digest, replace(ANNA, reason="with C1"))
    yield 0.0, ChangeIntended(FOLLOWS, {})
    yield 0.4, ChangeSettled("C2", "verified", f"opened {URL}")
    yield 0.2, GoalChecked(0, verdict(Outcome.INCONCLUSIVE, running(1)))
    yield 0.0, Waiting("watching the goal", 600.0)
    yield 10.0, GoalChecked(0, verdict(Outcome.INCONCLUSIVE, running(2)))
    yield 10.0, GoalChecked(0, verdict(Outcome.MET, "#7 is a draft at 9ab12cd; 3 of 3 passed"))
    met = verdict(Outcome.MET, "#7 is a draft at 9ab12cd; 3 of 3 passed")
    yield 0.0, RunEnded(ExitStatus.MET, "met", "the goal is met", Usage(seconds=28.3), met)


def running(passed: int) -> str:
    return f"checks {passed} of 3 passed; running: validate"


def verdict(outcome: Outcome, pull: str) -> Verdict:
    """The pull request's check decides; manifests hold once they are edited."""
    edited = outcome if outcome is Outcome.NOT_MET else Outcome.MET
    manifests = "12 of 13 lack it" if outcome is Outcome.NOT_MET else "14 of 14 have it"
    live = "13 of 14 live have one; only in the cluster: legacy"
    pending = outcome is Outcome.INCONCLUSIVE
    route = "" if pull.startswith("no pull request") else URL
    value = 3.0 if outcome is Outcome.MET else None
    results = (
        CheckResult("manifests", "manifests", edited, manifests),
        CheckResult("a manifest for every live Deployment", "covers_cluster", Outcome.MET, live),
        CheckResult(
            "pull request", "pull_request", outcome, pull, value, route=route, pending=pending
        ),
    )
    return Verdict(outcome, outcome, results)
