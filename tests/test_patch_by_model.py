"""What a model adds to a patch: only what was pushed counts, and all of it is judged."""

import pytest

from smoldebug.errors import UnreachableError
from smoldebug.events import ChangeProposed, GoalChecked, ToolAnswered
from smoldebug.records import Answer, Decision
from smoldebug.status import ExitStatus
from tests.crews import yes
from tests.test_patch import Patching, deployment, nobody, shop

IMAGE = "spec.template.spec.containers[app].image"
SAME_IMAGE = (
    "manifests: {paths: [deploy/**], select: {kind: Deployment, namespace: staging}, "
    'every_container_has: {image: "shop/web:1"}}'
)
SUMMARY = {"say": "All get the flag."}
PUSH = {"commit_and_push": {"why": "E1"}}
ASK = {"open_pull_request": {"summary": "Auth, too."}}


def edit(**arguments):
    return {"patch_k8s_manifest": {"kind": "Deployment", "name": "auth", **arguments}}


TO_WEB = edit(field=IMAGE, value="shop/web:1")  # a sibling runs it


def by_model(tmp_path, *turns, **fields) -> Patching:
    """The goal wants one image besides, which no edit sets."""
    script = [SUMMARY, *({"calls": list(calls)} for calls in turns)]
    return Patching(tmp_path, wants=SAME_IMAGE, turns=script, **fields)


def only_code(card) -> Decision:
    first = card.change.then is not None
    return yes(card) if first else Decision(Answer.NO, "operator", "not now")


def answers(patching: Patching) -> list[str]:
    """What its calls were answered; when the script has ended it escalates."""
    return [each.text for each in patching.of(ToolAnswered) if each.tool != "escalate"]


def test_it_adds_a_commit_to_what_code_pushed(tmp_path):
    patching = by_model(tmp_path, [TO_WEB, PUSH])
    assert patching.play().status is ExitStatus.MET
    repository = patching.repository
    tree = repository.tree(repository.tip())
    assert b"shop/web:1" in tree.read("deploy/auth.yaml")
    assert b'value: "on"' in tree.read("deploy/auth.yaml")
    first, request, second = (event.card for event in patching.of(ChangeProposed))
    assert second.change.before["/tip"] == first.change.after["/tip"]
    assert [card.change.kind for card in (first, request)] == ["git-commit", "pull-request"]
    assert second.diff.count("\n+ ") == 1  # what is new, and nothing of the first one
    assert patching.request.head == repository.tip()


def test_it_adds_to_a_push_whose_answer_was_lost(tmp_path):
    patching = by_model(tmp_path, [TO_WEB, PUSH])
    push, cut = patching.repository.push, []

    def lost(commit, expected, *, dry_run=False):
        push(commit, expected, dry_run=dry_run)
        if not dry_run and not cut:
            cut.append(commit)
            patching.repository.proposed = ""
            raise UnreachableError("connection reset")

    patching.repository.push = lost  # type: ignore[method-assign]
    assert patching.play().status is ExitStatus.MET
    assert patching.cards[1].change.before["/tip"] == cut[0]


def test_a_commit_that_was_declined_meets_no_goal(tmp_path):
    patching = by_model(tmp_path, [TO_WEB, PUSH], approver=only_code)
    ended = patching.play()
    assert ended.status is not ExitStatus.MET
    judged = [event.verdict.sample for event in patching.of(GoalChecked)]
    assert "met" not in judged


def test_what_is_pushed_is_not_pushed_again(tmp_path):
    patching = by_model(tmp_path, [TO_WEB, PUSH, PUSH])
    patching.play()
    assert [card.change.kind for card in patching.cards] == ["git-commit"] * 2
    assert "nothing is drafted" in answers(patching)[-1]


def test_a_run_that_writes_patch_files_pushes_nothing_for_a_model_either(tmp_path):
    patching = by_model(tmp_path, [TO_WEB, PUSH, ASK], patches=str(tmp_path / "out"))
    patching.play()
    assert "it writes patch files" in answers(patching)[1]
    assert (patching.repository.tip(), patching.hub.pulls, patching.cards) == ("", {}, [])


def test_after_a_no_what_is_drafted_can_be_pushed_later(tmp_path):
    said = iter([Decision(Answer.YES, "operator"), Decision(Answer.NO, "operator", "wait")])
    patching = by_model(
        tmp_path, [TO_WEB, PUSH], [PUSH], approver=lambda card: next(said, yes(card))
    )
    assert patching.play().status is ExitStatus.MET
    assert len(patching.cards) == 3


def test_nobody_to_ask_suspends_it_and_the_commit_is_kept_for_later(tmp_path):
    patching = by_model(
        tmp_path,
        [TO_WEB, PUSH],
        approver=lambda card: yes(card) if card.change.then else nobody(card),
    )
    assert patching.play().status is ExitStatus.NEEDS_APPROVAL
    patching.approve()
    patching.turns = [SUMMARY]
    assert patching.resume().status is ExitStatus.MET
    assert b"shop/web:1" in patching.repository.tree(patching.repository.tip()).read(
        "deploy/auth.yaml"
    )


@pytest.mark.parametrize("guard", ["runAsNonRoot: true", "allowPrivilegeEscalation: false"])
def test_what_guards_a_pod_is_not_taken_away_by_it(tmp_path, guard):
    guarded = deployment("auth").replace(
        b"          image:", f"          securityContext: {{{guard}}}\n          image:".encode()
    )
    field = "spec.template.spec.containers[app].securityContext"
    for number, way in enumerate(
        (edit(field=f"{field}.{guard.split(':')[0]}", remove=True), edit(field=field, remove=True))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = {**shop(), "deploy/auth.yaml": guarded}
        patching = by_model(folder, [way, PUSH], files=files, approval="auto")
        patching.play()
        assert "gives a pod more rights" in answers(patching)[-1]
        tree = patching.repository.tree(patching.repository.tip())
        assert guard.encode() in tree.read("deploy/auth.yaml")


def test_of_a_field_inside_another_the_outer_one_is_judged(tmp_path):
    whole = [{"name": "app", "image": "evil.example/miner:1"}]
    patching = by_model(
        tmp_path,
        [TO_WEB, edit(field="spec.template.spec.containers", value=whole), PUSH],
    )
    patching.play()
    assert "evil.example/miner:1" in answers(patching)[-1]
    assert "stands nowhere" in answers(patching)[-1]


def test_what_it_set_and_set_back_needs_no_origin(tmp_path):
    away = edit(field=IMAGE, value="evil.example/miner:1")
    patching = by_model(tmp_path, [away, TO_WEB, PUSH])
    assert patching.play().status is ExitStatus.MET


def test_a_run_that_writes_patch_files_asks_for_no_review_of_a_branch_that_is_there(tmp_path):
    patching = by_model(tmp_path, [ASK], patches=str(tmp_path / "out"))
    repository = patching.repository
    repository.push(repository.commit(repository.start(), {"deploy/x.yaml": b"a: 1\n"}, "x"), "")
    patching.play()
    assert "no pull request can be opened here" in answers(patching)[0]
    assert patching.hub.pulls == {}


def test_a_number_of_its_own_needs_an_origin(tmp_path):
    files = {
        name: data.replace(b"spec:\n  template", b"spec:\n  replicas: 2\n  template")
        for name, data in shop().items()
    }
    patching = by_model(tmp_path, [edit(field="spec.replicas", value=900), PUSH], files=files)
    patching.play()
    assert "spec.replicas 900 stands nowhere" in answers(patching)[-1]


def test_the_pull_request_says_that_a_model_had_a_part_in_a_removal_too(tmp_path):
    gone = edit(field="spec.template.spec.containers[app].env", remove=True)
    patching = by_model(tmp_path, [gone, PUSH, ASK])
    patching.play()
    assert "the model `scripted` had a part in choosing them" in patching.request.body


def test_a_pull_request_before_the_branch_is_there_says_what_comes_first(tmp_path):
    patching = by_model(tmp_path, [ASK], files=shop(auth="on", web="on"))
    patching.play()
    assert "the branch is not there yet" in answers(patching)[-1]
    assert patching.hub.pulls == {}


def test_whoever_owns_a_file_that_it_edited_is_asked_and_nobody_else(tmp_path):
    owners = {"auth": "anna", "web": "bert", "cart": "carl", "prod": "dora"}
    text = "".join(f"/deploy/{name}.yaml @{owner}\n" for name, owner in owners.items())
    prod = deployment("prod").replace(b"staging", b"prod")
    owned = {**shop(), "deploy/prod.yaml": prod, "CODEOWNERS": text.encode()}
    to_web = edit(name="prod", field=IMAGE, value="shop/web:1")
    patching = by_model(tmp_path, [TO_WEB, to_web, PUSH, ASK], files=owned)
    patching.pull_request = {"reviewers_from": "CODEOWNERS"}
    patching.play()
    asked = [card.change.after["/reviewers"] for card in patching.cards[2:]]
    assert asked == [["anna", "dora", "bert"]]
    del patching.hub.pulls[1]  # and where only an earlier run edited anything
    patching.turns = [SUMMARY]
    patching.play()
    assert patching.cards[0].change.after["/reviewers"] == ["anna", "bert"]
