"""The one executor of changes. The fake cluster records every request: what was not to be sent
is not there."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.appliers import Applier, CommandApplier, KubeApplier, ServerApplier, appliers
from smoldebug.change import Approver, Executor, Outcome, Place, digest
from smoldebug.clock import FakeClock
from smoldebug.errors import (
    AccessDenied,
    ChangeRefused,
    Conflict,
    NotFound,
    SmoldebugError,
    ToolError,
    UnreachableError,
)
from smoldebug.events import (
    AnyEvent,
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    UndoIntended,
)
from smoldebug.guard import Guard
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.ledger import Entry
from smoldebug.playbook import models
from smoldebug.playbook.base import Duration
from smoldebug.pointers import lookup
from smoldebug.records import Answer, Card, Change, ChangeKind, Decision, ObjectRef
from smoldebug.redact import Redactor
from smoldebug.sources.fakes import FakeCluster, FakeProcesses, completed, fake_world

AUTH = ObjectRef("Deployment", "shop", "auth")
PAY = ObjectRef("Deployment", "shop", "pay")
LIFE = [ChangeProposed, ChangeDecided, ChangeIntended, ChangeSettled]
SPENT = models.Limits(rate=models.Rate(changes=0, per=Duration(3600)))
RESTARTED = "/spec/template/metadata/annotations/restartedAt"


def deployment(name: str = "auth", replicas: int = 1) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "uid": "u1", "resourceVersion": "11"},
        "spec": {"replicas": replicas, "template": {"metadata": {"annotations": {}}}},
    }


def scale(before: int = 1, after: int = 2, **fields: Any) -> Change:
    given = {"target": AUTH, "uid": "u1", "why": "busy", **fields}
    return Change(
        ChangeKind.SCALE,
        before={"/spec/replicas": before},
        after={"/spec/replicas": after},
        **given,
    )


def restart(**fields: Any) -> Change:
    return Change(
        ChangeKind.RESTART, AUTH, {}, {RESTARTED: "now"}, "stuck", no_undo="no way back", **fields
    )


def annotate(value: str = "x") -> Change:
    """A change that adds a field which was not there."""
    return Change(ChangeKind.PATCH_OBJECT, AUTH, {}, {"/spec/paused": value}, "wait", uid="u1")


def yes(card: Card) -> Decision:
    return Decision(Answer.YES, "operator")


def no(card: Card) -> Decision:
    return Decision(Answer.NO, "operator", "not now")


class Cuts(FakeCluster):
    """A cluster whose answer to a patch gets lost, after `takes` of them took."""

    takes = True

    def patch(self, ref, operations, *, dry_run, note, subresource=""):
        if not dry_run and not self.takes:
            raise UnreachableError("connection reset")
        done = super().patch(ref, operations, dry_run=dry_run, note=note)
        if not dry_run:
            raise UnreachableError("connection reset")
        return done


class Stage:
    def __init__(
        self,
        cluster: FakeCluster | None = None,
        approver: Approver = yes,
        processes: FakeProcesses | None = None,
        **fields: Any,
    ) -> None:
        self.cluster = cluster or FakeCluster([deployment(), deployment("pay")])
        self.processes = processes or FakeProcesses()
        self.clock = FakeClock()
        tool = models.ChangeTool(allow=list(ChangeKind), targets=["*/*/*"], values=["*"])
        playbook = models.Playbook(
            apiVersion="smoldebug.dev/v1",
            name="test",
            goal=models.Goal(),
            tools=models.Tools(change=tool),
            **fields,
        )
        masks = Redactor(["hunter22"])
        self.by: dict[ChangeKind, Applier] = {
            **dict.fromkeys(KUBE_KINDS, KubeApplier(lambda: self.cluster)),
            ChangeKind.RUN_COMMAND: CommandApplier(self.processes, masks),
        }
        guard = Guard(playbook, context="lab")
        place = Place("7f3a1c", "lab")
        self.executor = Executor(guard, self.by, approver, self.clock, place, masks.text)

    def execute(self, change: Change) -> tuple[list[AnyEvent], Outcome]:
        return played(self.executor.execute(change))

    def apply(self, *changes: Change) -> None:
        for change in changes:
            assert self.execute(change)[1].state == "verified"

    def take_back(self) -> tuple[list[Any], bool]:
        """How each undo ended, and whether all is back. Its intent must come before it."""
        events, clean = played(self.executor.take_back())
        intents, settled = events[::2], events[1::2]
        assert [type(event) for event in intents] == [UndoIntended] * len(settled)
        assert [event.card for event in intents] == [event.card for event in settled]
        return settled, clean

    @property
    def sent(self) -> list[Any]:
        """Patches that were more than a dry run, and commands."""
        real = [r for r in self.cluster.requests if r.verb == "patch" and not r.detail["dry_run"]]
        return [*real, *self.processes.requests]

    @property
    def replicas(self) -> int:
        return self.cluster.objects[AUTH]["spec"]["replicas"]


def played(stream: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    events: list[Any] = []
    while True:
        try:
            events.append(next(stream))
        except StopIteration as end:
            return events, end.value


def types(events: Sequence[AnyEvent]) -> list[type]:
    return [type(event) for event in events]


# --- the life of a change ------------------------------------------------------------------------


def test_a_change_is_proposed_decided_intended_and_settled():
    stage = Stage()
    events, outcome = stage.execute(scale())
    assert types(events) == LIFE
    proposed, decided, intended, settled = events
    assert proposed.card.id == decided.card == settled.card == "C1"
    assert proposed.card.digest == decided.digest == intended.card.digest
    assert decided.digest == digest(scale(), Place("7f3a1c", "lab"))
    assert (settled.state, settled.detail) == ("verified", "resourceVersion 11→12")
    assert outcome.state == "verified"
    assert outcome.text == (
        "applied and verified: Deployment/shop/auth replicas 1→2 (resourceVersion 11→12)"
    )
    assert stage.replicas == 2
    assert stage.executor.changes == [scale()]


def test_the_card_shows_what_an_approver_needs():
    [proposed, *_], _ = Stage().execute(scale())
    card = proposed.card
    assert card.change == scale()
    assert card.diff == "-spec.replicas: 1\n+spec.replicas: 2"
    assert card.dry_run == "accepted"
    assert card.command == "kubectl --context fake -n shop scale deployment/auth --replicas=2"
    assert card.limits == "1 of 3 changes · factor 2 of 3 allowed"
    assert card.context == "lab"


def test_nothing_that_is_shown_of_a_change_has_a_secret_in_it():
    stage = Stage()
    gap = AccessDenied("may not list what hunter22 opens")
    stage.cluster.refuse("list", "ConfigMap", error=gap)
    stage.apply(annotate("hunter22"))
    [card] = stage.executor.applied
    [warning] = card.warnings
    shown = (card.diff, card.full_diff, card.command, warning)
    assert all("[secret:" in text for text in shown), shown
    assert "hunter22" not in str(shown)
    assert "[secret:" in stage.executor.rehearse(card)[1]
    set_field("/spec/paused", "theirs")(stage.cluster)
    for detail in (stage.take_back()[0][0].detail, stage.executor.rehearse(card)[1]):
        assert "ours [secret:" in detail
        assert "hunter22" not in detail


def test_the_intent_holds_what_undoes_it():
    events, _ = Stage().execute(scale())
    undo = events[2].undo
    assert (undo["before"], undo["after"]) == ({"/spec/replicas": 2}, {"/spec/replicas": 1})
    assert undo["uid"] == "u1"
    events, _ = Stage().execute(restart())
    assert events[2].undo is None


def test_the_intent_is_out_before_anything_is_sent():
    stage = Stage()
    stream = stage.executor.execute(scale())
    for event in stream:
        assert bool(stage.sent) == isinstance(event, ChangeSettled)


@pytest.mark.parametrize("index", range(len(LIFE)))
def test_nothing_is_sent_after_the_stream_is_closed(index: int):
    stage = Stage()
    stream = stage.executor.execute(scale())
    for _ in range(index + 1):
        next(stream)
    before = list(stage.cluster.requests)
    stream.close()
    assert stage.cluster.requests == before
    assert bool(stage.sent) == (index == 3)


@pytest.mark.parametrize("index", range(3))
def test_an_undo_is_not_gone_on_with_after_the_stream_is_closed(index: int):
    stage = Stage()
    stage.apply(scale(), scale(target=PAY), scale(2, 3))
    stream = stage.executor.take_back()
    for _ in range(2 * (index + 1)):  # an intent and an end each
        next(stream)
    before = list(stage.cluster.requests)
    stream.close()
    assert stage.cluster.requests == before
    assert len(stage.sent) == 3 + index + 1


def test_where_nothing_can_be_recorded_the_cluster_is_not_even_asked():
    stage = Stage()
    stage.executor.unrecorded = "disk full"
    events, outcome = stage.execute(scale())
    assert (events, outcome.state) == ([], "refused")
    assert "cannot be recorded: disk full" in outcome.text
    assert stage.cluster.requests == []


def test_an_intent_that_could_not_be_recorded_is_not_acted_on():
    stage = Stage()
    stream, events = stage.executor.execute(scale()), []
    for _ in range(3):
        events.append(next(stream))
    stage.executor.unrecorded = "disk full"
    [settled], outcome = played(stream)
    assert isinstance(events[-1], ChangeIntended)
    assert (settled.state, settled.detail, outcome.state) == ("failed", "disk full", "refused")
    assert stage.sent == []


# --- who says no -------------------------------------------------------------------------------


def test_the_guard_is_asked_before_the_cluster():
    stage = Stage()
    events, outcome = stage.execute(scale(1, 9))
    assert events == []
    assert outcome.state == "refused"
    assert "max_factor" in outcome.text
    assert stage.cluster.requests == []


@pytest.mark.parametrize(
    "error",
    [ChangeRefused("quota exceeded"), AccessDenied("forbidden"), NotFound("no such object")],
)
def test_what_the_dry_run_refuses_is_not_proposed(error: SmoldebugError):
    stage = Stage()
    stage.cluster.refuse("patch", "Deployment", error)
    events, outcome = stage.execute(scale())
    assert events == []
    assert outcome.state == "refused"
    assert str(error) in outcome.text
    assert stage.sent == []


def test_a_kind_of_change_nobody_can_carry_out_is_refused():
    stage = Stage()
    events, outcome = stage.execute(replace(scale(), kind=ChangeKind.HELM_UPGRADE))
    assert (events, outcome.state) == ([], "refused")
    assert "helm-upgrade" in outcome.text


def test_refused_proposals_use_up_no_number():
    stage = Stage()
    stage.execute(scale(7, 8))
    [proposed, *_], _ = stage.execute(scale())
    assert proposed.card.id == "C1"


@pytest.mark.parametrize(
    ("decision", "state", "says"),
    [
        (Decision(Answer.NO, "operator", "not during the sale"), "declined", "not during the sale"),
        (Decision(Answer.NO, "operator"), "declined", "no reason given"),
        (Decision(Answer.PENDING, "nobody", "no terminal"), "pending", "no terminal"),
    ],
)
def test_without_a_yes_nothing_is_sent(decision: Decision, state: str, says: str):
    stage = Stage(approver=lambda card: decision)
    events, outcome = stage.execute(scale())
    assert types(events) == LIFE[:2]
    assert events[1].decision == decision
    assert (outcome.state, outcome.card) == (state, events[0].card)
    assert says in outcome.text
    assert stage.sent == []
    assert stage.executor.applied == []


def never_asked(card: Card) -> Decision:
    raise AssertionError(card)


def test_approval_never_is_a_no_without_a_question():
    stage = Stage(approver=never_asked, approval="never")
    events, outcome = stage.execute(scale())
    assert (types(events), outcome.state) == (LIFE[:2], "declined")
    assert events[1].decision == Decision(Answer.NO, "playbook", "approval: never")
    assert stage.sent == []


def test_approval_auto_is_a_yes_without_a_question():
    events, outcome = Stage(approver=never_asked, approval="auto").execute(scale())
    assert outcome.state == "verified"
    assert events[1].decision == Decision(Answer.YES, "playbook", "approval: auto")


def test_what_cannot_be_undone_is_asked_for_even_under_auto():
    asked: list[Card] = []

    def ask(card: Card) -> Decision:
        asked.append(card)
        return yes(card)

    Stage(approver=ask, approval="auto").execute(restart())
    assert [card.change.no_undo for card in asked] == ["no way back"]
    two = FakeCluster([deployment(replicas=2)])
    allowed = [ChangeKind.RESTART]
    Stage(two, approver=never_asked, approval="auto", allow_without_undo=allowed).execute(restart())


@pytest.mark.parametrize("lifted", [False, True])
def test_what_carries_a_warning_is_asked_for_even_under_auto(lifted: bool):
    """A single pod that is restarted; a limit that a break-glass lifts."""
    allowed = [ChangeKind.RESTART, ChangeKind.SCALE]
    stage = Stage(approver=no, approval="auto", allow_without_undo=allowed, limits=SPENT)
    stage.executor.break_glass = "INC-7"
    if not lifted:
        stage = Stage(approver=no, approval="auto", allow_without_undo=allowed)
    events, outcome = stage.execute(scale() if lifted else restart())
    assert outcome.state == "declined"
    assert len(events[0].card.warnings) == 1


@pytest.mark.parametrize("break_glass", ["", "INC-7"])
def test_a_limit_that_comes_in_the_way_while_somebody_decides_is_a_no(break_glass: str):
    """Nor does a break-glass lift what nobody was told of."""
    freeze = models.Freeze(from_="2026-01-01T00:01:00Z", to="2026-01-02", reason="sale")
    stage = Stage(
        approver=lambda card: (stage.clock.sleep(90), yes(card))[1],
        limits=models.Limits(freezes=[freeze]),
    )
    stage.executor.break_glass = break_glass
    events, outcome = stage.execute(scale())
    assert types(events) == [*LIFE[:2], ChangeSettled]
    assert (events[-1].state, outcome.state) == ("refused", "refused")
    assert "sale" in outcome.text
    assert stage.sent == []


def test_time_spent_waiting_for_an_answer_is_known():
    stage = Stage(approver=lambda card: (stage.clock.sleep(40), yes(card))[1])
    stage.apply(scale(), scale(2, 3))
    assert stage.executor.waited == 80


# --- the change that was approved, or none -----------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        scale(1, 3),
        scale(2, 2),
        scale(uid="u2"),
        scale(target=PAY),
        replace(scale(), kind=ChangeKind.PATCH_OBJECT),
        annotate(),
        replace(scale(), manifest={"spec": {}}),
        replace(scale(), then=scale(2, 3)),
    ],
)
def test_every_byte_that_would_be_sent_is_in_the_digest(other: Change):
    assert digest(other) != digest(scale())
    assert digest(replace(scale(), why="other", evidence=("E1",))) == digest(scale())


def test_so_is_every_byte_of_what_follows():
    first = replace(scale(), then=scale(2, 3))
    for then in (scale(2, 4), scale(2, 3, uid="u2"), replace(scale(2, 3), then=scale(3, 4))):
        assert digest(replace(first, then=then)) != digest(first)


def test_a_yes_is_for_one_cluster_whatever_its_context_is_called():
    places = [Place(), Place("", "lab"), Place("", "lab", "uid-1"), Place("", "lab", "uid-2")]
    assert len({digest(scale(), place) for place in places}) == len(places)
    assert digest(scale(), Place("7f3a")) == digest(scale(), Place("0000"))


def test_the_order_of_fields_is_not_in_the_digest():
    one = replace(scale(), before={"/a": {"x": 1, "y": 2}, "/b": 2})
    other = replace(scale(), before={"/b": 2, "/a": {"y": 2, "x": 1}})
    assert digest(one) == digest(other)


def test_a_change_that_was_altered_after_it_was_shown_is_not_sent():
    stage = Stage()
    after = {"/spec/replicas": 2}
    change = replace(scale(), after=after)
    stage = Stage(approver=lambda card: (after.update({"/spec/replicas": 3}), yes(card))[1])
    events, outcome = stage.execute(change)
    assert types(events) == [*LIFE[:2], ChangeSettled]
    assert events[-1].state == "refused"  # also for whoever reads the journal alone
    assert outcome.state == "refused"
    assert "not the change that was approved" in outcome.text
    assert stage.sent == []


def somebody(act: Callable[[FakeCluster], Any], **fields: Any) -> Stage:
    """A stage on which somebody else acts while the operator reads the card."""
    stage = Stage(approver=lambda card: (act(stage.cluster), yes(card))[1], **fields)
    return stage


def set_field(path: str, value: Any) -> Callable[[FakeCluster], Any]:
    patch = [{"op": "add", "path": path, "value": value}]
    return lambda cluster: FakeCluster.patch(cluster, AUTH, patch, dry_run=False, note="somebody")


@pytest.mark.parametrize(
    "act", [set_field("/metadata/uid", "u2"), lambda cluster: cluster.objects.pop(AUTH)]
)
def test_an_object_that_is_another_one_or_gone_is_not_changed(act: Callable[[FakeCluster], Any]):
    stage = somebody(act)
    events, outcome = stage.execute(scale())
    assert types(events) == LIFE
    assert (outcome.state, events[-1].state) == ("failed", "failed")
    assert "nothing changed" in outcome.text
    assert stage.executor.applied == []
    assert stage.cluster.objects.get(AUTH, {"spec": {"replicas": 1}})["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("change", "path", "theirs"),
    [(scale(after=3), "/spec/replicas", 2), (annotate("ours"), "/spec/paused", "theirs")],
)
def test_a_field_that_moved_while_it_was_approved_is_asked_for_again(
    change: Change, path: str, theirs: Any
):
    cards: list[Card] = []

    def approve(card: Card) -> Decision:
        cards.append(card)
        if len(cards) == 1:
            set_field(path, theirs)(stage.cluster)
            return yes(card)
        assert lookup(stage.cluster.objects[AUTH], path) == theirs, "nothing was overwritten"
        return Decision(Answer.NO, "operator", "theirs is right")

    stage = Stage(approver=approve)
    events, outcome = played(stage.executor.execute(change, "C9"))
    assert [card.id for card in cards] == ["C9", "C1"], "a yes to the one is none to the other"
    assert [card.change.before for card in cards] == [change.before, {path: theirs}]
    assert cards[0].digest != cards[1].digest
    assert types(events) == [*LIFE, ChangeProposed, ChangeDecided]
    assert outcome.state == "declined"
    assert lookup(stage.cluster.objects[AUTH], path) == theirs


def test_a_field_that_never_stands_still_is_not_asked_for_for_ever():
    replicas = iter(range(1, 99))

    def approve(card: Card) -> Decision:
        set_field("/spec/replicas", 10 + next(replicas))(stage.cluster)
        return yes(card)

    stage = Stage(
        approver=approve, limits=models.Limits(replicas=models.ReplicaLimits(max_factor=99))
    )
    events, outcome = stage.execute(scale(after=9))
    assert types(events) == LIFE * 3
    assert outcome.state == "failed"


def test_each_change_that_is_made_counts_against_the_rate():
    stage = Stage(limits=models.Limits(rate=models.Rate(changes=1, per=Duration(3600))))
    stage.apply(scale())
    assert "limits.rate is used up" in stage.execute(scale(2, 3))[1].text
    stage.clock.sleep(3601)
    stage.apply(scale(2, 3))


def test_what_the_server_refused_uses_up_no_limit():
    moves = iter([set_field("/spec/replicas", 2)])
    stage = somebody(lambda cluster: [move(cluster) for move in moves], limits=SPENT)
    stage.executor.break_glass = "INC-7"
    events, outcome = stage.execute(scale(after=3))
    assert types(events) == LIFE * 2, "asked for again, with the limit lifted again"
    assert outcome.state == "verified"
    assert stage.executor.break_glass == "", "once is once"
    assert "limits.rate is used up" in stage.execute(scale(3, 4))[1].text


def test_what_others_change_elsewhere_in_the_object_is_no_reason_to_stop():
    stage = somebody(set_field("/spec/minReadySeconds", 3))
    assert stage.execute(scale())[1].state == "verified"
    assert stage.cluster.objects[AUTH]["spec"]["minReadySeconds"] == 3


# --- when the answer is lost ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [ChangeRefused("conflict"), AccessDenied("forbidden: patch")])
def test_a_clear_no_to_the_real_patch_is_a_failure_and_nothing_to_undo(error: SmoldebugError):
    stage = Stage(approver=lambda card: (stage.cluster.refuse("patch", error=error), yes(card))[1])
    events, outcome = stage.execute(scale())
    assert events[-1] == ChangeSettled("C1", "failed", str(error))
    assert outcome.state == "failed"
    assert stage.executor.applied == []


def test_a_cluster_that_is_gone_before_anything_was_sent_is_a_failure():
    gone = UnreachableError("no route to host")
    stage = Stage(approver=lambda card: (stage.cluster.refuse("*", error=gone), yes(card))[1])
    events, outcome = stage.execute(scale())
    assert outcome.state == "failed"
    assert "it was not sent: no route to host" in outcome.text
    assert stage.sent == []


def test_cut_off_but_it_took_is_verified():
    stage = Stage(Cuts([deployment()]))
    events, outcome = stage.execute(scale())
    assert events[-1].state == outcome.state == "verified"
    assert "no answer, but it took: connection reset" in events[-1].detail
    assert stage.executor.changes == [scale()]


def test_cut_off_and_not_there_is_unknown_and_taken_back_later():
    cluster = Cuts([deployment()])
    cluster.takes = False
    stage = Stage(cluster)
    stream = stage.executor.execute(scale())
    events = [next(stream) for _ in LIFE]
    assert events[-1] == ChangeSettled("C1", "unknown", "connection reset")
    assert stage.executor.changes == [scale()], "even if the stream ends here"
    assert played(stream)[1].state == "unknown"
    [settled], clean = stage.take_back()
    assert (settled.state, settled.detail, clean) == ("undone", "it was already as before", True)


def test_reading_back_something_else_is_unknown():
    class Webhook(FakeCluster):
        def patch(self, ref, operations, *, dry_run, note, subresource=""):
            done = super().patch(ref, operations, dry_run=dry_run, note=note)
            if not dry_run:
                self.objects[ref]["spec"]["replicas"] = 4
            return done

    stage = Stage(Webhook([deployment()]))
    events, outcome = stage.execute(scale())
    assert events[-1].state == outcome.state == "unknown"
    assert "read back something else" in events[-1].detail
    [settled], clean = stage.take_back()
    assert (settled.state, clean) == ("undo blocked", False)
    assert settled.detail == "spec.replicas: before 1, ours 2, now 4"
    assert stage.replicas == 4, "what somebody else wants is not overwritten"


# --- undo ----------------------------------------------------------------------------------------


def test_everything_is_taken_back_newest_first_and_read_back():
    stage = Stage()
    stage.apply(scale(), scale(target=PAY), scale(2, 3))
    events, clean = stage.take_back()
    assert [(event.card, event.state) for event in events] == [
        ("C3", "undone"),
        ("C2", "undone"),
        ("C1", "undone"),
    ]
    assert events[0].detail == "Deployment/shop/auth replicas 3→2 (resourceVersion 13→14)"
    assert clean
    assert stage.replicas == 1
    assert stage.executor.changes == []
    assert stage.take_back() == ([], True), "once is enough"


def test_nothing_is_undone_before_the_intent_is_recorded():
    stage = Stage()
    stage.apply(scale())
    stream = stage.executor.take_back()
    assert next(stream) == UndoIntended("C1")
    stream.close()
    assert stage.replicas == 2


def test_an_added_field_is_removed_again():
    stage = Stage()
    stage.apply(annotate())
    assert stage.take_back()[1]
    assert stage.cluster.objects[AUTH]["spec"] == deployment()["spec"]


@pytest.mark.parametrize(
    ("change", "path"), [(scale(), "/spec/replicas"), (annotate(), "/spec/paused")]
)
def test_what_somebody_else_changed_since_is_not_overwritten(change: Change, path: str):
    stage = Stage()
    stage.apply(change, scale(target=PAY))
    set_field(path, 5)(stage.cluster)
    events, clean = stage.take_back()
    assert [event.state for event in events] == ["undone", "undo blocked"]
    assert not clean
    assert stage.cluster.objects[AUTH]["spec"][path.rpartition("/")[2]] == 5
    assert stage.cluster.objects[PAY]["spec"]["replicas"] == 1, "the rest is taken back"


def test_a_removed_field_that_somebody_else_set_since_is_not_overwritten():
    stage = Stage()
    stage.cluster.objects[AUTH]["spec"]["paused"] = "ours"
    stage.apply(
        Change(ChangeKind.PATCH_OBJECT, AUTH, {"/spec/paused": "ours"}, {}, "go on", uid="u1")
    )
    set_field("/spec/paused", "theirs")(stage.cluster)
    [settled], clean = stage.take_back()
    assert (settled.state, clean) == ("undo blocked", False)
    assert settled.detail == "spec.paused: before ours, ours absent, now theirs"
    assert stage.cluster.objects[AUTH]["spec"]["paused"] == "theirs"


def test_an_object_that_was_replaced_is_not_touched():
    stage = Stage()
    stage.apply(scale())
    stage.cluster.put(
        {**deployment(replicas=2), "metadata": {**deployment()["metadata"], "uid": "u2"}}
    )
    [settled], clean = stage.take_back()
    assert (settled.state, clean) == ("undo blocked", False)
    assert "somebody has made another Deployment/shop/auth" in settled.detail
    assert stage.replicas == 2


def test_a_field_that_somebody_set_back_already_is_fine():
    stage = Stage()
    stage.apply(scale())
    set_field("/spec/replicas", 1)(stage.cluster)
    assert stage.take_back()[0] == [ChangeSettled("C1", "undone", "it was already as before")]


def test_what_has_no_inverse_says_so():
    stage = Stage()
    stage.apply(restart(), scale())
    events, clean = stage.take_back()
    assert [(event.state, event.detail) for event in events][1] == (
        "cannot be undone",
        "no way back",
    )
    assert not clean
    assert stage.replicas == 1


def test_an_undo_whose_answer_is_lost_is_settled_by_looking():
    stage = Stage(Cuts([deployment()]))
    stage.execute(scale())
    [settled], clean = stage.take_back()
    assert (settled.state, clean) == ("undone", True)
    assert settled.detail.endswith("(no answer, but it took: connection reset)")
    assert stage.replicas == 1


def test_an_undo_that_cannot_be_seen_is_not_claimed():
    stage = Stage()
    stage.apply(scale())
    stage.cluster.refuse("*", error=UnreachableError("no route to host"))
    [settled], clean = stage.take_back()
    assert (settled.state, clean) == ("undo failed", False)
    assert "no route to host" in settled.detail


@given(st.lists(st.tuples(st.sampled_from([AUTH, PAY]), st.integers(1, 3)), max_size=5))
def test_taking_back_any_sequence_restores_every_object(steps: list[tuple[ObjectRef, int]]):
    stage = Stage()
    for target, wanted in steps:
        now = stage.cluster.objects[target]["spec"]["replicas"]
        stage.apply(scale(now, wanted, target=target))
    assert stage.take_back()[1]
    for target in (AUTH, PAY):
        assert stage.cluster.objects[target]["spec"] == deployment()["spec"]


def test_a_rehearsed_undo_says_what_it_would_send_and_sends_nothing():
    stage = Stage()
    stage.apply(scale(after=3))
    [card] = stage.executor.applied
    sent = len(stage.sent)
    state, detail = stage.executor.rehearse(card)
    assert state == "would be undone"
    assert "scale deployment/auth --replicas=1" in detail
    set_field("/spec/replicas", 7)(stage.cluster)
    state, detail = stage.executor.rehearse(card)
    assert (state, "before 1, ours 3, now 7" in detail) == ("undo blocked", True)
    set_field("/spec/replicas", 1)(stage.cluster)
    assert stage.executor.rehearse(card) == ("undone", "it is as before already")
    assert stage.executor.rehearse(replace(card, change=restart()))[0] == "cannot be undone"
    theirs = [r for r in stage.sent if r.detail["note"] == "somebody"]
    assert len(stage.sent) == sent + len(theirs)


def test_an_undo_that_somebody_was_quicker_than_is_blocked_and_not_failed():
    stage = Stage()
    stage.apply(scale())
    stage.cluster.refuse("patch", error=Conflict("it has changed since it was read"))
    [settled], clean = stage.take_back()
    assert (settled.state, clean) == ("undo blocked", False)


def test_an_undo_that_reads_back_something_else_has_failed():
    class Webhook(FakeCluster):
        def patch(self, ref, operations, *, dry_run, note, subresource=""):
            done = super().patch(ref, operations, dry_run=dry_run, note=note)
            if "undo" in note and not dry_run:
                self.objects[ref]["spec"]["replicas"] = 4
            return done

    stage = Stage(Webhook([deployment()]))
    stage.apply(scale())
    [settled], clean = stage.take_back()
    assert (settled.state, clean) == ("undo failed", False)
    assert "read back something else" in settled.detail
    assert len(stage.executor.applied) == 1, "it still stands"


# --- taken up again ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replicas", "intent", "state", "now"),
    [
        (1, "change", "failed", 1),
        (2, "change", "verified", 2),
        (7, "change", "unknown", 7),
        (1, "undo", "undone", 1),
        (2, "undo", "undone", 1),
        (7, "undo", "undo blocked", 7),
        (2, "", "verified", 2),
    ],
)
def test_what_a_killed_process_left_open_is_settled_by_looking(
    replicas: int, intent: str, state: str, now: int
):
    stage = Stage(FakeCluster([deployment(replicas=replicas)]))
    entry = left(stage, "verified")
    if intent:
        entry.intend(intent)
    events, _ = played(stage.executor.settle([entry]))
    assert [event.state for event in events] == ([state] if intent else [])
    assert (entry.state, entry.intent, stage.replicas) == (state, "", now)


def test_a_process_is_not_said_to_be_as_before_since_nothing_tells():
    class Server(CommandApplier):
        def holds(self, change: Change, note: str) -> bool:
            return not change.after  # asked for the inverse, which a process does not have

    stage = Stage()
    command = Change(
        ChangeKind.RUN_COMMAND,
        ObjectRef("Command", "", "x"),
        {},
        {"/argv": ["x"]},
        "why",
        no_undo="it ran",
    )
    stage.by[ChangeKind.RUN_COMMAND] = Server(stage.processes)
    entry = left(stage, "approved")
    entry.card = replace(entry.card, change=command)
    entry.intend("change")
    [settled], _ = played(stage.executor.settle([entry]))
    assert settled.state == "unknown"


def left(stage: Stage, state: str, change: Change | None = None, **fields: Any) -> Entry:
    """What an earlier process left of its first change."""
    shown = Stage().execute(change or scale())[0][0]
    assert isinstance(shown, ChangeProposed)
    given = {"decision": yes(shown.card), "at": stage.clock.now(), **fields}
    return Entry(shown.card, state, **given)


def test_a_yes_given_beforehand_is_asked_for_no_more_and_counts_once():
    stage = Stage(approver=no)
    stage.executor.restore([left(stage, "approved")])
    events, outcome = played(stage.executor.execute(scale(), "C1"))
    assert (outcome.state, events[0].card.id, events[1].decision.by) == (
        "verified",
        "C1",
        "operator",
    )
    set_field("/spec/replicas", 1)(stage.cluster)
    assert stage.execute(scale())[1].state == "declined"


@pytest.mark.parametrize(("minutes", "state"), [(59, "verified"), (60, "declined")])
def test_a_yes_given_beforehand_lasts_an_hour(minutes: int, state: str):
    stage = Stage(approver=no)
    entry = left(stage, "approved")
    stage.clock.sleep(minutes * 60)
    stage.executor.restore([entry])
    assert stage.execute(scale())[1].state == state


@pytest.mark.parametrize(("known", "state"), [(True, "verified"), (False, "declined")])
def test_a_yes_given_beforehand_covers_no_new_warning(known: bool, state: str):
    stage = Stage(approver=no)
    entry = left(stage, "approved", restart())
    assert entry.card.warnings, "it is a single pod"
    if not known:
        entry.card = replace(entry.card, warnings=())
    stage.executor.restore([entry])
    assert stage.execute(restart())[1].state == state


def test_a_yes_that_no_operator_gave_is_not_one_beforehand():
    """`approval` may have been auto then, and a policy may have made it ask since."""
    stage = Stage(approver=no)
    auto = Decision(Answer.YES, "playbook", "approval: auto")
    stage.executor.restore([left(stage, "approved", decision=auto)])
    assert stage.execute(scale())[1].state == "declined"


def test_no_yes_given_beforehand_outweighs_approval_never():
    stage = Stage(approver=no, approval="never")
    stage.executor.restore([left(stage, "approved")])
    assert stage.execute(scale())[1].state == "declined"
    assert stage.sent == []


@pytest.mark.parametrize(
    ("state", "stands", "counts"),
    [
        ("verified", True, True),
        ("unknown", True, True),
        ("undo blocked", True, True),
        ("undone", False, True),
        ("failed", False, False),
        ("refused", False, False),
        ("waiting", False, False),
    ],
)
def test_what_an_earlier_process_did_stands_and_counts(state: str, stands: bool, counts: bool):
    limits = models.Limits(rate=models.Rate(changes=1, per=Duration(3600)))
    stage = Stage(limits=limits)
    stage.executor.break_glass = "INC-7"
    lifted = Decision(Answer.YES, "operator", lifted="limits.rate")
    stage.executor.restore([left(stage, state, decision=lifted)])
    assert bool(stage.executor.changes) == stands
    assert (stage.executor.break_glass == "") == counts, "once is once"
    assert (stage.execute(scale())[1].state == "refused") == counts


def test_changes_are_numbered_on():
    stage = Stage()
    stage.executor.restore([left(stage, "failed"), left(stage, "refused")])
    assert stage.execute(scale())[0][0].card.id == "C3"


# --- commands ------------------------------------------------------------------------------------


def command(*argv: str, **fields: Any) -> Change:
    given = {"no_undo": "a command cannot be taken back", **fields}
    target = ObjectRef("Command", "local", "flush")
    return Change(ChangeKind.RUN_COMMAND, target, {}, {"/argv": list(argv)}, "full", **given)


def test_a_command_is_run_once_and_says_how_it_ended():
    stage = Stage(processes=FakeProcesses({"flush --all": completed(0, "freed 3\n")}))
    [proposed, *_], outcome = stage.execute(command("flush", "--all"))
    assert proposed.card.command == "flush --all"
    assert proposed.card.dry_run == "not supported for commands"
    assert outcome.state == "verified"
    assert outcome.text.endswith("(exit code 0: freed 3)")
    assert [request.name for request in stage.processes.requests] == ["flush --all"]
    assert stage.take_back()[1] is False


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (completed(1, stderr="disk is read-only"), "exit code 1: disk is read-only"),
        (completed(None), "stopped after 60 s: flush"),
        (ToolError("no such program: flush"), "no such program"),
    ],
)
def test_a_command_that_fails_leaves_nobody_sure(result: Any, says: str):
    stage = Stage(processes=FakeProcesses({"flush": result}))
    _, outcome = stage.execute(command("flush"))
    assert outcome.state == "unknown"
    assert says in outcome.text
    assert stage.take_back()[1] is False


def test_the_output_of_a_command_is_redacted_and_cut():
    output = "x" * 5000 + " token=abcd1234 hunter22"
    stage = Stage(processes=FakeProcesses({"flush": completed(0, output)}))
    _, outcome = stage.execute(command("flush"))
    assert "abcd1234" not in outcome.text
    assert "hunter22" not in outcome.text
    assert len(outcome.text) < 2200


def test_a_command_that_claims_an_inverse_is_refused():
    stage = Stage(processes=FakeProcesses({"flush": completed(0)}))
    events, outcome = stage.execute(command("flush", no_undo=""))
    assert (events, outcome.state) == ([], "refused")
    assert stage.sent == []


def test_a_change_of_a_process_without_a_command_line_is_refused():
    broken = replace(command("flush"), after={})
    assert Stage().execute(broken)[1].state == "refused"


# --- who carries out what ------------------------------------------------------------------------


def test_kinds_of_later_versions_have_nobody(tmp_path):
    server = ServerApplier(tmp_path, FakeClock(), lambda url: True)
    found = appliers(fake_world(), server, CommandApplier(FakeProcesses()))
    assert set(found) == {*KUBE_KINDS, ChangeKind.PROCESS_RESTART, ChangeKind.RUN_COMMAND}
    assert found[ChangeKind.PROCESS_RESTART] is server
