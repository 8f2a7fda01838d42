"""The nouns everybody shares. Frozen, plain data; text in them may come from the world (untrusted).

Times are timezone-aware UTC datetimes, durations seconds. Everything here survives a round trip
through JSON (`smoldebug.events` does it), so `data` fields hold JSON values only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from smoldebug.errors import UsageError

Json = Any  # None, bool, int, float, str, list or dict of these


class Effect(StrEnum):
    """What calling a tool does to the world. A tool that declares none does not load."""

    READ = "read"  # looks at recorded state
    PROBE = "probe"  # sends traffic that changes nothing, e.g. GET /health
    CHANGE = "change"  # returns a Change; never applies it itself
    EXECUTE = "execute"  # runs a command whose effect is unknown: asked for like a change


class Outcome(StrEnum):
    MET = "met"
    NOT_MET = "not met"
    INCONCLUSIVE = "inconclusive"  # data missing or contradictory; never counts as met


class ChangeKind(StrEnum):
    """Spelled as in the fault catalogue; the second block is ours."""

    SCALE = "scale"
    RESTART = "restart"
    ROLLBACK = "rollback"
    SET_IMAGE = "set-image"
    SET_ENV = "set-env"
    SET_RESOURCES = "set-resources"
    SET_PROBE = "set-probe"
    SET_COMMAND = "set-command"
    SET_REPLICAS_BOUNDS = "set-replicas-bounds"
    PATCH_SELECTOR = "patch-selector"
    PATCH_PORT = "patch-port"
    PATCH_OBJECT = "patch-object"
    CREATE_OBJECT = "create-object"
    DELETE_OBJECT = "delete-object"
    SET_CONFIG_KEY = "set-config-key"
    EXPAND_PVC = "expand-pvc"
    CORDON = "cordon"
    UNCORDON = "uncordon"
    REMOVE_TAINT = "remove-taint"
    LABEL_NODE = "label-node"
    ADD_TOLERATION = "add-toleration"
    EDIT_NETWORKPOLICY = "edit-networkpolicy"
    SUSPEND = "suspend"
    RESUME = "resume"

    APPLY_OBJECT = "apply-object"  # server-side apply of a manifest
    ADD_TAINT = "add-taint"
    HELM_UPGRADE = "helm-upgrade"
    HELM_ROLLBACK = "helm-rollback"
    GIT_COMMIT = "git-commit"
    PULL_REQUEST = "pull-request"
    DEBUG_CONTAINER = "debug-container"
    PROCESS_RESTART = "process-restart"
    RUN_COMMAND = "run-command"
    SQL = "sql"


IN_GIT = (ChangeKind.GIT_COMMIT, ChangeKind.PULL_REQUEST)  # nothing that runs is changed by them
OF_RELEASE = (ChangeKind.HELM_UPGRADE, ChangeKind.HELM_ROLLBACK)  # many objects by one name


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """Kind/namespace/name; Kind/name for cluster-scoped objects (namespace is "")."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    @classmethod
    def parse(cls, text: str) -> "ObjectRef":
        """`Deployment/shop/auth` or `Node/n1`. Raises UsageError on anything else."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise UsageError(f"not KIND/NAMESPACE/NAME or KIND/NAME: {text!r}")
        return cls(parts[0], parts[1] if len(parts) == 3 else "", parts[-1])


@dataclass(frozen=True, slots=True)
class Observation:
    """What a tool saw.

    `text` is what a model and a person read; `data` the typed form that goals, rules and reports
    read. `source` is one of log, object, event, metric, probe, process, alert, host, note.
    """

    text: str
    data: Json = None
    source: str = "note"
    ref: str = ""  # what it is about: an object (`Pod/shop/auth-7d9`), URL or query
    gaps: tuple[str, ...] = ()  # what could not be seen, with the missing permission or source


@dataclass(frozen=True, slots=True)
class Evidence:
    """An Observation with a number, so that claims can cite it: `E4`."""

    id: str
    tool: str
    arguments: Mapping[str, Json]
    observation: Observation
    at: datetime


@dataclass(frozen=True, slots=True)
class Quote:
    """Words claimed to stand in a piece of evidence. Only code sets `verified`."""

    evidence: str  # E4
    text: str
    verified: bool = False


@dataclass(frozen=True, slots=True)
class Hypothesis:
    id: str  # H1
    claim: str
    status: str = "open"  # open | testing | confirmed | ruled out
    supports: tuple[Quote, ...] = ()
    contradicts: tuple[Quote, ...] = ()
    subject: str = ""  # the object it is about: Deployment/shop/auth
    fault: str = ""  # catalogue slug, where one fits

    @property
    def certainty(self) -> str:
        """The word people read: open, testing, possible, likely or ruled out.

        A confirmed one is likely when words of at least two pieces of evidence are verified and
        nothing speaks against it, else possible: nobody here is ever sure.
        """
        if self.status != "confirmed":
            return self.status
        cited = {quote.evidence for quote in self.supports if quote.verified}
        return "likely" if len(cited) >= 2 and not self.contradicts else "possible"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check of a goal, once. `says` is a short sentence with the measured value."""

    check: str  # label: "http checkout.shop /health = 200"
    kind: str  # http, ratio, rollout ...
    outcome: Outcome
    says: str
    value: float | None = None
    subject: str = ""  # object or URL the check is about
    route: str = ""  # how it was reached: direct, proxy Pod/shop/checkout-1 ...
    pending: bool = False  # not decided yet, but it will be: worth waiting for
    service: str = ""  # of a goal with each_service: the workload of this row


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, measured once, and where its window stands.

    `sample` is this measurement alone; `outcome` is MET only when the window (consecutive, for)
    is complete. `streak` samples in a row were met of `needed`; `held` of `hold_for` seconds.
    """

    outcome: Outcome
    sample: Outcome
    results: tuple[CheckResult, ...]
    streak: int = 0
    needed: int = 1
    held: float = 0.0
    hold_for: float = 0.0

    @property
    def missed(self) -> list[tuple[str, CheckResult]]:
        """What does not hold, what is under way last. Services that miss a check alike are told
        together, by name: `auth, web`; "" where there are none."""
        alike: dict[tuple[bool, str, Outcome, str], list[CheckResult]] = {}
        for each in self.results:
            if each.outcome is not Outcome.MET:
                key = (each.pending, each.check, each.outcome, each.says)
                alike.setdefault(key, []).append(each)
        groups = sorted(alike.values(), key=lambda group: group[0].pending)
        named = ([each.service.rpartition("/")[2] for each in group] for group in groups)
        return [
            (", ".join(filter(None, names)), group[0])
            for names, group in zip(named, groups, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Change:
    """A typed, reversible mutation, proposed by a tool, a step or an undo.

    `before` and `after` map pointers of the fields it touches to their values (`pointers.py` has
    the syntax); a pointer that is missing on one side means "absent there". The pointer "" is the
    whole object: to create one it is only in `after`, to delete one only in `before`. The inverse
    swaps the two. `no_undo` says why there is no inverse (restart, debug container, SQL); then it
    is always asked for.
    """

    kind: ChangeKind
    target: ObjectRef
    before: Mapping[str, Json]
    after: Mapping[str, Json]
    why: str
    expects: str = ""
    no_undo: str = ""
    uid: str = ""  # of the target when it was read; another uid is another object
    evidence: tuple[str, ...] = ()
    revision: int = 0  # a rollback's; 0: the one before
    from_revision: int = 0  # a rollback's: the current one, which its inverse goes back to
    settle: float = 60.0  # seconds the goal is watched afterwards before anything else is tried
    manifest: Json = None  # an apply-object's: what is sent as it is
    then: "Change | None" = None  # carried out right after it, under the same approval
    notes: tuple[str, ...] = ()  # what an approver must know of it
    given: bool = False  # all of it by the playbook or files beside it, nothing by a model

    def inverse(self) -> "Change":
        """What takes it back. That of an apply is a patch, of a create a delete."""
        return Change(
            kind=_INVERSE.get(self.kind, self.kind),
            target=self.target,
            before=self.after,
            after=self.before,
            why=f"undo: {self.why}",
            uid=self.uid,
            revision=self.from_revision,
            from_revision=self.revision,
            settle=self.settle,
        )


_INVERSE = {
    ChangeKind.APPLY_OBJECT: ChangeKind.PATCH_OBJECT,
    ChangeKind.CREATE_OBJECT: ChangeKind.DELETE_OBJECT,
    ChangeKind.DELETE_OBJECT: ChangeKind.CREATE_OBJECT,
    ChangeKind.CORDON: ChangeKind.UNCORDON,
    ChangeKind.UNCORDON: ChangeKind.CORDON,
    ChangeKind.ADD_TAINT: ChangeKind.REMOVE_TAINT,
    ChangeKind.REMOVE_TAINT: ChangeKind.ADD_TAINT,
    ChangeKind.SUSPEND: ChangeKind.RESUME,
    ChangeKind.RESUME: ChangeKind.SUSPEND,
    ChangeKind.HELM_UPGRADE: ChangeKind.HELM_ROLLBACK,
}


@dataclass(frozen=True, slots=True)
class Managed:
    """Whoever will put an object back as its source says: a live change does not last."""

    by: str  # Helm, Argo CD, Flux, or the operator's kind: PostgresCluster
    owner: str  # "release shop/auth", "Application payments", "PostgresCluster/shop/db"

    def __str__(self) -> str:
        return f"{self.by}: {self.owner}"


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget that selects the target's pods."""

    name: str
    allowed: int  # disruptions it allows now
    needed: int  # pods it wants healthy


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the world says around a change's target, read just before it; the guard judges by it.

    `typed` are objects whose typed state may be where a value comes from: the target, its earlier
    revisions, its siblings, what its namespace offers to refer to. `gaps` say what could not be
    read.
    """

    managed: Managed | None = None
    budgets: tuple[Budget, ...] = ()
    replicas: int | None = None  # pods the target runs; None: it runs none
    typed: tuple[Json, ...] = ()
    gaps: tuple[str, ...] = ()
    files: tuple["FileChange", ...] = ()  # what a commit changes of a repository
    objects: tuple["ObjectRef", ...] = ()  # what the change of a release creates, changes, deletes
    deleted: tuple["ObjectRef", ...] = ()  # those of them that it deletes
    becomes: tuple[tuple[Json, Json], ...] = ()  # of the others: as it is (or None), as it will be
    notes: tuple[str, ...] = ()  # what an approver must know besides


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of a commit. A binary file has no lines."""

    path: str
    added: int  # lines
    removed: int
    containers: int = 0  # of the manifest, that differ
    status: str = "modified"  # added | modified | deleted


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit did to one object of a repository: a row of the coverage table.

    `state` is changed, already so, differs (edited over another value), skipped (another value
    stands there and stays) or refused; `detail` says which value, or why.
    """

    ref: ObjectRef
    path: str  # of the file in which the edit is, or would be, made
    line: int  # from 1; 0: not known
    state: str
    detail: str = ""
    via: str = ""  # how the object comes about: "", "kustomize deploy/overlays/eu", "helm charts/x"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """As the forge has it. `state` is open, merged or closed; `head` the commit it stands at."""

    number: int
    url: str
    state: str
    head: str
    title: str = ""
    body: str = ""
    draft: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckRun:
    """One check of a commit. `state` is pending, passed, failed or skipped."""

    name: str
    state: str
    url: str = ""
    detail: str = ""  # of a failed one: the end of what it said, as far as the forge tells


@dataclass(frozen=True, slots=True)
class Blame:
    """Which service broke a goal with a row per service, and which only suffer from it.

    `service` is the offender (`Deployment/shop/payments`), `check` the label of its check that
    failed first, `at` the seconds from the first step until then. `reason` is one sentence; every
    quote stands word for word in recorded evidence.
    """

    service: str
    check: str
    reason: str
    at: float
    quotes: tuple[Quote, ...] = ()
    victims: tuple[str, ...] = ()  # probably only because of it
    fault: str = ""  # catalogue slug, where one fits


@dataclass(frozen=True, slots=True)
class Who:
    """On whose behalf: the user of this machine, and who the API server takes them for."""

    user: str
    kube: str = ""

    def __str__(self) -> str:
        return f"{self.user} ({self.kube})" if self.kube else self.user


class Answer(StrEnum):
    YES = "yes"
    NO = "no"
    PENDING = "pending"  # nobody can answer now


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a change. `by` is operator, playbook, policy or guard."""

    answer: Answer
    by: str
    reason: str = ""
    who: str = ""  # of an operator: the user's name
    lifted: str = ""  # the limit that break-glass lifted for it

    def __str__(self) -> str:
        """`approved by operator anna`, `refused by operator: too risky`, `waits for a yes: ...`."""
        by = f"{self.by} {self.who}".rstrip()
        said = {
            Answer.YES: f"approved by {by}",
            Answer.NO: f"refused by {by}",
            Answer.PENDING: "waits for a yes",
        }[self.answer]
        said += f" with break-glass ({self.lifted})" if self.lifted else ""
        return f"{said}: {self.reason}" if self.reason else said


@dataclass(frozen=True, slots=True)
class Card:
    """Everything an approver sees, bound by `digest` to the exact bytes that would be sent."""

    id: str  # C1
    change: Change
    diff: str  # unified diff of the touched fields, or a sentence where there is none
    dry_run: str  # the server's verdict: "accepted", or "not supported: ..."
    command: str  # the equivalent kubectl/helm/git command
    limits: str  # "1 of 2 changes · factor 2 of 3 allowed"
    context: str  # cluster context, always shown
    digest: str
    full_diff: str = ""  # unified diff of the whole object, live against the server's dry run
    managed: Managed | None = None
    warnings: tuple[str, ...] = ()  # what an approver must know: budgets, gaps, a lifted limit


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the first card: a change or a red light, with its age and where it was read."""

    text: str
    ref: str
    at: datetime | None = None
    severity: str = "info"  # critical | warning | info


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be seen, and why (missing RBAC verb, missing source)."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run has used. Cost in US dollars; 0 for the expert."""

    turns: int = 0
    max_turns: int = 0
    calls: int = 0  # of models that are not the expert, failed ones too
    max_calls: int | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cached_in: int = 0  # of tokens_in: those that the provider still had
    max_tokens: int | None = None  # in and out
    cost: float = 0.0
    max_cost: float | None = None
    seconds: float = 0.0
    max_seconds: float | None = None
    changes: int = 0
    max_changes: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A block of the final report: a heading (VERDICT, CAUSE ...) and its lines."""

    heading: str
    lines: tuple[str, ...] = field(default_factory=tuple)
