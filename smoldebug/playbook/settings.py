"""The settings file of one person or machine: which models there are, their keys and prices.

    apiVersion: smoldebug.dev/v1
    model: [fast, expert]
    models:
      fast: {model: openai/gpt-oss-20b, api_base: "http://localhost:11434/v1"}
    budgets: {day: $5}

It never holds a key itself: only where one is.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from smoldebug.playbook.base import Duration, Model, Money, doc
from smoldebug.playbook.convert import Converter, Report
from smoldebug.playbook.models import Tiers
from smoldebug.playbook.tree import At, Block, Problem

EXPERT = "expert"
PLACE = (
    "says where the key is, never the key itself: one of {env: NAME}, {file: /PATH} or "
    "{keyring: SERVICE/USER}"
)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
_ELSEWHERE = {  # what other tools call it
    "api_key": f"unknown key; key {PLACE}",
    "apikey": f"unknown key; key {PLACE}",
    "token": f"unknown key; key {PLACE}",
    "base_url": "unknown key; did you mean api_base?",
    "url": "unknown key; did you mean api_base?",
    "endpoint": "unknown key; did you mean api_base?",
}
_BELOW_KEY = re.compile(r"(models\..*\.key)(\.(env|file|keyring))?(?=\.|$)")


class Key(Model, frozen=True, kw_only=True):
    """Where a key is; exactly one of the three."""

    env: Annotated[str, doc("Environment variable.", "OPENAI_API_KEY")] = ""
    file: Annotated[str, doc("File that holds nothing else.", "~/.config/openai.key")] = ""
    keyring: Annotated[str, doc("SERVICE/USER of the system's keyring.", "openai/me")] = ""


class Price(Model, frozen=True, kw_only=True):
    """US dollars per million tokens."""

    input: Annotated[Money, doc("Of what is sent.", "$0.15")]
    output: Annotated[Money, doc("Of what comes back.", "$0.60")]
    cached: Annotated[
        Money | None, doc("Of what is sent and the provider still has; else as input.", "$0.075")
    ] = None


class ModelSettings(Model, frozen=True, kw_only=True):
    model: Annotated[
        str, doc("Which one it is, where the name is your own.", "openai/gpt-oss-20b")
    ] = ""
    api_base: Annotated[str, doc("Base URL of its endpoint.", "http://localhost:8000/v1")] = ""
    key: Annotated[Key | None, doc("Where its key is; else the provider's usual variable.")] = None
    price: Annotated[Price | None, doc("In place of the price table's.")] = None
    tools: Annotated[
        Literal["auto", "native", "text"],
        doc("How it is told of tools: by the API, in the prompt, or by the API if that works."),
    ] = "auto"
    context: Annotated[int | None, Meta(ge=1024), doc("Tokens it can read and write at once.")] = (
        None
    )
    max_output: Annotated[int, Meta(ge=64), doc("Most tokens of one answer.")] = 2048
    temperature: Annotated[float, Meta(ge=0, le=2), doc("0: as repeatable as it can be.")] = 0.0
    requests_per_minute: Annotated[int | None, Meta(ge=1), doc("Most requests a minute.")] = None
    tokens_per_minute: Annotated[int | None, Meta(ge=1), doc("Most tokens a minute.")] = None


class Budgets(Model, frozen=True, kw_only=True):
    """Per user and day (UTC), over all runs on this machine."""

    day: Annotated[Money | None, doc("Most that models may cost.", "$5")] = None
    day_tokens: Annotated[int | None, Meta(ge=1), doc("Most tokens, in and out.")] = None


class Cache(Model, frozen=True, kw_only=True):
    responses: Annotated[bool, doc("Answer the same prompt from memory, at temperature 0.")] = True
    reads: Annotated[
        Duration, doc("How long a read of a tool counts as fresh; any change ends it. 0s: never.")
    ] = Duration(3)
    redis: Annotated[str, doc("URL of a Redis to share answers.", "redis://localhost:6379/0")] = ""


class Settings(Model, frozen=True, kw_only=True):
    apiVersion: Annotated[Literal["smoldebug.dev/v1"], doc("The version of this format.")] = (
        "smoldebug.dev/v1"
    )
    model: Annotated[
        str | list[str] | Tiers, doc("Where neither the command nor the playbook names one.")
    ] = ""
    models: Annotated[dict[str, ModelSettings], doc("Models by name.")] = {}
    budgets: Annotated[Budgets, doc("What may be spent in a day.")] = Budgets()
    unknown_price: Annotated[
        Literal["ask", "refuse"] | Price,
        doc("A model whose price nobody knows: ask, refuse it, or count it at a price."),
    ] = "ask"
    cache: Annotated[Cache, doc("What is not asked or read twice.")] = Cache()

    def about(self, name: str) -> ModelSettings:
        """What is set for a model; the defaults for one that is not named here."""
        return self.models.get(name, ModelSettings())


def settings_file(environ: Mapping[str, str] = os.environ) -> Path:
    """`$SMOLDEBUG_SETTINGS`, else `$SMOLDEBUG_HOME/settings.yaml`, else that of the user's folder
    for configuration."""
    if named := environ.get("SMOLDEBUG_SETTINGS"):
        return Path(named).expanduser()
    if home := environ.get("SMOLDEBUG_HOME"):
        return Path(home) / "settings.yaml"
    from platformdirs import user_config_path

    return user_config_path("smoldebug") / "settings.yaml"


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force; the defaults where there is no file.

    Raises PlaybookError with every problem of the file, one line each; none quotes a key. So it
    does for a file of $SMOLDEBUG_SETTINGS that is not there.
    """
    path = settings_file(environ)
    if not environ.get("SMOLDEBUG_SETTINGS") and not os.path.lexists(path):
        return Settings()
    return read_settings(path)


def read_settings(path: Path) -> Settings:
    """One file. Raises PlaybookError as `load_settings` does."""
    from smoldebug.playbook.load import problems_error, read_file
    from smoldebug.playbook.parse import MAX_BYTES, parse

    root, problems = parse(read_file(path, MAX_BYTES + 1), str(path))
    if root is None:  # nothing, or only comments
        return Settings()
    converter = Converter(_RULES, "settings")
    found = converter.convert(root, Settings) if isinstance(root, Block) else None
    problems += converter.problems
    if found is None and not problems:
        problems = [Problem(At(1, 1), "", "expected settings: a map such as `model: expert`")]
    if problems or not isinstance(found, Settings):
        raise problems_error(str(path), sorted({_without_key(problem) for problem in problems}))
    return found


def _without_key(problem: Problem) -> Problem:
    """Of what stands where a key's place belongs nothing is quoted: it may be the key."""
    from smoldebug.redact import Redactor

    of, _, last = problem.key.rpartition(".")
    if of.startswith("models.") and last in _ELSEWHERE:
        return Problem(problem.at, problem.key, _ELSEWHERE[last])
    if found := _BELOW_KEY.match(problem.key):
        return Problem(problem.at, found[0], PLACE)
    says, block, _ = problem.says.partition("), got ")  # a word where a block of settings belongs
    return Problem(problem.at, problem.key, Redactor().text(says + ")" * bool(block)))


# --- rules ------------------------------------------------------------------------------------


def _key(key: Key, report: Report) -> None:
    given = [name for name in key.__struct_fields__ if getattr(key, name)]
    if len(given) != 1:
        report("", PLACE)
    if key.env and not _VARIABLE.fullmatch(key.env):
        report("env", PLACE)
    if key.file and not key.file.startswith(("/", "~/")):
        report("file", PLACE)
    if key.keyring and not all(key.keyring.partition("/")):
        report("keyring", PLACE)


def _model(about: ModelSettings, report: Report) -> None:
    if not about.api_base:
        return
    try:
        parts = urlsplit(about.api_base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        report("api_base", "is no URL")
        return
    if parts.username or parts.password:
        report("api_base", "holds a user or password: the key belongs in a place of its own, key")
    elif not usable:
        report("api_base", "expected a URL such as http://localhost:8000/v1")
    elif parts.path.rstrip("/").endswith("/chat/completions"):
        report("api_base", "ends before /chat/completions, such as http://localhost:8000/v1")


def _settings(settings: Settings, report: Report) -> None:
    for name, about in settings.models.items():
        where = f"models.{name}"
        if name == EXPERT:
            report(where, "expert is built in, and takes no settings")
        elif not about.model and "/" not in name:
            report(where, "needs model: which one it is, as PROVIDER/ID")
        elif about.model and "/" not in about.model:
            report(f"{where}.model", "expected PROVIDER/ID, such as openai/gpt-oss-20b")


_RULES: Any = {Key: _key, ModelSettings: _model, Settings: _settings}
