"""Checks of a goal that look at a patch: manifests, their coverage of a cluster, a pull request."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from measuring import goal_of, plan_of
from msgspec import structs

from smoldebug.errors import UnreachableError, UsageError
from smoldebug.goal import Goal
from smoldebug.goal.covers_cluster import gaps
from smoldebug.playbook import models
from smoldebug.playbook.models import Check, RolloutCheck
from smoldebug.playbook.patches import (
    ContainerHas,
    CoversClusterCheck,
    Edit,
    EditedCheck,
    EnvVar,
    ManifestsCheck,
    PullRequestCheck,
    Select,
    SetEnv,
    SetReplicas,
)
from smoldebug.records import CheckResult, CheckRun, ObjectRef, Outcome
from smoldebug.sources.fake_repository import FakeForge, FakeRepository
from smoldebug.sources.fakes import FakeClock, FakeCluster, fake_world
from smoldebug.sources.repository import PullRequestText

MET, NOT_MET, INCONCLUSIVE = Outcome.MET, Outcome.NOT_MET, Outcome.INCONCLUSIVE
FLAG = ContainerHas(env=EnvVar(name="FEATURE_FLAG", value=True))
STAGING = Select(kind="Deployment", namespace="staging")


def deployment(
    name: str, *, flag: str = "", image: str = "shop:1", namespace: str = "staging", **spec: Any
) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "app", "image": image}
    if flag:
        container["env"] = [{"name": "FEATURE_FLAG", "value": flag}]
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {"selector": selector, "template": template, **spec},
    }


def file_of(*objects: dict[str, Any]) -> bytes:
    return yaml.safe_dump_all(objects, sort_keys=False).encode()


def repository(*objects: dict[str, Any], **others: bytes) -> FakeRepository:
    """One file per object, below deploy/."""
    files = {f"deploy/{each['metadata']['name']}.yaml": file_of(each) for each in objects}
    return FakeRepository(files | others)


def results(goal: Goal) -> list[CheckResult]:
    return list(goal.check().results)


# --- manifests --------------------------------------------------------------------------------


def manifests(**fields: Any) -> Check:
    given = {"select": STAGING, "every_container_has": FLAG, "paths": ("deploy/**",)} | fields
    return Check(manifests=ManifestsCheck(**given))


def judged(repo: FakeRepository, **fields: Any) -> tuple[Outcome, str, float | None]:
    (result,) = results(goal_of(manifests(**fields), repository=repo))
    return result.outcome, result.says, result.value


def test_every_object_selected_satisfies_it():
    repo = repository(
        deployment("auth", flag="true"),
        deployment("cart", flag="true"),
        deployment("prod", namespace="prod"),
    )
    commit = repo.base_commit()[:7]
    assert judged(repo) == (MET, f"2 of 2 Deployments set FEATURE_FLAG ({commit})", 2)


def test_the_first_that_does_not_is_named_with_its_line():
    first = file_of(deployment("auth", flag="true"), deployment("cart"))
    repo = FakeRepository(
        {
            "deploy/all.yaml": first,
            "deploy/pay.yaml": file_of(deployment("pay", flag="false")),
        }
    )
    outcome, says, value = judged(repo)
    line = first.decode()[: first.index(b"---")].count("\n") + 2
    assert (outcome, value) == (NOT_MET, 1)
    assert says == (
        f"deploy/all.yaml:{line} Deployment/staging/cart: container app: FEATURE_FLAG is not set; "
        "and 1 more"
    )


def test_a_partial_object_must_match_too():
    repo = repository(deployment("auth", flag="true", replicas=2))
    assert judged(repo, matches={"spec": {"replicas": 2}})[0] is MET
    outcome, says, _ = judged(repo, every_container_has=None, matches={"spec": {"replicas": 6}})
    assert outcome is NOT_MET
    assert says == "deploy/auth.yaml:1 Deployment/staging/auth: spec.replicas is 2, not 6"


def test_an_image_is_what_they_run():
    repo = repository(deployment("auth", image="shop:2"))
    _, says, _ = judged(repo, every_container_has=ContainerHas(image="shop:2"))
    assert says.startswith("1 of 1 Deployment run shop:2 (")


def test_no_object_at_all_is_not_met():
    repo = repository(deployment("auth", namespace="prod"))
    says = "no Deployment of namespace staging below deploy/**"
    assert judged(repo) == (NOT_MET, says, 0)


def test_objects_that_name_no_namespace_are_told():
    repo = repository(deployment("auth", namespace=""))
    assert judged(repo)[1] == (
        "no Deployment of namespace staging below deploy/**: "
        "deploy/auth.yaml:1: Deployment/auth names no namespace"
    )


def test_what_cannot_be_read_may_be_what_is_missing():
    broken = {"deploy/bad.yaml": b"apiVersion: v1\nkind: [\n"}
    repo = repository(deployment("auth", flag="true"), **broken)
    outcome, says, _ = judged(repo)
    assert outcome is INCONCLUSIVE
    assert says.startswith(f"1 of 1 Deployment set FEATURE_FLAG ({repo.start()[:7]}), but ")
    assert "deploy/bad.yaml" in says
    assert judged(repository(**broken))[0] is INCONCLUSIVE


def test_what_is_plainly_missing_is_not_met_whatever_else_cannot_be_read():
    repo = repository(deployment("auth"), **{"deploy/bad.yaml": b"apiVersion: v1\nkind: [\n"})
    assert judged(repo)[0] is NOT_MET


def test_files_outside_the_paths_do_not_count():
    repo = repository(
        deployment("auth", flag="true"), **{"docs/x.yaml": b"apiVersion: v1\nkind: ["}
    )
    assert judged(repo)[0] is MET


def test_it_is_judged_on_what_the_run_pushed_and_on_nothing_that_it_only_committed():
    repo = repository(deployment("auth"))
    goal = goal_of(manifests(), repository=repo)
    made = {"deploy/auth.yaml": file_of(deployment("auth", flag="true"))}
    commit = repo.commit(repo.start(), made, "m")
    assert results(goal)[0].outcome is NOT_MET
    repo.push(commit, "", dry_run=True)
    assert results(goal)[0].outcome is NOT_MET
    repo.push(commit, "")
    (result,) = results(goal)
    assert result.outcome is MET
    assert result.says.endswith(f"({commit[:7]})")
    repo.push("", commit)  # taken back
    assert results(goal)[0].outcome is NOT_MET


def test_it_is_judged_on_what_the_run_wrote_as_patch_files(tmp_path):
    repo = repository(deployment("auth"))
    made = {"deploy/auth.yaml": file_of(deployment("auth", flag="true"))}
    repo.format_patches(repo.start(), repo.commit(repo.start(), made, "m"), tmp_path)
    assert results(goal_of(manifests(), repository=repo))[0].outcome is MET


def test_a_commit_is_read_once():
    class Counting(FakeRepository):
        trees = 0

        def tree(self, commit):
            self.trees += 1
            return super().tree(commit)

    repo = Counting({"deploy/auth.yaml": file_of(deployment("auth", flag="true"))})
    cluster = FakeCluster([deployment("auth", flag="true")])
    covers = Check(covers_cluster=CoversClusterCheck(kind="Deployment", namespace="staging"))
    goal = goal_of(manifests(), covers, repository=repo, cluster=cluster)
    for _ in range(3):
        assert goal.check().sample is MET
    assert repo.trees == 1


def test_a_goal_about_manifests_needs_no_look_at_customers():
    repo = repository(deployment("auth"))
    assert goal_of(manifests(), repository=repo).blind_spots() == []
    assert goal_of(Check(rollout=RolloutCheck()), repository=repo).blind_spots()


def test_an_overlay_is_judged_as_it_is_rendered():
    files = {
        "deploy/base/kustomization.yaml": b"resources: [auth.yaml]\n",
        "deploy/base/auth.yaml": file_of(deployment("auth", namespace="")),
        "deploy/eu/kustomization.yaml": b"namespace: staging\nresources: [../base]\n",
    }
    outcome, says, _ = judged(FakeRepository(files))
    assert outcome is NOT_MET
    assert says == (
        "deploy/base/auth.yaml:1 Deployment/staging/auth (kustomize deploy/eu): "
        "container app: FEATURE_FLAG is not set"
    )


# --- edited -----------------------------------------------------------------------------------


def edited(repo: FakeRepository, *edits: Edit) -> CheckResult:
    goal = models.Goal(all=[Check(edited=EditedCheck())])
    plan = plan_of(goal)
    plan = structs.replace(plan, playbook=structs.replace(plan.playbook, edits=list(edits)))
    world = fake_world(repository=repo)
    (result,) = Goal(plan, world, world.clock).check().results
    return result


SIX = Edit(select=STAGING, set_replicas=SetReplicas(replicas=6))


def test_edits_that_would_change_something_are_not_made():
    repo = repository(deployment("auth", replicas=2), deployment("cart", replicas=6))
    result = edited(repo, SIX)
    assert (result.outcome, result.value) == (NOT_MET, 1)
    assert result.says.endswith(" Deployment/staging/auth: not edited")


def test_a_value_that_an_edit_asks_about_is_not_edited_either():
    edit = Edit(select=STAGING, set_env=SetEnv(name="FEATURE_FLAG", value="true"))
    result = edited(repository(deployment("auth", flag="false")), edit)
    assert result.outcome is NOT_MET
    assert 'container app sets FEATURE_FLAG to "false"' in result.says


def test_edits_that_would_change_nothing_are_made():
    repo = repository(deployment("auth", replicas=2))
    files = {"deploy/auth.yaml": file_of(deployment("auth", replicas=6))}
    commit = repo.commit(repo.start(), files, "m")
    repo.push(commit, "")
    result = edited(repo, SIX)
    assert (result.outcome, result.says) == (MET, f"1 already so ({commit[:7]})")


def test_what_cannot_be_read_may_be_what_is_not_edited():
    broken = {"deploy/bad.yaml": b"apiVersion: v1\nkind: [\n"}
    result = edited(repository(deployment("auth", replicas=6), **broken), SIX)
    assert result.outcome is INCONCLUSIVE
    assert "deploy/bad.yaml" in result.says


def test_edits_of_objects_that_cannot_be_found_are_inconclusive():
    assert edited(repository(deployment("auth", namespace="prod")), SIX).outcome is INCONCLUSIVE
    assert edited(repository(deployment("auth"))).says == "the playbook has no edits"


# --- covers_cluster ---------------------------------------------------------------------------


def covered(
    repo: FakeRepository, *live: dict[str, Any], cluster: FakeCluster | None = None, **fields: Any
) -> tuple[Outcome, str, float | None]:
    block = {"kind": "deploy", "namespace": "staging"} | fields
    goal = goal_of(
        manifests(),
        Check(covers_cluster=CoversClusterCheck(**block)),
        repository=repo,
        cluster=cluster or FakeCluster(live),
    )
    _, result = results(goal)
    assert result.kind == "covers_cluster"
    return result.outcome, result.says, result.value


def test_every_live_object_has_a_manifest():
    auth, cart = deployment("auth"), deployment("cart")
    assert covered(repository(auth, cart), auth, cart) == (MET, "2 of 2 live have one", 0)


def test_a_live_object_without_one_is_told_or_fails():
    auth, lone = deployment("auth"), deployment("legacy-cron")
    says = "1 of 2 live have one; only in the cluster: legacy-cron"
    assert covered(repository(auth), auth, lone) == (NOT_MET, says, 1)
    assert covered(repository(auth), auth, lone, missing="report") == (MET, says, 1)


def test_a_manifest_that_is_not_live_is_told():
    auth, new = deployment("auth"), deployment("new")
    outcome, says, _ = covered(repository(auth, new), auth)
    assert (outcome, says) == (MET, "1 of 1 live have one; not in the cluster: new")


def test_other_namespaces_are_none_of_its_business():
    auth, prod = deployment("auth"), deployment("pay", namespace="prod")
    assert covered(repository(auth, prod), auth)[1] == "1 of 1 live have one"
    assert covered(repository(auth), auth, prod)[1] == "1 of 1 live have one"


def test_the_only_namespace_in_scope_is_meant_where_none_is_said():
    auth = deployment("auth", namespace="shop")
    lone = deployment("x", namespace="prod")
    assert covered(repository(auth), auth, lone, namespace="")[1] == "1 of 1 live have one"


def test_of_several_namespaces_in_scope_it_must_say_which():
    covers = Check(covers_cluster=CoversClusterCheck(kind="Deployment"))
    with pytest.raises(UsageError, match="in which namespace to look for: Deployment"):
        goal_of(manifests(), covers, cluster=FakeCluster(), namespaces=("shop", "pay"))
    assert goal_of(manifests(), covers, cluster=FakeCluster(), namespaces=())


def test_what_a_controller_made_needs_no_manifest():
    auth = deployment("auth")
    made = deployment("auth-canary")
    owner = {"kind": "Canary", "name": "auth", "uid": "1", "controller": True}
    made["metadata"]["ownerReferences"] = [owner]
    assert covered(repository(auth), auth, made)[0] is MET


def test_nothing_live_is_no_proof():
    assert covered(repository(deployment("auth")))[:2] == (
        INCONCLUSIVE,
        "there is no live one",
    )


def test_a_cluster_that_cannot_be_read_is_inconclusive():
    cluster = FakeCluster()
    cluster.refuse("list", "Deployment")
    outcome, says, _ = covered(repository(deployment("auth")), cluster=cluster)
    assert outcome is INCONCLUSIVE
    assert "(needs: list Deployment)" in says


def test_a_manifest_may_stand_in_a_file_that_cannot_be_read():
    auth, lone = deployment("auth"), deployment("lone")
    repo = repository(auth, **{"deploy/bad.yaml": b"apiVersion: v1\nkind: ["})
    assert covered(repo, auth, lone)[0] is INCONCLUSIVE
    assert covered(repo, auth)[0] is MET


def test_it_needs_to_know_the_manifests():
    covers = Check(covers_cluster=CoversClusterCheck(kind="Deployment"))
    with pytest.raises(UsageError, match="needs a manifests check beside it"):
        goal_of(covers, cluster=FakeCluster())


def test_a_manifest_without_a_namespace_is_of_the_namespace_its_folder_is_called_after():
    live, manifest = deployment("auth"), file_of(deployment("auth", namespace=""))
    assert covered(FakeRepository({"deploy/staging/auth.yaml": manifest}), live)[0] is MET
    assert covered(FakeRepository({"deploy/prod/auth.yaml": manifest}), live)[0] is NOT_MET


# --- drift ------------------------------------------------------------------------------------


def drift(manifest: dict[str, Any], live: dict[str, Any], *others: dict[str, Any]) -> str:
    outcome, says, _ = covered(repository(manifest), live, *others)
    assert outcome is MET  # drift alone never fails
    return says.removeprefix("1 of 1 live have one").removeprefix("; drift: ")


def test_a_field_that_runs_otherwise_is_told_with_both_values():
    says = drift(deployment("auth", image="shop:2"), deployment("auth"))
    field = "spec.template.spec.containers[app].image"
    expected = f"Deployment/staging/auth {field} shop:1 live, shop:2 in deploy/auth.yaml"
    assert says == expected


def test_many_differences_are_counted():
    manifest = deployment("auth", image="shop:2", flag="true", paused=True)
    assert drift(manifest, deployment("auth")).endswith(" and 2 more")


def test_what_a_server_or_an_injector_adds_is_no_drift():
    manifest = deployment("auth", flag="true")
    live = deployment("auth", flag="true", progressDeadlineSeconds=600, replicas=1)
    live["metadata"] |= {"uid": "1", "annotations": {"deployment.kubernetes.io/revision": "3"}}
    pods = live["spec"]["template"]["spec"]
    pods["containers"][0] |= {"imagePullPolicy": "IfNotPresent", "resources": {}}
    pods["containers"].insert(0, {"name": "istio-proxy", "image": "proxy:1"})
    pods["containers"][1]["env"].insert(0, {"name": "INJECTED", "value": "1"})
    pods |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}
    assert drift(manifest, live) == ""


def test_a_quantity_spelled_otherwise_is_no_drift():
    manifest, live = deployment("auth"), deployment("auth")
    for item, cpu in ((manifest, "0.5"), (live, "500m")):
        container = item["spec"]["template"]["spec"]["containers"][0]
        container["resources"] = {"limits": {"cpu": cpu}}
    assert drift(manifest, live) == ""


def test_items_without_a_key_are_compared_in_their_places():
    manifest, live = deployment("auth"), deployment("auth")
    for item, more in ((manifest, {}), (live, {"tolerationSeconds": 300})):
        tolerations = [{"key": "spot", "operator": "Exists", **more}]
        item["spec"]["template"]["spec"]["tolerations"] = tolerations
    assert drift(manifest, live) == ""
    live["spec"]["template"]["spec"]["tolerations"][0]["key"] = "gpu"
    assert "tolerations" in drift(manifest, live)


def test_what_the_patch_itself_changes_is_no_drift():
    live = deployment("auth")
    repo = repository(live)
    repo.commit(repo.start(), {"deploy/auth.yaml": file_of(deployment("auth", flag="true"))}, "m")
    assert covered(repo, live)[1] == "1 of 1 live have one"


def test_a_manifest_that_the_patch_adds_covers_its_object():
    repo, lone = repository(deployment("auth")), deployment("lone")
    repo.push(repo.commit(repo.start(), {"deploy/lone.yaml": file_of(lone)}, "m"), "")
    assert covered(repo, deployment("auth"), lone)[:2] == (MET, "2 of 2 live have one")


def told(cluster: FakeCluster, **scope: Any) -> tuple[list[str], list[str], list[str]]:
    """What a pull request says of the cluster."""
    repo = repository(deployment("auth", image="shop:2"), deployment("gone"))
    check = CoversClusterCheck(kind="deploy")
    plan = plan_of(models.Goal(all=[manifests(), Check(covers_cluster=check)]))
    book = structs.replace(plan.playbook, scope=models.Scope(**scope))
    return gaps(fake_world(cluster=cluster, repository=repo), book, manifests().manifests)


def test_people_are_told_what_is_only_live_what_drifts_and_what_is_not_live():
    prod = deployment("other", namespace="prod")
    cluster = FakeCluster([deployment("auth"), deployment("lone"), prod])
    only_live, drift, unseen = told(cluster, namespaces=["staging"])
    assert only_live == ["Deployment/staging/lone"]
    assert [line.split(" ")[0] for line in drift] == ["Deployment/staging/auth"]
    assert unseen == ["not in the cluster: Deployment/staging/gone"]
    assert "Deployment/prod/other" in told(cluster)[0]


def test_a_cluster_that_cannot_be_seen_is_told_too():
    class Away(FakeCluster):
        def list(self, kind: str, namespace: str = "", **more: Any) -> Any:
            raise UnreachableError("no route")

    assert told(Away([])) == ([], [], ["the cluster: no route"])


def autoscaler(target: str) -> dict[str, Any]:
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "any", "namespace": "staging"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": target}},
    }


def test_replicas_that_an_autoscaler_sets_are_no_drift():
    manifest, live = deployment("auth", replicas=2), deployment("auth", replicas=5)
    assert "spec.replicas 5 live, 2 in" in drift(manifest, live)
    assert "spec.replicas" in drift(manifest, live, autoscaler("other"))
    assert drift(manifest, live, autoscaler("auth")) == ""


def test_replicas_do_not_count_where_autoscalers_cannot_be_seen():
    live = deployment("auth", replicas=5)
    cluster = FakeCluster([live])
    cluster.refuse("list", "HorizontalPodAutoscaler")
    says = covered(repository(deployment("auth", replicas=2)), cluster=cluster)[1]
    assert says == "1 of 1 live have one"


def test_the_value_of_a_secret_is_never_told():
    manifest, live = deployment("auth"), deployment("auth")
    for item, word in ((manifest, "hunter2-manifest"), (live, "hunter2-live")):
        container = item["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": "DB_PASSWORD", "value": word}]
    says = drift(manifest, live)
    assert "DB_PASSWORD" in says
    assert "hunter2" not in says


@pytest.mark.parametrize(
    "spec",
    [
        {"template": None},
        {"template": {"spec": {"containers": [None, {"name": ["a"]}, "x"]}}},
        {"template": {"$patch": "nonsense", "$odd": 1}},
    ],
)
def test_an_odd_manifest_does_no_harm(spec: dict[str, Any]):
    manifest = deployment("auth") | {"spec": spec}
    assert covered(repository(manifest), deployment("auth"))[0] is MET


FIELDS = st.sampled_from(
    [
        "template",
        "spec",
        "containers",
        "env",
        "name",
        "value",
        "ports",
        "$patch",
        "labels",
        "limits",
    ]
)
ODD: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        st.lists(ODD, max_size=3),
        st.dictionaries(FIELDS, ODD, max_size=4),
    )
)


@given(ODD, ODD)
def test_whatever_a_manifest_holds_it_can_be_compared(metadata: Any, spec: Any):
    manifest = deployment("auth") | {"spec": spec}
    manifest["metadata"] |= {"labels": metadata, "annotations": metadata}
    repo = repository(manifest)
    assert covered(repo, deployment("auth"))[0] is not NOT_MET


# --- pull_request -----------------------------------------------------------------------------

PULL = Check(pull_request=PullRequestCheck())
RUNNING, PASSED = CheckRun("validate", "pending"), CheckRun("lint", "passed")


def patched(*runs: CheckRun) -> tuple[FakeRepository, FakeForge]:
    """A repository whose patch is committed, pushed and open as a pull request."""
    repo = repository(deployment("auth"))
    edited = {"deploy/auth.yaml": file_of(deployment("auth", flag="true"))}
    repo.push(repo.commit(repo.start(), edited, "set it"), "")
    forge = FakeForge(repo, runs)
    forge.open(PullRequestText("main", repo.branch, "Set FEATURE_FLAG", ""))
    return repo, forge


def pulled(repo: FakeRepository, forge: FakeForge | None, check: Check = PULL) -> CheckResult:
    return results(goal_of(manifests(), check, repository=repo, forge=forge))[1]


def test_it_is_open_and_its_checks_passed():
    repo, forge = patched(PASSED, CheckRun("deploy", "skipped"))
    result = pulled(repo, forge)
    head = repo.proposed[:7]
    assert (result.outcome, result.says) == (MET, f"#1 is a draft at {head}; 1 of 1 checks passed")
    assert result.route == "https://git.example/shop/manifests/pull/1"


def test_a_failed_check_says_why():
    repo, forge = patched(PASSED, CheckRun("validate", "failed", detail="...\ncart.yaml: no\n"))
    result = pulled(repo, forge)
    assert (result.outcome, result.says) == (NOT_MET, "validate failed: cart.yaml: no")


def test_running_checks_are_waited_for():
    repo, forge = patched(PASSED, RUNNING)
    result = pulled(repo, forge)
    assert (result.outcome, result.pending) == (INCONCLUSIVE, True)
    assert result.says == "checks 1 of 2 passed; running: validate"
    forge.runs = (*forge.runs, CheckRun("unit", "failed"))
    assert pulled(repo, forge).outcome is NOT_MET


def test_without_checks_it_waits_a_little_and_then_is_met():
    repo, forge = patched()
    goal = goal_of(manifests(), PULL, repository=repo, forge=forge)
    first = results(goal)[1]
    assert (first.outcome, first.pending) == (INCONCLUSIVE, True)
    assert first.says.endswith("no checks yet")
    goal._clock.sleep(31)
    later = results(goal)[1]
    assert later.outcome is MET
    assert later.says.endswith("no checks are configured")


def test_any_asks_only_that_it_is_open():
    repo, forge = patched(CheckRun("validate", "failed"))
    check = Check(pull_request=PullRequestCheck(checks="any"))
    assert pulled(repo, forge, check).outcome is MET


def test_a_merged_one_is_as_good_and_a_closed_one_is_not():
    repo, forge = patched(PASSED)
    forge.close(1)
    assert pulled(repo, forge).says == "#1 was closed and not merged"
    repo, forge = patched(PASSED)
    forge.merge(1)
    assert pulled(repo, forge).says == f"#1 is merged at {repo.proposed[:7]}; 1 of 1 checks passed"


def test_there_is_none_yet():
    repo = repository(deployment("auth"))
    result = pulled(repo, FakeForge(repo))
    assert (result.outcome, result.says) == (
        NOT_MET,
        "no pull request of branch smoldebug/patch",
    )


def test_one_that_stands_at_another_commit_is_not_the_patch():
    repo, forge = patched(PASSED)
    pushed, cart = repo.proposed, {"deploy/cart.yaml": file_of(deployment("cart", flag="true"))}
    theirs = repo.commit(pushed, cart, "more")
    repo.remote[repo.branch] = theirs
    result = pulled(repo, forge)
    assert result.outcome is NOT_MET
    assert result.says == f"#1 stands at {theirs[:7]}, not at {pushed[:7]}"


def test_it_holds_by_itself_where_there_is_nothing_to_patch():
    repo = repository(deployment("auth", flag="true"))
    result = pulled(repo, None)
    assert (result.outcome, result.says) == (MET, "nothing to do: main conforms already")


def test_what_was_pushed_needs_one_whatever_the_base_has():
    repo = repository(deployment("auth", flag="true"))
    cart = {"deploy/cart.yaml": file_of(deployment("cart", flag="true"))}
    repo.push(repo.commit(repo.start(), cart, "more"), "")
    assert pulled(repo, FakeForge(repo)).says == "no pull request of branch smoldebug/patch"


def test_a_patch_of_edits_has_nothing_to_do_where_they_are_made():
    repo = repository(deployment("auth", replicas=6))
    plan = plan_of(models.Goal(all=[Check(edited=EditedCheck()), PULL]))
    plan = structs.replace(plan, playbook=structs.replace(plan.playbook, edits=[SIX]))
    world = fake_world(repository=repo)
    assert Goal(plan, world, world.clock).check().sample is MET


def test_it_does_not_where_nobody_looks_at_manifests():
    repo = repository(deployment("auth", flag="true"))
    (result,) = results(goal_of(PULL, repository=repo, forge=FakeForge(repo)))
    assert result.outcome is NOT_MET


def test_an_earlier_run_left_an_open_one():
    repo, forge = patched(PASSED)
    repo.proposed = ""  # this run has nothing to commit: the branch is as it should be
    assert pulled(repo, forge).outcome is MET


def test_without_a_forge_a_person_opens_it():
    repo, _ = patched()
    result = pulled(repo, None)
    assert result.outcome is INCONCLUSIVE
    assert result.says == (
        "no forge is known: open it by hand: https://git.example/shop/manifests.git"
    )


def test_by_hand_means_the_page_where_it_is_opened():
    repo, _ = patched()
    repo.url = "https://github.com/shop/manifests.git"
    assert "https://github.com/shop/manifests/compare/main" in pulled(repo, None).says


def test_a_forge_that_does_not_answer_is_inconclusive():
    class Down(FakeForge):
        def find(self, branch):
            raise UnreachableError("git.example does not answer")

    repo, _ = patched()
    result = pulled(repo, Down(repo))
    assert (result.outcome, result.says) == (INCONCLUSIVE, "git.example does not answer")


def test_subjects_of_what_is_missing():
    auth, lone = deployment("auth"), deployment("lone")
    goal = goal_of(
        manifests(),
        Check(covers_cluster=CoversClusterCheck(kind="Deployment", namespace="staging")),
        repository=repository(auth),
        cluster=FakeCluster([auth, lone]),
    )
    assert results(goal)[1].subject == str(ObjectRef("Deployment", "staging", "lone"))


def test_what_is_pending_is_looked_for_soon_and_then_less_often():
    clock, hub = FakeClock(), FakeForge(FakeRepository({}, branch="b"), [RUNNING])
    hub.repository.push(hub.repository.commit(hub.repository.base_commit(), {"a": b"b"}, "x"), "")
    hub.open(PullRequestText("main", "b", "t", "b"))
    goal = models.Goal(all=[Check(pull_request=PullRequestCheck())], every=5)
    book = models.Playbook(apiVersion="smoldebug.dev/v1", name="t", goal=goal)
    plan = models.RunPlan(playbook=book, inputs={}, source="t.yaml", folder=".")
    measured = Goal(plan, fake_world(repository=hub.repository, forge=hub, clock=clock), clock)
    waits = []
    for _ in range(6):
        measured.check()
        waits.append(measured.due_in())
        clock.sleep(waits[-1])
    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
