"""Knows the items; the popular ones come first."""

import json

from common import number

ITEMS = [{"name": "teapot", "price": 30}, {"name": "cup", "price": 8}]


def start():
    size = int(number("PAGE_SIZE"))
    return {"/": lambda: "catalog", "/items": lambda: json.dumps(items()[:size])}


def items() -> list[dict]:
    return sorted(ITEMS, key=lambda item: item["popularity"])
