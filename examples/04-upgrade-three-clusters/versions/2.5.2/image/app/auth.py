"""Hands out tokens, and signs them with another key every KEY_SECONDS; keeps the key in a file."""

import secrets
from pathlib import Path

from common import every, log, number

KEY_FILE = Path("/var/lib/auth/signing-key")  # no volume is mounted there
key = secrets.token_hex(8)


def start():
    every(number("KEY_SECONDS"), rotate)
    return {"/": lambda: "auth", "/token": lambda: f"{secrets.token_hex(4)}.{key[:4]}"}


def rotate() -> None:
    global key
    key = secrets.token_hex(8)
    KEY_FILE.write_text(key)
    log("info", "signing key rotated")
