"""From the names of models to the chain of one run: keys, prices, budgets, caches."""

import os
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import typer

from smoldebug.cli.changing import who
from smoldebug.cli.options import Options
from smoldebug.clock import Clock
from smoldebug.diagnose.expert import Expert
from smoldebug.errors import UsageError
from smoldebug.model.accounts import Accounts, accounts_file
from smoldebug.model.asking import Asked
from smoldebug.model.budget import Budget
from smoldebug.model.cache import response_cache
from smoldebug.model.call import Shared
from smoldebug.model.chain import Chain
from smoldebug.model.factory import build, target_of
from smoldebug.model.health import Health
from smoldebug.model.pace import Pace
from smoldebug.playbook.models import Limits, Models, Playbook, chains
from smoldebug.playbook.policy import Policy
from smoldebug.playbook.settings import EXPERT, Settings
from smoldebug.records import Usage
from smoldebug.redact import Redactor


@dataclass(frozen=True)
class Asking:
    """A run's chain, and the accounts that it books on: they are closed with the run."""

    chain: Chain
    budget: Budget
    accounts: Accounts

    def close(self) -> None:
        self.accounts.close()


def models_of(playbook: Playbook, options: Options, settings: Settings) -> Models:
    """The first that names any: the command, the playbook, the environment, the settings."""
    named = os.environ.get("SMOLDEBUG_MODEL", "")
    return list(options.models) or playbook.model or named or settings.model or EXPERT


def open_chain(
    playbook: Playbook,
    options: Options,
    settings: Settings,
    policies: Sequence[Policy],
    expert: Expert,
    redactor: Redactor,
    clock: Clock,
    run: str,
) -> Asking:
    """Nothing is contacted before the first question. Raises UsageError for a model that cannot
    be asked: an unknown name, no package, no key, a price that nobody knows, or a policy."""
    cheap, strong = chains(models_of(playbook, options, settings))
    named = dict.fromkeys(name for name in (*cheap, *strong) if name != EXPERT)

    def made(name: str) -> Asked:
        permitted(name, settings, options.api_base, policies)
        return build(name, settings, expert=expert, api_base=options.api_base, may_cost=may_cost)

    models = {name: made(name) for name in named}
    accounts = Accounts(accounts_file(), clock)
    limits = narrowed(playbook.limits, policies)
    budget = Budget(limits, settings.budgets, accounts, run, who().user)
    shared = Shared(
        budget,
        Pace(accounts),
        Health(accounts),
        response_cache(settings.cache, clock, redactor.text),
    )
    first, second = ([models[name] for name in tier if name in models] for tier in (cheap, strong))
    chain = Chain(first, second, made(EXPERT), shared, clock, redactor.text)
    chain.stop_over_budget = playbook.limits.over_budget == "stop"
    return Asking(chain, budget, accounts)


def permitted(name: str, settings: Settings, api_base: str, policies: Iterable[Policy]) -> None:
    """Raises UsageError for a model that a policy does not allow."""
    if name == EXPERT or name.partition(":")[0] in ("scripted", "replay"):  # as `build` has it
        return
    target = target_of(name, settings, api_base)
    if target.kind.in_process:
        return
    model, where = f"{target.provider}/{target.id}", target.endpoint or "its provider's endpoint"
    for policy in policies:
        if not policy.file.models.allows(model, target.endpoint):
            raise UsageError(f"{policy.source} does not allow model {model} at {where}")


def narrowed(limits: Limits, policies: Iterable[Policy]) -> Limits:
    """With the lowest cost that anybody allows."""
    bounds = [policy.file.limits.cost for policy in policies]
    cost = min([limits.cost, *(bound for bound in bounds if bound is not None)])
    return msgspec.structs.replace(limits, cost=cost)


def may_cost(question: str) -> bool:
    """Whether the operator takes a price that nobody knows; False where there is nobody to ask, as
    in the clusters of a matrix: their view is on the terminal by then."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return typer.confirm(question, err=True)


def limits_of(playbook: Playbook, policies: Iterable[Policy]) -> Usage:
    """What a run may use, as its events tell it."""
    limits = narrowed(playbook.limits, policies)
    bounds = [float(bound) for bound in (limits.wall, playbook.goal.within) if bound]
    return Usage(
        max_turns=limits.max_steps,
        max_calls=limits.calls,
        max_tokens=limits.tokens,
        max_cost=float(limits.cost),
        max_seconds=min(bounds, default=None),
        max_changes=limits.changes,
    )
