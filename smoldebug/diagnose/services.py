"""Connections that lead nowhere: a Service's selector that fits no pod, its target port that no
container has, an address at which no Service answers.

All three are read from the objects alone. The remedy is what is there already: the labels of the
Deployment of the same name, a port that its pods declare, the address of an earlier revision.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smoldebug.diagnose.picture import Assessment, Call, Picture, labels, ready, ref_of
from smoldebug.records import ChangeKind, Json, Quote
from smoldebug.signals.objects import Object, containers, environment, meta, name, selects, spec
from smoldebug.signals.objects import revisions as revisions_of
from smoldebug.signals.objects import template as pod_spec
from smoldebug.signals.services import addresses, answers, container_ports, has_pods, unserved


def assess(picture: Picture) -> Iterator[Assessment]:
    """One assessment per connection in question that leads nowhere."""
    for service in picture.services_in_question():
        pods = [pod for pod in picture.objects("Pod") if _selected(service, pod)]
        found = _port(picture, service, pods) if pods else _selector(picture, service)
        if found:
            yield found
    for deployment in picture.in_question():
        for setting in _settings(picture, deployment, deployment):
            if not setting.answered:
                yield _address(picture, deployment, setting)


# --- Services -------------------------------------------------------------------------------


def _selected(service: Object, item: Object) -> bool:
    return selects(spec(service).get("selector"), labels(item))


def _selector(picture: Picture, service: Object) -> Assessment | None:
    """A Service that fits no pod, although the Deployment of its name has ready ones."""
    called = name(service)
    deployment = picture.deployment(called)
    if not has_pods(service) or deployment is None or picture.behind(called):
        return None
    if not any(map(ready, picture.pods(deployment))):
        return None
    why = f"the selector of Service {called} fits no pod"
    given = {"selector": dict(spec(deployment)["selector"]["matchLabels"])}
    return Assessment(
        claim=why,
        subject=ref_of(service, "Service"),
        fault="service-selector-mismatch",
        supports=_signs(picture, service, picture.row("Deployment", called)),
        confirmed=True,
        remedy=_remedy(picture, ChangeKind.PATCH_SELECTOR, "set_selector", service, why, given),
        because=f"{why}, and Deployment {called} has ready ones: select those",
    )


def _port(picture: Picture, service: Object, pods: Sequence[Object]) -> Assessment | None:
    """A Service that sends to a port which its pods do not have."""
    unfit = unserved(service, pods)
    if not unfit:
        return None
    fitting = _fitting(unfit[0], container_ports(pods))
    given = {"port": unfit[0]["port"], "target_port": str(fitting)}
    why = f"Service {name(service)} sends to a port that its pods do not have"
    return Assessment(
        claim=why,
        subject=ref_of(service, "Service"),
        fault="service-target-port-wrong",
        supports=_signs(picture, service, picture.row("Pod", name(pods[0]))),
        confirmed=True,
        remedy=_remedy(picture, ChangeKind.PATCH_PORT, "set_target_port", service, why, given)
        if fitting
        else None,
        because=f"{why}: send to {fitting}, which they have",
    )


def _fitting(port: Object, declared: Sequence[Object]) -> Json:
    """The container port that a Service's port is meant for: the one of its name, of its number,
    or the only one. None when nobody can tell."""
    numbers = {each.get("containerPort") for each in declared}
    if port.get("name") in {each["name"] for each in declared if each.get("name")}:
        return port["name"]
    if port["port"] in numbers:
        return port["port"]
    return numbers.pop() if len(numbers) == 1 else None


def _signs(picture: Picture, service: Object, other: Quote | None) -> tuple[Quote, ...]:
    """The Service as it is, what the first card says of it, and the other end."""
    told = _told(picture.on_first_card(str(ref_of(service, "Service"))))
    found = [picture.row("Service", name(service)), *told, other]
    return tuple(quote for quote in found if quote)


def _told(lines: Sequence[Quote]) -> list[Quote]:
    """Of the first card's lines about an object the last, why it is red, and the newest change."""
    return list(dict.fromkeys((*lines[-1:], *lines[:1])))


def _remedy(
    picture: Picture, kind: ChangeKind, tool: str, service: Object, why: str, given: Json
) -> Call | None:
    if kind not in picture.brief.allowed:
        return None
    where = {"service": name(service), "namespace": picture.brief.namespace}
    return Call(tool, {**where, **given, "why": why})


# --- addresses ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Setting:
    """A variable whose value holds addresses, and the Services that do not answer at them."""

    container: str
    variable: str
    value: str
    silent: tuple[str, ...]

    @property
    def answered(self) -> bool:
        return not self.silent


def _settings(picture: Picture, deployment: Object, revision: Object) -> Iterator[_Setting]:
    """The variables of a revision (the Deployment itself or one of its ReplicaSets)."""
    services = {name(item): item for item in picture.objects("Service")}
    for container in containers(pod_spec(revision)):
        for variable, value in environment(container, picture.config):
            calls = [
                call
                for call in addresses(deployment, variable, value)
                if call.service[0] == meta(deployment).get("namespace")
                and (call.service[1] in services or call.qualified)
            ]
            silent = [
                call.service[1]
                for call in calls
                if call.service[1] not in services or not answers(services[call.service[1]], call)
            ]
            if calls:
                yield _Setting(str(container["name"]), variable, value, tuple(silent))


def _address(picture: Picture, deployment: Object, wrong: _Setting) -> Assessment:
    called, variable = name(deployment), wrong.variable
    why = f"{variable} of {called} is an address at which {wrong.silent[0]} does not answer"
    earlier = _earlier(picture, deployment, wrong)
    where = {"target": f"deployment/{called}", "namespace": picture.brief.namespace}
    given = {"name": variable, "value": earlier, "container": wrong.container, "why": why}
    allowed = ChangeKind.SET_ENV in picture.brief.allowed
    lines = picture.on_first_card(str(ref_of(deployment, "Deployment")))
    told = _told([line for line in lines if variable in line.text])
    rows = [picture.row("Service", wrong.silent[0]), picture.row("Deployment", called)]
    return Assessment(
        claim=why,
        subject=ref_of(deployment, "Deployment"),
        fault="env-address-wrong",
        supports=(*told, *filter(None, rows)),
        confirmed=True,
        needs=picture.read("ReplicaSet"),
        remedy=Call("set_env", {**where, **given}) if earlier and allowed else None,
        because=f"{why}; an earlier revision had one at which it does",
    )


def _earlier(picture: Picture, deployment: Object, wrong: _Setting) -> str:
    """What the newest earlier revision had there that is answered, "" when none had."""
    for revision in revisions_of(deployment, picture.objects("ReplicaSet")):
        for setting in _settings(picture, deployment, revision):
            same = (setting.container, setting.variable) == (wrong.container, wrong.variable)
            if same and setting.answered:
                return setting.value
    return ""
