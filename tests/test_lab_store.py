"""The lab's store: versions, locking, deletion, garbage collection, watching."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.clock import FakeClock
from smoldebug.lab.catalog import RESOURCES, find, resource
from smoldebug.lab.selectors import fields_match, labels_match, selector_matches, selector_text
from smoldebug.lab.store import ApiError, Store, WatchEvent, clone

CONFIGMAPS, NAMESPACES, PODS = resource("cm"), resource("namespaces"), resource("Pod")
DEPLOYMENTS, SERVICES = resource("deploy"), resource("svc")


@pytest.fixture
def store() -> Store:
    made = Store(FakeClock())
    made.create(NAMESPACES, None, {"metadata": {"name": "shop"}})
    return made


def configmap(name: str = "a", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def pod(name: str = "web", node: str = "node", **meta: Any) -> dict[str, Any]:
    containers = [{"name": "web", "image": "shop/web:1"}]
    spec = {"nodeName": node, "containers": containers} if node else {"containers": containers}
    return {"metadata": {"name": name, **meta}, "spec": spec}


def with_meta(obj: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return obj | {"metadata": obj["metadata"] | meta}


def owned(by: dict[str, Any]) -> dict[str, Any]:
    return {"ownerReferences": [{"uid": by["metadata"]["uid"], "name": by["metadata"]["name"]}]}


def names(store: Store, kind: str) -> list[str]:
    return [obj["metadata"]["name"] for obj in store.list(resource(kind))[0]]


def refusal(call: Any, *args: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*args, **options)
    return caught.value


# -- the catalogue


def test_a_resource_is_found_by_plural_kind_and_short_name():
    assert resource("deployments") is resource("Deployment") is resource("deploy")
    assert resource("deploy") is find("apps", "v1", "deployments")
    with pytest.raises(LookupError, match="no such resource: gadgets"):
        resource("gadgets")


def test_of_two_resources_of_one_name_the_core_one_wins():
    assert resource("pods").group == resource("events").group == ""


def test_no_two_resources_share_a_url():
    assert len({(r.group, r.version, r.plural) for r in RESOURCES}) == len(RESOURCES)


# -- creating and changing


def test_what_is_created_has_identity_and_the_next_version(store: Store):
    before = store.version
    made = store.create(CONFIGMAPS, "shop", configmap(x="1"))
    meta = made["metadata"]
    assert (made["apiVersion"], made["kind"], meta["namespace"]) == ("v1", "ConfigMap", "shop")
    assert int(meta["resourceVersion"]) == store.version == before + 1
    assert meta["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert len(meta["uid"]) == 36


def test_the_callers_object_and_the_stored_one_are_not_the_same(store: Store):
    mine = configmap(x="1")
    made = store.create(CONFIGMAPS, "shop", mine)
    mine["data"]["x"] = made["data"]["x"] = "changed"
    got = store.get(CONFIGMAPS, "shop", "a")
    got["data"]["x"] = "changed"
    assert store.get(CONFIGMAPS, "shop", "a")["data"] == {"x": "1"}


def test_a_name_can_be_generated(store: Store):
    made = [store.create(CONFIGMAPS, "shop", {"metadata": {"generateName": "cm-"}}) for _ in "ab"]
    first, second = (obj["metadata"]["name"] for obj in made)
    assert first.startswith("cm-")
    assert first != second


@pytest.mark.parametrize(
    ("namespace", "obj", "code", "message"),
    [
        ("shop", configmap("taken"), 409, 'configmaps "taken" already exists'),
        ("nowhere", configmap(), 404, 'namespaces "nowhere" not found'),
        ("shop", {"metadata": {}}, 422, "name or generateName is required"),
        ("shop", {"metadata": {"name": "a", "resourceVersion": "7"}}, 400, "should not be set"),
    ],
)
def test_what_cannot_be_created(
    store: Store, namespace: str, obj: dict[str, Any], code: int, message: str
):
    store.create(CONFIGMAPS, "shop", configmap("taken"))
    version = store.version
    error = refusal(store.create, CONFIGMAPS, namespace, obj)
    assert error.code == code
    assert message in error.message
    assert store.version == version


def test_an_update_moves_the_version_and_a_spec_change_the_generation(store: Store):
    made = store.create(DEPLOYMENTS, "shop", {"metadata": {"name": "web"}, "spec": {}})
    assert made["metadata"]["generation"] == 1
    scaled = store.update(DEPLOYMENTS, "shop", "web", lambda o: o | {"spec": {"replicas": 3}})
    assert scaled["metadata"]["generation"] == 2
    labelled = store.update(
        DEPLOYMENTS,
        "shop",
        "web",
        lambda o: o | {"metadata": o["metadata"] | {"labels": {"a": "b"}}},
    )
    assert labelled["metadata"]["generation"] == 2
    assert int(labelled["metadata"]["resourceVersion"]) == store.version


def test_a_change_that_changes_nothing_moves_nothing(store: Store):
    store.create(CONFIGMAPS, "shop", configmap(x="1"))
    version = store.version
    store.update(CONFIGMAPS, "shop", "a", lambda o: o)
    assert store.version == version


def test_a_stale_copy_is_refused(store: Store):
    stale = store.create(CONFIGMAPS, "shop", configmap(x="1"))
    store.update(CONFIGMAPS, "shop", "a", lambda o: o | {"data": {"x": "2"}})
    error = refusal(store.update, CONFIGMAPS, "shop", "a", lambda _: stale | {"data": {"x": "3"}})
    assert (error.code, error.reason) == (409, "Conflict")
    assert "the object has been modified" in error.message
    assert store.get(CONFIGMAPS, "shop", "a")["data"] == {"x": "2"}


def test_an_object_made_anew_is_not_the_one_that_was_read(store: Store):
    old = store.create(CONFIGMAPS, "shop", configmap(x="1"))
    store.delete(CONFIGMAPS, "shop", "a")
    new = store.create(CONFIGMAPS, "shop", configmap(x="1"))
    wrong = new | {"metadata": new["metadata"] | {"uid": old["metadata"]["uid"]}, "data": {}}
    assert refusal(store.update, CONFIGMAPS, "shop", "a", lambda _: wrong).code == 409
    options = {"preconditions": {"uid": old["metadata"]["uid"]}}
    assert "UID" in refusal(store.delete, CONFIGMAPS, "shop", "a", options).message


def test_identity_cannot_be_changed(store: Store):
    made = store.create(CONFIGMAPS, "shop", configmap(x="1"))
    forged = {"metadata": {"name": "b", "namespace": "x", "creationTimestamp": "1999"}, "data": {}}
    changed = store.update(CONFIGMAPS, "shop", "a", lambda _: forged)
    kept = ("name", "namespace", "uid", "creationTimestamp")
    assert all(changed["metadata"][key] == made["metadata"][key] for key in kept)


def test_status_and_the_rest_are_written_apart(store: Store):
    store.create(PODS, "shop", pod())
    both = {"status": {"phase": "Running"}, "spec": {"containers": [], "nodeName": "other"}}
    status = store.update(PODS, "shop", "web", lambda o: o | both, subresource="status")
    assert (status["status"]["phase"], status["spec"]["nodeName"]) == ("Running", "node")
    rest = store.update(PODS, "shop", "web", lambda o: o | both | {"status": {"phase": "Failed"}})
    assert (rest["status"]["phase"], rest["spec"]["nodeName"]) == ("Running", "other")


def test_a_dry_run_stores_nothing(store: Store):
    made = store.create(CONFIGMAPS, "shop", configmap(x="1"))
    version = store.version
    would = store.update(CONFIGMAPS, "shop", "a", lambda o: o | {"data": {"x": "2"}}, dry_run=True)
    store.create(CONFIGMAPS, "shop", configmap("b"), dry_run=True)
    store.delete(CONFIGMAPS, "shop", "a", {"dryRun": ["All"]})
    assert would["data"] == {"x": "2"}
    assert store.get(CONFIGMAPS, "shop", "a") == made
    assert names(store, "cm") == ["a"]
    assert store.version == version


def test_admission_completes_or_refuses(store: Store):
    def admit(verb: str, kind: Any, old: Any, new: Any) -> None:
        if "secret" in new.get("data", {}):
            raise ApiError(403, "Forbidden", f"{verb} of {kind.plural} denied")
        new["data"] = {**new.get("data", {}), "admitted": verb}

    store.admission.append(admit)
    assert store.create(CONFIGMAPS, "shop", configmap())["data"] == {"admitted": "create"}
    error = refusal(store.create, CONFIGMAPS, "shop", configmap("b", secret="x"))
    assert error.message == "create of configmaps denied"
    assert names(store, "cm") == ["a"]


def test_a_service_keeps_its_address_when_it_is_replaced_without_one(store: Store):
    made = store.create(SERVICES, "shop", {"metadata": {"name": "web"}, "spec": {"ports": []}})
    after = store.update(SERVICES, "shop", "web", lambda o: o | {"spec": {"selector": {"a": "b"}}})
    assert after["spec"]["clusterIP"] == made["spec"]["clusterIP"]


def test_writers_of_one_object_lose_no_change(store: Store):
    store.create(CONFIGMAPS, "shop", configmap(n="0"))

    def add() -> None:
        for _ in range(100):
            store.update(
                CONFIGMAPS, "shop", "a", lambda o: o | {"data": {"n": str(int(o["data"]["n"]) + 1)}}
            )

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(CONFIGMAPS, "shop", "a")["data"] == {"n": "400"}


# -- deleting


def test_a_running_pod_is_marked_and_goes_when_the_kubelet_says_so(store: Store):
    store.create(PODS, "shop", pod())
    marked = store.delete(PODS, "shop", "web", {"gracePeriodSeconds": 5})
    assert marked["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:05Z"
    assert names(store, "pods") == ["web"]
    store.delete(PODS, "shop", "web", final=True)
    assert names(store, "pods") == []


@pytest.mark.parametrize(
    ("obj", "options"),
    [(pod(node=""), {}), (pod(), {"gracePeriodSeconds": 0})],
    ids=["not scheduled", "by force"],
)
def test_a_pod_nobody_has_to_stop_goes_at_once(
    store: Store, obj: dict[str, Any], options: dict[str, Any]
):
    store.create(PODS, "shop", obj)
    store.delete(PODS, "shop", "web", options)
    assert names(store, "pods") == []


def test_finalizers_hold_an_object_back(store: Store):
    obj = configmap() | {"metadata": {"name": "a", "finalizers": ["lab/hold"]}}
    store.create(CONFIGMAPS, "shop", obj)
    assert store.delete(CONFIGMAPS, "shop", "a")["metadata"]["deletionTimestamp"]
    assert names(store, "cm") == ["a"]
    store.update(CONFIGMAPS, "shop", "a", lambda o: with_meta(o, finalizers=[]))
    assert names(store, "cm") == []


def test_what_an_object_owned_goes_with_it(store: Store):
    top = store.create(DEPLOYMENTS, "shop", {"metadata": {"name": "web"}, "spec": {}})
    middle = store.create(
        resource("rs"), "shop", {"metadata": {"name": "web-1", **owned(top)}, "spec": {}}
    )
    store.create(PODS, "shop", pod(node="", **owned(middle)))
    store.create(PODS, "shop", pod("stranger", node=""))
    store.delete(DEPLOYMENTS, "shop", "web")
    assert names(store, "rs") == []
    assert names(store, "pods") == ["stranger"]


def test_what_has_another_owner_stays(store: Store):
    first, second = (store.create(CONFIGMAPS, "shop", configmap(name)) for name in "ab")
    references = owned(first)["ownerReferences"] + owned(second)["ownerReferences"]
    store.create(PODS, "shop", pod(node="", ownerReferences=references))
    store.delete(CONFIGMAPS, "shop", "a")
    (left,) = store.list(PODS)[0]
    assert left["metadata"]["ownerReferences"] == owned(second)["ownerReferences"]


def test_orphans_are_let_go(store: Store):
    owner = store.create(CONFIGMAPS, "shop", configmap())
    store.create(PODS, "shop", pod(node="", **owned(owner)))
    store.delete(CONFIGMAPS, "shop", "a", {"propagationPolicy": "Orphan"})
    (left,) = store.list(PODS)[0]
    assert not left["metadata"]["ownerReferences"]


def test_a_namespace_goes_with_the_last_of_its_objects(store: Store):
    store.create(CONFIGMAPS, "shop", configmap())
    store.create(PODS, "shop", pod())
    store.delete(NAMESPACES, None, "shop")
    assert store.get(NAMESPACES, None, "shop")["status"]["phase"] == "Terminating"
    assert names(store, "cm") == []
    error = refusal(store.create, CONFIGMAPS, "shop", configmap("late"))
    assert (error.code, "being terminated" in error.message) == (403, True)
    store.create(resource("events"), "shop", {"metadata": {"name": "killing"}})
    store.delete(PODS, "shop", "web", final=True)
    assert names(store, "namespaces") == names(store, "events") == []


def test_an_empty_namespace_goes_at_once(store: Store):
    store.delete(NAMESPACES, None, "shop")
    assert names(store, "namespaces") == []


# -- watching


def once() -> Callable[[], bool]:
    """Ends a watch after what is there already."""
    return iter([False, True]).__next__


def seen(events: Iterator[WatchEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.object.get("metadata", {}).get("name", "")) for event in events]


def test_a_watch_goes_on_where_a_list_ended(store: Store):
    store.create(CONFIGMAPS, "shop", configmap("old"))
    _, version = store.list(CONFIGMAPS)
    store.create(CONFIGMAPS, "shop", configmap("a"))
    store.update(CONFIGMAPS, "shop", "a", lambda o: o | {"data": {"x": "1"}})
    store.create(PODS, "shop", pod())
    store.delete(CONFIGMAPS, "shop", "a")
    expected = [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert seen(store.watch(CONFIGMAPS, "shop", since=version, until=once())) == expected
    assert seen(store.watch(CONFIGMAPS, "elsewhere", since=version, until=once())) == []


def test_a_watch_without_version_begins_with_what_is_there(store: Store):
    store.create(CONFIGMAPS, "shop", configmap("a"))
    assert seen(store.watch(CONFIGMAPS, until=lambda: True)) == [("ADDED", "a"), ("SYNCED", "")]


def test_a_selector_makes_changes_come_and_go(store: Store):
    version = store.version
    store.create(CONFIGMAPS, "shop", configmap())
    for app in ("web", "web", "db"):
        more = {"labels": {"app": app}, "annotations": {"n": str(store.version)}}
        store.update(CONFIGMAPS, "shop", "a", lambda o, more=more: with_meta(o, **more))
    events = seen(store.watch(CONFIGMAPS, labels="app=web", since=version, until=once()))
    assert [kind for kind, _ in events] == ["ADDED", "MODIFIED", "DELETED"]


def test_a_watch_that_starts_too_far_back_is_told_so():
    store = Store(FakeClock(), history=3)
    version = store.version
    for name in "abcd":
        store.create(NAMESPACES, None, {"metadata": {"name": name}})
    error = refusal(next, store.watch(NAMESPACES, since=version))
    assert (error.code, error.reason) == (410, "Expired")
    kept = seen(store.watch(NAMESPACES, since=version + 1, until=once()))
    assert [name for _, name in kept] == ["b", "c", "d"]


def test_a_watcher_sees_what_another_thread_does(store: Store):
    events = store.watch(CONFIGMAPS, since=store.version)
    threading.Timer(0.05, store.create, (CONFIGMAPS, "shop", configmap("late"))).start()
    assert (
        next(event for event in events if event.type != "IDLE").object["metadata"]["name"] == "late"
    )


def test_a_watch_ends_when_it_is_told(store: Store):
    assert list(store.watch(CONFIGMAPS, since=store.version, until=lambda: True)) == []


# -- selecting


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=db", True),
        ("app!=web", False),
        ("app in (web, api),tier", True),
        ("app notin (web)", False),
        ("missing notin (x)", True),
        ("!missing", True),
        ("! tier", False),
        ("missing", False),
        ("inside=x", False),
    ],
)
def test_label_selectors(selector: str, holds: bool):
    assert labels_match(selector, {"app": "web", "tier": "front"}) is holds


@pytest.mark.parametrize("selector", ["app=(", "=x", "a in", "a=b=c", "a,,b", "a in (x"])
def test_a_selector_that_is_none_is_an_error(store: Store, selector: str):
    assert refusal(store.list, CONFIGMAPS, labels=selector).code == 400


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("status.phase=Running", True),
        ("status.phase!=Running", False),
        ("metadata.name=web,status.phase=Running", True),
        ("spec.nodeName=", True),
        ("metadata.name.deeper=", True),
        ("spec.hostNetwork=true", True),
    ],
)
def test_field_selectors(selector: str, holds: bool):
    obj = {
        "metadata": {"name": "web"},
        "spec": {"hostNetwork": True},
        "status": {"phase": "Running"},
    }
    assert fields_match(selector, obj) is holds


_WORD = st.from_regex(r"[a-z]([-a-z0-9]{0,5}[a-z0-9])?", fullmatch=True)
_EXPRESSIONS = st.one_of(
    st.fixed_dictionaries(
        {
            "key": _WORD,
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(_WORD, min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries({"key": _WORD, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)


@given(
    st.dictionaries(_WORD, _WORD, max_size=2),
    st.lists(_EXPRESSIONS, max_size=3),
    st.dictionaries(_WORD, _WORD, max_size=4),
)
def test_both_forms_of_a_selector_pick_the_same(
    same: dict[str, str], expressions: list[dict[str, Any]], labels: dict[str, str]
):
    selector = {"matchLabels": same, "matchExpressions": expressions}
    assert labels_match(selector_text(selector), labels) == selector_matches(selector, labels)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(_JSON)
def test_a_clone_is_equal_and_shares_no_container(value: Any):
    def containers(of: Any) -> set[int]:
        inside = of.values() if isinstance(of, dict) else of if isinstance(of, list) else None
        return set() if inside is None else {id(of)}.union(*map(containers, inside))

    copy = clone(value)
    assert copy == value
    assert not containers(copy) & containers(value)
