"""Shipped playbooks repair a broken lab under exactly the role that `playbooks rbac` prints, and
a release is upgraded and taken back under exactly that of its playbook."""

import http.client
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from commands import environment, in_process
from labkit import eventually, service_account_kubeconfig
from realhelm import each_helm
from test_lab_helm import Release, lab, release

from smoldebug.lab import control
from smoldebug.lab.catalog import resource
from smoldebug.shipped import shipped
from smoldebug.sources.kinds import find

__all__ = ["lab", "release"]  # fixtures hold here too

TRIAGE = ("triage", "--set", "namespace=shop")
SURGE = ("triage-502", "--set", "service=checkout", "--set", "window=3s")


class Shop:
    """A lab whose shop is watched by playbooks that measure every second."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lab = folder, folder / "lab"
        self.admin = control.start(self.lab, dies_with_parent=True).kubeconfig
        mine = folder / "home/playbooks"  # $SMOLDEBUG_HOME: one in ./ replaces no shipped one
        mine.mkdir(parents=True)
        for name in ("triage", "triage-502"):
            text = (shipped("playbooks") / f"{name}.yaml").read_text(encoding="utf-8")
            quick = text.replace("every: 5s", "every: 1s")
            (mine / f"{name}.yaml").write_text(quick, encoding="utf-8")

    def until_said(self, app: str, words: str) -> None:
        files = list((self.lab / "pods").glob(f"shop_{app}-*/*/*.log"))
        eventually(lambda: any(words in path.read_text("utf-8") for path in files), words)


class Account:
    """A ServiceAccount that may do what is printed for a playbook, and nothing else."""

    def __init__(self, shop: Shop, name: str, *playbook: str) -> None:
        self._shop = shop
        config = service_account_kubeconfig(shop.admin, "shop", name)
        self._env = environment(shop.folder, KUBECONFIG=str(config))
        self._playbook = playbook
        printed = self._smoldebug(
            "playbooks", "rbac", *playbook, "--service-account", f"shop/{name}", "-o", "json"
        )[1]
        for document in printed["items"]:
            self._create(document)

    def triage(self) -> tuple[int, dict[str, Any]]:
        return self._smoldebug("triage", "-p", *self._playbook, "-y", "-o", "json")

    def _smoldebug(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = in_process(*words, cwd=self._shop.folder, env=self._env)
        assert "Traceback" not in done.stderr, done.stderr
        return done.code or 0, json.loads(done.stdout)

    def _create(self, document: dict[str, Any]) -> None:
        config = yaml.safe_load(self._shop.admin.read_text("utf-8"))
        url = urlsplit(config["clusters"][0]["cluster"]["server"])
        known, space = find(document["kind"]), document["metadata"].get("namespace")
        assert known is not None
        made = resource(known.plural)
        where = f"namespaces/{space}/{made.plural}" if space else made.plural
        with closing(http.client.HTTPConnection(url.netloc, timeout=10)) as connection:
            path = f"{url.path}/apis/{made.api_version}/{where}"
            connection.request("POST", path, json.dumps(document))
            answer = connection.getresponse()
            assert answer.status == 201, answer.read()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"))
    try:
        yield made
    finally:
        control.stop(made.lab)


def hidden(document: dict[str, Any]) -> list[str]:
    """What could not be seen for want of a permission."""
    return [gap["why"] for gap in document["gaps"] if "needs: " in gap["why"]]


def test_triage_repairs_a_broken_release(shop: Shop):
    account = Account(shop, "repair", *TRIAGE)
    control.break_(shop.lab, "command-not-found")
    status, document = account.triage()
    control.fix(shop.lab)
    assert (status, [change["state"] for change in document["changes"]]) == (0, ["verified"])
    assert hidden(document) == []


def test_triage_502_stops_the_bleeding(shop: Shop):
    account = Account(shop, "bleeding", *SURGE)
    control.break_(shop.lab, "traffic-surge")
    shop.until_said("checkout", " 502 upstream auth")
    status, document = account.triage()
    control.fix(shop.lab)
    assert (status, [change["state"] for change in document["changes"]]) == (0, ["verified"])
    assert hidden(document) == []


# --- Helm -----------------------------------------------------------------------------------

SLOW = pytest.mark.skipif("SMOLDEBUG_HELM" not in os.environ, reason="takes long: .ci/run has it")

UPGRADE = """\
apiVersion: smoldebug.dev/v1
name: upgrade
inputs: {values: {default: ok.yaml}}
baseline: {}
goal:
  each_service: {from_release: shop}
  all: [{rollout: {}}, {http: {path: /}}, {logs: {}}, {restarts: {}}]
  every: 1s
  for: 1s
  within: 20s
scope: {namespaces: [NAMESPACE]}
tools: {change: {allow: [helm-upgrade, helm-rollback], targets: [HelmRelease/NAMESPACE/shop]}}
approval: auto
steps: [{helm_upgrade: {release: shop, chart: ./chart, values: ["${{ inputs.values }}"]}}]
on_failure: rollback
"""


def lacking(rules: list[dict[str, Any]], verb: str, what: str) -> Iterator[dict[str, Any]]:
    for rule in rules:
        for each in rule["resources"]:
            verbs = [kept for kept in rule["verbs"] if (kept, each) != (verb, what)]
            if verbs:
                yield {**rule, "resources": [each], "verbs": verbs}


class Upgrader:
    """An account that may do what is printed for a playbook, but for one verb on one resource."""

    def __init__(self, release: Release, without: str = "") -> None:
        self.release, self.folder = release, release.folder
        space, bin_ = release.namespace, release.folder / "bin"
        (self.folder / "upgrade.yaml").write_text(UPGRADE.replace("NAMESPACE", space))
        (self.folder / "ok.yaml").write_text("greeting: two\n")
        (self.folder / "bad.yaml").write_text("status: 503\n")
        bin_.mkdir()
        (bin_ / "helm").write_text(f'#!/bin/sh\nexec {shlex.join(release.argv)} "$@"\n')
        (bin_ / "helm").chmod(0o755)
        admin = self.folder / "admin"
        admin.write_bytes(release.lab.kubeconfig.read_bytes())
        limited = service_account_kubeconfig(admin, space, "upgrader")
        path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
        self.env = environment(self.folder, KUBECONFIG=str(limited), PATH=path)
        printed = self.smoldebug(
            "playbooks", "rbac", "./upgrade.yaml", "--service-account", f"{space}/upgrader"
        )[1]
        verb, _, what = without.partition(" ")
        for document in printed["items"]:
            if "rules" in document:
                document["rules"] = [*lacking(document["rules"], verb, what)]
            where = f"namespaces/{space}/" if "namespace" in document["metadata"] else ""
            kind = document["kind"].lower() + "s"
            made = release.ask("POST", f"/apis/{document['apiVersion']}/{where}{kind}", document)
            assert made["kind"] == document["kind"], made

    def validate(self, values: str = "ok.yaml") -> tuple[int, dict[str, Any]]:
        return self.smoldebug("validate", "-p", "./upgrade.yaml", "--set", f"values={values}")

    def smoldebug(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = in_process(*words, "-o", "json", cwd=self.folder, env=self.env)
        assert "Traceback" not in done.stderr, done.stderr
        return done.code or 0, json.loads(done.stdout)


@pytest.fixture
def installed(release: Release) -> Release:
    assert release.upgrade("--install").code == 0
    eventually(lambda: release.ready() == [1, 1, 1])
    return release


def greeting(release: Release) -> str:
    return str(release.get("api/v1 configmaps/files")["data"]["greeting"])


@pytest.mark.helm
@SLOW
@each_helm
def test_a_release_is_upgraded_and_taken_back(installed: Release):
    account = Upgrader(installed)
    status, document = account.validate()
    assert status == 0, document
    assert greeting(installed) == "two"
    status, document = account.validate("bad.yaml")
    assert status == 4, document
    assert "needs: " not in json.dumps(document)
    assert greeting(installed) == "two"


@pytest.mark.helm
@SLOW
@each_helm
@pytest.mark.parametrize(
    ("missing", "status"),
    [
        ("get pods/proxy", {3}),  # the baseline cannot be measured
        ("list secrets", {8}),  # nor looked for
        ("create secrets", {1}),  # the step does nothing
        ("patch configmaps", {4, 5}),  # a part is done, which not every Helm can take back then
    ],
)
def test_a_verb_that_is_missing_is_named(installed: Release, missing: str, status: set[int]):
    account = Upgrader(installed, missing)
    ended, document = account.validate()
    assert missing in json.dumps(document)
    assert ended in status
    assert greeting(installed) == "one"
