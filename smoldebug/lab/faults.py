"""What can be broken in the lab, by the names of the fault catalogue, and how it is put right."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from smoldebug.errors import UsageError
from smoldebug.lab.catalog import resource
from smoldebug.lab.customers import NORMAL, SURGE, Customers
from smoldebug.lab.ownership import as_manager
from smoldebug.lab.scenario import SHOP
from smoldebug.lab.store import Store, clone, timestamp
from smoldebug.sources.world import Object

SURGE_FAULT = "traffic-surge"
UNREACHABLE = "cluster-unreachable"  # not carried out here: who is unreachable cannot be told
EDITOR = "ci-bot"  # whose edit it is in managedFields: somebody's, as in life


@dataclass(frozen=True, slots=True)
class Edit:
    """A bad change to the spec of one of the shop's objects; healing restores the spec."""

    title: str
    kind: str
    name: str
    change: Callable[[Object], None]


def _container(spec: Object) -> Any:
    return spec["template"]["spec"]["containers"][0]


def _variable(spec: Object, name: str) -> Any:
    return next(v for v in _container(spec)["env"] if v["name"] == name)


def _without_signing_key(spec: Object) -> None:
    env = _container(spec)["env"]
    _container(spec)["env"] = [v for v in env if v["name"] != "SIGNING_KEY"]


def _wrong_secret(spec: Object) -> None:
    _variable(spec, "SIGNING_KEY")["valueFrom"]["secretKeyRef"]["name"] = "auth-signing-v2"


def _wrong_address(spec: Object) -> None:
    variable = _variable(spec, "AUTH_URL")
    variable.pop("valueFrom", None)
    variable["value"] = "http://auth.shop.svc:8081"


EDITS = {
    "env-var-missing": Edit(
        "a release of auth forgets SIGNING_KEY and crashes at start",
        "Deployment",
        "auth",
        _without_signing_key,
    ),
    "secret-missing": Edit(
        "a release of auth names a Secret that does not exist", "Deployment", "auth", _wrong_secret
    ),
    "image-not-found": Edit(
        "a release of catalog names an image tag that does not exist",
        "Deployment",
        "catalog",
        lambda spec: _container(spec).update(image="shop/catalog:1.9.2"),
    ),
    "command-not-found": Edit(
        "a release of web starts a program that does not exist",
        "Deployment",
        "web",
        lambda spec: _container(spec).update(command=["/usr/local/bin/web-server"]),
    ),
    "env-address-wrong": Edit(
        "a release of checkout looks for auth at the wrong port",
        "Deployment",
        "checkout",
        _wrong_address,
    ),
    "deployment-scaled-to-zero": Edit(
        "somebody scaled auth to zero", "Deployment", "auth", lambda spec: spec.update(replicas=0)
    ),
    "service-selector-mismatch": Edit(
        "auth's Service selects no pod",
        "Service",
        "auth",
        lambda spec: spec.update(selector={"app": "authentication"}),
    ),
    "service-target-port-wrong": Edit(
        "auth's Service points to a port nobody serves",
        "Service",
        "auth",
        lambda spec: spec["ports"][0].update(targetPort=8081),
    ),
}
TITLES = {
    SURGE_FAULT: "customers arrive almost four times as often; auth saturates and checkout "
    "answers 502 now and then",
    **{slug: edit.title for slug, edit in EDITS.items()},
    UNREACHABLE: "the API server answers nobody: requests hang until they time out",
}


class Faults:
    """The faults in force in one lab."""

    def __init__(self, store: Store, customers: Customers) -> None:
        self.store, self.customers = store, customers
        self._before: dict[str, Object] = {}  # fault -> the spec to restore

    @property
    def active(self) -> list[str]:
        return list(self._before)

    def inject(self, slug: str) -> None:
        """Bring a fault in; one that is in force already changes nothing. Raises UsageError."""
        if slug not in EDITS and slug != SURGE_FAULT:
            raise UsageError(f"the lab has no fault of this name: {slug}", "smoldebug lab faults")
        if slug in self._before:
            return
        if slug == SURGE_FAULT:
            self._before[slug] = {}
            self.customers.come(SURGE)
            return
        edit = EDITS[slug]
        spec = self.store.get(resource(edit.kind), SHOP, edit.name)["spec"]
        self._before[slug] = clone(spec)
        edit.change(spec)
        self._write(edit, spec)

    def heal(self, slug: str = "") -> list[str]:
        """Take one fault, or all, out; returns those that were in force. Raises UsageError."""
        if slug and slug not in self._before:
            raise UsageError(f"this fault is not in force: {slug}", "smoldebug lab status")
        healed = [slug] if slug else self.active[::-1]
        for name in healed:
            spec = self._before.pop(name)
            if name == SURGE_FAULT:
                self.customers.come(NORMAL)
            else:
                self._write(EDITS[name], spec)
        return healed

    def _write(self, edit: Edit, spec: Object) -> None:
        now = timestamp(datetime.now(UTC))
        change = as_manager(EDITOR, now, lambda current: {**current, "spec": spec})
        self.store.update(resource(edit.kind), SHOP, edit.name, change)
