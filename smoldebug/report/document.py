"""The JSON document of a run: what `--output json` prints. Its fields are an API.

`hypotheses[].status` is what the investigator settled on; the word that people read, and
`cause.confidence`, follow from it and from the quotes (`Hypothesis.certainty`).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from smoldebug.events import SCHEMA_VERSION, Stamped
from smoldebug.ledger import Entry
from smoldebug.records import Json
from smoldebug.report.story import Driver, Later, Step, Story, story
from smoldebug.report.words import MASKS, cause, undo_by_hand, undo_command


def document(events: Iterable[Stamped]) -> dict[str, Json]:
    """Plain JSON values. Times are seconds since the run began, null where it did not happen."""
    told = story(events)
    word, found = cause(told)
    return {
        "schema_version": SCHEMA_VERSION,
        "run": told.run,
        **_started(told),
        "status": told.status.name.lower(),
        "exit_code": int(told.status),
        "outcome": told.outcome,
        "reason": told.ended.reason if told.ended else "the journal has no end",
        "question": told.ended.question if told.ended else "",
        "goal": _goal(told),
        "cause": {"confidence": word.lower(), "hypotheses": [item.id for item in found]},
        "offender": _offender(told),
        "hypotheses": _plain(told.hypotheses),
        "evidence": [_evidence(step) for step in told.steps if step.answer.evidence],
        "pull_request": _pull_request(told),
        "edited": MASKS.json(_plain(told.drafted.edited)) if told.drafted else [],
        "problems": list(told.drafted.problems) if told.drafted else [],
        "changes": [_change(told, change) for change in told.changes.values()],
        "gaps": _plain(told.gaps),
        "usage": _plain(told.usage),
        "models": [_driver(name, driver) for name, driver in told.drivers.items()],
        "switches": [
            {"from": event.model, "to": event.to, "why": event.why, "at": at.isoformat()}
            for at, event in told.switches
        ],
        "times": {
            "first_evidence": told.first_evidence,
            "cause": told.cause_named,
            "goal_met": told.goal_met,
            "total": told.seconds,
        },
    }


def _plain(value: Any) -> Json:
    return msgspec.to_builtins(value)


def _started(told: Story) -> Mapping[str, Json]:
    start = told.started
    return {
        "began": told.began.isoformat() if told.began else None,
        "command": start.command if start else "",
        "playbook": start.playbook if start else "",
        "revision": start.revision if start else "",
        "inputs": MASKS.json(_plain(start.inputs)) if start else {},
        "context": start.context if start else "",
        "cluster": start.cluster if start else "",
        "who": _plain(start.who) if start else None,
        "policies": list(start.policies) if start else [],
        "break_glass": start.break_glass if start else "",
        "continued": [
            {"command": what.command, "who": _plain(what.who), "at": at.isoformat()}
            for at, what in told.continued
        ],
        "namespaces": list(start.namespaces) if start else [],
        "repository": start.repository if start else "",
        "mode": start.mode if start else "",
        "model": start.model if start else "",
    }


def _pull_request(told: Story) -> Json:
    if not (url := told.pull_request):
        return None
    number = re.search(r"/(\d{1,15})/?$", url)
    return {"url": url, **({"number": int(number[1])} if number else {})}


def _goal(told: Story) -> Mapping[str, Json]:
    verdict = told.verdict
    return {
        "description": told.started.goal if told.started else "",
        "outcome": verdict.outcome.value if verdict else "unknown",
        "streak": verdict.streak if verdict else 0,
        "needed": verdict.needed if verdict else 0,
        "checks": _plain(verdict.results) if verdict else [],
    }


def _offender(told: Story) -> Json:
    """Who broke the goal of an upgrade; "" as its service: no single one. Null: nobody did."""
    if (blame := told.blame) is None:
        return None
    return {**_plain(blame), "explanation": told.explanation}


def _evidence(step: Step) -> Mapping[str, Json]:
    seen = step.answer.observation
    return {
        "id": step.answer.evidence,
        "tool": step.tool,
        "arguments": step.arguments,
        "at": step.at,
        "text": seen.text if seen else step.answer.text,
        "source": seen.source if seen else "",
        "ref": seen.ref if seen else "",
        "flags": list(step.answer.flags),
    }


def _change(told: Story, change: Entry) -> Mapping[str, Json]:
    card, made = change.card, change.card.change
    return {
        "id": card.id,
        "kind": made.kind.value,
        "target": str(made.target),
        "context": card.context,
        "before": MASKS.fields(_plain(made.before)),
        "after": MASKS.fields(_plain(made.after)),
        "why": made.why,
        "expects": made.expects,
        "evidence": list(made.evidence),
        "warnings": list(card.warnings),
        "managed": _plain(card.managed),
        "digest": card.digest,
        **_decision(told, change),
        "state": change.state,
        "detail": change.detail,
        "command": card.command,
        "undo": undo_command(told, change) if change.stands else None,
        "undo_by_hand": undo_by_hand(told, change) if change.stands else None,
        "no_undo": made.no_undo,
        **_later(told.later.get(card.id)),
    }


def _driver(name: str, driver: Driver) -> Mapping[str, Json]:
    used = driver.usage
    return {
        "model": name,
        "calls": used.calls,
        "failed": driver.failed,
        "from_cache": driver.from_cache,
        "tokens_in": used.tokens_in,
        "cached_in": used.cached_in,
        "tokens_out": used.tokens_out,
        "cost": used.cost,
    }


def _decision(told: Story, change: Entry) -> Mapping[str, Json]:
    decision, at = change.decision, told.decided_at(change.card.id)
    return {
        "decided_by": decision.by if decision else "",
        "who": decision.who if decision else "",
        "decided_at": at.isoformat() if at else None,
        "reason": decision.reason if decision else "",
        "lifted": decision.lifted if decision else "",
    }


def _later(later: Later | None) -> Mapping[str, Json]:
    return {
        "undo_by": later.who.user if later else "",
        "undo_at": later.at.isoformat() if later else None,
    }
