"""Takes money, up to LIMIT; since 2.5.0 it tries again for a share RETRY_BUDGET of the payments."""

from common import log, number


def start():
    limit, budget = number("LIMIT"), number("RETRY_BUDGET")
    log("info", "payments that fail are tried again", budget=budget)
    return {"/": lambda: "payments", "/pay": lambda: f"paid, at most {limit:g}"}
