"""What a playbook says about upgrades: the clusters, the baseline, the steps, a row per service."""

from typing import Annotated

import msgspec
from msgspec import Meta

from smoldebug.playbook.base import Duration, Model, doc
from smoldebug.records import Json

# --- clusters -------------------------------------------------------------------------------


class Matrix(Model, frozen=True, kw_only=True):
    """One run per cluster, started in this order: the first one is the canary."""

    cluster: Annotated[
        list[str], Meta(min_length=1), doc("Kubeconfig contexts, in order.", ["eu", "us"])
    ]
    parallel: Annotated[int, Meta(ge=1), doc("Clusters worked on at a time.")] = 1
    stop_after_failures: Annotated[
        int, Meta(ge=0), doc("Once so many have not ended as met, no other is begun; 0: all are.")
    ] = 1
    wall: Annotated[
        Duration | None, doc("No cluster is begun after so long; those under way go on.")
    ] = None


class Baseline(Model, frozen=True, kw_only=True):
    """The goal must hold before the first step, else nothing is touched (exit status 3)."""

    for_: Annotated[Duration, doc("How long it must hold.", "30s")] = msgspec.field(
        name="for", default=Duration(0)
    )
    within: Annotated[
        Duration | None, doc("Longest wait until it has; empty: a minute and twice `for`.")
    ] = None


# --- goal -----------------------------------------------------------------------------------


class EachService(Model, frozen=True, kw_only=True):
    """Which workloads each check is measured for, a row for each. Exactly one of these."""

    from_release: Annotated[
        str,
        doc("Those of a Helm release: NAME in the scope's namespace, or NAMESPACE/NAME.", "shop"),
    ] = ""
    selector: Annotated[
        str, doc("Those in scope with these labels.", "app.kubernetes.io/part-of=shop")
    ] = ""
    workloads: Annotated[
        list[str], doc("These: Kind/namespace/name, or Kind/name.", ["Deployment/shop/auth"])
    ] = msgspec.field(name="list", default=[])


class LogsCheck(Model, frozen=True, kw_only=True):
    """New kinds of error lines, compared with what was logged before the steps."""

    no_new_errors: Annotated[
        bool, doc("An error line of a kind that was not logged before the steps fails it.")
    ] = True
    target: Annotated[
        str,
        doc("Kind/namespace/name, or Kind/name; empty: each service, or all workloads in scope."),
    ] = ""
    ignore: Annotated[
        list[str], doc("Lines with one of these words in them do not count.", ["deprecated"])
    ] = []


# --- steps ----------------------------------------------------------------------------------


class HelmUpgrade(Model, frozen=True, kw_only=True):
    """The release keeps the values it was given before; these are laid over them."""

    release: Annotated[str, doc("Its name.", "platform")]
    namespace: Annotated[str, doc("Where it is; empty: the scope's only namespace.")] = ""
    chart: Annotated[
        str,
        doc(
            "A folder or archive (relative to the playbook), repo/name, or an OCI reference.",
            "oci://registry.example.com/charts/platform",
        ),
    ]
    version: Annotated[str, doc("Chart version; empty: the newest, or what the folder has.")] = ""
    values: Annotated[
        list[str], doc("Values files beside the playbook, later ones win.", ["staging.yaml"])
    ] = []
    set: Annotated[
        dict[str, Json],
        doc("Single values by dotted path, over those of the files.", {"payments.replicas": 3}),
    ] = {}
    timeout: Annotated[
        Duration, doc("Longest time for Helm and its hooks; rollouts are the goal's.")
    ] = Duration(300)


class HelmRollback(Model, frozen=True, kw_only=True):
    release: Annotated[str, doc("Its name.", "platform")]
    namespace: Annotated[str, doc("Where it is; empty: the scope's only namespace.")] = ""
    revision: Annotated[
        int,
        Meta(ge=0),
        doc("Which to go back to; 0: the last one that was deployed before the newest."),
    ] = 0
    timeout: Annotated[
        Duration, doc("Longest time for Helm and its hooks; rollouts are the goal's.")
    ] = Duration(300)


class KubectlApply(Model, frozen=True, kw_only=True):
    path: Annotated[
        str,
        doc("Manifests (a file or folder) or a Kustomize folder, relative to the playbook.", "new"),
    ]


class SetImage(Model, frozen=True, kw_only=True):
    target: Annotated[
        str,
        doc("Kind/namespace/name, or Kind/name in the only namespace.", "Deployment/shop/auth"),
    ]
    container: Annotated[str, doc("Its container; empty: its only one.")] = ""
    image: Annotated[str, doc("The new image.", "registry.example/shop/auth:1.4.3")]


class WaitForRollout(Model, frozen=True, kw_only=True):
    target: Annotated[
        str,
        doc("Kind/namespace/name, or Kind/name; empty: every workload in scope.", "Deployment/web"),
    ] = ""
    within: Annotated[Duration, doc("Longest wait.")] = Duration(600)


class Step(Model, frozen=True, kw_only=True):
    """Exactly one of these."""

    helm_upgrade: Annotated[
        HelmUpgrade | None, doc("Upgrade a Helm release; it keeps its values.")
    ] = None
    helm_rollback: Annotated[HelmRollback | None, doc("Roll a Helm release back.")] = None
    kubectl_apply: Annotated[KubectlApply | None, doc("Apply manifests.")] = None
    set_image: Annotated[SetImage | None, doc("Run another image.")] = None
    wait_for_rollout: Annotated[
        WaitForRollout | None, doc("Wait until a rollout is complete before the next step.")
    ] = None
