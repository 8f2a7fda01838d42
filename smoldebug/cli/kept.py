"""The plan and options of a run as its journal keeps them, so that it can be taken up again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from smoldebug.cli.options import Options
from smoldebug.errors import UsageError
from smoldebug.events import RunStarted, plainest
from smoldebug.playbook.models import RunPlan
from smoldebug.records import Json


class Kept(msgspec.Struct, frozen=True):
    plan: RunPlan
    options: Options


def keep(plan: RunPlan, options: Options) -> Json:
    """As plain data. What is given anew each time (-y, --break-glass) is left out."""
    lasting = replace(
        options,
        kubeconfig=options.kubeconfig_path or None,
        tools=[path.expanduser().absolute() for path in options.tools],
        yes=False,
        break_glass="",
    )
    return msgspec.to_builtins(Kept(plan, lasting), enc_hook=_plain)


def kept(started: RunStarted) -> Kept:
    """Inverse of `keep`, with the context that was current then. Raises UsageError."""
    try:
        found = msgspec.convert(started.plan, Kept, dec_hook=_typed)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise UsageError(f"another version of smoldebug made this run: {error}") from error
    if found.options.context or started.context in ("", "in-cluster"):
        return found
    return Kept(found.plan, replace(found.options, context=started.context))


def _plain(value: Any) -> Json:
    return str(value) if isinstance(value, Path) else plainest(value)


def _typed(kind: type, value: Any) -> Any:
    return kind(value)
