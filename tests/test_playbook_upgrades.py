"""What a playbook says of clusters, services and steps: loaded, judged, resolved per cluster."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from smoldebug.errors import PlaybookError, UsageError
from smoldebug.playbook.inputs import of_service
from smoldebug.playbook.load import draft, load, planned
from smoldebug.records import ObjectRef
from smoldebug.shipped import shipped

GOOD: dict[str, Any] = {
    "apiVersion": "smoldebug.dev/v1",
    "name": "up",
    "inputs": {"release": {"default": "shop"}, "clusters": {"default": ["eu", "us"]}},
    "matrix": {"cluster": "${{ inputs.clusters }}"},
    "baseline": {"for": "30s"},
    "goal": {
        "each_service": {"from_release": "${{ inputs.release }}"},
        "all": [{"rollout": {}}, {"logs": {}}],
    },
    "steps": [{"helm_upgrade": {"release": "shop", "chart": "./shop"}}],
    "scope": {"namespaces": ["shop"]},
    "tools": {
        "metrics": {"url": "http://p:9090"},
        "change": {
            "allow": ["helm-upgrade", "helm-rollback", "set-image", "apply-object"],
            "targets": ["HelmRelease/shop/shop"],
        },
    },
}


@pytest.fixture
def file(tmp_path: Path):
    def write(**changed: Any) -> str:
        path = tmp_path / "up.yaml"
        path.write_text(yaml.safe_dump(GOOD | changed, sort_keys=False), encoding="utf-8")
        return str(path)

    return write


def problems(path: str) -> list[str]:
    return [f"{each.key}: {each.says}" for each in draft(Path(path)).problems]


def steps(*given: dict[str, Any]) -> dict[str, Any]:
    return {"steps": list(given)}


def goal(each: Any, *checks: Any) -> dict[str, Any]:
    block = {"all": list(checks or GOOD["goal"]["all"])}
    return {"goal": block | ({"each_service": each} if each is not None else {})}


def test_the_seed_playbook_means_what_it_says():
    path = str(shipped("playbooks") / "helm-upgrade.yaml")
    plan = load(path, {"version": "2.50"})
    playbook = plan.playbook
    assert plan.unsupported == ()
    assert playbook.matrix.cluster == ["eu-staging", "us-staging", "ap-staging"]
    assert (playbook.steps[0].helm_upgrade.version, playbook.goal.for_) == ("2.50", 300)
    assert playbook.goal.each_service.from_release == "platform"
    assert (playbook.baseline.for_, playbook.on_failure_others) == (30, "keep")


def test_a_playbook_without_a_matrix_is_for_the_current_context(file):
    bare = {key: value for key, value in GOOD.items() if key not in ("matrix", "baseline")}
    path = Path(file())
    path.write_text(yaml.safe_dump(bare), encoding="utf-8")
    assert load(str(path)).playbook.matrix is None


def test_targets_lie_in_the_only_namespace(file):
    playbook = load(
        file(
            **steps(
                {"helm_upgrade": {"release": "shop", "chart": "./shop"}},
                {"set_image": {"target": "deploy/auth", "image": "auth:2"}},
                {"wait_for_rollout": {"target": "Deployment/other/auth"}},
                {"wait_for_rollout": {}},
            ),
            **goal({"list": ["sts/db"]}, {"rollout": {}}, {"logs": {"target": "ds/agent"}}),
        )
    ).playbook
    upgrade, image, wait, all_ = playbook.steps
    assert upgrade.helm_upgrade.namespace == "shop"
    assert image.set_image.target == "Deployment/shop/auth"
    assert (wait.wait_for_rollout.target, all_.wait_for_rollout.target) == (
        "Deployment/other/auth",
        "",
    )
    assert playbook.goal.each_service.workloads == ["StatefulSet/shop/db"]
    assert playbook.goal.all[1].logs.target == "DaemonSet/shop/agent"


UPGRADE = {"helm_upgrade": {"release": "shop", "chart": "./shop"}}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        # clusters
        ({"matrix": {"cluster": ["eu", "eu"]}}, "matrix.cluster[1]: is there twice: eu"),
        ({"matrix": {"cluster": ["eu"], "parallel": 17}}, "matrix.parallel: at most 16, got 17"),
        ({"matrix": {"cluster": ["eu"], "wall": "0s"}}, "matrix.wall: must be longer than 0s"),
        (
            {"matrix": {"cluster": [""]}},
            "matrix.cluster[0]: is empty: it must be a context's name",
        ),
        # baseline
        (
            {"baseline": {"for": "30s", "within": "10s"}},
            "baseline.within: 10s is over before `for` can be: 30s",
        ),
        ({"steps": []}, "baseline: is what holds before the first step: there are no steps"),
        # services
        (
            goal({}),
            "goal.each_service: is exactly one of from_release, selector, list; this has none",
        ),
        (
            goal({"from_release": "a", "selector": "b=c"}),
            (
                "goal.each_service: is exactly one of from_release, selector, list; this has 2 "
                "(from_release, selector)"
            ),
        ),
        (
            goal({"from_release": "A_B"}),
            "goal.each_service.from_release: expected NAME or NAMESPACE/NAME, got 'A_B'",
        ),
        (goal({"selector": "a b"}), "goal.each_service.selector: not a selector: 'a b'"),
        (
            goal({"list": ["Pod/x"]}),
            (
                "goal.each_service.list[0]: expected one of Deployment, StatefulSet, DaemonSet, "
                "got 'Pod'"
            ),
        ),
        (
            goal({"from_release": "shop"}, {"tcp": {"host": "db", "port": 1}}),
            "goal.each_service: no check is measured per service: all name a target",
        ),
        (
            goal(None, {"http": {"path": "/health"}}),
            "goal: its http check has a path: that needs each_service, else give url",
        ),
        (
            goal(None, {"metric": {"query": 'up{job="${{ service.name }}"}', "below": 1}}),
            "goal: its query asks for a service: that needs each_service",
        ),
        (
            goal(None, {"logs": {"no_new_errors": False}}),
            "goal.all[0].logs.no_new_errors: is false: then there is nothing to check",
        ),
        (
            goal(None, {"logs": {"target": "auth"}}),
            "goal.all[0].logs.target: expected KIND/NAME, as in deployment/auth, got 'auth'",
        ),
        (
            goal(None, {"logs": {"ignore": [""]}}),
            "goal.all[0].logs.ignore: an empty word is in every line",
        ),
        # steps
        (
            steps({}),
            (
                "steps[0]: a step is exactly one of helm_upgrade, helm_rollback, kubectl_apply, "
                "set_image, wait_for_rollout; this has none"
            ),
        ),
        (
            steps({"wait_for_rollout": {}, "kubectl_apply": {"path": "."}}),
            (
                "steps[0]: a step is exactly one of helm_upgrade, helm_rollback, kubectl_apply, "
                "set_image, wait_for_rollout; this has 2 (kubectl_apply, wait_for_rollout)"
            ),
        ),
        (
            steps({"helm_upgrade": {"release": "-x", "chart": "c"}}),
            "steps[0].helm_upgrade.release: not a name that Helm takes: '-x'",
        ),
        (
            steps({"helm_rollback": {"release": "x" * 54}}),
            f"steps[0].helm_rollback.release: not a name that Helm takes: {'x' * 54!r}",
        ),
        (
            steps({"helm_upgrade": {"release": "x", "chart": "c", "namespace": "N"}}),
            "steps[0].helm_upgrade.namespace: not a namespace: 'N'",
        ),
        (
            steps({"helm_upgrade": {"release": "x", "chart": "--post-renderer=sh"}}),
            (
                "steps[0].helm_upgrade.chart: expected a folder, archive, repo/name or oci://..., "
                "got '--post-renderer=sh'"
            ),
        ),
        (
            steps({"helm_upgrade": {"release": "x", "chart": "c", "version": "--devel"}}),
            "steps[0].helm_upgrade.version: not a version: '--devel'",
        ),
        (
            steps({"helm_upgrade": {"release": "x", "chart": "c", "timeout": "0s"}}),
            "steps[0].helm_upgrade.timeout: must be longer than 0s",
        ),
        (
            steps({"helm_upgrade": {"release": "x", "chart": "c", "values": ["../x.yaml"]}}),
            "steps[0].helm_upgrade.values[0]: must lie in the playbook's folder, got '../x.yaml'",
        ),
        (
            steps({"helm_upgrade": {"release": "x", "chart": "c", "set": {"a..b": 1}}}),
            (
                "steps[0].helm_upgrade.set: expected a dotted path such as payments.replicas, "
                "got 'a..b'"
            ),
        ),
        (
            steps({"kubectl_apply": {"path": "/etc"}}),
            "steps[0].kubectl_apply.path: must lie in the playbook's folder, got '/etc'",
        ),
        (
            steps({"set_image": {"target": "web", "image": "x"}}),
            "steps[0].set_image.target: expected KIND/NAME, as in deployment/web, got 'web'",
        ),
        (
            steps({"set_image": {"target": "deploy/web", "image": "x y"}}),
            "steps[0].set_image.image: not an image: 'x y'",
        ),
        (
            steps({"wait_for_rollout": {"target": "job/x"}}),
            (
                "steps[0].wait_for_rollout.target: expected one of Deployment, StatefulSet, "
                "DaemonSet, got 'job'"
            ),
        ),
        (
            steps({"wait_for_rollout": {"within": "0s"}}),
            "steps[0].wait_for_rollout.within: must be longer than 0s",
        ),
        # what steps need
        (
            {"tools": {}},
            "steps[0].helm_upgrade: needs helm-upgrade in tools.change.allow",
        ),
        (
            {"tools": {"change": {"allow": ["helm-upgrade"], "targets": ["HelmRelease/a/b"]}}},
            "steps[0].helm_upgrade: on_failure: undo needs helm-rollback in tools.change.allow",
        ),
        ({"approval": "never"}, "steps: none can be carried out: approval is never"),
        (
            {"scope": {"namespaces": ["shop"], "cluster": "read-only"}},
            "steps: none can be carried out: scope.cluster is read-only",
        ),
        (
            {"scope": {"namespaces": []}},
            "steps[0].helm_upgrade: needs namespace, unless scope.namespaces is one",
        ),
        (
            {"scope": {}, **steps({"set_image": {"target": "deploy/web", "image": "x"}})},
            "steps[0].set_image.target: needs its namespace, unless scope.namespaces is one",
        ),
        (
            {"scope": {}},
            (
                "goal.each_service.from_release: needs its namespace (NAMESPACE/NAME), unless "
                "scope.namespaces is one"
            ),
        ),
        (
            {"scope": {}, **goal({"list": ["deploy/web"]})},
            "goal: deploy/web needs its namespace, unless scope.namespaces is one",
        ),
        # expressions
        (
            {"description": "${{ matrix.region }}"},
            "description: unknown expression ${{ matrix.region }}; known: ${{ matrix.cluster }}",
        ),
        (
            {"description": "for ${{ service.name }}"},
            "description: ${{ service.name }} stands only in the query of a metric or ratio check",
        ),
        (
            goal({"list": ["deploy/a"]}, {"metric": {"query": "up{a='${{ service.uid }}'}"}}),
            (
                "goal.all[0].metric.query: unknown expression ${{ service.uid }}; known: "
                "service.name, .namespace, .kind"
            ),
        ),
        (
            goal({"list": ["deploy/a"]}, {"metric": {"query": "up_${{ service.name }}"}}),
            "goal.all[0].metric.query: a value here must be a word, number or duration: 'ser-vice'",
        ),
        (
            goal({"list": ["d/a"]}, {"metric": {"query": "up{a='${{ service.name }}'"}}),
            "goal.all[0].metric.query: not PromQL: ",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_place(file, changed, says):
    assert any(each.startswith(says) for each in problems(file(**changed))), problems(
        file(**changed)
    )


@pytest.mark.parametrize(
    ("step", "missing"),
    [
        ({"helm_upgrade": {"release": "x", "chart": "c", "values": ["a.yaml"]}}, "a.yaml"),
        ({"kubectl_apply": {"path": "deploy"}}, "deploy"),
    ],
)
def test_files_beside_it_must_be_there(file, tmp_path, step, missing):
    (found,) = problems(file(**steps(step)))
    assert found.endswith(f"no such file beside it: {missing}")
    (tmp_path / missing).mkdir()
    assert problems(file(**steps(step))) == []


# --- per cluster ------------------------------------------------------------------------------

BY_CLUSTER = {
    "description": "In ${{ matrix.cluster }} now",
    "allow_auto_when": {"cluster": ["${{ matrix.cluster }}"]},
    "steps": [
        {
            "helm_upgrade": {
                "release": "shop",
                "chart": "./shop",
                "values": ["values/${{ matrix.cluster }}.yaml"],
            }
        },
        {"kubectl_apply": {"path": "deploy/${{ matrix.cluster }}"}},
    ],
}


def test_a_cluster_stays_open_until_it_is_given(file, tmp_path):
    path = file(**BY_CLUSTER)
    assert load(path).playbook.description == "In ${{ matrix.cluster }} now"
    (tmp_path / "values").mkdir()
    (tmp_path / "values" / "eu.yaml").touch()
    (tmp_path / "deploy" / "eu").mkdir(parents=True)
    playbook = load(path, matrix={"cluster": "eu"}).playbook
    assert playbook.description == "In eu now"
    assert playbook.allow_auto_when == {"cluster": ["eu"]}
    assert playbook.steps[0].helm_upgrade.values == ["values/eu.yaml"]
    assert playbook.steps[1].kubectl_apply.path == "deploy/eu"
    with pytest.raises(PlaybookError, match="no such file beside it: values/us.yaml"):
        load(path, matrix={"cluster": "us"})


def test_a_clusters_name_is_data_where_it_lands(file):
    path = file(**BY_CLUSTER)
    for name in ("../../etc", "a\nb"):
        with pytest.raises(PlaybookError, match="playbook's folder|control character"):
            load(path, matrix={"cluster": name})


def test_a_cluster_may_be_asked_for_only_where_there_are_several(file):
    path = Path(file(**BY_CLUSTER))
    text = path.read_text(encoding="utf-8").replace(
        "matrix:\n  cluster: ${{ inputs.clusters }}\n", ""
    )
    path.write_text(text, encoding="utf-8")
    assert any("needs the block matrix" in each for each in problems(str(path)))


# --- per service ------------------------------------------------------------------------------


def test_a_query_is_filled_in_for_a_service(file):
    query = 'sum(up{a="${{ service.name }}", b="${{service.namespace}}"}) by (${{ service.kind }})'
    check = {"metric": {"query": query, "below": 1}}
    plan = load(file(**goal({"from_release": "shop"}, check)))
    kept = plan.playbook.goal.all[0].metric.query
    assert kept == query
    pay = ObjectRef("Deployment", "shop", 'pay"} or vector(0) #')
    assert of_service(kept, pay) == (
        'sum(up{a="pay\\"} or vector(0) #", b="shop"}) by (Deployment)'
    )


def test_a_value_cannot_bring_an_expression_with_it(file):
    check = {"metric": {"query": 'up{a="${{ inputs.release }}"}', "below": 1}}
    path = file(**goal({"list": ["deploy/a"]}, check))
    with pytest.raises(UsageError, match="a value cannot be an expression"):
        planned(draft(Path(path), {"release": "${{ service.name }}"}))
