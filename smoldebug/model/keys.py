"""Keys of providers: where each is, and its value for whoever sends it. No message holds one."""

import importlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smoldebug.errors import UsageError
from smoldebug.playbook.load import read_file
from smoldebug.playbook.settings import Key, Settings

LONGEST = 16 << 10  # bytes of a key file; a key has a few dozen
SECRET = (  # ends of variables from which clients take a key
    *(
        "_API_KEY",
        "_APIKEY",
        "_ACCESS_KEY",
        "_SESSION_TOKEN",
        "_BEARER_TOKEN",
        "_BEARER_TOKEN_BEDROCK",
    ),
    *("_AD_TOKEN", "_HUB_TOKEN", "HF_TOKEN"),
)


@dataclass(frozen=True)
class Found:
    """A key, and where it was: `env OPENAI_API_KEY`. `value` is "" where there is none, and
    `where` then says what to do."""

    value: str = field(repr=False)
    where: str


def key_of(
    place: Key | None, variables: tuple[str, ...], environ: Mapping[str, str] = os.environ
) -> Found:
    """The key at its place of the settings, else in the first of the provider's usual variables
    that is set. Raises UsageError where the place cannot be read."""
    if place is None:
        for name in variables:
            if environ.get(name):
                return Found(environ[name], f"env {name}")
        return Found("", f"set {' or '.join(variables)}")
    if place.env:
        value = environ.get(place.env, "")
        return Found(value, f"env {place.env}" if value else f"set {place.env}")
    return _of_file(place.file) if place.file else _of_keyring(place.keyring)


def keys(
    settings: Settings | None = None, environ: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Every value that gives access to a model: it must not appear anywhere."""
    for name, value in environ.items():
        if name.endswith(SECRET):
            yield value
    for about in settings.models.values() if settings else ():
        try:
            found = key_of(about.key, (), environ)
        except UsageError:  # told when that model is asked for
            continue
        yield found.value


def _of_file(name: str) -> Found:
    path = Path(name).expanduser()
    try:
        value = read_file(path, LONGEST).decode().strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"the key file is no text: {name}") from error
    if len(value.split()) != 1:
        raise UsageError(f"the key file holds {'more than a key' if value else 'nothing'}: {name}")
    open_to = ", which others can read" * bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    return Found(value, f"file {name}{open_to}")


def _of_keyring(entry: str) -> Found:
    service, _, user = entry.partition("/")
    try:
        keyring = importlib.import_module("keyring")
    except ImportError as error:
        raise UsageError(
            f"the key {entry} is in a keyring, which needs a package", "pip install keyring"
        ) from error
    try:
        value = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise UsageError(f"the keyring does not give the key {entry}: {error}") from error
    if not value:
        return Found("", f"keyring set {service} {user}")
    return Found(value, f"keyring {entry}")
