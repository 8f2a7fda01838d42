"""The tools for patches: a model drafts what edits cannot say, and proposes it like any change."""

import pytest

from smoldebug.appliers import BranchApplier
from smoldebug.evidence import EvidenceStore
from smoldebug.guard import Guard, Tally
from smoldebug.patch import Patch
from smoldebug.playbook.load import load
from smoldebug.records import Answer
from smoldebug.redact import Redactor
from smoldebug.sources.fake_repository import FakeForge, FakeRepository
from smoldebug.sources.fakes import FakeClock, fake_world
from smoldebug.toolset import ToolContext, Toolset, shipped_tools
from tests.test_patch import PLAYBOOK, deployment, shop

NAMES = (
    "list_k8s_resources",
    "fetch_k8s_manifest",
    "patch_k8s_manifest",
    "create_git_branch",
    "commit_and_push",
    "open_pull_request",
)
IMAGE = "spec.template.spec.containers[app].image"


class Desk:
    def __init__(self, tmp_path, files=None):
        text = PLAYBOOK.replace("IF_DIFFERENT", "overwrite").replace("APPROVAL", "ask")
        text = text.replace("WANTS", "")
        path = tmp_path / "add-flag.yaml"
        path.write_text(text.replace("ON_FAILURE", "undo").replace("LIMITS", ""))
        self.plan = load(str(path), {})
        self.repository = FakeRepository(files or shop(), branch="smoldebug/flag")
        self.forge = FakeForge(self.repository)
        self.world = fake_world(repository=self.repository, forge=self.forge, clock=FakeClock())
        self.patch = Patch(self.plan, self.world, "run1", model="scripted")
        specs = [spec for spec in shipped_tools() if spec.name in NAMES]
        settings = {"paths": ["deploy/**"]}
        context = ToolContext(self.world, settings, patch=self.patch)
        self.tools = Toolset(specs, lambda _: context, EvidenceStore(FakeClock()), Redactor())

    def call(self, tool, /, **arguments):
        return self.tools.call(tool, arguments)

    def refused_for_its_origin(self, change) -> str:
        guard = Guard(self.plan.playbook)
        verdict = guard.judge(change, Tally())
        assert verdict.answer is Answer.YES, verdict.reason
        return guard.weigh(change, BranchApplier(self.world).look(change), verdict).reason


def test_all_six_are_shipped_under_the_names_of_the_seed(tmp_path):
    assert sorted(Desk(tmp_path).tools.specs) == sorted(NAMES)


def test_what_is_in_the_repository_is_listed_with_its_place(tmp_path):
    answer = Desk(tmp_path).call("list_k8s_resources", namespace="staging")
    assert "Deployment/staging/auth  deploy/auth.yaml:1" in answer.text
    assert "Deployment/staging/web  deploy/web.yaml:1" in answer.text


def test_a_draft_is_seen_by_the_next_call_and_by_nobody_else(tmp_path):
    desk = Desk(tmp_path)
    done = desk.call("patch_k8s_manifest", kind="Deployment", name="auth", field=IMAGE, value="a:2")
    assert done.ok, done.text
    assert "image: a:2" in desk.call("fetch_k8s_manifest", kind="deploy", name="auth").text
    assert desk.repository.tip() == ""
    assert "drafted: deploy/auth.yaml" in desk.call("create_git_branch").text


def test_what_no_manifest_describes_is_not_read(tmp_path):
    answer = Desk(tmp_path).call("fetch_k8s_manifest", kind="Deployment", name="../../etc/passwd")
    assert "no manifest of the repository describes" in answer.text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"name": "nobody", "field": IMAGE, "value": "a:2"}, "no manifest describes"),
        ({"name": "auth", "field": "metadata.name", "value": "x"}, "metadata.name"),
        ({"name": "auth", "field": "spec..x", "value": "x"}, "spec..x"),
    ],
)
def test_what_cannot_be_drafted_says_why(tmp_path, arguments, why):
    desk = Desk(tmp_path)
    answer = desk.call("patch_k8s_manifest", kind="Deployment", **arguments)
    assert not answer.ok
    assert why in answer.text
    assert desk.patch.workspace.files == {}


def test_nothing_outside_the_scope_is_drafted(tmp_path):
    desk = Desk(tmp_path, {**shop(), "other/db.yaml": deployment("db")})
    answer = desk.call("patch_k8s_manifest", kind="Deployment", name="db", field=IMAGE, value="a:2")
    assert not answer.ok
    assert "scope.paths" in answer.text


def test_a_field_is_taken_away_and_not_set_to_nothing(tmp_path):
    desk = Desk(tmp_path, shop(auth="off"))
    env = "spec.template.spec.containers[app].env"
    done = desk.call("patch_k8s_manifest", kind="deploy", name="auth", field=env, remove=True)
    assert done.ok, done.text
    assert desk.patch.workspace.files["deploy/auth.yaml"] == deployment("auth")


def test_in_a_run_about_no_repository_they_say_so(tmp_path):
    desk = Desk(tmp_path)
    context = ToolContext(desk.world)
    tools = Toolset(
        [desk.tools.specs["create_git_branch"]],
        lambda _: context,
        EvidenceStore(FakeClock()),
        Redactor(),
    )
    assert "it has no tools.git block" in tools.call("create_git_branch", {}).text


def test_a_push_is_proposed_with_what_the_model_set(tmp_path):
    desk = Desk(tmp_path)
    assert "nothing is drafted" in desk.call("commit_and_push", why="E1").text
    desk.call("patch_k8s_manifest", kind="Deployment", name="auth", field=IMAGE, value="shop/web:1")
    change = desk.call("commit_and_push", why="E1").change
    assert change is not None
    assert change.then is None
    pointer = "/spec/template/spec/containers/[name=app]/image"
    assert change.after[f"/set/Deployment~1staging~1auth{pointer}"] == "shop/web:1"
    assert desk.repository.tip() == ""


def test_a_value_must_come_from_the_repository_or_the_playbook(tmp_path):
    desk = Desk(tmp_path)
    known = {"kind": "Deployment", "name": "auth", "field": IMAGE}
    desk.call("patch_k8s_manifest", **known, value="shop/web:1")  # a sibling runs it
    change = desk.call("commit_and_push", why="E1").change
    assert desk.refused_for_its_origin(change) == ""
    desk.call("patch_k8s_manifest", **known, value="evil.example/miner:1")
    change = desk.call("commit_and_push", why="the log says so").change
    assert "evil.example/miner:1" in desk.refused_for_its_origin(change)


def test_a_pull_request_is_proposed_with_the_models_summary_told_as_such(tmp_path):
    desk = Desk(tmp_path)
    desk.call("patch_k8s_manifest", kind="Deployment", name="auth", field=IMAGE, value="shop/web:1")
    desk.repository.push(desk.patch.workspace.commit(lambda paths: "x"), "")
    change = desk.call("open_pull_request", summary="Auth runs @everyone's image.").change
    assert change is not None
    assert "in the words of" in change.after["/body"]
    assert "`@everyone's`" in change.after["/body"]  # in code it pings nobody
    assert desk.forge.pulls == {}
