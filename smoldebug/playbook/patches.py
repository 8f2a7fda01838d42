"""What a playbook says about patches: manifests, their edits, the branch, the pull request."""

from typing import Annotated, Literal

from msgspec import Meta

from smoldebug.playbook.base import Model, doc
from smoldebug.records import Json

# --- goal -----------------------------------------------------------------------------------


class Select(Model, frozen=True, kw_only=True):
    """Which objects a check or an edit is about."""

    kind: Annotated[str, doc("Their Kind.", "Deployment")]
    namespace: Annotated[str, doc("As they would be applied; empty: any.", "staging")] = ""
    name: Annotated[str, doc("A single one of them.", "checkout")] = ""
    labels: Annotated[str, doc("Label selector.", "team=shop")] = ""


Include = Annotated[
    list[Literal["init", "sidecars"]],
    doc("Besides the containers: init containers, sidecars (those that keep running)."),
]
Text = str | bool | int | float  # stored as text: true becomes "true"


class EnvVar(Model, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the variable.", "FEATURE_FLAG")]
    value: Annotated[Text, doc("Its value, as text.", "true")]


class ContainerHas(Model, frozen=True, kw_only=True):
    env: Annotated[EnvVar | None, doc("It sets this environment variable.")] = None
    image: Annotated[str, doc("It runs this image.", "registry.example/shop/auth:1.4.2")] = ""
    matches: Annotated[
        dict[str, Json], doc("Partial container.", {"resources": {"limits": {"memory": "1Gi"}}})
    ] = {}


class ManifestsCheck(Model, frozen=True, kw_only=True):
    repo: Annotated[
        str, doc("Git repository: a folder inside it, or its https or ssh URL.", ".")
    ] = "."
    paths: Annotated[
        tuple[str, ...], doc("Where its manifests lie; `**` crosses folders.", ["deploy/**"])
    ] = ("**",)
    select: Annotated[Select, doc("Which objects must satisfy it.")]
    every_container_has: Annotated[ContainerHas | None, doc("What each container must have.")] = (
        None
    )
    include: Include = []
    matches: Annotated[
        dict[str, Json],
        doc("Partial object: every key given must be equal.", {"spec": {"replicas": 6}}),
    ] = {}


class EditedCheck(Model, frozen=True, kw_only=True):
    repo: Annotated[str, doc("Git repository, as in `manifests`.", ".")] = "."


class CoversClusterCheck(Model, frozen=True, kw_only=True):
    kind: Annotated[str, doc("Kind of the live objects.", "Deployment")]
    namespace: Annotated[str, doc("Where they live.", "staging")] = ""
    labels: Annotated[str, doc("Label selector.")] = ""
    missing: Annotated[
        Literal["report", "fail"],
        doc("What a live object without a manifest means: told, or not met."),
    ] = "fail"


class PullRequestCheck(Model, frozen=True, kw_only=True):
    checks: Annotated[
        Literal["passed", "any"],
        doc("passed: every check of its last commit must pass; any: it must only be open."),
    ] = "passed"


# --- tools ----------------------------------------------------------------------------------


class GitTool(Model, frozen=True, kw_only=True):
    base: Annotated[str, doc("Branch a patch starts from; empty: the remote's default.")] = ""
    branch: Annotated[str, doc("Branch it is made on; an existing one is added to.")] = (
        "smoldebug/patch"
    )
    remote: Annotated[str, doc("Remote of the local repository.")] = "origin"
    commit_per: Annotated[Literal["file", "patch"], doc("A commit per file, or one for all.")] = (
        "patch"
    )
    message: Annotated[str, doc("First line of each commit; empty: what was edited.")] = ""
    author: Annotated[
        str, doc("Author; empty: Git's own settings.", "Shop bot <bot@example.com>")
    ] = ""
    sign_off: Annotated[bool, doc("Add Signed-off-by.")] = False
    hooks: Annotated[Literal["run", "skip"], doc("Your repository's commit and push hooks.")] = (
        "run"
    )


class PullRequestTool(Model, frozen=True, kw_only=True):
    forge: Annotated[
        Literal["auto", "github", "gitlab", "gitea", "none"],
        doc("auto: by the remote's host; none: push the branch and print the link."),
    ] = "auto"
    host: Annotated[
        str, doc("A self-hosted forge: the only host its token goes to.", "git.corp.example")
    ] = ""
    title: Annotated[str, doc("Empty: what was edited.")] = ""
    draft: Annotated[bool, doc("Open it as a draft.")] = True
    labels: Annotated[list[str], doc("Labels it gets.", ["post-mortem"])] = []
    reviewers: Annotated[list[str], doc("User names, or org/team.")] = []
    reviewers_from: Annotated[
        Literal["", "CODEOWNERS"], doc("Also ask the owners of the changed files.")
    ] = ""
    assignees: Annotated[list[str], doc("User names.")] = []


# --- edits by code --------------------------------------------------------------------------

IfDifferent = Annotated[
    Literal["stop-and-ask", "overwrite", "skip"],
    doc("Where another value stands: the approval card warns of each; or do it; or leave it."),
]
Containers = Annotated[list[str], doc("Only these containers; empty: all of them.")]
FieldPath = Annotated[
    str,
    doc("Field, list items by their key.", "spec.template.spec.containers[app].args"),
]


class SetEnv(Model, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the variable.", "FEATURE_FLAG")]
    value: Annotated[Text, doc("Its value, as text.", "true")]
    containers: Containers = []
    include: Include = []
    if_different: IfDifferent = "stop-and-ask"


class RemoveEnv(Model, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the variable.", "FEATURE_FLAG")]
    containers: Containers = []
    include: Include = []


class SetImage(Model, frozen=True, kw_only=True):
    image: Annotated[str, doc("The new image.", "registry.example/shop/auth:1.4.2")]
    containers: Containers = []
    include: Include = []
    if_different: IfDifferent = "overwrite"


class SetResources(Model, frozen=True, kw_only=True):
    requests: Annotated[dict[str, str], doc("By resource; the others stay.", {"cpu": "200m"})] = {}
    limits: Annotated[dict[str, str], doc("By resource; the others stay.", {"memory": "1Gi"})] = {}
    containers: Containers = []
    include: Include = []
    if_different: IfDifferent = "overwrite"


class SetReplicas(Model, frozen=True, kw_only=True):
    replicas: Annotated[int, Meta(ge=0), doc("How many pods.")]
    if_different: IfDifferent = "overwrite"


class SetProbe(Model, frozen=True, kw_only=True):
    probe: Annotated[Literal["readiness", "liveness", "startup"], doc("Which one.")]
    to: Annotated[
        dict[str, Json],
        doc("Its fields; those left out stay.", {"httpGet": {"path": "/health", "port": 8080}}),
    ]
    containers: Containers = []
    if_different: IfDifferent = "overwrite"


class Key(Model, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the label or annotation.", "team")]
    pods: Annotated[bool, doc("On the pod template too.")] = False


class KeyValue(Key, frozen=True, kw_only=True):
    value: Annotated[Text, doc("Its value, as text.", "shop")]
    if_different: IfDifferent = "overwrite"


class SetPath(Model, frozen=True, kw_only=True):
    path: FieldPath
    value: Annotated[Json, doc("What stands there afterwards.")]
    if_different: IfDifferent = "overwrite"


class RemovePath(Model, frozen=True, kw_only=True):
    path: FieldPath


class AddItem(Model, frozen=True, kw_only=True):
    path: Annotated[str, doc("The list.", "spec.template.spec.tolerations")]
    key: Annotated[str, doc("The item's field that tells it from the others.", "name")]
    item: Annotated[dict[str, Json], doc("The item.", {"name": "tmp", "emptyDir": {}})]
    if_different: IfDifferent = "stop-and-ask"


class RemoveItem(Model, frozen=True, kw_only=True):
    path: Annotated[str, doc("The list.", "spec.template.spec.volumes")]
    key: Annotated[str, doc("The field that tells the items apart.", "name")]
    value: Annotated[str, doc("That of the item to remove.", "tmp")]


class Edit(Model, frozen=True, kw_only=True):
    """Exactly one action, on each of the objects selected."""

    select: Annotated[Select | None, doc("Which objects; those of the goal's `manifests`.")] = None
    paths: Annotated[list[str], doc("Where they lie; as in the goal's `manifests`.")] = []
    set_env: Annotated[SetEnv | None, doc("An environment variable of each container.")] = None
    remove_env: Annotated[RemoveEnv | None, doc("Take one away.")] = None
    set_image: Annotated[SetImage | None, doc("The image of each container.")] = None
    set_resources: Annotated[SetResources | None, doc("Requests and limits.")] = None
    set_replicas: Annotated[SetReplicas | None, doc("The number of pods.")] = None
    set_probe: Annotated[SetProbe | None, doc("A probe of each container.")] = None
    set_label: Annotated[KeyValue | None, doc("A label.")] = None
    remove_label: Annotated[Key | None, doc("Take one away.")] = None
    set_annotation: Annotated[KeyValue | None, doc("An annotation.")] = None
    remove_annotation: Annotated[Key | None, doc("Take one away.")] = None
    set: Annotated[SetPath | None, doc("Any field.")] = None
    remove: Annotated[RemovePath | None, doc("Take a field away.")] = None
    add_item: Annotated[AddItem | None, doc("An item of a list.")] = None
    remove_item: Annotated[RemoveItem | None, doc("Take one away.")] = None
