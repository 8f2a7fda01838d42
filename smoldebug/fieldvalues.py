"""Whether two values of a field mean the same to an API server, which spells some its own way.

It writes quantities as it likes (`0.5` comes back as `500m`), fills in defaults, and leaves out
what is empty.
"""

from decimal import Decimal, InvalidOperation

from smoldebug.records import Json

# Objects whose keys are anybody's own words
MAPS = {
    "annotations", "labels", "matchLabels", "nodeSelector",
    "data", "binaryData", "stringData", "limits", "requests",
}  # fmt: skip

# What a server writes into an object's metadata, and refuses to be sent with a new one
SERVED = (
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)

# Below these every value is a quantity
_QUANTITIES = {"limits", "requests", "hard", "sizeLimit", "divisor", "averageValue"}
_SUFFIXES = {
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("num kMGTPE", -3)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}

# What it means that a field is not there
_ABSENT: dict[str, tuple[Json, ...]] = {
    **dict.fromkeys(
        ("hostNetwork", "hostPID", "hostIPC", "paused", "readOnly", "stdin", "stdinOnce")
        + ("suspend", "tty", "unschedulable"),
        (False,),
    ),
    **dict.fromkeys(("initialDelaySeconds", "minReadySeconds", "partition"), (0,)),
    **dict.fromkeys(("completions", "parallelism", "replicas"), (1,)),
    **dict.fromkeys(("successThreshold", "timeoutSeconds", "failedJobsHistoryLimit"), (1,)),
    **dict.fromkeys(("failureThreshold", "successfulJobsHistoryLimit"), (3,)),
    **dict.fromkeys(("externalTrafficPolicy", "internalTrafficPolicy"), ("Cluster",)),
    **dict.fromkeys(("maxSurge", "maxUnavailable"), ("25%", 1)),
    "apiVersion": ("v1",),
    "backoffLimit": (6,),
    "concurrencyPolicy": ("Allow",),
    "defaultMode": (420,),
    "divisor": ("0",),
    "dnsPolicy": ("ClusterFirst",),
    "enableServiceLinks": (True,),
    "imagePullPolicy": ("Always", "IfNotPresent"),
    "ipFamilyPolicy": ("SingleStack",),
    "path": ("/",),
    "periodSeconds": (10,),
    "podManagementPolicy": ("OrderedReady",),
    "progressDeadlineSeconds": (600,),
    "protocol": ("TCP",),
    "restartPolicy": ("Always",),
    "revisionHistoryLimit": (10,),
    "schedulerName": ("default-scheduler",),
    "scheme": ("HTTP",),
    "sessionAffinity": ("None",),
    "terminationGracePeriodSeconds": (30,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
    "type": ("ClusterIP", "RollingUpdate", ""),
    "value": ("",),
}


def same(pointer: str, one: Json, other: Json) -> bool:
    """Whether the values at a pointer mean the same; None is an absent one."""
    path = ["", *pointer.split("/")]
    return _same(_known(*path[-2:]), one, other, amounts=not _QUANTITIES.isdisjoint(path))


def contains(found: Json, wanted: Json) -> bool:
    """Whether an object that was created with these fields has them still; it may have more."""
    return _same("", _cut(found, wanted), wanted)


def _cut(found: Json, wanted: Json) -> Json:
    """`found` without the fields that `wanted` is silent about."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {key: _cut(found[key], wanted[key]) for key in found.keys() & wanted.keys()}
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [_cut(*pair) for pair in zip(found, wanted, strict=True)]
    return found


def _same(name: str, one: Json, other: Json, *, amounts: bool = False) -> bool:
    amounts = amounts or name in _QUANTITIES
    if one is None or other is None:
        return _means_nothing(name, one if other is None else other)
    if isinstance(one, dict) and isinstance(other, dict):
        return all(
            _same(_known(name, key), one.get(key), other.get(key), amounts=amounts)
            for key in {**one, **other}
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _same("", *pair, amounts=amounts) for pair in zip(one, other, strict=True)
        )
    if amounts and _amount(one) is not None:
        return _amount(one) == _amount(other)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _known(parent: str, key: str) -> str:
    """The name of a field, "" where it is anybody's own word."""
    return "" if parent in MAPS else key


def _means_nothing(name: str, value: Json) -> bool:
    """Whether a field with this value and one that is not there are the same to the server. An
    empty selector is not: it selects everything."""
    if isinstance(value, dict):
        empty = name in MAPS or not name.lower().endswith("selector")
        return empty and all(_means_nothing(_known(name, key), value[key]) for key in value)
    known = (None, *_ABSENT.get(name, ()))
    return value == [] or any(type(value) is type(each) and value == each for each in known)


def _amount(value: Json) -> Decimal | None:
    """A quantity as a number: 500m is 0.5, 1Ki 1024; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    suffix = next((each for each in (text[-2:], text[-1:]) if each in _SUFFIXES), "")
    try:
        return Decimal(text.removesuffix(suffix)) * _SUFFIXES.get(suffix, Decimal(1))
    except InvalidOperation:
        return None
