"""Proposals to patch, apply, create or delete one object, whatever it is; none applies it."""

import copy
from collections.abc import Mapping
from typing import Any, Literal

import jsonpatch
from jsonpointer import JsonPointerException

from smoldebug import pointers
from smoldebug.errors import NotFound, ToolError
from smoldebug.proposals import applied, creation, made_by, propose, uid
from smoldebug.proposals import manifest as manifest_of
from smoldebug.records import Change, ChangeKind
from smoldebug.signals.objects import name as name_of
from smoldebug.signals.objects import ref, spec
from smoldebug.sources import targets
from smoldebug.sources.world import Object
from smoldebug.toolset import ToolContext, tool

# What creating it again does not bring back, by kind.
LOST = {
    "Namespace": "everything in it goes with it",
    "PersistentVolumeClaim": "its data may go with it",
    "PersistentVolume": "its data may go with it",
    "CustomResourceDefinition": "its objects go with it",
    "Job": "creating it again would run it again",
}


@tool(effect="change", family="change", changes="patch-object")
def apply_k8s_patch(
    ctx: ToolContext,
    target: str,
    patch: dict[str, Any],
    why: str,
    type: Literal["strategic", "merge"] = "strategic",
    namespace: str = "",
) -> Change:
    """Propose a patch of one object; only the fields in which it differs are changed.

    Args:
        target: KIND/NAME.
        patch: The fields to change, nested as in the object; null removes one.
        why: Reason, citing evidence such as E4.
        type: strategic merges items of lists by name, merge replaces lists as a whole.
        namespace: Empty: the run's.
    """
    _, live = targets.find(ctx.world.cluster, target, namespace or ctx.namespace)
    wanted = pointers.merged(live, patch, strategic=type == "strategic")
    return propose(ctx.world.cluster, ChangeKind.PATCH_OBJECT, live, wanted, why)


@tool(effect="change", family="change", changes="patch-object")
def apply_json_patch(
    ctx: ToolContext,
    target: str,
    operations: list[dict[str, Any]],
    why: str,
    namespace: str = "",
) -> Change:
    """Propose a JSON patch of one object; only the fields in which it differs are changed.

    Args:
        target: KIND/NAME.
        operations: Such as {"op": "replace", "path": "/spec/replicas", "value": 2}.
        why: Reason, citing evidence such as E4.
        namespace: Empty: the run's.
    """
    where, live = targets.find(ctx.world.cluster, target, namespace or ctx.namespace)
    edits: Any = operations
    try:
        wanted = jsonpatch.apply_patch(live, edits)
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError) as error:
        raise ToolError(f"the JSON patch does not fit {where}: {error}") from error
    return propose(ctx.world.cluster, ChangeKind.PATCH_OBJECT, live, wanted, why)


@tool(effect="change", family="change", changes="apply-object")
def apply_manifest(
    ctx: ToolContext, manifest: dict[str, Any], why: str, namespace: str = ""
) -> Change:
    """Propose a server-side apply; other fields of the object stay. Creates what is not there.

    Args:
        manifest: apiVersion, kind, metadata.name and the fields that shall be so.
        why: Reason, citing evidence such as E4.
        namespace: Empty for that of the manifest, else the run's namespace.
    """
    whole = _manifest(ctx, manifest, namespace)
    change = applied(ctx.world.cluster, whole, why)
    if change is None:
        raise ToolError(f"{ref(whole)} has these values already")
    return change


@tool(effect="change", family="change", changes="create-object")
def create_object(
    ctx: ToolContext, manifest: dict[str, Any], why: str, namespace: str = ""
) -> Change:
    """Propose to create an object that is not there yet.

    Args:
        manifest: All of it: apiVersion, kind, metadata.name, spec or data.
        why: Reason, citing evidence such as E4.
        namespace: Empty for that of the manifest, else the run's namespace.
    """
    whole = _manifest(ctx, manifest, namespace)
    try:
        ctx.world.cluster.get(ref(whole))
    except NotFound:
        return creation(whole, why)
    raise ToolError(f"it exists already; change it instead: {ref(whole)}")


@tool(effect="change", family="change", changes="delete-object")
def delete_object(ctx: ToolContext, target: str, why: str, namespace: str = "") -> Change:
    """Propose to delete one object. Its manifest is kept, so that it can be created again.

    Args:
        target: KIND/NAME.
        why: Reason, citing evidence such as E4.
        namespace: Empty: the run's.
    """
    _, live = targets.find(ctx.world.cluster, target, namespace or ctx.namespace)
    if live["kind"] == "Secret":
        raise ToolError("Secrets are not deleted: their values would be shown")
    maker = made_by(live)
    return Change(
        ChangeKind.DELETE_OBJECT,
        ref(live),
        before={"": live},
        after={},
        why=why,
        expects=f"{maker} makes another one" if maker else f"no {ref(live)}",
        no_undo=f"{maker} makes another one" if maker else LOST.get(live["kind"], ""),
        uid=uid(live),
    )


# --- fields with a tool of their own --------------------------------------------------------


@tool(effect="change", family="change", changes="set-config-key")
def set_config_key(
    ctx: ToolContext, configmap: str, key: str, value: str, why: str, namespace: str = ""
) -> Change:
    """Propose the value of one key of a ConfigMap. Pods may need a restart to read it.

    Args:
        configmap: Its name.
        key: The key, such as LOG_LEVEL or nginx.conf.
        value: Its whole value.
        why: Reason, citing evidence such as E4.
        namespace: Empty: the run's.
    """
    live = _one(ctx, "ConfigMap", configmap, namespace)
    if live.get("immutable"):
        raise ToolError(f"{ref(live)} is immutable: create another one and refer to that")
    if key in (live.get("binaryData") or {}):
        raise ToolError(f"{ref(live)} holds binary data, which has no text, in: {key}")
    wanted = {**live, "data": {**(live.get("data") or {}), key: value}}
    return propose(ctx.world.cluster, ChangeKind.SET_CONFIG_KEY, live, wanted, why)


@tool(effect="change", family="change", changes="patch-selector")
def set_selector(
    ctx: ToolContext, service: str, selector: dict[str, str], why: str, namespace: str = ""
) -> Change:
    """Propose which pods a Service sends to.

    Args:
        service: Its name.
        selector: All labels of these pods, such as {"app": "auth"}.
        why: Reason, citing evidence such as E4.
        namespace: Empty: the run's.
    """
    cluster, live = ctx.world.cluster, _one(ctx, "Service", service, namespace)
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = cluster.list("Pod", ref(live).namespace, labels=labels) if selector else []
    if not pods:
        raise ToolError(f"no pod in namespace {ref(live).namespace} has these labels: {labels}")
    wanted = {**live, "spec": {**spec(live), "selector": dict(selector)}}
    names = ", ".join(map(name_of, pods[:3])) + (" ..." if len(pods) > 3 else "")
    expects = f"{name_of(live)} sends to {names}"
    return propose(cluster, ChangeKind.PATCH_SELECTOR, live, wanted, why, expects)


@tool(effect="change", family="change", changes="patch-port")
def set_target_port(
    ctx: ToolContext,
    service: str,
    target_port: str,
    why: str,
    port: int = 0,
    namespace: str = "",
) -> Change:
    """Propose to which port of its pods a Service sends.

    Args:
        service: Its name.
        target_port: Number or name of it.
        why: Reason, citing evidence such as E4.
        port: The Service's own, where it has several.
        namespace: Empty: the run's.
    """
    live = _one(ctx, "Service", service, namespace)
    wanted = copy.deepcopy(live)
    ports = spec(wanted).get("ports") or []
    chosen = [each for each in ports if port in (0, each["port"])]
    if len(chosen) != 1:
        listed = ", ".join(str(each["port"]) for each in ports) or "none"
        raise ToolError(f"say which port of {ref(live)}; it has: {listed}")
    chosen[0]["targetPort"] = int(target_port) if target_port.isdecimal() else target_port
    expects = f"{name_of(live)}:{chosen[0]['port']} sends to port {target_port}"
    return propose(ctx.world.cluster, ChangeKind.PATCH_PORT, live, wanted, why, expects)


# --- pods -----------------------------------------------------------------------------------


@tool(effect="change", family="change", changes="debug-container")
def debug_container(
    ctx: ToolContext,
    pod: str,
    image: str,
    command: list[str],
    why: str,
    container: str = "",
    namespace: str = "",
) -> Change:
    """Propose an ephemeral container in a running pod; read what it prints with fetch_logs.

    Args:
        pod: Name of the pod.
        image: Image with the programs that are needed.
        command: Program and arguments, such as ["nslookup", "auth"]; no shell.
        why: Reason, citing evidence such as E4.
        container: Whose processes it shall see; empty where there is only one.
        namespace: Empty: the run's.
    """
    live = _one(ctx, "Pod", pod, namespace)
    known = [str(each["name"]) for each in spec(live).get("containers") or []]
    if container and container not in known:
        raise ToolError(f"{ref(live)} has no container {container}; it has: {', '.join(known)}")
    taken = {each["name"] for each in spec(live).get("ephemeralContainers") or []}
    called = next(free for n in range(1, 1000) if (free := f"debug-{n}") not in taken)
    seen = container or (known[0] if len(known) == 1 else "")
    added = {"name": called, "image": image, "command": command}
    return Change(
        ChangeKind.DEBUG_CONTAINER,
        ref(live),
        before={},
        after={
            pointers.item("/spec/ephemeralContainers", name=called): {
                **added,
                **({"targetContainerName": seen} if seen else {}),
            }
        },
        why=why,
        expects=f"a container {called} beside {', '.join(known)}",
        no_undo="it stays until the pod ends",
        uid=uid(live),
    )


# --- helpers ----------------------------------------------------------------------------------


def _one(ctx: ToolContext, kind: str, called: str, namespace: str) -> Object:
    return targets.find_one(ctx.world.cluster, called, namespace or ctx.namespace, kind)


def _manifest(ctx: ToolContext, given: Mapping[str, Any], namespace: str) -> Object:
    """In the namespace that the call names, whatever the manifest says."""
    metadata = given.get("metadata")
    if namespace and isinstance(metadata, dict):
        given = {**given, "metadata": {**metadata, "namespace": namespace}}
    return manifest_of(given, ctx.namespace)
