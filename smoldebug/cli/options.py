"""Options that several commands share, and what they do to a playbook."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from smoldebug.errors import UsageError
from smoldebug.playbook.models import RunPlan
from smoldebug.records import Quote
from smoldebug.view import OutputFormat


class Strictness(StrEnum):
    """Who decides on changes, from loose to strict. The command line can only be stricter."""

    AUTO = "auto"
    ASK = "ask"
    NEVER = "never"


class ListFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


SetInput = Annotated[
    list[str] | None, typer.Option("--set", help="Input of the playbook: NAME=VALUE. Repeatable.")
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace to look at.")]
Context = Annotated[str | None, typer.Option(help="Kubeconfig context.")]
Kubeconfig = Annotated[str | None, typer.Option(help="Kubeconfig file.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Let the playbook's `python:` checks run.")
]
Approval = Annotated[
    Strictness | None,
    typer.Option(help="Be stricter than the playbook: ask, or never change anything."),
]
BreakGlass = Annotated[
    str,
    typer.Option(
        "--break-glass",
        metavar="REASON",
        help="Go over a limit, a window or a freeze once, for a reason that is recorded.",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="expert (default), PROVIDER/ID or a name of your settings (`smoldebug models list`), "
        "scripted:FILE or replay:RUN; several are a fallback chain, which always ends at the "
        "expert.",
    ),
]
ApiBase = Annotated[str, typer.Option(help="Base URL of an OpenAI-compatible endpoint.")]
Output = Annotated[
    OutputFormat | None,
    typer.Option("--output", "-o", help="rich at a terminal, github or gitlab in CI, else plain."),
]


@dataclass(frozen=True)
class Options:
    """What the command line adds to a playbook."""

    context: str | None = None
    kubeconfig: str | None = None
    target: str = ""
    namespace: str = ""
    models: Sequence[str] = ()
    api_base: str = ""
    prometheus: str = ""
    tools: Sequence[Path] = ()
    allow_code: bool = False
    yes: bool = False
    break_glass: str = ""  # the reason to go over a limit once
    command: str = "triage"
    matrix: str = ""  # id that the runs of one matrix share
    repo: str = ""  # of a patch, in place of the playbook's: a folder, absolute, or a URL
    patches: str = ""  # folder for `git format-patch` files in place of a push, absolute
    quotes: Sequence[Quote] = ()  # evidence of the triage whose fix a patch makes last

    @property
    def kubeconfig_path(self) -> str:
        """Absolute, for commands that people paste elsewhere; "" when none was named."""
        return str(Path(self.kubeconfig).expanduser().absolute()) if self.kubeconfig else ""


def load_plan(
    playbook: str,
    inputs: Sequence[str] | None,
    *,
    target: str = "",
    namespace: str = "",
    approval: Strictness | None = None,
    matrix: Mapping[str, str] | None = None,
) -> RunPlan:
    """The playbook with its inputs, and with `matrix.cluster` of one of its clusters; TARGET and
    -n fill its inputs `target` and `namespace`.

    Raises PlaybookError or UsageError; parts of later versions are refused with their place.
    """
    from smoldebug.playbook.find import find
    from smoldebug.playbook.load import assignments, draft, load, planned, require_supported

    given = assignments(inputs or ())
    if target or namespace:
        declared = planned(draft(find(playbook))).playbook.inputs
        for name, value in (("target", target), ("namespace", namespace)):
            if value and name not in declared:
                takes = ", ".join(declared) or "none"
                raise UsageError(f"playbook {playbook} has no input {name}; its inputs: {takes}")
            if value:
                given.setdefault(name, value)
    plan = load(playbook, given, matrix=matrix) if matrix else load(playbook, given)
    require_supported(plan)
    return stricter(plan, approval) if approval else plan


def current_namespace(context: str | None, kubeconfig: str | None) -> str:
    """The namespace of the kubeconfig's context, "" where it names none or there is no file."""
    from smoldebug.sources import kubeconfig as files

    try:
        return files.choose(context, kubeconfig, os.environ).namespace
    except UsageError:
        return ""


def stricter(plan: RunPlan, approval: Strictness) -> RunPlan:
    """The plan with a stricter approval. Raises UsageError for a looser one."""
    import msgspec

    order = list(Strictness)
    asked = Strictness(plan.playbook.approval)
    if order.index(approval) < order.index(asked):
        raise UsageError(
            f"--approval {approval} is looser than the playbook's: {asked}",
            hint="-y answers its approvals with yes",
        )
    playbook = msgspec.structs.replace(plan.playbook, approval=approval.value)
    return msgspec.structs.replace(plan, playbook=playbook)
