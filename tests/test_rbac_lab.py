"""Shipped playbooks repair a broken lab under exactly the role that `playbooks rbac` prints."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from commands import environment, smoldebug
from labkit import eventually, service_account_kubeconfig

from smoldebug.lab import control
from smoldebug.lab.catalog import resource
from smoldebug.shipped import shipped
from smoldebug.sources.kinds import find

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
        done = smoldebug(*words, cwd=self._shop.folder, env=self._env)
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
