"""What a playbook holds once loaded: frozen, typed, substituted. `load.py` makes these from YAML.

Durations are seconds (`30s`, `5m`, `1h` in the file), money US dollars (`$1.00`). A field's
description, examples and whether this version runs it stand in its type: `playbooks explain`,
the JSON Schema and the reference in docs/playbooks.md are made from them.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from smoldebug.playbook.base import Duration, Model, Money, doc, later
from smoldebug.playbook.patches import (
    CoversClusterCheck,
    Edit,
    EditedCheck,
    GitTool,
    ManifestsCheck,
    PullRequestCheck,
    PullRequestTool,
)
from smoldebug.playbook.upgrades import Baseline, EachService, LogsCheck, Matrix, Step
from smoldebug.records import ChangeKind, Json

API_VERSION = "smoldebug.dev/v1"
ReportFormat = Literal["terminal", "markdown", "json", "junit", "github", "pull_request"]


# --- inputs and secrets ---------------------------------------------------------------------


class Input(Model, frozen=True, kw_only=True):
    description: Annotated[str, doc("Shown by `playbooks show` and in prompts for a value.")] = ""
    default: Annotated[
        Json, doc("Used when no --set is given; its type is the input's type.", "shop")
    ] = msgspec.UNSET
    required: Annotated[bool, doc("Refuse to run without a value.")] = False


class Secret(Model, frozen=True, kw_only=True):
    from_env: Annotated[
        str | list[str],
        doc("Environment variable, or several: the first that is set.", "GITHUB_TOKEN"),
    ]
    required: Annotated[bool, doc("Refuse to run without it.")] = True


# --- goal -----------------------------------------------------------------------------------


class HttpCheck(Model, frozen=True, kw_only=True):
    url: Annotated[
        str,
        doc(
            "What to GET. *.svc names go through the API server's proxy.",
            "http://checkout.shop.svc:8080/health",
        ),
    ] = ""
    path: Annotated[
        str, doc("In place of url, with each_service: the path on each service.", "/health")
    ] = ""
    port: Annotated[
        int | str,
        doc("Beside path: a port, its name, or auto: the readiness probe's, else an HTTP port."),
    ] = "auto"
    skip: Annotated[
        Literal["", "no-http-port"], doc("Beside path: leave out services without such a port.")
    ] = ""
    status: Annotated[int | list[int], doc("Expected status code, or several.")] = 200
    contains: Annotated[str, doc("Text that the body must contain.")] = ""
    timeout: Annotated[Duration, doc("Longest wait for an answer.")] = Duration(5)


class TcpCheck(Model, frozen=True, kw_only=True):
    host: Annotated[str, doc("Name or address.", "db.shop.svc")]
    port: Annotated[int, Meta(ge=1, le=65535), doc("Port that must accept a connection.")]
    timeout: Annotated[Duration, doc("Longest wait for the connection.")] = Duration(5)


class MetricCheck(Model, frozen=True, kw_only=True):
    query: Annotated[
        str,
        doc(
            "PromQL; every value of its result must satisfy the bounds.",
            "histogram_quantile(0.99, sum by (le) (rate(auth_latency_seconds_bucket[1m])))",
        ),
    ]
    below: Annotated[float | None, doc("Value must be < this.")] = None
    above: Annotated[float | None, doc("Value must be > this.")] = None
    at_most: Annotated[float | None, doc("Value must be <= this.")] = None
    at_least: Annotated[float | None, doc("Value must be >= this.")] = None
    equals: Annotated[float | None, doc("Value must be this.")] = None


class RatioCheck(Model, frozen=True, kw_only=True):
    bad: Annotated[
        str,
        doc(
            "PromQL of what counts as bad; empty beside a non-empty total is 0.",
            'sum(rate(http_requests_total{code=~"5.."}[1m]))',
        ),
    ]
    total: Annotated[
        str,
        doc(
            "PromQL of everything; empty or zero is inconclusive.",
            "sum(rate(http_requests_total[1m]))",
        ),
    ]
    below: Annotated[float | None, doc("bad/total must be < this.")] = None
    at_most: Annotated[float | None, doc("bad/total must be <= this.")] = None


class ObjectCheck(Model, frozen=True, kw_only=True):
    kind: Annotated[str, doc("Kind of the object.", "Deployment")]
    name: Annotated[str, doc("Name; without one, every object selected must match.")] = ""
    namespace: Annotated[str, doc("Namespace; empty for cluster-scoped kinds.")] = ""
    labels: Annotated[str, doc("Label selector when no name is given.", "app=checkout")] = ""
    matches: Annotated[
        dict[str, Json],
        doc("Partial object: every key given must be equal.", {"spec": {"paused": False}}),
    ]


class RolloutCheck(Model, frozen=True, kw_only=True):
    target: Annotated[
        str,
        doc(
            "Kind/namespace/name, or Kind/name in the scope's only namespace; empty: all.",
            "Deployment/shop/checkout",
        ),
    ] = ""
    complete_within: Annotated[
        Duration | None, doc("Longer than this without completing is a failure.")
    ] = None


class RestartsCheck(Model, frozen=True, kw_only=True):
    target: Annotated[
        str,
        doc(
            "Kind/namespace/name, or Kind/name in the scope's only namespace; empty: all.",
            "Deployment/shop/checkout",
        ),
    ] = ""
    at_most: Annotated[
        int, Meta(ge=0), doc("New restarts allowed since the run, or its steps, began.")
    ] = 0


class CommandCheck(Model, frozen=True, kw_only=True):
    run: Annotated[
        list[str],
        Meta(min_length=1),
        doc("Program and arguments; never a shell.", ["pg_isready", "-h", "db"]),
    ]
    exit_code: Annotated[int, doc("Expected exit code.")] = 0
    contains: Annotated[str, doc("Text that its output must contain.")] = ""
    timeout: Annotated[Duration, doc("Longest run time.")] = Duration(30)


class FindingsCheck(Model, frozen=True, kw_only=True):
    severity: Annotated[
        Literal["critical", "warning"], doc("The least severity that fails the check.")
    ] = "critical"
    target: Annotated[str, doc("KIND/NAMESPACE/NAME and its pods; empty: everything in scope.")] = (
        ""
    )


class Check(Model, frozen=True, kw_only=True):
    """Exactly one of these."""

    http: Annotated[HttpCheck | None, doc("An HTTP answer.")] = None
    tcp: Annotated[TcpCheck | None, doc("A port that accepts connections.")] = None
    metric: Annotated[MetricCheck | None, doc("A PromQL value within bounds.")] = None
    ratio: Annotated[RatioCheck | None, doc("bad/total of two PromQL values.")] = None
    object: Annotated[ObjectCheck | None, doc("A Kubernetes object that matches.")] = None
    rollout: Annotated[RolloutCheck | None, doc("A rollout that is complete and available.")] = None
    restarts: Annotated[RestartsCheck | None, doc("No more than so many new restarts.")] = None
    command: Annotated[CommandCheck | None, doc("A local command's exit code and output.")] = None
    python: Annotated[
        str | None,
        doc("module:function of the playbook's folder; needs --allow-code.", "predicates:healthy"),
    ] = None
    findings: Annotated[
        FindingsCheck | None, doc("No finding of that severity in the first card.")
    ] = None
    manifests: Annotated[
        ManifestsCheck | None, doc("Manifests of a repository, as they would be applied.")
    ] = None
    edited: Annotated[
        EditedCheck | None, doc("The playbook's edits are made: again, they would change nothing.")
    ] = None
    covers_cluster: Annotated[
        CoversClusterCheck | None, doc("A manifest for every live object, beside `manifests`.")
    ] = None
    pull_request: Annotated[
        PullRequestCheck | None,
        doc("The patch's pull request is open; holds by itself where there is nothing to patch."),
    ] = None
    all: Annotated["list[Check] | None", doc("All of these.")] = None
    any: Annotated["list[Check] | None", doc("At least one of these.")] = None
    logs: Annotated[LogsCheck | None, doc("No new kinds of error lines in the logs.")] = None
    # accepted, checked by later versions:
    sql: Annotated[Json, later("A database query")] = None


class Goal(Model, frozen=True, kw_only=True):
    description: Annotated[str, doc("One line for people; the checks decide.")] = ""
    all: Annotated[list[Check], doc("All of these.")] = []
    any: Annotated[list[Check], doc("At least one of these.")] = []
    every: Annotated[Duration, doc("How often it is measured.")] = Duration(5)
    consecutive: Annotated[int, Meta(ge=1), doc("Successes in a row that count as met.", 3)] = 1
    for_: Annotated[Duration, doc("How long it must stay met.", "30s")] = msgspec.field(
        name="for", default=Duration(0)
    )
    within: Annotated[
        Duration | None, doc("Deadline from the start; waiting for approval not counted.", "10m")
    ] = None
    each_service: Annotated[
        EachService | None,
        doc("Measure checks without a target once per workload, so that what fails has a name."),
    ] = None


# --- what may be read and touched -----------------------------------------------------------


class Scope(Model, frozen=True, kw_only=True):
    contexts: Annotated[
        list[str], doc("Cluster contexts it may change; `*` stands for anything.", ["*-staging"])
    ] = []
    namespaces: Annotated[list[str], doc("Reads outside are gaps; empty: all.", ["shop"])] = []
    paths: Annotated[
        list[str], doc("Files of a repository that a patch may change.", ["deploy/**"])
    ] = []
    cluster: Annotated[Literal["read-only", "read-write"], doc("read-only refuses changes.")] = (
        "read-write"
    )


class LogsTool(Model, frozen=True, kw_only=True):
    max_lines: Annotated[int, Meta(ge=1, le=50000), doc("Most lines of one call.")] = 500


class MetricsTool(Model, frozen=True, kw_only=True):
    url: Annotated[
        str,
        doc(
            "Prometheus base URL; *.svc names work from a laptop too. Empty: as if not there.",
            "http://prometheus.monitoring.svc:9090",
        ),
    ]


class HttpTool(Model, frozen=True, kw_only=True):
    allow: Annotated[
        list[str],
        doc("URL patterns the tool may GET or HEAD; `*` only.", ["http://*.shop.svc:*/*"]),
    ] = []


class KubectlTool(Model, frozen=True, kw_only=True):
    read: Annotated[
        list[str],
        doc(
            "Resources that may be read; empty: all but secrets.", ["pods", "deployments", "events"]
        ),
    ] = []


class ShellCommand(Model, frozen=True, kw_only=True):
    run: Annotated[list[str], Meta(min_length=1), doc("argv prefix; never a shell.", ["df", "-h"])]
    effect: Annotated[
        Literal["read", "execute"], doc("execute asks like a change; read does not.")
    ] = "execute"
    extra_arguments: Annotated[bool, doc("Whether the caller may append arguments.")] = False
    in_pod: Annotated[bool, doc("Run in a pod through exec instead of here.")] = False


class ShellTool(Model, frozen=True, kw_only=True):
    allow: Annotated[dict[str, ShellCommand], doc("Commands by name; nothing else runs.")]


class LocalServer(Model, frozen=True, kw_only=True):
    run: Annotated[
        list[str],
        Meta(min_length=1),
        doc("argv that starts it.", ["python3", "-m", "http.server", "8000"]),
    ]
    url: Annotated[str, doc("Where it answers.", "http://127.0.0.1:8000/")]
    cwd: Annotated[str, doc("Folder to start it in, relative to the playbook.")] = ""


class ProcessTool(Model, frozen=True, kw_only=True):
    servers: Annotated[dict[str, LocalServer], doc("Local servers by name.")]


class ChangeTool(Model, frozen=True, kw_only=True):
    allow: Annotated[
        list[ChangeKind], doc("Kinds of change that may be proposed.", ["scale", "rollback"])
    ]
    targets: Annotated[
        list[str],
        doc(
            "Kind/namespace/name that may be changed; `*` only as a whole part.",
            ["Deployment/shop/*"],
        ),
    ]
    values: Annotated[
        list[str],
        doc(
            "Values a change may set besides those found in the cluster's typed state; "
            "`*` stands for anything.",
            ["registry.example/shop/*"],
        ),
    ] = []


class Tools(Model, frozen=True, kw_only=True):
    logs: Annotated[LogsTool | None, doc("fetch_logs.")] = None
    metrics: Annotated[MetricsTool | None, doc("query_prometheus.")] = None
    http: Annotated[HttpTool | None, doc("http_check.")] = None
    kubectl: Annotated[KubectlTool | None, doc("get, describe, events, rollout_status ...")] = None
    shell: Annotated[ShellTool | None, doc("run_command.")] = None
    process: Annotated[ProcessTool | None, doc("check_server, restart_server.")] = None
    change: Annotated[ChangeTool | None, doc("What may be changed; without it: read-only.")] = None
    custom: Annotated[list[str], doc("Names of your own tools that may be used.")] = []
    git: Annotated[GitTool | None, doc("The branch that a patch is made on.")] = None
    pull_request: Annotated[PullRequestTool | None, doc("How its pull request is opened.")] = None


class ReplicaLimits(Model, frozen=True, kw_only=True):
    max_factor: Annotated[
        float, Meta(ge=1), doc("Most a replica count may be multiplied or divided.")
    ] = 3.0
    max: Annotated[int, Meta(ge=1), doc("Most replicas, whatever the factor.")] = 20


class Rate(Model, frozen=True, kw_only=True):
    changes: Annotated[int, Meta(ge=0), doc("Changes, over all runs on this machine.")]
    per: Annotated[Duration, doc("In so long.", "1h")]


class Window(Model, frozen=True, kw_only=True):
    days: Annotated[
        list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], doc("Empty: every day.")
    ] = []
    from_: Annotated[str, doc("Local time it opens.", "09:00")] = msgspec.field(
        name="from", default="00:00"
    )
    to: Annotated[str, doc("Local time it closes; before `from`: on the next day.", "17:00")] = (
        "24:00"
    )
    timezone: Annotated[str, doc("Whose local time.", "Europe/Berlin")] = "UTC"


class Freeze(Model, frozen=True, kw_only=True):
    from_: Annotated[
        str, doc("First moment, with its zone; a date: from midnight UTC.", "2026-12-20")
    ] = msgspec.field(name="from")
    to: Annotated[str, doc("End of it; a date: to the end of that day UTC.", "2027-01-02")]
    reason: Annotated[str, doc("Told with every refusal.", "year-end freeze")] = ""


class Limits(Model, frozen=True, kw_only=True):
    max_steps: Annotated[int, Meta(ge=1), doc("Turns of the loop.")] = 25
    cost: Annotated[Money, doc("Most the model may cost.")] = Money(1)
    tokens: Annotated[int | None, doc("Most a model may read and write.")] = None
    calls: Annotated[int | None, doc("Most calls of a model, failed ones too.")] = None
    over_budget: Annotated[
        Literal["expert", "stop"],
        doc("When cost, tokens or calls are used up: the expert goes on, or the run stops."),
    ] = "expert"
    wall: Annotated[Duration | None, doc("Longest run, waiting for approval excluded.")] = None
    changes: Annotated[
        int, Meta(ge=0), doc("Objects that may be changed; a Helm release is one.")
    ] = 3
    rate: Annotated[Rate | None, doc("Most changes in a time, over all runs.")] = None
    replicas: Annotated[ReplicaLimits, doc("How far scaling may go, up or down.")] = ReplicaLimits()
    max_factor: Annotated[
        float, Meta(ge=1), doc("Most any other number (memory, CPU) may be multiplied or divided.")
    ] = 4.0
    never_delete: Annotated[
        tuple[str, ...], doc("Kinds, or Kind/namespace/name, that are never deleted.")
    ] = (
        "Namespace",
        "Node",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "StatefulSet",
        "CustomResourceDefinition",
    )
    windows: Annotated[list[Window], doc("Changes only in one of these; empty: at any time.")] = []
    freezes: Annotated[list[Freeze], doc("No changes in any of these.")] = []
    files: Annotated[int, Meta(ge=0), doc("Files a patch may change.")] = 50
    changed_lines_per_container: Annotated[
        int,
        Meta(ge=0),
        doc("Lines a patch may add or remove, per container it edits; 0: any number."),
    ] = 0


class Tiers(Model, frozen=True, kw_only=True):
    cheap: Annotated[
        str | list[str], doc("For the first turns and for texts.", "openai/gpt-5-mini")
    ]
    strong: Annotated[
        str | list[str],
        doc("When nobody is confident of a cause, or two causes compete.", "openai/gpt-5"),
    ]


Models = str | list[str] | Tiers  # a model, a fallback chain, or one of them for each tier


def chains(models: Models) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names in the order they are asked: (cheap, strong), the same twice where there is one."""
    if isinstance(models, Tiers):
        return _names(models.cheap), _names(models.strong)
    return _names(models), _names(models)


def _names(models: str | list[str]) -> tuple[str, ...]:
    return (models,) if isinstance(models, str) else tuple(models)


class Playbook(Model, frozen=True, kw_only=True):
    apiVersion: Annotated[Literal["smoldebug.dev/v1"], doc("The version of this format.")]
    name: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$"),
        doc("Its name, that of its file.", "triage-502"),
    ]
    description: Annotated[str, doc("What it is for, in a sentence.")] = ""
    inputs: Annotated[dict[str, Input], doc("Values that --set gives.")] = {}
    goal: Annotated[Goal, doc("What fixed means; decided by code.")]
    scope: Annotated[Scope, doc("Where it may look.")] = Scope()
    tools: Annotated[Tools, doc("What it may use.")] = Tools()
    approval: Annotated[
        Literal["ask", "auto", "never"], doc("Who decides on changes; never refuses all.")
    ] = "ask"
    allow_auto_when: Annotated[
        dict[str, list[str]],
        doc(
            "approval: auto holds only where all of these match: `cluster` names contexts, `uid` "
            "is that of kube-system, `server` the API server's address; `*` stands for anything.",
            {"cluster": ["*-staging"]},
        ),
    ] = {}
    allow_without_undo: Annotated[
        list[ChangeKind], doc("Kinds without an inverse that auto may do.")
    ] = []
    limits: Annotated[Limits, doc("Where it stops.")] = Limits()
    on_failure: Annotated[
        Literal["undo", "rollback", "keep-branch", "report"],
        doc("When the goal is not met: undo (or rollback) takes back what was changed."),
    ] = "undo"
    report: Annotated[
        tuple[ReportFormat, ...],
        doc("What `validate` keeps in its folder; other commands take --report.", ["markdown"]),
    ] = ("terminal",)
    secrets: Annotated[dict[str, Secret], doc("For tools, never for a model.")] = {}
    redact: Annotated[
        tuple[Literal["email", "phone", "card", "iban"], ...],
        doc("Personal data that is masked like secrets.", ["email", "card", "iban"]),
    ] = ("email", "card", "iban")
    hints: Annotated[
        str, doc("Markdown file beside the playbook, told to the model.", "502.md")
    ] = ""
    model: Annotated[
        str | list[str] | Tiers, doc("Model, a fallback chain, or a cheap and a strong one.")
    ] = ""
    edits: Annotated[
        list[Edit], doc("Edits of manifests that code makes, before anybody else is asked.")
    ] = []
    matrix: Annotated[Matrix | None, doc("`validate` runs once per cluster.")] = None
    baseline: Annotated[
        Baseline | None, doc("The goal must hold before the first step, else nothing is touched.")
    ] = None
    steps: Annotated[
        list[Step], doc("Fixed actions, in order, for `validate`; a model only explains a failure.")
    ] = []
    on_failure_others: Annotated[
        Literal["keep", "rollback"],
        doc("What becomes of clusters that were upgraded already when another one breaks."),
    ] = "keep"
    on_managed: Annotated[Literal["pr", "warn", "allow"], doc("Helm, Argo CD or Flux objects.")] = (
        "warn"
    )


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A playbook with its inputs applied, and where it came from. What `run` takes."""

    playbook: Playbook
    inputs: Mapping[str, Json]
    source: str  # path of the file, for messages
    folder: str  # its folder: hints and python predicates are looked up here only
    unsupported: tuple[str, ...] = ()  # "matrix (file:12:1)": parts of later versions
