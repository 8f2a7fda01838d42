"""What a run, and a user in a day, may spend on models.

The worst case of a call (what goes in, and the longest answer) is reserved before it is sent and
settled after it: runs side by side never spend the same dollar. A reservation that is never settled
(the process was killed) stays counted at its worst case: the provider may have answered.
"""

import math
import secrets
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from smoldebug.errors import LimitReached
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import Tokens
from smoldebug.model.spending import NANO, Spent, day_of, of_run, today
from smoldebug.playbook.models import Limits
from smoldebug.playbook.settings import Budgets, Price
from smoldebug.records import Usage
from smoldebug.untrusted import plain
from smoldebug.usage import dollars

WARN_AT = 0.8  # of a limit
MOST_TOKENS = 10**9  # a provider's own count of one answer is believed up to here
MOST_COST = 10**6 * NANO  # of one call


class OverBudget(LimitReached):
    """A call that was not made: its worst case is more than what is left."""


@dataclass(frozen=True, slots=True)
class _Limit:
    name: str  # as in the playbook or the settings
    kind: str  # a field of Spent
    most: int

    def used(self, spent: Spent) -> int:
        return int(getattr(spent, self.kind))

    def refuses(self, spent: Spent, wanted: Spent) -> bool:
        return self.used(wanted) > 0 and self.used(spent) + self.used(wanted) > self.most

    def why(self, spent: Spent, wanted: Spent) -> str:
        more = {
            "cost": f"this call may cost up to {dollars(wanted.cost / NANO)}",
            "tokens": f"this call may take up to {wanted.tokens}",
            "calls": "this would be one more",
        }
        return f"{self.state(spent)}, {more[self.kind]}"

    def state(self, spent: Spent) -> str:
        used = f"{self.used(spent)} of {self.most} {self.kind} are used"
        if self.kind == "cost":
            used = f"{dollars(spent.cost / NANO)} of {dollars(self.most / NANO)} is used"
        return f"{self.name}: {used}" + " today (UTC)" * self.name.startswith("budgets.")

    def near(self, spent: Spent) -> bool:
        return 0 < self.used(spent) >= WARN_AT * self.most


class Budget:
    """Of one run. `user` is who spends: the day's budgets are theirs."""

    def __init__(
        self, limits: Limits, budgets: Budgets, accounts: Accounts, run: str, user: str
    ) -> None:
        self._accounts, self._run, self._user = accounts, run, user
        self._limits = _bounds(
            ("limits.cost", "cost", nano(limits.cost)),
            ("limits.tokens", "tokens", limits.tokens),
            ("limits.calls", "calls", limits.calls),
        )
        self._daily = _bounds(
            ("budgets.day", "cost", None if budgets.day is None else nano(budgets.day)),
            ("budgets.day_tokens", "tokens", budgets.day_tokens),
        )
        self._settled, self._held, self._day = Spent(), Spent(), Spent()
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    @property
    def spent(self) -> tuple[float, int, int]:
        """(US dollars, tokens in and out, calls) of this run, without what is under way."""
        with self._lock:
            return self._settled.cost / NANO, self._settled.tokens, self._settled.calls

    def restore(self, usage: Usage) -> None:
        """Begin with what the run had used when it stopped. The accounts know of a call, too, that
        was under way when it was killed."""
        known = self._accounts.change(lambda db: of_run(db, self._run))
        tokens = usage.tokens_in + usage.tokens_out
        with self._lock:
            self._settled = Spent(
                max(known.cost, nano(usage.cost)),
                max(known.tokens, tokens),
                max(known.calls, usage.calls),
            )

    def reserve(self, name: str, price: Price, tokens_in: int, max_out: int) -> "Hold":
        """Keep the worst case of a call to the model `name`. Raises OverBudget."""
        tokens = _believed(Tokens(tokens_in, max_out))
        worst = Spent(worst_cost(price, tokens), tokens.into + tokens.out, 1)
        anew = partial(self.reserve, name, price, tokens_in, max_out)
        hold = Hold(self, price, worst, anew)
        with self._lock:
            _check(self._limits, self._settled + self._held, worst)
            self._accounts.change(lambda db: self._book(db, hold, name, tokens))
            self._held += worst
        return hold

    def warning(self) -> str:
        """The limits of which 80 % are used, and that the accounts are of no use, each told once;
        "" where there is nothing new. Of a day: as this run's last call found it."""
        with self._lock:
            both = ((self._limits, self._settled), (self._daily, self._day))
            told = {
                limit.name: limit.state(spent)
                for limits, spent in both
                for limit in limits
                if limit.near(spent)
            }
            if self._accounts.trouble:
                told["accounts"] = f"{self._accounts.trouble}; this run counts for itself"
            new = [text for name, text in told.items() if name not in self._warned]
            self._warned |= set(told)
            return "; ".join(new)

    def _book(self, db: sqlite3.Connection, hold: "Hold", name: str, tokens: Tokens) -> None:
        if self._daily:
            self._check_day(db, hold.worst)
        now, cost = self._accounts.now(), hold.worst.cost
        run = (self._run, self._user, plain(name))
        row = (hold.id, now, day_of(now), *run, "held", cost, tokens.into, tokens.out, 0)
        db.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _check_day(self, db: sqlite3.Connection, worst: Spent) -> None:
        binding = [limit.name for limit in self._daily if limit.used(worst) > 0]
        if binding and self._accounts.trouble:
            names = " and ".join(binding)
            raise OverBudget(f"{self._accounts.trouble}; nobody knows what is left of {names}")
        spent = today(db, self._accounts.now(), self._user)
        _check(self._daily, spent, worst)
        self._day = spent + worst

    def _settle(self, hold: "Hold", tokens: Tokens, state: str) -> None:
        real = Spent(cost_of(hold.price, tokens), tokens.into + tokens.out, 1)
        row = (state, real.cost, tokens.into, tokens.out, tokens.cached, hold.id)
        columns = "state = ?, cost = ?, tokens_in = ?, tokens_out = ?, cached = ?"
        with self._lock:
            self._held -= hold.worst
            self._settled += real
            self._day += real - hold.worst
            self._accounts.change(
                lambda db: db.execute(f"UPDATE calls SET {columns} WHERE id = ?", row)
            )


class Hold:
    """The worst case of one call, kept until it is settled, once."""

    def __init__(
        self, budget: Budget, price: Price, worst: Spent, anew: Callable[[], "Hold"]
    ) -> None:
        self._budget, self.id, self.price, self.worst = budget, secrets.token_hex(8), price, worst
        self._anew, self._tries, self._settled = anew, list[Hold](), False

    def again(self) -> bool:
        """Keep as much once more, for another try of a call that may have to be paid for all the
        same; False where there is not so much left."""
        if self._settled:  # nobody waits for it any more
            return False
        try:
            self._tries.append(self._anew())
        except OverBudget:
            return False
        return True

    def settle(self, tokens: Tokens) -> float:
        """The call was answered. US dollars it cost."""
        return self._end(tokens, "answered")

    def failed(self, tokens: Tokens) -> float:
        """There was no answer; `tokens` were used all the same. US dollars they cost."""
        return self._end(tokens, "failed")

    def _end(self, tokens: Tokens, state: str) -> float:
        believed = _believed(tokens)
        if not self._settled:
            self._settled = True
            self._budget._settle(self, believed, state)
            for each in self._tries:  # what they took is in `tokens`
                each.failed(Tokens())
        return cost_of(self.price, believed) / NANO


# --- money ----------------------------------------------------------------------------------


def cost_of(price: Price, tokens: Tokens) -> int:
    """Billionths of a dollar, rounded up."""
    cached = price.input if price.cached is None else price.cached
    fresh = tokens.into - tokens.cached
    whole = fresh * price.input + tokens.cached * cached + tokens.out * price.output
    return min(math.ceil(round(whole * (NANO / 10**6), 3)), MOST_COST)


def worst_cost(price: Price, tokens: Tokens) -> int:
    """Whatever of it the provider still has: where that is dearer, all of it."""
    return max(cost_of(price, tokens), cost_of(price, Tokens(tokens.into, tokens.out, tokens.into)))


def nano(cost: float) -> int:
    return math.ceil(round(cost * NANO, 3))


def _believed(tokens: Tokens) -> Tokens:
    """Counts come from a provider: none is below zero, beyond reason, or more than the whole."""
    into, out = (min(max(0, count), MOST_TOKENS) for count in (tokens.into, tokens.out))
    return Tokens(into, out, min(max(0, tokens.cached), into), tokens.estimated)


# --- limits ---------------------------------------------------------------------------------


def _bounds(*bounds: tuple[str, str, int | None]) -> list[_Limit]:
    return [_Limit(name, kind, most) for name, kind, most in bounds if most is not None]


def _check(limits: list[_Limit], spent: Spent, wanted: Spent) -> None:
    for limit in limits:
        if limit.refuses(spent, wanted):
            raise OverBudget(limit.why(spent, wanted))
