"""The policy file of an organisation: what no playbook may go beyond, whoever wrote it.

It only narrows. Each file that is in force is one more judge beside the playbook (`guard/`).
"""

import hashlib
import math
import os
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from smoldebug.errors import PlaybookError
from smoldebug.playbook.base import Model, Money, doc
from smoldebug.playbook.convert import Converter, Report
from smoldebug.playbook.models import Freeze, Limits, Playbook, Rate, ReplicaLimits, Window
from smoldebug.playbook.rules import RULES, report_never_delete, report_target
from smoldebug.playbook.tree import At, Block, Problem
from smoldebug.records import ChangeKind

SYSTEM = Path("/etc/smoldebug/policy.yaml")
PersonalData = Literal["email", "phone", "card", "iban"]


class Selection(Model, frozen=True, kw_only=True):
    contexts: Annotated[
        list[str],
        Meta(min_length=1),
        doc("Cluster contexts; `*` stands for anything.", ["*-staging"]),
    ] = []
    clusters: Annotated[
        list[str],
        Meta(min_length=1),
        doc(
            "Clusters by the uid of their namespace kube-system, which no kubeconfig can rename.",
            ["0b1c6f0e-8d0a-4a53-9f3e-2f8f7f0c2a11"],
        ),
    ] = []
    namespaces: Annotated[
        list[str],
        Meta(min_length=1),
        doc("Namespaces; `*` stands for anything.", ["shop", "team-*"]),
    ] = []
    changes: Annotated[
        list[ChangeKind], Meta(min_length=1), doc("Kinds of change.", ["scale", "rollback"])
    ] = []
    targets: Annotated[
        list[str],
        Meta(min_length=1),
        doc("Kind/namespace/name; `*` only as a whole part.", ["Deployment/shop/*"]),
    ] = []


class ReplicaBounds(Model, frozen=True, kw_only=True):
    max_factor: Annotated[
        float | None, Meta(ge=1), doc("Most a replica count may be multiplied or divided.")
    ] = None
    max: Annotated[int | None, Meta(ge=1), doc("Most replicas, whatever the factor.")] = None


class ModelRule(Model, frozen=True, kw_only=True):
    """Who may read what smoldebug sees. What runs in its own process (the expert, local weights)
    always may; what stands here narrows the rest."""

    allow: Annotated[
        list[str] | None,
        doc("Models that may be asked, as PROVIDER/ID; `*` stands for anything.", ["azure/*"]),
    ] = None
    endpoints: Annotated[
        list[str] | None,
        doc(
            "Base URLs they may be asked at; a provider's own counts only when this is absent.",
            ["https://llm.example.com/*"],
        ),
    ] = None

    def allows(self, model: str, endpoint: str) -> bool:
        """`model` is PROVIDER/ID, `endpoint` a base URL, "" for the provider's own."""
        return _any(self.allow, model) and _any(self.endpoints, endpoint)


def _any(patterns: list[str] | None, text: str) -> bool:
    return patterns is None or any(fnmatchcase(text, pattern) for pattern in patterns)


class Bounds(Model, frozen=True, kw_only=True):
    cost: Annotated[Money | None, doc("Most that models may cost in a run.", "$2")] = None
    changes: Annotated[int | None, Meta(ge=0), doc("Objects that a run may change.")] = None
    rate: Annotated[Rate | None, doc("Most changes in a time, over all runs.")] = None
    replicas: Annotated[ReplicaBounds, doc("How far scaling may go, up or down.")] = ReplicaBounds()
    max_factor: Annotated[
        float | None,
        Meta(ge=1),
        doc("Most any other number (memory, CPU) may be multiplied or divided."),
    ] = None
    never_delete: Annotated[
        tuple[str, ...], doc("Kinds, or Kind/namespace/name, that are never deleted.", ["Service"])
    ] = ()
    windows: Annotated[list[Window], doc("Changes only in one of these; empty: at any time.")] = []
    freezes: Annotated[list[Freeze], doc("No changes in any of these.")] = []

    def limits(self) -> Limits:
        """As a playbook's: what is not narrowed is without end."""
        most, factor = sys.maxsize, math.inf
        return Limits(
            changes=most if self.changes is None else self.changes,
            rate=self.rate,
            replicas=ReplicaLimits(
                max_factor=self.replicas.max_factor or factor, max=self.replicas.max or most
            ),
            max_factor=self.max_factor or factor,
            never_delete=self.never_delete,
            windows=self.windows,
            freezes=self.freezes,
            files=most,
        )


class PolicyFile(Model, frozen=True, kw_only=True):
    apiVersion: Annotated[Literal["smoldebug.dev/v1"], doc("The version of this format.")]
    kind: Annotated[Literal["Policy"], doc("Policy, so that nobody takes it for a playbook.")]
    description: Annotated[str, doc("Whose it is and why, in a sentence.")] = ""
    allow: Annotated[
        Selection, doc("What may be changed; a list that is absent narrows nothing.")
    ] = Selection()
    deny: Annotated[Selection, doc("What may not be changed, whatever allow says.")] = Selection()
    limits: Annotated[Bounds, doc("What no playbook's limits may go beyond.")] = Bounds()
    approval: Annotated[
        Literal["ask", "never"] | None, doc("ask: no playbook's auto counts; never refuses all.")
    ] = None
    allow_without_undo: Annotated[
        list[ChangeKind] | None, doc("The only kinds without an inverse that auto may do.")
    ] = None
    models: Annotated[ModelRule, doc("Which models may be asked.")] = ModelRule()
    on_managed: Annotated[
        Literal["pr", "warn", "allow"] | None, doc("The least for Helm, Argo CD or Flux objects.")
    ] = None
    redact: Annotated[
        tuple[PersonalData, ...], doc("Personal data that is masked in every run.", ["phone"])
    ] = ()
    break_glass: Annotated[bool, doc("Whether break-glass may lift a limit.")] = True


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy file in force."""

    file: PolicyFile
    source: str = "policy"
    sha256: str = ""

    @property
    def describe(self) -> str:
        """For the journal: `/etc/smoldebug/policy.yaml sha256:1f2e3d4c5b6a`."""
        return f"{self.source} sha256:{self.sha256[:12]}"


def load_policies(
    environ: Mapping[str, str] = os.environ, system: Path = SYSTEM
) -> tuple[Policy, ...]:
    """Every policy in force: the machine's, where there is one, and that of $SMOLDEBUG_POLICY.

    Raises PlaybookError for one that cannot be read or understood: it is never left out.
    """
    found = [read_policy(system)] if _there(system) else []
    named = environ.get("SMOLDEBUG_POLICY", "")
    if named and (path := Path(named).expanduser()) != system:
        found.append(read_policy(path))
    return tuple(found)


def read_policy(path: Path) -> Policy:
    """One file. Raises PlaybookError with every problem of it, one line each."""
    from smoldebug.playbook.load import problems_error, read_file
    from smoldebug.playbook.parse import MAX_BYTES, parse

    content, file = read_file(path, MAX_BYTES + 1), str(path)
    root, problems = parse(content, file)
    converter = Converter(_RULES, "policy")
    found = None
    if isinstance(root, Block):
        found = converter.convert(root, PolicyFile)
        problems = [*problems, *converter.problems]
    else:
        says = "expected a policy: a map that begins with apiVersion"
        problems.append(Problem(root.at if root else At(1, 1), "", says))
    if problems or found is None:
        raise problems_error(file, sorted(set(problems)))
    return Policy(file=found, source=file, sha256=hashlib.sha256(content).hexdigest())


def personal_data(playbook: Playbook, policies: Iterable[Policy]) -> tuple[PersonalData, ...]:
    """What is masked in a run: what the playbook names, and what any policy does."""
    named = [*playbook.redact, *(each for policy in policies for each in policy.file.redact)]
    return tuple(dict.fromkeys(named))


def _there(path: Path) -> bool:
    """A link that leads nowhere is there, and so is what may not be looked at: reading says why."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PlaybookError(f"cannot be read: {reason}", str(path)) from error
    return True


def _selection(selection: Selection, report: Report) -> None:
    for key in selection.__struct_fields__:
        for index, entry in enumerate(getattr(selection, key)):
            if not entry or "${{" in entry:
                report(f"{key}[{index}]", f"expected plain text, got {entry!r}")
            elif key == "targets":
                report_target(entry, f"targets[{index}]", report)


def _bounds(bounds: Bounds, report: Report) -> None:
    report_never_delete(bounds.never_delete, report)


_RULES: Any = {**RULES, Selection: _selection, Bounds: _bounds}
