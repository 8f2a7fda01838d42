"""Where a live object comes from: the repository that owns it, and what to edit there for good.

Argo CD, Flux and Helm leave on the objects they write by which of them one is kept; their own
objects say from where.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from smoldebug import pointers
from smoldebug.managed import advice, managed_by
from smoldebug.playbook.patches import (
    AddItem,
    Edit,
    RemoveEnv,
    RemovePath,
    Select,
    SetEnv,
    SetImage,
    SetPath,
    SetReplicas,
    SetResources,
)
from smoldebug.pointers import Step
from smoldebug.records import Change, ChangeKind, Json, Managed, ObjectRef
from smoldebug.redact import masked
from smoldebug.untrusted import one_line

Lookup = Callable[[ObjectRef], Json | None]  # an object of the cluster, None where it is not seen

_ARGO = ("argocd", "openshift-gitops")  # namespaces in which it is installed unless told otherwise
_INSTANCE = "app.kubernetes.io/instance"
_SCHEME = re.compile(r"(?i)(https?://)[^/]*@")  # with a user, or a token


@dataclass(frozen=True, slots=True)
class Owner:
    """Who keeps an object as its source says. `repo` is "" where that is no Git repository or is
    not known; `detail` then says why, else which object says so."""

    tool: str = ""  # Argo CD, Flux, Helm; "": none of them
    repo: str = ""  # URL, without credentials
    path: str = ""  # folder or chart in it; "": its root
    revision: str = ""  # branch, tag or commit; "": the default branch
    detail: str = ""


def owner(live: Json, lookup: Lookup) -> Owner:
    """Told by what is on the object, and by what `lookup` finds of Argo CD and Flux."""
    managed = managed_by(live)
    if managed is not None and managed.by == "Argo CD":
        return _argo(managed, lookup)
    if managed is not None and managed.by == "Flux":
        return _flux(managed, lookup)
    if (application := _claiming(live, lookup)) is not None:
        return _of_application(application)
    if managed is None:
        return Owner()
    return Owner("Helm" if managed.by == "Helm" else "", detail=f"{managed}: {advice(managed)}")


# --- Argo CD --------------------------------------------------------------------------------


def _argo(managed: Managed, lookup: Lookup) -> Owner:
    found = _application(managed.owner.removeprefix("Application "), lookup)
    if found is None:
        return Owner("Argo CD", detail=f"{managed.owner} cannot be read")
    return _of_application(found)


def _application(name: str, lookup: Lookup) -> Json | None:
    """One that is not where Argo CD is installed is called `NAMESPACE_NAME` by its objects."""
    namespace, _, rest = name.rpartition("_")
    spaces = (namespace,) if namespace else _ARGO
    found = (lookup(ObjectRef("Application", space, rest)) for space in spaces)
    return next((each for each in found if each is not None), None)


def _claiming(live: Json, lookup: Lookup) -> Json | None:
    """Older Argo CD tracks by a label that anybody may set: it counts where the Application of
    that name lists the object."""
    meta = _map(live, "metadata")
    name = _map(meta, "labels").get(_INSTANCE)
    if not isinstance(name, str) or (application := _application(name, lookup)) is None:
        return None
    this = (live.get("kind"), str(meta.get("namespace") or ""), meta.get("name"))
    listed = _list(_map(application, "status").get("resources"))
    known = ((e.get("kind"), str(e.get("namespace") or ""), e.get("name")) for e in listed)
    return application if this in known else None


def _of_application(application: Json) -> Owner:
    spec, called = _map(application, "spec"), f"Application {_name(application)}"
    every = [*_list(spec.get("sources")), _map(spec, "source")]
    git = [e for e in every if _text(e, "repoURL") and not e.get("chart") and not _is_oci(e)]
    if not git:
        return Owner("Argo CD", detail=f"{called} takes it from no Git repository")
    source = next((each for each in git if each.get("path")), git[0])
    said = called + (f", one of its {len(git)} repositories" if git[1:] else "")
    where = _url(_text(source, "repoURL")), _folder(_text(source, "path"))
    return Owner("Argo CD", *where, _text(source, "targetRevision").removeprefix("HEAD"), said)


def _is_oci(source: Mapping[str, Any]) -> bool:
    return _text(source, "repoURL").startswith("oci://")


# --- Flux -----------------------------------------------------------------------------------


def _flux(managed: Managed, lookup: Lookup) -> Owner:
    kind, _, where = managed.owner.partition(" ")
    namespace, _, name = where.partition("/")
    found = lookup(ObjectRef(kind, namespace, name)) if name else None
    if found is None:
        return Owner("Flux", detail=f"{managed.owner} cannot be read")
    spec, called = _map(found, "spec"), f"{kind} {where}"
    if kind == "HelmRelease":
        spec = _map(spec, "chart", "spec")
    source, path = _map(spec, "sourceRef"), _text(spec, "path") or _text(spec, "chart")
    if source.get("kind") != "GitRepository":
        return Owner("Flux", detail=f"{called} takes it from no Git repository")
    ref = ObjectRef("GitRepository", _text(source, "namespace") or namespace, _text(source, "name"))
    repository = lookup(ref)
    if repository is None:
        return Owner("Flux", detail=f"{ref} cannot be read")
    said = _map(repository, "spec")
    return Owner("Flux", _url(_text(said, "url")), _folder(path), _revision(said), called)


def _revision(spec: Mapping[str, Any]) -> str:
    """The branch before the commit of it: a patch needs one."""
    ref = _map(spec, "ref")
    full = _text(ref, "name").removeprefix("refs/heads/").removeprefix("refs/tags/")
    return _text(ref, "branch") or full or _text(ref, "tag") or _text(ref, "commit")


# --- what any of them says ------------------------------------------------------------------


def _url(url: str) -> str:
    return _SCHEME.sub(r"\1", url)


def _folder(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


def _name(item: Json) -> str:
    meta = _map(item, "metadata")
    return f"{_text(meta, 'namespace')}/{_text(meta, 'name')}"


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    return one_line(value, 300) if isinstance(value, str) else ""


def _map(item: Json, *path: str) -> Mapping[str, Any]:
    for key in path:
        item = item.get(key) if isinstance(item, Mapping) else None
    return item if isinstance(item, Mapping) else {}


def _list(value: Json) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


# --- from live changes to edits ---------------------------------------------------------------

# Changes of fields that a manifest has too, in any of its objects
_DURABLE = (
    ChangeKind.SCALE,
    ChangeKind.SET_IMAGE,
    ChangeKind.SET_ENV,
    ChangeKind.SET_RESOURCES,
    ChangeKind.SET_PROBE,
    ChangeKind.SET_COMMAND,
    ChangeKind.SET_REPLICAS_BOUNDS,
    ChangeKind.SET_CONFIG_KEY,
    ChangeKind.PATCH_SELECTOR,
    ChangeKind.PATCH_PORT,
    ChangeKind.PATCH_OBJECT,
    ChangeKind.APPLY_OBJECT,
    ChangeKind.EDIT_NETWORKPOLICY,
    ChangeKind.ADD_TOLERATION,
    ChangeKind.EXPAND_PVC,
    ChangeKind.SUSPEND,
    ChangeKind.RESUME,
)
_INSTEAD = {
    ChangeKind.ROLLBACK: "revert the commit that brought the later revision",
    ChangeKind.CREATE_OBJECT: "add its manifest by hand",
    ChangeKind.DELETE_OBJECT: "remove its manifest by hand",
}


def edits_of(changes: Sequence[Change]) -> list[Edit]:
    """What makes verified live changes last, an edit per field. Where several changes were about
    one field, the last one counts."""
    wanted: dict[tuple[ObjectRef, str], Json] = {}
    for change in changes:
        for pointer, value in () if _why_not(change) else _fields(change):
            wanted.pop((change.target, pointer), None)
            wanted[change.target, pointer] = value
    return [
        _edit(target, pointer, value)
        for (target, pointer), value in wanted.items()
        if not _follows(target, pointer, wanted)
    ]


def not_durable(changes: Iterable[Change]) -> list[str]:
    """A sentence for each change that `edits_of` makes nothing of."""
    return [f"{each.kind} {each.target} {why}" for each in changes if (why := _why_not(each))]


def _why_not(change: Change) -> str:
    if change.kind not in _DURABLE or "" in change.after:
        instead = _INSTEAD.get(change.kind, "")
        return "cannot be made durable" + (f": {instead}" if instead else "")
    if any(masked(str(value)) for value in change.after.values()):
        return "cannot be made durable: a mask stands for its value"
    return ""


def _fields(change: Change) -> Iterator[tuple[str, Json]]:
    """What each field is afterwards, None for gone. Variables stay apart where removing one made
    the whole list a field: a manifest may hold others besides."""
    for pointer in {**change.before, **change.after}:
        was, now = change.before.get(pointer), change.after.get(pointer)
        if pointer.endswith("/env") and isinstance(was, list) and isinstance(now, list):
            old, new = ({each["name"]: each for each in env} for env in (was, now))
            for name in {**old, **new}:
                if old.get(name) != new.get(name):
                    yield pointers.item(pointer, name=name), new.get(name)
        else:
            yield pointer, now


def _follows(target: ObjectRef, pointer: str, wanted: Mapping[Any, Json]) -> bool:
    """Whether an edit of the variable itself takes this away: a reference in favour of a value."""
    variable, found, _ = pointer.rpartition("/valueFrom")
    return bool(found) and wanted.get((target, f"{variable}/value")) is not None


def _edit(target: ObjectRef, pointer: str, value: Json) -> Edit:
    path = pointers.steps(pointer)
    edit = _of_container(path, value) or _of_field(path, pointer, value)
    select = Select(kind=target.kind, namespace=target.namespace, name=target.name)
    return msgspec.structs.replace(edit, select=select)


def _of_container(path: list[Step], value: Json) -> Edit | None:
    match path, value:
        case [*_, "containers" | "initContainers", {"name": container}, "image"], str():
            return Edit(set_image=SetImage(image=value, containers=[container]))
        case [*_, {"name": container}, "env", {"name": name}], None:
            return Edit(remove_env=RemoveEnv(name=name, containers=[container]))
        case [*_, {"name": container}, "env", {"name": name}, "value"], str():
            return _variable(container, name, value)
        case [*_, {"name": container}, "env", {"name": name}], {"value": str(text)}:
            return _variable(container, name, text) if len(value) == 2 else None
        case [*_, {"name": container}, "resources", "requests", str(what)], str() | int() | float():
            given = SetResources(requests={what: str(value)}, containers=[container])
            return Edit(set_resources=given)
        case [*_, {"name": container}, "resources", "limits", str(what)], str() | int() | float():
            given = SetResources(limits={what: str(value)}, containers=[container])
            return Edit(set_resources=given)
    return None


def _of_field(path: list[Step], pointer: str, value: Json) -> Edit:
    match path, value:
        case _, None:
            return Edit(remove=RemovePath(path=pointer))
        case ["spec", "replicas"], int():
            return Edit(set_replicas=SetReplicas(replicas=value))
        case [*_, dict(keys)], dict():  # an item that is new to its list
            above, key = pointer.rpartition("/")[0], next(iter(keys))
            item = AddItem(path=above, key=key, item=value, if_different="overwrite")
            return Edit(add_item=item)
    return Edit(set=SetPath(path=pointer, value=value))


def _variable(container: str, name: str, value: str) -> Edit:
    edit = SetEnv(name=name, value=value, containers=[container], if_different="overwrite")
    return Edit(set_env=edit)
