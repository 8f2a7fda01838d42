"""Rights of a pod on its node and in its cluster: which of them a change would add.

Nothing here asks who wants it: a change that raises a pod's rights is refused with any approval
(`fields.py`), or whoever can write into a log could ask for them.
"""

from collections.abc import Iterator, Mapping

from smoldebug.guard.leaves import Path, leaves, of_change, steps
from smoldebug.records import Json

_WORDS = {"data", "binaryData", "labels", "annotations"}  # below these, text is just text
_GRANTS = {
    "privileged": (True,),
    "hostNetwork": (True,),
    "hostPID": (True,),
    "hostIPC": (True,),
    "hostProcess": (True,),
    "allowPrivilegeEscalation": (True,),
    "automountServiceAccountToken": (True,),
    "runAsUser": (0,),
    "runAsGroup": (0,),
    "procMount": ("Unmasked",),
    "type": ("Unconfined",),  # of a seccomp or AppArmor profile
}
_GUARDS = {
    "runAsNonRoot": (True,),
    "allowPrivilegeEscalation": (False,),
    "automountServiceAccountToken": (False,),
    "hostUsers": (False,),
}
_ACCOUNT = ("serviceAccountName", "serviceAccount")
_VOLUMES = ("hostPath", "serviceAccountToken")

Right = tuple[Path, str]  # the pod, container or volume that has it, and the right in words


def raised(before: Mapping[str, Json], after: Mapping[str, Json]) -> str:
    """A right that one side of a change has and the other had not, or a guard that goes:
    `privileged: true (containers app)`. "" where there is none."""
    return spoken(gained(before, after))


def gained(before: Mapping[str, Json], after: Mapping[str, Json]) -> set[Right]:
    new = of_change(after)
    rights = {right for leaf in new for right in _rights(*leaf)}
    rights -= {right for leaf in of_change(before) for right in _rights(*leaf)}
    lost = {
        (owner, f"no more {words}")
        for owner, words in _guarded(before, [path for path, _ in new])
        if (owner, words) not in {guard for leaf in new for guard in _guards(*leaf)}
    }
    return rights | lost


def without_accounts(rights: set[Right]) -> set[Right]:
    return {right for right in rights if not right[1].startswith(_ACCOUNT)}


def spoken(rights: set[Right]) -> str:
    for owner, words in sorted(rights):
        return f"{words} ({' '.join(owner[-2:])})" if owner else words
    return ""


def _rights(path: Path, value: Json) -> Iterator[Right]:
    if not path or _WORDS & {*path[:-1]}:
        return
    if _is(value, _GRANTS.get(path[-1], ())):
        yield _owner(path), f"{path[-1]}: {str(value).lower()}"
    if path[-1] in _ACCOUNT and value not in ("", "default", None):
        yield _owner(path), f"{path[-1]}: {value}"
    if path[-3:-1] == ("capabilities", "add"):
        yield _owner(path), f"capability {value}"
    for name in _VOLUMES:
        if name in path:
            yield path[: path.index(name)], f"{name} {value}"


def _guards(path: Path, value: Json) -> Iterator[Right]:
    if not path or _WORDS & {*path[:-1]}:
        return
    if _is(value, _GUARDS.get(path[-1], ())):
        yield _owner(path), f"{path[-1]}: {str(value).lower()}"
    if path[-1] in _ACCOUNT and value:
        yield _owner(path), f"{path[-1]}: {value}"
    if path[-1] == "runAsUser" and value:
        yield _owner(path), "runAsUser other than root"
    if path[-3:-1] == ("capabilities", "drop"):
        yield _owner(path), f"dropped capability {value}"


def _guarded(before: Mapping[str, Json], stays: list[Path]) -> Iterator[Right]:
    """The guards of what is still there afterwards: a container that goes takes its own along."""
    for pointer, value in before.items():
        removed = len(steps(pointer))
        for path, leaf in leaves(value, steps(pointer)):
            for owner, words in _guards(path, leaf):
                if len(owner) < removed or any(each[: len(owner)] == owner for each in stays):
                    yield owner, words


def _owner(path: Path) -> Path:
    inside = path.index("securityContext") if "securityContext" in path else len(path) - 1
    return path[:inside]


def _is(value: Json, wanted: tuple[Json, ...]) -> bool:
    """Not `in`: to Python, True is 1."""
    return any(type(value) is type(each) and value == each for each in wanted)
