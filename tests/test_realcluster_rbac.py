"""The printed role on a Kubernetes that this project did not write, with a real token.

$SMOLDEBUG_REAL_KUBECONFIG names it, as for test_realcluster.py.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from test_realcluster import Namespace, deployment, pytestmark, shop

from smoldebug.playbook.load import load
from smoldebug.preview import rbac

__all__ = ["pytestmark", "shop"]  # its marks and its fixture hold here too


@contextmanager
def account(
    shop: Namespace, folder: Path, *, book: str = "triage", without: str = ""
) -> Iterator[str]:
    """A kubeconfig of an account that has the role printed for a playbook, but for one verb."""
    plan = load(book, {"namespace": shop.name})
    who = rbac.Account(shop.name)
    shop.kubectl("create", "serviceaccount", who.name)
    printed = rbac.as_list(rbac.roles(plan, who))
    for document in printed["items"]:
        for rule in document.get("rules", ()):
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != without]
    shop.kubectl("apply", "-f", "-", given=printed)
    try:
        yield str(_kubeconfig(shop, who, folder))
    finally:
        shop.kubectl("delete", "-f", "-", given=printed)
        shop.kubectl("delete", "serviceaccount", who.name)


def _kubeconfig(shop: Namespace, who: rbac.Account, folder: Path) -> Path:
    path = f"/api/v1/namespaces/{who.namespace}/serviceaccounts/{who.name}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = json.loads(shop.kubectl("create", "--raw", path, "-f", "-", given=asked))
    config = json.loads(shop.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"][0]["user"] = {"token": made["status"]["token"]}
    limited = folder / "kubeconfig"
    limited.write_text(json.dumps(config), encoding="utf-8")
    return limited


def broken(shop: Namespace) -> Namespace:
    shop.kubectl("apply", "-f", "-", given=deployment(["python3", "/no/such/file.py"]))
    shop.until("Error", "get", "pods")
    return shop


def test_the_printed_role_is_enough_to_repair_a_release(shop: Namespace, tmp_path: Path):
    with account(broken(shop), tmp_path) as limited:
        status, document = shop.smoldebug("triage", "deployment/web", "-y", "--kubeconfig", limited)
    assert (status, [change["state"] for change in document["changes"]]) == (0, ["verified"])
    assert not [gap for gap in document["gaps"] if "needs: " in gap["why"]]


def test_without_a_verb_of_it_nothing_is_changed_and_the_verb_is_named(
    shop: Namespace, tmp_path: Path
):
    with account(broken(shop), tmp_path, without="patch") as limited:
        status, document = shop.smoldebug("triage", "deployment/web", "-y", "--kubeconfig", limited)
    assert (status, document["changes"]) == (1, [])
    assert "patch deployments" in json.dumps(document)
