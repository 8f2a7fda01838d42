"""A recording for others: secrets and personal data masked, nothing of the machine it was made on.

What a change is approved for changes with its masks, so its hash is made anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from smoldebug.change import Place, digest
from smoldebug.events import (
    AnyEvent,
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    Continued,
    ModelAsked,
    RunStarted,
    Stamped,
)
from smoldebug.past import past
from smoldebug.records import Card, Change, Json, Who
from smoldebug.redact import Redactor
from smoldebug.untrusted import whole

KEY = b"recorded runs"  # the same value gets the same mask, whoever records
SOMEBODY = Who("somebody")


def portable(events: Sequence[Stamped], options: Json) -> list[Stamped]:
    """`options`: what the recorded plan holds in place of the command's. Raises UsageError for a
    run that was killed before it had begun."""
    started = past(events).started
    masks = Redactor(key=KEY)
    paths = {started.kubeconfig: "kubeconfig", _folder(started): ".", str(Path.home()): "~"}
    known = {path: name for path, name in paths.items() if len(path) > 1}

    def clean(text: str) -> str:
        for path, name in known.items():
            text = text.replace(path, name)
        return masks.text(text)

    place = Place(events[0].run, started.context)
    digests: dict[str, str] = {}  # by card
    found = []
    for stamped in events:
        event = _masked(_own(stamped.event, options), masks)
        plain = whole(msgspec.to_builtins(event), text=clean)
        event = _hashed(msgspec.convert(plain, type(event)), place, digests)
        found.append(replace(stamped, event=event))
    return found


def _folder(started: RunStarted) -> str:
    """Of the playbook, absolute: beside it lie the files and the servers it names."""
    plan = started.plan["plan"] if isinstance(started.plan, dict) else {}
    return str(Path(plan["folder"]).absolute()) if plan.get("folder") else ""


def _own(event: AnyEvent, options: Json) -> AnyEvent:
    """Without what only this machine knows."""
    change = msgspec.structs.replace
    if isinstance(event, RunStarted):
        plan = event.plan["plan"] if isinstance(event.plan, dict) else {}
        plan = {**plan, "source": "playbook.yaml", "folder": "."}
        return change(
            event,
            kubeconfig="",
            cluster="",
            who=SOMEBODY,
            policies=(),
            revision="",
            matrix="",
            plan={"plan": plan, "options": options},
        )
    if isinstance(event, Continued):
        return change(event, who=SOMEBODY)
    if isinstance(event, ChangeDecided):
        return change(event, decision=replace(event.decision, who=""))
    if isinstance(event, ModelAsked):
        return change(event, messages=(), endpoint="")
    return event


def _masked(event: AnyEvent, masks: Redactor) -> AnyEvent:
    """What only the journal holds in full."""
    if isinstance(event, RunStarted):
        inputs, plan = masks.json(event.inputs), masks.json(event.plan)
        return msgspec.structs.replace(event, inputs=inputs, plan=plan)
    if isinstance(event, ChangeProposed | ChangeIntended):
        return msgspec.structs.replace(event, card=_with(event.card, lambda c: _fields(c, masks)))
    return event


def _fields(change: Change, masks: Redactor) -> Change:
    return replace(
        change,
        before=masks.fields(change.before),
        after=masks.fields(change.after),
        manifest=masks.json(change.manifest),
        then=_fields(change.then, masks) if change.then else None,
    )


def _hashed(event: AnyEvent, place: Place, digests: dict[str, str]) -> AnyEvent:
    replaced = msgspec.structs.replace
    if isinstance(event, ChangeProposed | ChangeIntended):
        card = replace(event.card, digest=digest(event.card.change, place))
        digests[card.id] = card.digest
        if isinstance(event, ChangeIntended):
            undo = None if card.change.no_undo else msgspec.to_builtins(card.change.inverse())
            return replaced(event, card=card, undo=undo)
        return replaced(event, card=card)
    if isinstance(event, ChangeDecided):
        return replaced(event, digest=digests.get(event.card, event.digest))
    return event


def _with(card: Card, do: Callable[[Change], Change]) -> Card:
    return replace(card, change=do(card.change))
