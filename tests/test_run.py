"""The loop as an operator sees it: only the goal ends a run as met."""

from dataclasses import replace
from typing import Any

import pytest
from crews import AUTH, ESCALATE, LOOK, Stage, deployment, replicas_are, scale_to

from smoldebug import journal
from smoldebug.change import Place, digest
from smoldebug.errors import SmoldebugError
from smoldebug.events import (
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Continued,
    GoalChecked,
    ModelAnswered,
    ModelAsked,
    ModelSwitched,
    Note,
    ToolAnswered,
    ToolCalled,
    UndoBegan,
)
from smoldebug.ledger import Entry
from smoldebug.model.scripted import ScriptedModel
from smoldebug.past import Past
from smoldebug.playbook import models
from smoldebug.playbook.base import Duration
from smoldebug.records import (
    Answer,
    Card,
    Change,
    ChangeKind,
    Decision,
    ObjectRef,
    Outcome,
    Who,
)
from smoldebug.run import run
from smoldebug.sources.fakes import FakeCluster
from smoldebug.status import ExitStatus

WEB = ObjectRef("Deployment", "shop", "web")
CLAIM_SUCCESS = {"calls": [{"final_answer": {"answer": "fixed!"}}]}


def test_a_goal_that_already_holds_costs_no_turn(tmp_path):
    stage = Stage([LOOK], tmp_path, cluster=FakeCluster([deployment(2)]))
    ended = stage.play()
    assert ended.status is ExitStatus.MET
    assert "nothing was done" in ended.reason
    assert stage.model.asked == []


def test_the_goal_ends_the_run_in_the_turn_that_meets_it(tmp_path):
    stage = Stage([LOOK, scale_to(2), LOOK], tmp_path)
    assert stage.play().status is ExitStatus.MET
    assert stage.ran == ["look auth", "scale 2"]
    assert stage.replicas == 2


def test_the_models_word_for_it_ends_nothing(tmp_path):
    stage = Stage([CLAIM_SUCCESS, CLAIM_SUCCESS, ESCALATE], tmp_path)
    ended = stage.play()
    assert (ended.status, ended.outcome) == (ExitStatus.NOT_MET, Outcome.NOT_MET)
    assert "the goal is not met" in stage.told(2)
    assert len(stage.model.asked) == 3


def test_the_model_is_told_how_the_goal_stands_after_every_turn(tmp_path):
    stage = Stage([LOOK, ESCALATE], tmp_path)
    stage.play()
    assert "[E2] auth looks busy" in stage.told(2)
    assert "goal: not met" in stage.told(2)


def test_an_intermittent_goal_must_hold_several_times_in_a_row(tmp_path):
    goal = models.Goal(all=[replicas_are(2)], every=Duration(5), consecutive=3)
    stage = Stage([scale_to(2)], tmp_path, goal=goal)
    assert stage.play().status is ExitStatus.MET
    streaks = [event.verdict.streak for event in stage.events(GoalChecked)]
    assert streaks == [0, 1, 2, 3]
    assert stage.clock.elapsed == pytest.approx(10)


def test_escalation_hands_over_with_its_question(tmp_path):
    ended = Stage([ESCALATE], tmp_path).play()
    assert (ended.status, ended.reason) == (ExitStatus.NOT_MET, "out of ideas")
    assert ended.question == "and now?"


def test_what_cannot_be_measured_ends_inconclusive(tmp_path):
    cluster = FakeCluster([deployment()])
    cluster.refuse("get", "Deployment")
    ended = Stage([ESCALATE], tmp_path, cluster=cluster).play()
    assert (ended.status, ended.outcome) == (ExitStatus.INCONCLUSIVE, Outcome.INCONCLUSIVE)


def test_out_of_turns_is_a_limit_and_asks_the_model_nothing_more(tmp_path):
    stage = Stage([LOOK] * 9, tmp_path, limits=models.Limits(max_steps=3))
    ended = stage.play()
    assert ended.status is ExitStatus.LIMIT
    assert "limits.max_steps reached: 3" in ended.reason
    assert (ended.usage.turns, len(stage.events(GoalChecked))) == (3, 4)
    assert len(stage.model.asked) == 3


def test_the_goals_deadline_ends_the_run_as_not_met(tmp_path):
    wait = {"calls": [{"wait": {"seconds": 100.0, "why": "it may settle"}}]}
    goal = models.Goal(all=[replicas_are(2)], within=Duration(30))
    stage = Stage([wait] * 9, tmp_path, goal=goal)
    ended = stage.play()
    assert (ended.status, ended.reason) == (
        ExitStatus.NOT_MET,
        "the goal was not met within 30 s",
    )
    assert len(stage.model.asked) == 1


def test_waiting_for_approval_does_not_count_against_the_deadline(tmp_path):
    def slow_yes(card):
        stage.clock.sleep(300)
        return Decision(Answer.YES, "operator")

    goal = models.Goal(all=[replicas_are(2)], within=Duration(30))
    stage = Stage([scale_to(2)], tmp_path, goal=goal, approver=slow_yes)
    assert stage.play().status is ExitStatus.MET


# --- calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ('{"replicas": 2', "NOT executed"),
        ('{"replicas": "2"}', "Expected `int`, got `str`"),
        ('{"replicas": 2, "force": true}', "unknown field `force`"),
        ("{}", "missing required field `replicas`"),
    ],
)
def test_an_invalid_or_cut_off_call_never_runs(tmp_path, raw, says):
    turn = {"raw": {"tool": "scale", "arguments": raw}}
    stage = Stage([turn, ESCALATE], tmp_path)
    stage.play()
    assert stage.ran == []
    assert stage.replicas == 1
    assert says in stage.told(2)


def test_an_unknown_tool_is_answered_with_those_that_exist(tmp_path):
    stage = Stage([{"calls": [{"kubectl": {}}]}, ESCALATE], tmp_path)
    stage.play()
    assert "unknown tool 'kubectl'; available: escalate, explode" in stage.told(2)


def test_text_without_a_call_is_told_so_and_the_run_goes_on(tmp_path):
    stage = Stage([{"say": "I think it is DNS"}, scale_to(2)], tmp_path)
    assert stage.play().status is ExitStatus.MET


def test_a_tools_exception_is_an_observation_with_the_end_of_its_traceback(tmp_path):
    turn = {"calls": [{"explode": {"why": "kaboom"}}, {"look": {"at": "auth"}}]}
    stage = Stage([turn, ESCALATE], tmp_path)
    stage.play()
    assert "ERROR explode raised ZeroDivisionError: kaboom" in stage.told(2)
    assert "raise ZeroDivisionError(why)" in stage.told(2)
    assert [event.ok for event in stage.events(ToolAnswered)] == [False, True, True]


def test_a_hanging_tool_is_cut_at_its_limit(tmp_path):
    stage = Stage([{"calls": [{"hang": {"seconds": 5.0}}]}, ESCALATE], tmp_path)
    stage.play()
    stage.signals.cut.set()
    assert "timed out after 0.05 s; outcome unknown" in stage.told(2)


def test_answers_come_in_call_order(tmp_path):
    turn = {"calls": [{"look": {"at": str(n)}} for n in range(12)]}
    stage = Stage([turn, ESCALATE], tmp_path)
    stage.play()
    assert stage.ran == [f"look {n}" for n in range(12)]
    assert [event.call for event in stage.events(ToolAnswered)][:12] == [
        f"t1c{n}" for n in range(12)
    ]


# --- changes --------------------------------------------------------------------------------


def test_a_change_is_shown_decided_intended_and_verified_in_that_order(tmp_path):
    stage = Stage([scale_to(2)], tmp_path)
    stage.play()
    kinds = (ChangeProposed, ChangeDecided, ChangeIntended, ChangeSettled)
    order = [type(item.event) for item in stage.seen if isinstance(item.event, kinds)]
    assert order == list(kinds)
    assert stage.events(ChangeSettled)[0].state == "verified"


def test_nobody_to_ask_means_exit_7_and_nothing_changed(tmp_path):
    stage = Stage(
        [scale_to(2), LOOK],
        tmp_path,
        approver=lambda card: Decision(Answer.PENDING, "nobody", "no terminal"),
    )
    ended = stage.play()
    assert ended.status is ExitStatus.NEEDS_APPROVAL
    assert stage.replicas == 1
    assert not [r for r in stage.cluster.requests if r.verb == "patch" and not r.detail["dry_run"]]


def test_a_no_and_its_reason_reach_the_model(tmp_path):
    def no(card):
        return Decision(Answer.NO, "operator", "wait for the DBA")

    stage = Stage([scale_to(2), ESCALATE], tmp_path, approver=no)
    assert stage.play().status is ExitStatus.NOT_MET
    assert "DECLINED by operator: wait for the DBA" in stage.told(2)
    assert stage.replicas == 1


def test_what_the_guard_refuses_is_never_even_shown(tmp_path):
    stage = Stage([scale_to(9), ESCALATE], tmp_path)
    stage.play()
    assert "REFUSED by the guard: /spec/replicas 1 -> 9 is over" in stage.told(2)
    assert stage.events(ChangeProposed) == []


def test_a_goal_that_is_not_met_takes_changes_back(tmp_path):
    goal = models.Goal(all=[replicas_are(5)])
    ended = (stage := Stage([scale_to(3), ESCALATE], tmp_path, goal=goal)).play()
    assert ended.status is ExitStatus.UNDONE
    assert stage.replicas == 1
    assert [event.state for event in stage.events(ChangeSettled)] == ["verified", "undone"]


def test_changes_stay_where_the_playbook_says_report(tmp_path):
    goal = models.Goal(all=[replicas_are(5)])
    stage = Stage([scale_to(3), ESCALATE], tmp_path, goal=goal, on_failure="report")
    assert stage.play().status is ExitStatus.NOT_MET
    assert stage.replicas == 3


def test_what_has_no_inverse_and_did_not_help_pages_a_human(tmp_path):
    turns = [{"calls": [{"restart": {}}]}, ESCALATE]
    stage = Stage(turns, tmp_path, without_undo=[ChangeKind.RESTART])
    assert stage.play().status is ExitStatus.UNDO_FAILED


def test_an_undo_that_somebody_else_made_wrong_is_not_forced(tmp_path):
    goal = models.Goal(all=[replicas_are(5)])
    stage = Stage([scale_to(3), LOOK, ESCALATE], tmp_path, goal=goal)
    with stage.journal:
        for item in stage.stream():
            stage.seen.append(item)
            if isinstance(item.event, ToolCalled) and item.event.tool == "look":
                stage.cluster.objects[AUTH]["spec"]["replicas"] = 7
    assert stage.seen[-1].event.status is ExitStatus.UNDO_FAILED
    assert stage.replicas == 7


@pytest.mark.parametrize(
    ("theirs", "replicas", "told"), [(2, 1, "taken back"), (7, 7, "could not be taken back")]
)
def test_the_model_is_told_what_its_change_broke_and_what_became_of_it(
    tmp_path, theirs, replicas, told
):
    never = models.ObjectCheck(kind="Deployment", namespace="shop", name="web", matches={})
    goal = models.Goal(all=[replicas_are(1), models.Check(object=never)])
    stage = Stage([LOOK, scale_to(2), ESCALATE], tmp_path, goal=goal)
    with stage.journal:
        for item in stage.stream():
            stage.seen.append(item)
            if isinstance(item.event, ChangeSettled) and item.event.state == "verified":
                stage.cluster.objects[AUTH]["spec"]["replicas"] = theirs
    assert stage.replicas == replicas
    assert f"held before your change and failed after it: {told}." in stage.told(3)


def test_all_that_one_turn_did_goes_back_and_nothing_from_before(tmp_path):
    never = models.ObjectCheck(kind="Deployment", namespace="shop", name="web", matches={})
    goal = models.Goal(all=[replicas_are(2), models.Check(object=never)])
    both = {"calls": [*scale_to(3)["calls"], *scale_to(1)["calls"]]}
    stage = Stage([scale_to(2), LOOK, both, ESCALATE], tmp_path, goal=goal, on_failure="undo")
    stage.play()
    assert "failed after it: taken back." in stage.told(4)
    assert settled(stage) == [
        ("C1", "verified"),
        ("C2", "verified"),
        ("C3", "verified"),
        ("C3", "undone"),
        ("C2", "undone"),
        ("C1", "undone"),  # at the end
    ]
    (worse,) = (each for each in stage.seen if "worse than" in getattr(each.event, "text", ""))
    after = [each.event for each in stage.seen if each.seq > worse.seq]
    checks = [at for at, event in enumerate(after) if isinstance(event, GoalChecked)]
    at_once = [event.card for event in after[: checks[0]] if isinstance(event, ChangeSettled)]
    assert at_once == ["C3", "C2"]


@pytest.mark.parametrize(
    ("answer", "status", "replicas"),
    [
        (Answer.YES, ExitStatus.UNDONE, 1),
        (Answer.PENDING, ExitStatus.NEEDS_APPROVAL, 3),
    ],
)
def test_what_was_changed_before_a_run_is_suspended_stays(tmp_path, answer, status, replicas):
    decisions = iter([Answer.YES, answer])
    stage = Stage(
        [scale_to(3), scale_to(2), ESCALATE],
        tmp_path,
        goal=models.Goal(all=[replicas_are(5)]),
        approver=lambda card: Decision(next(decisions), "operator"),
    )
    assert (stage.play().status, stage.replicas) == (status, replicas)


def test_the_goal_is_measured_again_after_an_undo(tmp_path):
    """What the report says of it is how it stands at the end."""
    stage = Stage([scale_to(3), ESCALATE], tmp_path, goal=models.Goal(all=[replicas_are(5)]))
    ended = stage.play()
    [said] = [result.says for result in ended.verdict.results]
    assert said == "spec.replicas is 1, not 5"
    assert stage.events(GoalChecked)[-1].verdict == ended.verdict


# --- stopping -------------------------------------------------------------------------------


def test_the_first_ctrl_c_finishes_the_turn_and_reports(tmp_path):
    stage = Stage([{"calls": [{"look": {"at": "a"}}, {"look": {"at": "b"}}]}, LOOK], tmp_path)
    with stage.journal:
        for item in stage.stream():
            stage.seen.append(item)
            if isinstance(item.event, ToolCalled):
                stage.signals.stop.set()
    assert stage.seen[-1].event.status is ExitStatus.INTERRUPTED
    assert stage.ran == ["look a", "look b"]


def test_what_an_operator_stops_stays_as_it_is_and_is_listed(tmp_path):
    goal = models.Goal(all=[replicas_are(5)])
    stage = Stage([scale_to(3), LOOK], tmp_path, goal=goal)
    with stage.journal:
        for item in stage.stream():
            stage.seen.append(item)
            if isinstance(item.event, ChangeSettled):
                stage.signals.stop.set()
    ended = stage.seen[-1].event
    assert (ended.status, ended.usage.changes) == (ExitStatus.INTERRUPTED, 1)
    assert stage.replicas == 3


def test_the_second_ctrl_c_cuts_the_running_tool(tmp_path):
    stage = Stage([{"calls": [{"hang": {"seconds": 5.0}}, {"look": {"at": "b"}}]}], tmp_path)
    with stage.journal:
        for item in stage.stream():
            stage.seen.append(item)
            if isinstance(item.event, ToolCalled):
                stage.signals.stop.set()
                stage.signals.cut.set()
    assert stage.seen[-1].event.status is ExitStatus.INTERRUPTED
    assert stage.ran == []


def test_a_run_may_be_left_after_any_event(tmp_path):
    turns, goal = [LOOK, scale_to(2), {"fail": "503"}], models.Goal(all=[replicas_are(5)])

    def begun(folder: str) -> Stage:
        return Stage(turns, tmp_path / folder, goal=goal, fallback=[ScriptedModel([LOOK], "next")])

    whole = begun("whole")
    whole.play()
    assert {ModelAsked, ModelAnswered, ModelSwitched} <= {type(each.event) for each in whole.seen}
    for index in range(1, len(whole.seen)):
        stage = begun(str(index))
        stream = stage.stream()
        last = [next(stream) for _ in range(index)][-1].event
        ran, sent = list(stage.ran), len(stage.cluster.requests)
        stream.close()
        stage.journal.close()
        assert (stage.ran, len(stage.cluster.requests)) == (ran, sent), type(last)


def test_everything_yielded_is_already_in_the_journal(tmp_path):
    stage = Stage([LOOK, scale_to(2)], tmp_path)
    path = tmp_path / "journal.jsonl"
    with stage.journal:
        for number, _ in enumerate(stage.stream(), start=1):
            assert len(journal.read(path)) == number
    assert journal.read(path)[-1].event.status is ExitStatus.MET


# --- taken up again -------------------------------------------------------------------------


def approved(stage: Stage, *wishes: tuple[ObjectRef, int, int]) -> Past:
    """A run that left approved changes: of what, from how many replicas to how many."""
    past = Past(stage.started(), "run1")
    for number, (target, before, after) in enumerate(wishes, start=1):
        fields = {"/spec/replicas": before}, {"/spec/replicas": after}
        change = Change(ChangeKind.SCALE, target, *fields, "busy", uid="u1", settle=30)
        hashed = digest(change, Place("run1", "fake"))
        card = Card(f"C{number}", change, "", "", "", "", "fake", hashed)
        given = Decision(Answer.YES, "operator", "runs approve")
        past.ledger[card.id] = Entry(card, "approved", decision=given, at=stage.clock.now())
    return past


def resumed(stage: Stage, past: Past):
    with stage.journal:
        for item in run(stage.plan, stage.crew, Continued("resume", Who("anna")), past):
            stage.seen.append(item)
            yield item


def settled(stage: Stage) -> list[tuple[str, str]]:
    return [(event.card, event.state) for event in stage.events(ChangeSettled)]


def test_approved_changes_are_carried_out_until_the_goal_is_met(tmp_path):
    stage = Stage([], tmp_path, goal=models.Goal(all=[replicas_are(3)]))
    list(resumed(stage, approved(stage, (AUTH, 1, 2), (AUTH, 2, 3), (AUTH, 3, 4))))
    assert stage.seen[-1].event.status is ExitStatus.MET
    assert settled(stage) == [("C1", "verified"), ("C2", "verified")]


def test_after_ctrl_c_no_further_approved_change_is_carried_out(tmp_path):
    stage = Stage([LOOK], tmp_path, goal=models.Goal(all=[replicas_are(5)]))
    for item in resumed(stage, approved(stage, (AUTH, 1, 2), (AUTH, 2, 3))):
        if isinstance(item.event, ChangeSettled):
            stage.signals.stop.set()
    assert stage.seen[-1].event.status is ExitStatus.INTERRUPTED
    assert (settled(stage), stage.replicas) == ([("C1", "verified")], 2)
    assert stage.model.asked == [], "nor is a model"


HARM = (AUTH, 1, 2), (WEB, 1, 2)


def steady_web(tmp_path, **fields: Any) -> Stage:
    """A check of its goal holds from the start, and breaks when web is scaled."""
    web = deployment()
    web["metadata"]["name"] = "web"
    matches = {"spec": {"replicas": 1}}
    steady = models.ObjectCheck(kind="Deployment", namespace="shop", name="web", matches=matches)
    return Stage(
        [ESCALATE],
        tmp_path,
        goal=models.Goal(all=[replicas_are(5), models.Check(object=steady)]),
        limits=models.Limits(changes=2),
        change=models.ChangeTool(allow=[ChangeKind.SCALE], targets=["Deployment/shop/*"]),
        cluster=FakeCluster([deployment(), web]),
        **fields,
    )


def test_an_approved_change_that_breaks_what_held_is_taken_back_at_once(tmp_path):
    stage = steady_web(tmp_path)
    list(resumed(stage, approved(stage, *HARM)))
    assert settled(stage)[:3] == [("C1", "verified"), ("C2", "verified"), ("C2", "undone")]
    assert "C1 scale Deployment/shop/auth: verified" in stage.told(1)
    assert "C2 scale Deployment/shop/web: undone" in stage.told(1)


def test_harm_stays_too_where_the_playbook_says_report(tmp_path):
    stage = steady_web(tmp_path, on_failure="report")
    list(resumed(stage, approved(stage, *HARM)))
    assert settled(stage) == [("C1", "verified"), ("C2", "verified")]


def test_an_undo_that_was_under_way_is_finished_and_nothing_else_is_begun(tmp_path):
    """C1 was to be taken back; C2 turns out never to have taken."""
    stage = Stage([LOOK], tmp_path, cluster=FakeCluster([deployment(3)]))
    past = approved(stage, (AUTH, 1, 3), (AUTH, 3, 4))
    past.undoing = UndoBegan(ExitStatus.LIMIT, "out of turns")
    past.ledger["C1"].settle("verified", "")
    past.ledger["C2"].intend("change")
    list(resumed(stage, past))
    ended = stage.seen[-1].event
    assert (ended.status, stage.replicas) == (ExitStatus.UNDONE, 1)
    assert ended.reason == "out of turns; changes undone and verified"
    assert settled(stage) == [("C2", "failed"), ("C1", "undone")]
    assert stage.model.asked == []


def test_a_run_that_was_killed_after_its_undo_ends_as_undone(tmp_path):
    stage = Stage([LOOK], tmp_path)
    past = approved(stage, (AUTH, 1, 3))
    past.undoing = UndoBegan(ExitStatus.NOT_MET, "escalated")
    past.ledger["C1"].settle("undone", "")
    list(resumed(stage, past))
    assert stage.seen[-1].event.status is ExitStatus.UNDONE


# --- models ---------------------------------------------------------------------------------


def test_a_failing_model_is_replaced_by_the_next_and_nothing_is_lost(tmp_path):
    second = ScriptedModel([scale_to(2)], "second")
    stage = Stage([LOOK, {"fail": "503 from the provider"}], tmp_path, fallback=[second])
    assert stage.play().status is ExitStatus.MET
    (switch,) = stage.events(ModelSwitched)
    assert (switch.model, switch.to, switch.why) == ("scripted", "second", "503 from the provider")
    told = "\n".join(part["text"] for m in second.asked[0] for part in m.content)
    assert "auth looks busy" in told


def test_all_that_went_to_the_second_model_is_on_record(tmp_path):
    """What the first was sent went to another provider."""
    second = ScriptedModel([ESCALATE], "second")
    stage = Stage([LOOK, {"fail": "503"}], tmp_path, fallback=[second])
    stage.play()
    [asked] = [event for event in stage.events(ModelAsked) if event.model == "second"]
    assert [message["role"] for message in asked.messages] == [
        *("system", "user", "assistant", "tool", "user")
    ]
    assert "auth looks busy" in asked.messages[3]["text"]


def test_the_last_models_failure_ends_the_run_with_what_was_found(tmp_path):
    stage = Stage([LOOK, {"fail": "503"}], tmp_path)
    stage.agent.chain = stage.chain(last=stage.model)
    ended = stage.play()
    assert ended.status is ExitStatus.UNREACHABLE
    assert "model scripted failed: 503" in ended.reason


def test_a_failure_after_a_change_still_takes_it_back(tmp_path):
    goal = models.Goal(all=[replicas_are(5)])
    stage = Stage([scale_to(3), {"fail": "503"}], tmp_path, goal=goal)
    assert stage.play().status is ExitStatus.UNDONE
    assert stage.replicas == 1


# --- a disk that fills ----------------------------------------------------------------------


def test_what_cannot_be_recorded_is_not_begun_and_what_was_done_does_not_stay(tmp_path):
    class Full(journal.Journal):
        full = False

        def append(self, stamped):
            if self.full:
                raise SmoldebugError("cannot write the journal: no space left")
            super().append(stamped)
            self.full = isinstance(stamped.event, ChangeSettled)

    stage = Stage([scale_to(2), scale_to(3)], tmp_path, goal=models.Goal(all=[replicas_are(5)]))
    stage.journal.close()
    with Full(tmp_path / "other" / "journal.jsonl") as full:
        stage.crew = replace(stage.crew, journal=full)
        ended = stage.play()
    assert ended.status is ExitStatus.UNDONE
    assert stage.replicas == 1
    [note] = [note for note in stage.events(Note) if note.severity == "critical"]
    assert (
        note.text == "cannot write the journal: no space left: from here on nothing new is changed"
    )
    refused = [answer for answer in stage.events(ToolAnswered) if answer.tool == "scale"][-1]
    assert "REFUSED, since what undoes it cannot be recorded" in refused.text
