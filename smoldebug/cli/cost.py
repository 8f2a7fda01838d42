"""`smoldebug cost`: what models have cost on this machine, and what is left of today's budget."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import ListFormat

if TYPE_CHECKING:
    from smoldebug.model.spending import Group, Spent
    from smoldebug.playbook.settings import Budgets
    from smoldebug.records import Json

EXAMPLES = """\
Examples:

  smoldebug cost

  smoldebug cost --since 30d --by day

  smoldebug cost --since 2026-11-01 --by run --output json
"""


class By(StrEnum):
    DAY = "day"
    MODEL = "model"
    RUN = "run"
    USER = "user"


def cost(
    since: Annotated[
        str, typer.Option(help="How far back: 7d, 12h, or a day (UTC) such as 2026-11-01.")
    ] = "7d",
    by: Annotated[By, typer.Option(help="What to add up.")] = By.MODEL,
    output: Annotated[ListFormat, typer.Option("--output", "-o")] = ListFormat.TABLE,
) -> None:
    """Show what models have cost: calls, tokens, dollars, and what is left of today's budget.

    A call under way, or of a run that was killed, counts at its worst case.
    """
    from smoldebug.cli.changing import who
    from smoldebug.clock import SystemClock
    from smoldebug.errors import SmoldebugError
    from smoldebug.model.accounts import Accounts, accounts_file
    from smoldebug.model.spending import Group, Spent, groups, today
    from smoldebug.playbook.settings import load_settings

    clock, user, path = SystemClock(), who().user, accounts_file()
    begin, budgets = _begin(since, clock.now()), load_settings().budgets
    found: list[Group] = []
    day = Spent()
    if os.path.lexists(path):  # asking makes no file
        with Accounts(path, clock) as accounts:
            found = accounts.change(lambda db: groups(db, begin.timestamp(), by.value))
            day = accounts.change(lambda db: today(db, accounts.now(), user))
            if accounts.trouble:
                raise SmoldebugError(accounts.trouble, hint="move the file away to begin a new one")
    if output is ListFormat.JSON:
        from smoldebug.view.jsonl import dumps

        document = {"since": begin.isoformat(timespec="seconds"), "by": by.value}
        rows = [_row(group, by) for group in found]
        typer.echo(dumps({**document, "rows": rows, "today": _today(day, budgets)}, indent=2))
        return
    from smoldebug.view.stream import encodable

    out = encodable(sys.stdout)
    for line in (*_table(found, by), *_left(day, budgets)):
        out.write(f"{line}\n")
    if not found:
        typer.echo(f"nothing was spent on models since {begin:%Y-%m-%d %H:%M} UTC", err=True)


def _begin(since: str, now: datetime) -> datetime:
    """Raises UsageError for what is neither a duration nor a day."""
    from datetime import timedelta

    from smoldebug.errors import UsageError
    from smoldebug.playbook.base import Duration

    try:
        return datetime.strptime(since, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return now - timedelta(seconds=Duration.parse(since))
    except (ValueError, OverflowError):
        raise UsageError(f"--since is neither like 7d nor like 2026-11-01: {since}") from None


def _row(group: "Group", by: By) -> "dict[str, Json]":
    row = asdict(group)
    return {by.value: row.pop("name"), **row}


def _today(day: "Spent", budgets: "Budgets") -> "dict[str, Json]":
    from smoldebug.model.spending import NANO

    spent, money, tokens = day.cost / NANO, budgets.day, budgets.day_tokens
    return {
        "cost": spent,
        "budget": money,
        "left": None if money is None else max(0.0, money - spent),
        "tokens": day.tokens,
        "tokens_budget": tokens,
        "tokens_left": None if tokens is None else max(0, tokens - day.tokens),
    }


# --- words ----------------------------------------------------------------------------------


def _table(found: "Sequence[Group]", by: By) -> Iterable[str]:
    """The first column to the left, numbers to the right."""
    if not found:
        return
    header = (by.upper(), "CALLS", "FAILED", "TOKENS IN", "CACHED", "TOKENS OUT", "COST")
    rows = [header, *map(_cells, found)]
    if len(found) > 1:
        rows.append(_cells(_total(found)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers in rows:
        right = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *right])
    if unsettled := sum(group.unsettled for group in found):
        yield f"{unsettled} of them under way or cut off, at the worst case"


def _cells(group: "Group") -> tuple[str, ...]:
    from smoldebug.untrusted import one_line
    from smoldebug.usage import dollars

    cached = f"{group.cached_in / group.tokens_in:.0%}" if group.tokens_in else "-"
    into, out = f"{group.tokens_in:,}", f"{group.tokens_out:,}"
    name = one_line(group.name, 80)
    return name, str(group.calls), str(group.failed), into, cached, out, dollars(group.cost)


def _total(found: "Sequence[Group]") -> "Group":
    from smoldebug.model.spending import Group

    _, *columns = zip(*map(astuple, found), strict=True)
    return Group("total", *map(sum, columns))


def _left(day: "Spent", budgets: "Budgets") -> Iterable[str]:
    from smoldebug.model.spending import NANO
    from smoldebug.usage import dollars

    spent, tokens = dollars(day.cost / NANO), f"{day.tokens:,} tokens"
    yield f"today (UTC): {spent}, {tokens}"
    if budgets.day is not None:
        left = max(0.0, budgets.day - day.cost / NANO)
        yield f"budgets.day: {dollars(left)} of {dollars(budgets.day)} is left"
    if budgets.day_tokens is not None:
        left_tokens = max(0, budgets.day_tokens - day.tokens)
        yield f"budgets.day_tokens: {left_tokens:,} of {budgets.day_tokens:,} are left"
