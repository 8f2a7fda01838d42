"""`smoldebug playbooks`: which there are, what they mean, and what is wrong with one."""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.status import ExitStatus

if TYPE_CHECKING:
    from smoldebug.playbook.models import Models
    from smoldebug.playbook.policy import Policy
    from smoldebug.preview.lint import Linted
    from smoldebug.records import Json

app = typer.Typer(
    help="List, show, check and explain playbooks; what one may do, and the role it needs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LIST_EXAMPLES = """\
Examples:

  smoldebug playbooks list

  smoldebug playbooks list --output json | jq -r '.[].name'
"""
SHOW_EXAMPLES = """\
Examples:

  smoldebug playbooks show triage

  smoldebug playbooks show triage-502 --set service=checkout

  smoldebug playbooks show ./my-playbook.yaml
"""
LINT_EXAMPLES = """\
Examples:

  smoldebug playbooks lint                  # every *.yaml in ./playbooks

  smoldebug playbooks lint my-playbook.yaml other.yaml

Exit status: 0 no errors (there may be warnings), 2 errors.
"""
EXPLAIN_EXAMPLES = """\
Examples:

  smoldebug playbooks explain

  smoldebug playbooks explain goal.consecutive

  smoldebug playbooks explain tools.change
"""
PLAN_EXAMPLES = """\
Examples:

  smoldebug playbooks plan triage --set namespace=shop

  smoldebug playbooks plan triage-502 --set service=checkout --output json
"""
RBAC_EXAMPLES = """\
Examples:

  smoldebug playbooks rbac triage --set namespace=shop | kubectl apply -f -

  smoldebug playbooks rbac triage --set namespace=shop --read-only

  smoldebug playbooks rbac ./mine.yaml --service-account ops/smoldebug --output json
"""
SCHEMA_EXAMPLES = """\
Examples:

  smoldebug playbooks schema > playbook.schema.json

  # first line of a playbook, for editors with the YAML language server:
  # yaml-language-server: $schema=playbook.schema.json
"""


WIDTH = 100  # columns of prose at most: longer lines are hard to read


class RoleFormat(StrEnum):
    YAML = "yaml"
    JSON = "json"


class PlanFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class ListFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


ListOutput = Annotated[ListFormat, typer.Option("--output", "-o")]
Name = Annotated[str, typer.Argument(help="Playbook: a name or a file.")]
Inputs = Annotated[list[str] | None, typer.Option("--set", help="Input: NAME=VALUE. Repeatable.")]


@app.command("list", epilog=LIST_EXAMPLES)
def list_playbooks(output: ListOutput = ListFormat.TABLE) -> None:
    """List every playbook that can be run by name, where it is from, and what it hides."""
    from smoldebug.playbook.find import available
    from smoldebug.playbook.load import summary

    rows: list[Json] = [
        {
            "name": entry.name,
            "source": entry.place.label,
            "hides": [place.label for place in entry.hides],
            "description": summary(entry.path),
            "path": str(entry.path),
        }
        for entry in available()
    ]
    if output is ListFormat.JSON:
        _json(rows)
    else:
        _table(rows)


@app.command("show", epilog=SHOW_EXAMPLES)
def show(playbook: Name, inputs: Inputs = None) -> None:
    """Show a playbook as it would run: inputs put in, defaults left out, secrets masked."""
    from smoldebug.playbook.find import find
    from smoldebug.playbook.load import assignments, draft, planned
    from smoldebug.preview.show import as_yaml

    read = draft(find(playbook), assignments(inputs or ()))
    _write(as_yaml(read, planned(read)))


@app.command("lint", epilog=LINT_EXAMPLES)
def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files; without any, those of ./playbooks.")
    ] = None,
    output: ListOutput = ListFormat.TABLE,
) -> int:
    """Report every error of playbook files, and what is allowed but probably not meant."""
    from smoldebug.errors import UsageError
    from smoldebug.playbook.find import SUFFIXES
    from smoldebug.preview.lint import lint as lint_file

    paths = files or sorted(p for p in Path("playbooks").glob("*") if p.suffix in SUFFIXES)
    if not paths:
        raise UsageError("no files given, and no playbooks in: ./playbooks")
    results = [lint_file(path) for path in paths]
    if output is ListFormat.JSON:
        _json([result.json() for result in results])
    else:
        _write("".join(f"{line}\n" for result in results for line in _lines(result)))
    return ExitStatus.USAGE if any(result.errors for result in results) else ExitStatus.MET


@app.command("explain", epilog=EXPLAIN_EXAMPLES)
def explain(
    key: Annotated[str, typer.Argument(help="Dotted path, e.g. goal.consecutive.")] = "",
) -> None:
    """Explain one key of a playbook, or list them all."""
    from smoldebug.preview.explain import explain as explain_key
    from smoldebug.preview.explain import tree

    if not key:
        for entry in tree():
            depth = entry.key.count(".")
            name = "  " * depth + entry.key.rpartition(".")[2]
            _write(f"{name:<34} {entry.description}\n")
        return
    entry = explain_key(key)
    default = "required" if entry.required else entry.default or "none"
    example = "".join(f"  {line}\n" for line in entry.example.splitlines())
    below = f"keys:     {', '.join(entry.keys)}\n" if entry.keys else ""
    _write(
        f"{entry.key}: {entry.description}\n\n"
        f"value:    {entry.type}\ndefault:  {default}\n{below}\nexample:\n{example}"
    )


@app.command("plan", epilog=PLAN_EXAMPLES)
def plan(
    playbook: Name,
    inputs: Inputs = None,
    output: Annotated[PlanFormat, typer.Option("--output", "-o")] = PlanFormat.TEXT,
) -> None:
    """Say in plain English what a playbook may read and change, whom it asks, and its worst case.

    Policy files in force and change windows count; no cluster is asked.
    """
    from smoldebug.clock import SystemClock
    from smoldebug.playbook.find import find
    from smoldebug.playbook.load import assignments, draft, planned
    from smoldebug.playbook.policy import load_policies
    from smoldebug.preview import plan as preview

    read = draft(find(playbook), assignments(inputs or ()))
    run_plan = planned(read)
    policies, asked = load_policies(), _models(run_plan.playbook.model)
    around = preview.Circumstances(
        policies, asked, SystemClock().now(), tuple(_forbidden(asked, policies))
    )
    told = preview.plan(run_plan, read.missing, around)
    if output is PlanFormat.JSON:
        _json(told.json())
    else:
        width = min(shutil.get_terminal_size().columns, WIDTH)
        _write(preview.as_text(told, width))


@app.command("rbac", epilog=RBAC_EXAMPLES)
def rbac(
    playbook: Name,
    inputs: Inputs = None,
    service_account: Annotated[
        str,
        typer.Option(
            help="NAMESPACE/NAME of the ServiceAccount to bind "
            "[default: smoldebug in the scope's first namespace]"
        ),
    ] = "",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only what a run with --approval never needs.")
    ] = False,
    output: Annotated[RoleFormat, typer.Option("--output", "-o")] = RoleFormat.YAML,
) -> None:
    """Print the smallest role a playbook can run under, with its binding, for `kubectl apply`.

    A Role in each namespace; a ClusterRole for what lies in none, and where the scope names none.
    """
    from smoldebug.playbook.load import assignments, load
    from smoldebug.preview import rbac as needs

    plan = load(playbook, assignments(inputs or ()))
    given = needs.Account.parse(service_account) if service_account else None
    account = given or needs.default_account(plan.playbook)
    roles = needs.roles(plan, account, read_only=read_only)
    if output is RoleFormat.JSON:
        _json(needs.as_list(roles))
    else:
        _write(needs.as_yaml(roles, needs.notes(plan, account)))


@app.command("schema", epilog=SCHEMA_EXAMPLES)
def schema() -> None:
    """Print the JSON Schema of playbooks, for editors."""
    from smoldebug.preview.schema import text

    _write(text())


def _models(named: "Models") -> tuple[str, ...]:
    """Those that a run without --model asks."""
    from smoldebug.playbook.models import chains
    from smoldebug.playbook.settings import EXPERT, load_settings

    by_variable = os.environ.get("SMOLDEBUG_MODEL", "")
    cheap, strong = chains(named or by_variable or load_settings().model or EXPERT)
    return tuple(dict.fromkeys([*cheap, *strong]))


def _forbidden(models: Iterable[str], policies: "Sequence[Policy]") -> Iterator[str]:
    """Why a run would not begin: a model that a policy does not allow."""
    from smoldebug.playbook.policy import ModelRule

    if all(policy.file.models == ModelRule() for policy in policies):
        return  # what asks is slow to import
    from smoldebug.cli.chain import permitted
    from smoldebug.errors import UsageError
    from smoldebug.playbook.settings import load_settings

    settings = load_settings()
    for name in models:
        try:
            permitted(name, settings, "", policies)
        except UsageError as error:
            yield str(error)


def _lines(result: "Linted") -> Iterator[str]:
    yield from result.errors
    yield from result.warnings
    if result.unsupported:
        parts = ", ".join(part.partition(" (")[0] for part in result.unsupported)
        yield f"{result.file} note: this version does not run: {parts}"
    if not result.errors and not result.warnings:
        yield f"{result.file} ok"


def _json(value: "Json") -> None:
    from smoldebug.view.jsonl import dumps

    typer.echo(dumps(value, indent=2))


def _write(text: str) -> None:
    """Plain text in any encoding; nothing in it is a command to a terminal or a CI system."""
    from smoldebug.untrusted import inert
    from smoldebug.view.stream import encodable

    encodable(sys.stdout).write(inert(text))


def _table(rows: list["Json"]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from smoldebug.untrusted import one_line
    from smoldebug.view.stream import encodable

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("NAME", "SOURCE", "DESCRIPTION"):
        table.add_column(column, overflow="fold")
    for row in rows:
        hides = f" (hides {', '.join(row['hides'])})" if row["hides"] else ""
        cells = (row["name"], row["source"] + hides, row["description"])
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    Console(file=encodable(sys.stdout), markup=False, highlight=False, emoji=False).print(table)
