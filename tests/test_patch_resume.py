"""A patch that was cut off, or waited for a yes, goes on: nothing twice, nothing lost."""

from dataclasses import replace

import pytest

from smoldebug.errors import AccessDenied, ChangeRefused, UnreachableError
from smoldebug.events import (
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Drafted,
    Note,
    RunEnded,
    Stamped,
)
from smoldebug.playbook.policy import Policy, PolicyFile, Selection
from smoldebug.records import Answer, ChangeKind, Decision
from smoldebug.sources.fake_repository import FakeForge, FakeRepository
from smoldebug.status import ExitStatus
from tests.crews import yes
from tests.test_patch import FAILED, PASSED, PENDING, Patching, deployment, nobody, shop


def no(card) -> Decision:
    return Decision(Answer.NO, "operator", "not today")


def killed(patching: Patching, at: int) -> Stamped | None:
    """A run that ends after so many events; returns the last one. None: it had ended before."""
    events = patching.events()
    last = None
    for _ in range(at):
        if (last := next(events, None)) is None:
            return None
    events.close()  # type: ignore[attr-defined]
    return last


def history(repository: FakeRepository) -> list[str]:
    """The commits of the run's branch, newest first, down to the base."""
    found, commit = [], repository.tip()
    while commit and commit != repository.base_commit():
        found.append(commit)
        commit = repository._parents[commit]
    return found


def settled(patching: Patching, card: str) -> list[str]:
    return [each.state for each in patching.of(ChangeSettled) if each.card == card]


# --- killed at any event --------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [False, True], ids=["not sent", "sent and no answer kept"])
def test_wherever_it_is_killed_one_commit_and_one_pull_request_come_of_it(tmp_path, sent):
    for at in range(1, 40):
        folder = tmp_path / str(at)
        folder.mkdir()
        patching = Patching(folder)
        last = killed(patching, at)
        if last is None or isinstance(last.event, RunEnded):
            break
        if sent and isinstance(last.event, ChangeIntended):  # it died before it heard of it
            change = last.event.card.change
            patching.executor._applier(change).apply(change, "run1 C1")
        ended = patching.resume()
        assert ended.status is ExitStatus.MET, f"killed after event {at}: {last.event}"
        assert len(history(patching.repository)) == 1, at
        assert list(patching.hub.pulls) == [1], at
        assert patching.request.state == "open"
        tree = patching.repository.tree(patching.repository.tip())
        assert tree.read("deploy/web.yaml") == deployment("web", "on")
    assert at > 10


def test_a_yes_that_covered_the_pull_request_still_does_after_a_kill_in_between(tmp_path):
    patching = Patching(tmp_path)
    for stamped in patching.events():
        if isinstance(stamped.event, ChangeSettled):
            break  # the branch is pushed, and that is journaled
    patching.approver = nobody
    assert patching.resume().status is ExitStatus.MET
    assert patching.cards == []
    decided = patching.of(ChangeDecided)[-1]
    assert (decided.decision.by, patching.request.state) == ("operator", "open")


def test_it_covers_no_other_text(tmp_path):
    patching = Patching(tmp_path)
    for stamped in patching.events():
        if isinstance(stamped.event, ChangeSettled):
            break
    patching.pull_request, patching.approver = {"labels": ["other"]}, nobody
    assert patching.resume().status is ExitStatus.NEEDS_APPROVAL
    assert [card.change.kind for card in patching.cards] == ["pull-request"]
    assert patching.hub.pulls == {}


def test_a_pull_request_that_was_closed_since_is_not_opened_again_on_an_old_yes(tmp_path):
    patching = Patching(tmp_path)
    for stamped in patching.events():
        if isinstance(stamped.event, ChangeSettled) and stamped.event.card == "C2":
            break
    patching.hub.close(1)
    patching.approver = nobody
    assert patching.resume().status is ExitStatus.NEEDS_APPROVAL
    assert list(patching.hub.pulls) == [1]


def test_a_failure_is_told_under_the_yes_of_the_pull_request_after_a_kill(tmp_path):
    patching = Patching(tmp_path, runs=[FAILED])
    for stamped in patching.events():
        if isinstance(stamped.event, ChangeSettled) and stamped.event.card == "C2":
            break
    patching.approver = nobody
    assert patching.resume().status is ExitStatus.NOT_MET
    assert patching.cards == []
    assert len(patching.hub.comments) == 1


# --- approved while nobody ran it -----------------------------------------------------------------


def waiting(tmp_path, **fields) -> Patching:
    patching = Patching(tmp_path, approver=nobody, **fields)
    assert patching.play().status is ExitStatus.NEEDS_APPROVAL
    return patching


def test_what_was_approved_is_what_is_pushed_wherever_the_base_stands_now(tmp_path):
    patching = waiting(tmp_path)
    (card,) = patching.cards
    patching.approve()
    repository = patching.repository
    theirs = {"README.md": b"new\n", "deploy/cart.yaml": b"a: 1\n" * 500}
    repository.remote["main"] = repository.commit(repository.base_commit(), theirs, "theirs")
    assert patching.resume().status is ExitStatus.MET
    assert repository.tip() == card.change.after["/tip"]
    again = patching.of(ChangeProposed)[1].card
    assert (again.id, again.digest, again.diff) == ("C1", card.digest, card.diff)
    assert patching.cards == []  # nobody was asked again
    assert patching.request.body == card.change.then.after["/body"]


def test_a_yes_for_one_repository_is_none_for_another(tmp_path):
    patching = waiting(tmp_path)
    patching.approve()
    patching.repository.url = "https://git.example/mallory/manifests.git"
    assert patching.resume().status is ExitStatus.NEEDS_APPROVAL
    assert patching.repository.tip() == ""
    first, second = (each.card.digest for each in patching.of(ChangeProposed))
    assert first != second


def test_an_old_yes_is_asked_for_again_and_the_patch_is_not_made_a_second_time(tmp_path):
    patching = waiting(tmp_path)
    patching.approve()
    last = patching.seen[-1]
    patching.seen[-1] = replace(last, at=last.at.replace(year=2001))
    assert patching.resume().status is ExitStatus.NEEDS_APPROVAL
    assert {event.card.id for event in patching.of(ChangeProposed)} == {"C1"}
    patching.approver = yes
    patching.approve()
    assert patching.resume().status is ExitStatus.MET
    assert len(history(patching.repository)) == 1


def test_an_undo_of_another_repository_than_was_pushed_to_is_no_undo(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    patching.repository.url = "https://git.example/mallory/manifests.git"
    patching.repository.remote.pop("smoldebug/flag")  # it would look as before
    ended = [each for each in patching.executor.take_back() if type(each) is ChangeSettled]
    assert [each.state for each in ended] == ["undo failed", "undo failed"]
    assert "it was made for https://git.example/shop/manifests.git" in ended[0].detail
    assert len(patching.executor.applied) == 2


# --- more than one run ----------------------------------------------------------------------------


def test_a_branch_that_was_squashed_into_the_base_asks_for_nothing(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    patching.hub.merge(1)
    repository = patching.repository
    merged = {**shop(auth="on", web="on"), "README.md": b"more\n"}
    repository.remote["main"] = repository.commit(repository.base_commit(), merged, "squashed")
    ended = patching.play()
    assert (ended.status, ended.reason) == (ExitStatus.MET, "nothing to do: 2 already so")
    assert (patching.cards, list(patching.hub.pulls)) == ([], [1])


def test_of_a_branch_that_was_merged_only_what_is_new_is_shown(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    patching.hub.merge(1)
    repository = patching.repository
    grown = {"README.md": b"more\n", "deploy/cart.yaml": deployment("cart")}
    repository.remote["main"] = repository.commit(repository.tip(), grown, "later")
    assert patching.play().status is ExitStatus.MET
    (card,) = patching.cards
    assert card.limits == "1 of 50 files"
    assert "README" not in card.diff
    assert repository.within(repository.base_commit(), repository.tip())
    assert sorted(patching.hub.pulls) == [1, 2]


def test_what_people_wrote_into_a_pull_request_stays(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    body = f"Please look at auth first.\n\n{patching.request.body}"
    patching.hub.pulls[1] = replace(patching.request, body=body)
    repository, more = patching.repository, {"deploy/cart.yaml": deployment("cart")}
    repository.remote["smoldebug/flag"] = repository.commit(repository.tip(), more, "theirs")
    assert patching.play().status is ExitStatus.MET
    assert patching.request.body.startswith("Please look at auth first.\n")
    assert "Deployment/staging/cart" in patching.request.body


def test_undo_of_an_update_brings_the_old_text_back(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    first, tip = patching.request, patching.repository.tip()
    more = {"deploy/cart.yaml": deployment("cart")}
    patching.repository.remote["smoldebug/flag"] = patching.repository.commit(tip, more, "theirs")
    assert patching.play().status is ExitStatus.MET
    assert "Deployment/staging/cart" in patching.request.body
    assert patching.request.number == first.number
    ended = [each for each in patching.executor.take_back() if type(each) is ChangeSettled]
    assert [each.state for each in ended] == ["undone", "undone"]
    assert (patching.request.body, patching.request.state) == (first.body, "open")


def test_undo_leaves_a_pull_request_that_somebody_rewrote(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    patching.hub.pulls[1] = replace(patching.request, body="Mine now.")
    (settled_, *_) = [each for each in patching.executor.take_back() if type(each) is ChangeSettled]
    assert settled_.state == "undo blocked"
    assert "somebody else edited it" in settled_.detail
    assert (patching.request.body, patching.request.state) == ("Mine now.", "open")


def test_a_comment_that_is_taken_back_says_so(tmp_path):
    patching = Patching(tmp_path, runs=[FAILED])
    patching.play()
    ended = [each for each in patching.executor.take_back() if type(each) is ChangeSettled]
    assert [(each.card, each.state) for each in ended] == [
        ("C3", "undone"),
        ("C2", "undone"),
        ("C1", "undone"),
    ]
    (body,) = patching.hub.comments.values()
    assert body == "Withdrawn: what it was about was taken back."


class Windows(FakeForge):
    """A forge with line ends of its own, that could not add a label."""

    def update(self, number, text):
        self.notes.append("git.example did not take the label: post-mortem")
        super().update(number, replace(text, body=text.body.replace("\n", "\r\n").strip()))
        return self.pulls[number]


def test_line_ends_of_a_forge_are_no_difference_and_its_notes_are_told_once(tmp_path):
    patching = Patching(tmp_path, forge=Windows)
    patching.hub.notes.append("of another time")
    assert patching.play().status is ExitStatus.MET
    said = [each.detail for each in patching.of(ChangeSettled) if each.card == "C2"]
    (label, opened), url = said[0].split("; "), "https://git.example/shop/manifests/pull/1"
    assert (label, opened) == (patching.hub.notes[-1], f"opened {url}")
    ended = [each for each in patching.executor.take_back() if type(each) is ChangeSettled]
    assert [each.state for each in ended] == ["undone", "undone"]


# --- limits ---------------------------------------------------------------------------------------

ONCE = "limits: {rate: {changes: 1, per: 1h}}"


def test_a_push_and_its_pull_request_are_one_change_to_a_rate(tmp_path):
    patching = Patching(tmp_path, limits=ONCE)
    assert patching.play().status is ExitStatus.MET
    assert [event.card.limits for event in patching.of(ChangeProposed)] == [
        "2 of 50 files · 1 of 1 change per 1h",
        "1 of 1 change per 1h",
    ]


def test_a_failure_is_told_whatever_the_rate(tmp_path):
    patching = Patching(tmp_path, limits=ONCE, runs=[PASSED, FAILED])
    assert patching.play().status is ExitStatus.NOT_MET
    assert len(patching.hub.comments) == 1


def test_break_glass_lifts_a_limit_for_the_two_and_both_say_so(tmp_path):
    patching = Patching(tmp_path, limits="limits: {rate: {changes: 0, per: 1h}}")
    assert "limits.rate" in patching.play().reason
    patching.glass = "INC-7"
    assert patching.play().status is ExitStatus.MET
    (card,) = patching.cards
    assert any("break-glass (INC-7)" in warning for warning in card.warnings)
    assert all("limits.rate" in each.decision.lifted for each in patching.of(ChangeDecided))
    assert patching.executor.break_glass == ""


def test_what_is_lifted_for_either_stands_on_the_card(tmp_path):
    limits = "limits: {files: 1, rate: {changes: 0, per: 1h}}"
    patching = Patching(tmp_path, limits=limits, glass="INC-7")
    assert patching.play().status is ExitStatus.MET
    (card,) = patching.cards
    assert "limits.rate" in card.warnings[0]
    assert "limits.files is 1" in card.warnings[0]
    assert "limits.files" in patching.of(ChangeDecided)[0].decision.lifted


# --- what breaks ----------------------------------------------------------------------------------


def test_a_pull_request_that_a_policy_denies_keeps_the_branch_from_being_pushed(tmp_path):
    deny = Selection(changes=[ChangeKind.PULL_REQUEST])
    file = PolicyFile(apiVersion="smoldebug.dev/v1", kind="Policy", deny=deny)
    patching = Patching(tmp_path, policies=(Policy(file=file, source="org.yaml"),))
    ended = patching.play()
    assert (ended.status, "denies: pull-request" in ended.reason) == (ExitStatus.NOT_MET, True)
    assert (patching.repository.tip(), patching.cards) == ("", [])


@pytest.mark.parametrize("error", [ChangeRefused, UnreachableError])
def test_where_the_push_fails_no_pull_request_is_asked_for(tmp_path, error):
    patching = Patching(tmp_path)
    push = patching.repository.push

    def fail(commit, expected, *, dry_run=False):
        if not dry_run:
            raise error("no")
        push(commit, expected, dry_run=dry_run)

    patching.repository.push = fail  # type: ignore[method-assign]
    assert patching.play().status is not ExitStatus.MET
    assert [event.card.change.kind for event in patching.of(ChangeProposed)] == ["git-commit"]
    assert patching.hub.pulls == {}


def test_what_cannot_be_edited_leaves_nothing_behind(tmp_path):
    aliased = deployment("auth").replace(
        b"image:", b"env: &env []\n          x: *env\n          image:"
    )
    patching = Patching(tmp_path, {**shop(), "deploy/auth.yaml": aliased})
    patching.play()
    assert len(patching.repository.commits) == 1
    assert [event.commit for event in patching.of(Drafted)] == [""]


def test_what_was_not_pushed_needs_nobody_to_open_anything(tmp_path):
    patching = Patching(tmp_path, forge=None, approver=no)
    assert patching.play().status is ExitStatus.NOT_MET
    assert not any("by hand" in event.text for event in patching.of(Note))


def test_a_run_that_opened_nothing_comments_on_nothing(tmp_path):
    class Refusing(FakeForge):
        def open(self, text):
            raise AccessDenied("the token may not open pull requests", "pull_requests: write")

    patching = Patching(tmp_path, forge=Refusing, runs=[FAILED])
    assert patching.play().status is ExitStatus.NOT_MET
    assert patching.hub.comments == {}


def test_an_older_pull_request_is_not_told_what_failed_now(tmp_path):
    patching = Patching(tmp_path, runs=[FAILED])
    patching.play()
    patching.hub.close(1)
    patching.hub.comments.clear()
    repository = patching.repository
    cart = {"deploy/cart.yaml": deployment("cart")}
    repository.remote["smoldebug/flag"] = repository.commit(repository.tip(), cart, "theirs")

    def refuse(text):
        raise UnreachableError("cut off")

    patching.hub.open = refuse
    assert patching.play().status is not ExitStatus.MET
    assert patching.of(ChangeSettled)[0].state == "verified"  # the push
    assert patching.hub.comments == {}


def test_a_pull_request_that_could_not_be_updated_is_not_commented_on_either(tmp_path):
    patching = Patching(tmp_path)
    patching.play()
    repository = patching.repository
    cart = {"deploy/cart.yaml": deployment("cart")}
    repository.remote["smoldebug/flag"] = repository.commit(repository.tip(), cart, "theirs")

    def refuse(number, text):
        raise AccessDenied("the token may not edit pull requests", "pull_requests: write")

    patching.hub.update, patching.hub.runs = refuse, [FAILED]
    ended = patching.play()
    assert ended.status is ExitStatus.NOT_MET
    assert "is pushed and stays" in ended.reason
    assert patching.hub.comments == {}


def test_checks_that_are_late_are_no_failure_to_tell(tmp_path):
    patching = Patching(tmp_path, runs=[PENDING])
    assert patching.play().status is not ExitStatus.MET
    assert patching.hub.comments == {}


def test_a_stop_while_checks_run_keeps_the_pull_request_and_a_resume_waits_on(tmp_path):
    class Slow(FakeForge):
        def checks(self, commit):
            patching.signals.stop.set()
            return (PENDING,)

    patching = Patching(tmp_path, forge=Slow, on_failure="undo")
    assert patching.play().status is ExitStatus.INTERRUPTED
    assert patching.request.state == "open"
    patching.hub.__class__, patching.hub.runs = FakeForge, [PASSED]
    assert patching.resume().status is ExitStatus.MET
    assert (patching.cards, list(patching.hub.pulls)) == ([], [1])


def test_a_pull_request_that_was_declined_stays_so(tmp_path):
    patching = Patching(tmp_path)

    def first_only(card) -> Decision:
        if card.change.kind == "git-commit":
            patching.executor._guard.warnings = (  # type: ignore[method-assign]
                lambda change, around, verdict: ("somebody froze the repository",)
            )
            return yes(card)
        return no(card)

    patching.approver = first_only
    for stamped in patching.events():
        if isinstance(stamped.event, ChangeDecided) and stamped.event.card == "C2":
            break
    patching.approver = nobody
    assert patching.resume().status is ExitStatus.NEEDS_APPROVAL
    assert patching.hub.pulls == {}


def test_a_forge_that_is_away_ends_the_run_before_anything_is_pushed(tmp_path):
    class Away(FakeForge):
        def find(self, branch):
            raise UnreachableError("no route to git.example")

    patching = Patching(tmp_path, forge=Away)
    assert patching.play().status is ExitStatus.UNREACHABLE
    assert (patching.repository.tip(), patching.cards) == ("", [])


def test_a_pull_request_that_grew_a_reason_to_ask_is_asked_for_by_itself(tmp_path):
    patching = Patching(tmp_path)

    def slowly(card) -> Decision:
        if card.change.kind == "git-commit":
            patching.executor._guard.warnings = (  # type: ignore[method-assign]
                lambda change, around, verdict: ("somebody froze the repository",)
            )
            return yes(card)
        return nobody(card)

    patching.approver = slowly
    patching.play()
    assert [card.change.kind for card in patching.cards] == ["git-commit", "pull-request"]
    assert (bool(patching.repository.tip()), patching.hub.pulls) == (True, {})
    assert settled(patching, "C2") == []
