"""Hands out tokens, and signs them with another key every KEY_SECONDS."""

import secrets

from common import every, log, number

key = secrets.token_hex(8)


def start():
    every(number("KEY_SECONDS"), rotate)
    return {"/": lambda: "auth", "/token": lambda: f"{secrets.token_hex(4)}.{key[:4]}"}


def rotate() -> None:
    global key
    key = secrets.token_hex(8)
    log("info", "signing key rotated")
