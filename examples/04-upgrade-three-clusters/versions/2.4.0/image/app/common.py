"""What the programs share: settings from the environment, a log, calls to each other."""

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.request import urlopen

NAME = os.environ["SERVICE"]
AGAIN = 0.2  # seconds before a call that failed is tried once more


class BadSetting(Exception):
    pass


class CallFailed(Exception):
    pass


def log(level: str, message: str, **more: object) -> None:
    """One line of key=value; what has spaces in it stands in quotes."""
    words = {"level": level, "service": NAME, "msg": message, **more}
    texts = {key: str(value) for key, value in words.items()}
    shown = (f"{k}={json.dumps(v) if ' ' in v else v}" for k, v in texts.items())
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(now, *shown, flush=True)


def number(name: str) -> float:
    text = os.environ.get(name, "")
    try:
        return float(text)
    except ValueError:
        raise BadSetting(f"cannot parse config key {name}: {text!r} is not a number") from None


def call(service: str, path: str) -> str:
    url = os.environ[f"{service.upper()}_URL"] + path
    try:
        return _get(url)
    except OSError:
        time.sleep(AGAIN)
    try:
        return _get(url)
    except OSError as error:
        raise CallFailed(f"{service} does not answer {path}: {error}") from error


def _get(url: str) -> str:
    with urlopen(url, timeout=2) as answer:
        return answer.read().decode()


def every(seconds: float, job: Callable[[], object]) -> None:
    """Do it in the background, now and then. If it breaks, the process ends."""

    def work() -> None:
        while True:
            time.sleep(seconds)
            try:
                job()
            except CallFailed as error:
                log("error", "call failed", job=job.__name__, error=error)

    threading.Thread(target=work, daemon=True).start()


def broken(why: threading.ExceptHookArgs) -> None:
    log("error", "cannot go on", error=f"{why.exc_type.__name__}: {why.exc_value}")
    os._exit(1)


threading.excepthook = broken
