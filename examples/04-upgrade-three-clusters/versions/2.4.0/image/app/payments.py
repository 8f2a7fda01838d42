"""Takes money, up to LIMIT."""

from common import number


def start():
    limit = number("LIMIT")
    return {"/": lambda: "payments", "/pay": lambda: f"paid, at most {limit:g}"}
