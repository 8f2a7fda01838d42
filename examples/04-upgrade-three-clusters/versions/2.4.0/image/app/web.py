"""The page that customers see. Renews its token every two seconds."""

from common import call, every


def start():
    every(2, renew)
    return {"/": page}


def renew() -> None:
    call("auth", "/token")


def page() -> str:
    return f"{call('auth', '/token')} {call('checkout', '/')}"
