"""`smoldebug models`: which there are, what each needs and costs, and whether one answers."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import ApiBase, ListFormat
from smoldebug.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoldebug.model.budget import Budget
    from smoldebug.model.factory import Target
    from smoldebug.model.trial import Trial
    from smoldebug.playbook.settings import Settings
    from smoldebug.records import Json

app = typer.Typer(
    help="List models, what each needs and costs; ask one whether it answers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LIST_EXAMPLES = """\
Examples:

  smoldebug models list

  smoldebug models list --output json | jq '.models[] | select(.usable) | .name'
"""
TEST_EXAMPLES = """\
Examples:

  smoldebug models test                     # every model of your settings

  smoldebug models test openai/gpt-5-mini

  smoldebug models test vllm/any --api-base http://localhost:8000/v1

Exit status: 0 all answer and call tools, 1 one calls no tools, 2 usage, 6 the budget of today is
used up, 8 one cannot be reached.
"""
PIPE = 1000  # columns: whoever reads a pipe wants whole lines
Output = Annotated[ListFormat, typer.Option("--output", "-o")]


Names = Annotated[
    list[str] | None, typer.Argument(help="Models; without any, those of your settings.")
]


@app.command("list", epilog=LIST_EXAMPLES)
def list_models(output: Output = ListFormat.TABLE) -> None:
    """List the models of your settings, and every provider with what it needs. Asks nobody."""
    from smoldebug.model.factory import PROVIDERS, target_of
    from smoldebug.playbook.settings import Settings, load_settings, settings_file
    from smoldebug.untrusted import inert
    from smoldebug.view.jsonl import dumps

    settings, file = load_settings(), str(settings_file())
    models = [_model(name, settings) for name in configured(settings)]
    providers = [_needs(target_of(f"{name}/ID", Settings())) for name in PROVIDERS]
    if output is ListFormat.JSON:
        found = {"settings": file, "models": models, "providers": providers}
        typer.echo(dumps(found, indent=2))
        return
    _table(("model", "endpoint", "key", "package", "price", "tools", "context"), models)
    typer.echo()
    _table(("model", "endpoint", "key", "package"), providers)
    typer.echo("\nprices: US dollars per million tokens")
    there = "" if settings_file().is_file() else " (there is none: all is as by default)"
    typer.echo(inert(f"settings: {file}{there}"))


@app.command("test", epilog=TEST_EXAMPLES)
def try_models(
    models: Names = None, api_base: ApiBase = "", output: Output = ListFormat.TABLE
) -> int:
    """Ask a model one small question: does it answer and call tools, how fast, at what cost."""
    from smoldebug.cli.changing import who
    from smoldebug.clock import SystemClock
    from smoldebug.errors import UsageError
    from smoldebug.model.accounts import Accounts, accounts_file
    from smoldebug.model.budget import Budget
    from smoldebug.model.keys import keys
    from smoldebug.playbook.models import Limits
    from smoldebug.playbook.settings import EXPERT, load_settings
    from smoldebug.redact import Redactor
    from smoldebug.status import worst
    from smoldebug.view.jsonl import dumps

    settings = load_settings()
    names = models or [name for name in configured(settings) if name != EXPERT]
    if not names:
        raise UsageError("no model is configured", "name one: smoldebug models test PROVIDER/ID")
    if EXPERT in names:
        raise UsageError("the expert is built in, and is no model to be tested")
    with Accounts(accounts_file(), SystemClock()) as accounts:
        budget = Budget(Limits(), settings.budgets, accounts, "models test", who().user)
        trials = [_try(name, settings, api_base, budget) for name in names]
    masked = Redactor(keys(settings)).text
    rows = [_row(trial, masked(trial.problem)) for trial in trials]
    if output is ListFormat.JSON:
        typer.echo(dumps(rows, indent=2))
    else:
        _table(("model", "took", "calls tools", "streams", "tokens", "cost", "problem"), rows)
    return worst(trial.status for trial in trials)


def configured(settings: "Settings") -> list[str]:
    """Every model that is named: in the settings and $SMOLDEBUG_MODEL; the expert is the last."""
    from smoldebug.playbook.models import chains
    from smoldebug.playbook.settings import EXPERT

    cheap, strong = chains(settings.model)
    names = [*settings.models, *cheap, *strong, os.environ.get("SMOLDEBUG_MODEL", "")]
    return [name for name in dict.fromkeys(names) if name not in ("", EXPERT)] + [EXPERT]


# --- what there is --------------------------------------------------------------------------


def _model(name: str, settings: "Settings") -> "dict[str, Json]":
    """One model as it would be asked; of a name that is none, why."""
    from smoldebug.errors import UsageError
    from smoldebug.model.factory import target_of
    from smoldebug.model.prices import HERE, price_of
    from smoldebug.playbook.settings import EXPERT

    about, endpoint = settings.about(name), ""
    if name == EXPERT or name.startswith(HERE):
        found = {"endpoint": "this process", "key": "none needed", "package": "", "usable": True}
    else:
        try:
            target = target_of(name, settings)
            endpoint, found = target.endpoint, _needs(target)
        except UsageError as error:
            found = {"endpoint": "", "key": str(error), "package": None, "usable": False}
    quoted = price_of(name, about, endpoint, settings)
    price = quoted.price and {key: float(getattr(quoted.price, key)) for key in ("input", "output")}
    return {
        **found,
        "model": name,
        "price": price,
        "price_from": quoted.source,
        "tools": about.tools,
        "context": about.context,
    }


def _needs(target: "Target") -> "dict[str, Json]":
    """What has to be there before it can be asked."""
    key, has_key = target.key_state()
    package = target.missing()
    own = "this process" if target.kind.in_process else f"{target.provider}'s own"
    return {
        "model": target.name,
        "endpoint": target.endpoint or target.kind.base or own,
        "key": key,
        "package": f"pip install '{package}'" if package else "",
        "usable": has_key and not package,
    }


# --- what one says --------------------------------------------------------------------------


def _try(name: str, settings: "Settings", api_base: str, budget: "Budget") -> "Trial":
    from smoldebug.cli.chain import may_cost
    from smoldebug.clock import SystemClock
    from smoldebug.diagnose.expert import Expert
    from smoldebug.diagnose.picture import Brief
    from smoldebug.errors import LimitReached, UsageError
    from smoldebug.evidence import EvidenceStore
    from smoldebug.model.factory import build
    from smoldebug.model.trial import Trial, try_out

    expert = Expert(EvidenceStore(SystemClock()), Brief())
    try:
        model = build(name, settings, api_base=api_base, expert=expert, may_cost=may_cost)
        typer.echo(f"asking {name} ...", err=True)
        return try_out(model, budget)
    except (UsageError, LimitReached) as error:
        hint = f" ({error.hint})" if error.hint else ""
        return Trial(name, error.status, problem=f"{error}{hint}")


def _row(trial: "Trial", problem: str) -> "dict[str, Json]":
    return {
        "model": trial.name,
        "ok": trial.status is ExitStatus.MET,
        "answered": trial.answered,
        "calls_tools": trial.calls_tools,
        "streams": trial.streams,
        "seconds": round(trial.seconds, 3),
        "tokens_in": trial.tokens.into,
        "tokens_out": trial.tokens.out,
        "tokens_estimated": trial.tokens.estimated,
        "cost": trial.cost,
        "problem": problem,
    }


# --- tables ---------------------------------------------------------------------------------


def _table(columns: "Sequence[str]", rows: "Sequence[dict[str, Json]]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from smoldebug.untrusted import one_line
    from smoldebug.view.stream import encodable

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(_cell(column, row))) for column in columns))
    width = None if sys.stdout.isatty() else PIPE
    out = encodable(sys.stdout)
    Console(file=out, width=width, markup=False, highlight=False, emoji=False).print(table)


def _cell(column: str, row: "dict[str, Json]") -> str:
    """A column of `models list` or `models test` in words."""
    from smoldebug.usage import dollars

    match column:
        case "package":  # of a model that nobody knows, nobody knows that either
            return "-" if row["package"] is None else str(row["package"] or "there")
        case "price":
            price = row["price"]
            said = f"${price['input']:g} in, ${price['output']:g} out, " if price else ""
            return f"{said}{row['price_from']}"
        case "took":
            return f"{row['seconds']:.1f} s"
        case "calls tools" | "streams":
            said = "yes" if row[column.replace(" ", "_")] else "no"
            return said if row["answered"] else "-"
        case "tokens":
            about = "about " * row["tokens_estimated"]
            return f"{about}{row['tokens_in']} in, {row['tokens_out']} out"
        case "cost":
            return dollars(row["cost"])
    return str(row[column] or "")
