"""`smoldebug cost`: the accounts in, a table or JSON out."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from smoldebug.cli.changing import who
from smoldebug.cli.cost import cost
from smoldebug.clock import FakeClock
from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import FREE, Tokens
from smoldebug.model.budget import Budget
from smoldebug.model.prices import price_of
from smoldebug.playbook.base import Money
from smoldebug.playbook.load import load
from smoldebug.playbook.models import Limits
from smoldebug.playbook.settings import Budgets, Price, Settings, read_settings

PRICE = Price(input=Money(1), output=Money(10), cached=Money(0.1))
ME = who().user
Cost = Callable[..., Result]

app = typer.Typer()
app.command()(cost)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    monkeypatch.delenv("SMOLDEBUG_SETTINGS", raising=False)
    return tmp_path


@pytest.fixture
def told() -> Cost:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return call


def budget(accounts: Accounts, run: str, user: str = ME) -> Budget:
    return Budget(Limits(), Budgets(), accounts, run, user)


def spend(home: Path) -> None:
    """Two days ago a run with one call; just now one with three, of which one failed and one was
    cut off, and a free one of somebody else's."""
    path, now = home / "models.db", datetime.now(UTC)
    with Accounts(path, FakeClock(now - timedelta(days=2))) as accounts:
        run = budget(accounts, "aaaaaa")
        run.reserve("openai/x", PRICE, 50_000, 1_000).settle(Tokens(50_000, 1_000, 40_000))
    with Accounts(path, FakeClock(now)) as accounts:
        run = budget(accounts, "bbbbbb")
        run.reserve("openai/x", PRICE, 10_000, 500).settle(Tokens(10_000, 500))
        run.reserve("openai/x", PRICE, 10_000, 500).failed(Tokens(10_000))
        run.reserve("hf/y\x1b[31m", PRICE, 0, 1_000)
        other = budget(accounts, "cccccc", "somebody")
        other.reserve("openai/local", FREE, 500, 500).settle(Tokens(500, 40))


def test_a_table_per_model_the_dearest_first_and_what_today_has_cost(home: Path, told: Cost):
    spend(home)
    result = told()
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == (
        "MODEL         CALLS  FAILED  TOKENS IN  CACHED  TOKENS OUT    COST\n"
        "openai/x          3       1     70,000     57%       1,500  $0.049\n"
        "hf/y              1       0          0       -       1,000   $0.01\n"
        "openai/local      1       0        500      0%          40   $0.00\n"
        "total             5       1     70,500     57%       2,540  $0.059\n"
        "1 of them under way or cut off, at the worst case\n"
        "today (UTC): $0.035, 21,500 tokens\n"
    )


def test_what_is_left_of_todays_budgets(home: Path, told: Cost):
    spend(home)
    (home / "settings.yaml").write_text("budgets: {day: $5, day_tokens: 20000}\n")
    assert told().stdout.splitlines()[-3:] == [
        "today (UTC): $0.035, 21,500 tokens",
        "budgets.day: $4.96 of $5.00 is left",
        "budgets.day_tokens: 0 of 20,000 are left",
    ]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", ["openai/x", "hf/y", "openai/local"]),
        ("run", ["bbbbbb", "aaaaaa", "cccccc"]),
        ("user", [ME, "somebody"]),
    ],
)
def test_it_adds_up_by_what_is_asked(home: Path, told: Cost, by: str, names: list[str]):
    spend(home)
    assert [row[by] for row in rows(told, by)] == names
    assert sum(row["cost"] for row in rows(told, by)) == pytest.approx(0.059)


def test_days_come_in_order(home: Path, told: Cost):
    spend(home)
    first, second = rows(told, "day")
    assert first["day"] < second["day"]
    assert [first["cost"], second["cost"]] == pytest.approx([0.024, 0.035])


def rows(told: Cost, by: str) -> list[dict[str, Any]]:
    return list(json.loads(told("--by", by, "--output", "json").stdout)["rows"])


def test_json_says_all_of_it(home: Path, told: Cost):
    spend(home)
    (home / "settings.yaml").write_text("budgets: {day: $5}\n")
    document = json.loads(told("--since", "1d", "-o", "json").stdout)
    assert document["by"] == "model"
    assert document["since"].endswith("+00:00")
    assert document["rows"][0] == {
        "model": "openai/x",
        "calls": 2,
        "failed": 1,
        "unsettled": 0,
        "tokens_in": 20000,
        "cached_in": 0,
        "tokens_out": 500,
        "cost": 0.025,
    }
    assert document["today"] == {
        "cost": 0.035,
        "budget": 5.0,
        "left": pytest.approx(4.965),
        "tokens": 21500,
        "tokens_budget": None,
        "tokens_left": None,
    }


@pytest.mark.parametrize(("since", "calls"), [("1h", 4), ("3d", 5), ("2000-01-01", 5), ("0s", 0)])
def test_since_is_a_duration_or_a_day(home: Path, told: Cost, since: str, calls: int):
    spend(home)
    document = json.loads(told("--since", since, "--by", "user", "-o", "json").stdout)
    assert sum(row["calls"] for row in document["rows"]) == calls


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "", "-1d", "9999999999d", "999999d"])
def test_any_other_since_is_a_mistake(home: Path, told: Cost, since: str):
    with pytest.raises(UsageError, match="--since is neither like 7d nor like 2026-11-01"):
        told("--since", since)


@pytest.mark.parametrize("empty", [False, True])
def test_where_nothing_was_spent_it_says_so(home: Path, told: Cost, empty: bool):
    if empty:
        (home / "models.db").touch()
    result = told()
    assert result.exit_code == 0
    assert result.stdout == "today (UTC): $0.00, 0 tokens\n"
    assert result.stderr.startswith("nothing was spent on models since ")
    assert json.loads(told("-o", "json").stdout)["rows"] == []
    assert (home / "models.db").exists() is empty  # asking makes no file


def test_accounts_that_cannot_be_read_are_told_and_left_as_they_are(home: Path, told: Cost):
    (home / "models.db").write_bytes(b"no database" * 100)
    with pytest.raises(SmoldebugError, match="cannot keep accounts in .*: file is not a data") as e:
        told()
    assert e.value.hint == "move the file away to begin a new one"
    assert (home / "models.db").read_bytes() == b"no database" * 100


# --- docs/costs.md --------------------------------------------------------------------------

HERE = "free: its endpoint is on this machine"
PAGE = (Path(__file__).parent.parent / "docs/costs.md").read_text(encoding="utf-8")
LIMITS, *SETTINGS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_limits_of_the_page_are_limits_of_a_playbook(tmp_path: Path):
    path = tmp_path / "p.yaml"
    goal = "goal: {all: [{tcp: {host: localhost, port: 1}}]}"
    path.write_text(f"apiVersion: smoldebug.dev/v1\nname: p\n{goal}\n{LIMITS}")
    limits = load(str(path), {}).playbook.limits
    assert (limits.cost, limits.tokens, limits.calls) == (Limits().cost, 200000, 40)


@pytest.mark.parametrize("block", SETTINGS)
def test_the_settings_of_the_page_are_settings(tmp_path: Path, block: str):
    path = tmp_path / "settings.yaml"
    path.write_text(block)
    settings = read_settings(path)
    assert settings != Settings()
    for name, about in settings.models.items():
        quoted = price_of(name, about, about.api_base, settings)
        assert quoted.source == ("the settings" if about.price else HERE)
