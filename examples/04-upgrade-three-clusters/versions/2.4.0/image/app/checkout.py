"""Turns items into an order. Looks for new items every REFRESH_SECONDS."""

from common import call, every, number


def start():
    every(number("REFRESH_SECONDS"), refresh)
    return {"/": order}


def refresh() -> None:
    call("catalog", "/items")


def order() -> str:
    return f"{call('catalog', '/items')} {call('payments', '/pay')}"
