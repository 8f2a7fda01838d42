"""What may be changed and what may be read is decided here, by code, from the playbook."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smoldebug.errors import AccessDenied
from smoldebug.guard import Guard, ScopedCluster, asks, covers, plural
from smoldebug.playbook import models
from smoldebug.records import Answer, Change, ChangeKind, ObjectRef
from smoldebug.sources.fakes import FakeCluster, FakeHttp, FakeProcesses, completed, reply
from smoldebug.sources.kinds import KINDS

AUTH = ObjectRef("Deployment", "shop", "auth")
HPA = ObjectRef("HorizontalPodAutoscaler", "shop", "auth")


def playbook(
    allow: list[str] | None = None,
    targets: list[str] | None = None,
    namespaces: list[str] | None = None,
    **fields: Any,
) -> models.Playbook:
    change = models.ChangeTool(
        allow=[ChangeKind(kind) for kind in (allow or ["scale"])],
        targets=["Deployment/shop/*"] if targets is None else targets,
    )
    tools = fields.pop("tools", models.Tools(change=change))
    scope = fields.pop("scope", models.Scope(namespaces=namespaces or []))
    return models.Playbook(
        apiVersion="smoldebug.dev/v1",
        name="test",
        goal=models.Goal(),
        tools=tools,
        scope=scope,
        **fields,
    )


def limits(changes: int = 3, factor: float = 3, most: int = 20) -> models.Limits:
    replicas = models.ReplicaLimits(max_factor=factor, max=most)
    return models.Limits(changes=changes, replicas=replicas)


def scale(before: Any = 1, after: Any = 2, target: ObjectRef = AUTH, **fields: Any) -> Change:
    return Change(
        ChangeKind.SCALE,
        target,
        {"/spec/replicas": before},
        {"/spec/replicas": after},
        "busy",
        **fields,
    )


def refusal(change: Change, book: models.Playbook | None = None, *applied: Change) -> str:
    """Why the guard refuses, "" when it does not."""
    decision = Guard(book or playbook()).judge(change, applied)
    assert (decision.answer is Answer.YES) == (not decision.reason)
    assert decision.by == "guard"
    return decision.reason


# --- the playbook must name it ----------------------------------------------------------------


def test_what_the_playbook_names_may_be_changed():
    assert refusal(scale()) == ""


def test_without_a_change_block_nothing_may_be_changed():
    assert "read-only" in refusal(scale(), playbook(tools=models.Tools()))


def test_a_read_only_scope_overrules_the_change_block():
    assert "read-only" in refusal(scale(), playbook(scope=models.Scope(cluster="read-only")))


def test_a_kind_of_change_that_is_not_named_is_refused():
    assert refusal(scale(), playbook(allow=["restart", "rollback"])) == (
        "scale is not in tools.change.allow: restart, rollback"
    )


@pytest.mark.parametrize(
    ("pattern", "target", "covered"),
    [
        ("Deployment/shop/auth", AUTH, True),
        ("Deployment/shop/*", AUTH, True),
        ("Deployment/*/*", AUTH, True),
        ("*/*/*", AUTH, True),
        ("Deployment/shop/au*", AUTH, False),
        ("Deployment/shop/????", AUTH, False),
        ("Deploy*/shop/auth", AUTH, False),
        ("deployment/shop/auth", AUTH, False),
        ("Deployment/*", AUTH, False),
        ("*", AUTH, False),
        ("Deployment/shop", AUTH, False),
        ("Deployment/shop/auth/", AUTH, False),
        ("Node/*", ObjectRef("Node", "", "n1"), True),
        ("Node/*/n1", ObjectRef("Node", "", "n1"), False),
        ("Deployment/shop/*", ObjectRef("Deployment", "", "shop/auth"), False),
        ("Deployment/*", ObjectRef("Deployment", "", "shop/auth"), False),
        ("Process/local/*", ObjectRef("Process", "local", "../../etc"), False),
        ("Deployment/shop/*", ObjectRef("Deployment", "shop", ""), False),
    ],
)
def test_a_star_stands_for_one_whole_part(pattern: str, target: ObjectRef, covered: bool):
    assert covers(pattern, target) is covered


def test_the_namespace_must_be_in_scope_whatever_the_targets_say():
    book = playbook(targets=["Deployment/*/*"], namespaces=["shop", "shop-eu"])
    assert refusal(scale(), book) == ""
    elsewhere = scale(target=ObjectRef("Deployment", "kube-system", "coredns"))
    assert refusal(elsewhere, book) == "namespace kube-system is outside the playbook's scope"


def test_only_changes_of_this_machine_may_use_its_name_for_a_namespace():
    book = playbook(
        allow=["scale", "process-restart", "run-command"],
        targets=["*/*/*"],
        namespaces=["shop"],
    )
    assert refusal(scale(target=ObjectRef("Deployment", "local", "auth")), book)
    web = ObjectRef("Process", "local", "web")
    for kind in (ChangeKind.PROCESS_RESTART, ChangeKind.RUN_COMMAND):
        assert refusal(Change(kind, web, {}, {"/argv": ["true"]}, "down"), book) == ""


@pytest.mark.parametrize(
    ("kind", "pointer"),
    [
        ("scale", "/spec/template/spec/containers/0/image"),
        ("scale", "/spec"),
        ("scale", ""),
        ("scale", "/spec/replicasX"),
        ("set-replicas-bounds", "/spec/scaleTargetRef/name"),
        ("rollback", "/spec/replicas"),
        ("rollback", "/metadata/labels"),
        ("restart", "/spec/template/spec/containers"),
        ("restart", "/spec/template"),
    ],
)
def test_allowing_one_kind_of_change_allows_its_fields_only(kind: str, pointer: str):
    change = Change(ChangeKind(kind), AUTH, {}, {pointer: "x"}, "sneaky")
    assert refusal(change, playbook(allow=[kind])) == f"a {kind} does not touch: {pointer}"
    removal = Change(ChangeKind(kind), AUTH, {pointer: "x"}, {}, "sneaky")
    assert refusal(removal, playbook(allow=[kind])) == f"a {kind} does not touch: {pointer}"


# --- limits ------------------------------------------------------------------------------------


def test_objects_are_counted_over_the_run():
    book = playbook(limits=limits(changes=2))
    pay = ObjectRef("Deployment", "shop", "pay")
    cart = ObjectRef("Deployment", "shop", "cart")
    assert refusal(scale(target=pay), book, scale()) == ""
    assert refusal(scale(1, 3), book, scale(), scale(target=pay)) == "", "the same object again"
    assert "limits.changes" in refusal(scale(target=cart), book, scale(), scale(target=pay))
    assert "limits.changes" in refusal(scale(), playbook(limits=limits(changes=0)))


@pytest.mark.parametrize("after", [0, -1, True, "2", 2.0, [2], {"x": 1}])
def test_replicas_stay_a_whole_number_above_zero(after: Any):
    assert "at least 1" in refusal(scale(1, after))


def test_replicas_grow_by_the_factor_and_to_the_maximum_at_most():
    assert refusal(scale(2, 6)) == ""
    assert "max_factor: 3" in refusal(scale(2, 7))
    assert refusal(scale(10, 20)) == ""
    assert "limits.replicas.max: 20" in refusal(scale(10, 21))
    assert refusal(scale(0, 3)) == "", "nothing counts as one"
    assert refusal(scale(0, 4))


def test_two_doublings_are_a_factor_of_four():
    assert refusal(scale(2, 4), None, scale(1, 2)) == (
        "/spec/replicas 1 -> 4 is over limits.replicas.max_factor: 3"
    )
    pay = ObjectRef("Deployment", "shop", "pay")
    assert refusal(scale(2, 4), None, scale(1, 2, target=pay)) == "", "another object"


def test_what_the_object_leaves_open_counts_as_one():
    bounds = Change(ChangeKind.SET_REPLICAS_BOUNDS, HPA, {}, {"/spec/minReplicas": 4}, "busy")
    book = playbook(allow=["set-replicas-bounds"], targets=[str(HPA)])
    assert "1 -> 4" in refusal(bounds, book)
    then = Change(bounds.kind, HPA, {"/spec/minReplicas": 3}, {"/spec/minReplicas": 4}, "busy")
    first = Change(bounds.kind, HPA, {}, {"/spec/minReplicas": 3}, "busy")
    assert "1 -> 4" in refusal(then, book, first)


@pytest.mark.parametrize("after", [{"": {"spec": {"replicas": 0}}}, {"/spec": {"replicas": 0}}])
def test_a_patch_of_the_whole_spec_is_still_not_to_zero(after: dict[str, Any]):
    change = Change(ChangeKind.PATCH_OBJECT, AUTH, {}, after, "quiet")
    assert "at least 1" in refusal(change, playbook(allow=["patch-object"]))


@pytest.mark.parametrize("before", [{"/spec": {"replicas": 2}}, {"/spec": {}}, {}])
def test_a_patch_of_the_whole_spec_is_still_within_the_factor(before: dict[str, Any]):
    change = Change(ChangeKind.PATCH_OBJECT, AUTH, before, {"/spec": {"replicas": 7}}, "more")
    assert "max_factor" in refusal(change, playbook(allow=["patch-object"]))


def test_the_card_says_how_much_of_the_limits_is_used():
    guard = Guard(playbook(limits=limits(changes=2)))
    assert guard.describe(scale(), []) == "1 of 2 changes · factor 2 of 3 allowed"
    assert guard.describe(scale(2, 3), [scale(1, 2)]) == "1 of 2 changes · factor 3 of 3 allowed"
    restart = Change(ChangeKind.RESTART, AUTH, {}, {}, "stuck")
    assert guard.describe(restart, []) == "1 of 2 changes"


# --- whatever the guard lets through --------------------------------------------------------

FIELDS = {  # what an honest change of the kind touches, and what a sneaky one might
    "scale": ["/spec/replicas", "/spec/replicas", "/spec/image"],
    "set-replicas-bounds": ["/spec/minReplicas", "/spec/maxReplicas", "/spec/replicas"],
    "patch-object": ["/spec/replicas", "/spec/maxReplicas", "/spec", "", "/spec/image"],
}
kinds = st.sampled_from(list(FIELDS))
names = st.sampled_from(["auth"] * 6 + ["pay", "shop/auth", "", "*", ".."])
spaces = st.sampled_from(["shop"] * 6 + ["pay", "local", "kube-system", "", "shop/auth"])
refs = st.builds(ObjectRef, st.sampled_from(["Deployment", "Deployment", "Node"]), spaces, names)
counts = st.sampled_from([1, 1, 2, 2, 2, 3, 3, 4, 6, 9, 21, 0, -1, None, True, "3"])
patterns = st.one_of(
    st.sampled_from(["Deployment/shop/*", "*/*/*", "Deployment/*/auth", "Node/*"]),
    st.lists(st.one_of(spaces, st.just("*")), min_size=1, max_size=4).map("/".join),
)


@st.composite
def proposals(draw: st.DrawFn) -> Change:
    kind = draw(kinds)

    def side() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for pointer in draw(st.lists(st.sampled_from(FIELDS[kind]), max_size=2, unique=True)):
            count = draw(counts)
            wrapped = {"replicas": count, "image": "x"}
            found[pointer] = {"/spec": wrapped, "": {"spec": wrapped}}.get(pointer, count)
        return found

    return Change(ChangeKind(kind), draw(refs), side(), side(), "why")


changes = proposals()
books = st.builds(
    lambda allow, targets, namespaces, factor, most, changed, access: playbook(
        allow,
        targets,
        limits=limits(changed, factor, most),
        scope=models.Scope(namespaces=namespaces, cluster=access),
    ),
    st.lists(kinds, min_size=2, max_size=6),
    st.lists(patterns, min_size=1, max_size=3),
    st.sampled_from([[], [], ["shop"], ["shop", "pay"], ["pay"]]),
    st.sampled_from([3, 3, 1.5, 1]),
    st.sampled_from([20, 20, 5, 1]),
    st.sampled_from([3, 3, 2, 1, 0]),
    st.sampled_from(["read-write"] * 5 + ["read-only"]),
)


def replicas_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every replica count on a side of a change, found by walking all of it."""
    found: dict[str, Any] = {}

    def walk(path: str, value: Any) -> None:
        if path in ("/spec/replicas", "/spec/minReplicas", "/spec/maxReplicas"):
            found.setdefault(path, value)
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{path}/{key}", item)

    for pointer, value in values.items():
        walk(pointer, value)
    return {path: value for path, value in found.items() if value is not None}


@settings(max_examples=300)
@given(books, changes, st.lists(changes, max_size=3))
def test_what_gets_through_is_named_in_scope_and_within_every_limit(
    book: models.Playbook, change: Change, applied: list[Change]
):
    if Guard(book).judge(change, applied).answer is not Answer.YES:
        return
    tool, target = book.tools.change, change.target
    assert tool is not None
    assert book.scope.cluster != "read-only"
    assert change.kind in tool.allow
    spelled = [part for part in (target.kind, target.namespace, target.name) if part]
    assert not any("/" in part for part in spelled)
    assert any(
        len(pattern.split("/")) == len(spelled)
        and all(map(lambda want, have: want in ("*", have), pattern.split("/"), spelled))
        for pattern in tool.targets
    )
    assert target.namespace in (*(book.scope.namespaces or [target.namespace]), "")
    touched = {each.target for each in (*applied, change)}
    assert len(touched) <= book.limits.changes
    for path, after in replicas_of(change.after).items():
        assert type(after) is int
        assert 1 <= after <= book.limits.replicas.max
        history = [each for each in (*applied, change) if each.target == target]
        first = next(
            each
            for each in history
            if path in replicas_of(each.before) or path in replicas_of(each.after)
        )
        before = replicas_of(first.before).get(path, 1)
        before = before if isinstance(before, int) else 1
        assert after <= max(before, 1) * book.limits.replicas.max_factor
    if change.kind is ChangeKind.SCALE:
        assert {*change.before, *change.after} <= {"/spec/replicas"}


@given(
    st.integers(0, 8),
    st.lists(st.integers(-1, 30), max_size=6),
    st.sampled_from([1, 1.5, 2, 3]),
    st.integers(1, 20),
    st.sampled_from(["/spec/replicas", "/spec", ""]),
)
def test_no_sequence_of_changes_gets_around_the_replica_limits(
    first: int, wanted: list[int], factor: float, most: int, pointer: str
):
    def side(replicas: int) -> dict[str, Any]:
        spec = {"replicas": replicas}
        return {pointer: {"/spec": spec, "": {"spec": spec}}.get(pointer, replicas)}

    guard = Guard(playbook(allow=["patch-object"], limits=limits(1, factor, most)))
    now, applied = first, []
    for replicas in wanted:
        change = Change(ChangeKind.PATCH_OBJECT, AUTH, side(now), side(replicas), "more")
        allowed = 1 <= replicas <= min(most, max(first, 1) * factor)
        assert (guard.judge(change, applied).answer is Answer.YES) is allowed
        if allowed:
            now = replicas
            applied.append(change)


@given(books)
def test_a_good_change_is_not_refused(book: models.Playbook):
    """The oracle the other way round, where it is simple: one first scale of a plain object."""
    factor, most = book.limits.replicas.max_factor, book.limits.replicas.max
    assume(book.limits.changes and book.scope.cluster != "read-only" and most > 1)
    grown = min(most, int(2 * factor))
    good = scale(2, grown, target=ObjectRef("Deployment", "shop", "auth"))
    tool = models.ChangeTool(allow=[ChangeKind.SCALE], targets=["Deployment/shop/auth"])
    wide = playbook(tools=models.Tools(change=tool), limits=book.limits, namespaces=["shop"])
    assert refusal(good, wide) == ""


# --- who is asked ------------------------------------------------------------------------------


def test_the_operator_is_asked_unless_the_playbook_says_auto():
    assert asks(playbook(), scale(), "prod")
    assert asks(playbook(approval="never"), scale(), "prod")
    assert not asks(playbook(approval="auto"), scale(), "prod")


def test_what_cannot_be_undone_is_asked_for_even_under_auto():
    once = scale(no_undo="cannot be taken back")
    assert asks(playbook(approval="auto"), once, "prod")
    allowed = playbook(approval="auto", allow_without_undo=[ChangeKind.SCALE])
    assert not asks(allowed, once, "prod")


@pytest.mark.parametrize(
    ("when", "context", "asked"),
    [
        ({"cluster": ["*-staging", "lab"]}, "eu-staging", False),
        ({"cluster": ["*-staging", "lab"]}, "lab", False),
        ({"cluster": ["*-staging", "lab"]}, "eu-prod", True),
        ({"cluster": ["lab"]}, "LAB", True),
        ({"cluster": ["*"]}, "", False),
        ({"cluster": []}, "lab", True),
        ({"weekday": ["monday"]}, "lab", True),
        ({"cluster": ["lab"], "weekday": ["monday"]}, "lab", True),
        ({}, "eu-prod", False),
    ],
)
def test_auto_holds_only_where_every_condition_does(when, context: str, asked: bool):
    assert asks(playbook(approval="auto", allow_auto_when=when), scale(), context) is asked


# --- what may be read --------------------------------------------------------------------------


def scoped(
    cluster: FakeCluster, read: list[str] | None = None, namespaces: list[str] | None = None
) -> ScopedCluster:
    kubectl = None if read is None else models.KubectlTool(read=read)
    book = playbook(tools=models.Tools(kubectl=kubectl), namespaces=namespaces)
    return ScopedCluster(cluster, book)


def pod(namespace: str = "shop") -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "auth-1", "namespace": namespace}}


READS = {
    "get": lambda cluster: cluster.get(ObjectRef("Pod", "shop", "auth-1")),
    "list": lambda cluster: cluster.list("Pod", "shop"),
    "logs": lambda cluster: cluster.logs("shop", "auth-1", previous=False, lines=5),
    "proxy": lambda cluster: cluster.proxy(ObjectRef("Pod", "shop", "auth-1"), 80, "/", 1.0),
    "exec": lambda cluster: cluster.exec("shop", "auth-1", "", ["df"], 1.0),
}


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize(
    ("read", "namespaces"), [(None, None), ([], ["shop"]), (["po"], None), (["pods"], ["shop"])]
)
def test_reads_in_scope_go_through(verb: str, read, namespaces):
    cluster = FakeCluster(
        [pod()],
        http=FakeHttp({"Pod/shop/auth-1:80/": reply(200)}),
        processes=FakeProcesses({"df": completed()}),
    )
    READS[verb](scoped(cluster, read, namespaces))
    assert [request.verb for request in cluster.requests] == [verb]


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize(
    ("read", "namespaces", "needs"),
    [
        (["deployments"], None, "pods in tools.kubectl.read"),
        (["podtemplates"], None, "pods in tools.kubectl.read"),
        (None, ["pay"], "shop in scope.namespaces"),
        (["pods"], ["pay", "sho", "shop-eu"], "shop in scope.namespaces"),
    ],
)
def test_a_refused_read_sends_nothing_and_says_what_it_needs(verb: str, read, namespaces, needs):
    cluster = FakeCluster([pod()])
    with pytest.raises(AccessDenied) as refused:
        READS[verb](scoped(cluster, read, namespaces))
    assert refused.value.needs == needs
    assert cluster.requests == []


def test_all_namespaces_are_more_than_the_scope():
    cluster = FakeCluster([pod()])
    with pytest.raises(AccessDenied, match="all namespaces"):
        scoped(cluster, None, ["shop"]).list("pods")
    with pytest.raises(AccessDenied):
        scoped(cluster, None, ["shop"]).get(ObjectRef("Pod", "", "auth-1"))
    assert cluster.requests == []


def test_objects_without_a_namespace_are_outside_no_scope():
    cluster = FakeCluster([{"kind": "Node", "metadata": {"name": "n1"}}])
    seen = scoped(cluster, None, ["shop"])
    assert seen.get(ObjectRef("Node", "", "n1"))
    assert seen.list("nodes")
    with pytest.raises(AccessDenied):
        scoped(cluster, ["pods"], ["shop"]).list("nodes")


@pytest.mark.parametrize("kind", ["Secret", "secret", "secrets", "SECRETS"])
def test_secrets_are_read_only_where_they_are_named(kind: str):
    cluster = FakeCluster()
    for read in (None, [], ["pods"]):
        with pytest.raises(AccessDenied, match="secrets"):
            scoped(cluster, read).list(kind, "shop")
    assert cluster.requests == []
    scoped(cluster, ["secrets"]).list(kind, "shop")
    assert len(cluster.requests) == 1


def test_nobody_patches_through_a_scoped_cluster():
    cluster = FakeCluster([pod()])
    with pytest.raises(AccessDenied):
        scoped(cluster).patch(ObjectRef("Pod", "shop", "auth-1"), [], dry_run=True, note="")
    assert cluster.requests == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_name_of_a_kind_is_the_same_kind(kind):
    assert {plural(name) for name in (kind.kind, *kind.names)} == {kind.plural}


@pytest.mark.parametrize(
    ("kind", "resources"),
    [
        ("Certificate", "certificates"),
        ("certificates", "certificates"),
        ("BackendPolicy", "backendpolicies"),
        ("Gateway", "gateways"),
        ("Mesh", "meshes"),
        ("IngressClassParams", "ingressclassparams"),
    ],
)
def test_custom_kinds_are_spelled_as_the_api_does(kind: str, resources: str):
    assert plural(kind) == resources
