"""Who sends a request: the lab's own user, or a ServiceAccount by a token made for it."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from smoldebug.lab.catalog import resource
from smoldebug.lab.store import ApiError, Store

AUTHENTICATED, MASTERS = "system:authenticated", "system:masters"
_ACCOUNT = "system:serviceaccount:"
_ACCOUNTS = resource("serviceaccounts")


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...]
    uid: str = ""


ADMIN = User("lab-admin", (MASTERS, AUTHENTICATED))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def user_of(name: str, groups: tuple[str, ...] = (), uid: str = "") -> User:
    """A user with the groups that everybody of its kind is in."""
    if name == ANONYMOUS.name:
        return ANONYMOUS
    account = service_account_of(name)
    if account and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    return User(name, tuple(dict.fromkeys((*groups, AUTHENTICATED))), uid)


def service_account_of(name: str) -> tuple[str, str] | None:
    """The namespace and the name of the ServiceAccount a user name stands for."""
    namespace, colon, account = name.removeprefix(_ACCOUNT).partition(":")
    return (namespace, account) if name.startswith(_ACCOUNT) and colon else None


@dataclass(frozen=True, slots=True)
class _Issued:
    namespace: str
    name: str
    uid: str
    expires: datetime


class Tokens:
    """The ServiceAccount tokens that were made; what is said of one is said of it now."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._issued: dict[str, _Issued] = {}

    def __contains__(self, token: str) -> bool:
        """Whether it was made here, even if it is of no use any more."""
        return token in self._issued

    def issue(self, namespace: str, name: str, seconds: int = 3600) -> tuple[str, datetime]:
        """A token and when it expires. Raises ApiError 404."""
        account = self.store.peek(_ACCOUNTS, namespace, name)
        expires = self.store.clock.now() + timedelta(seconds=seconds)
        token = f"lab-{secrets.token_urlsafe(24)}"
        self._issued[token] = _Issued(namespace, name, account["metadata"]["uid"], expires)
        return token, expires

    def user(self, token: str) -> User | None:
        """None for a token that has expired, or whose account was deleted or made anew."""
        issued = self._issued.get(token)
        if issued is None or issued.expires <= self.store.clock.now():
            return None
        try:
            account = self.store.peek(_ACCOUNTS, issued.namespace, issued.name)
        except ApiError:
            return None
        if account["metadata"]["uid"] != issued.uid:
            return None
        return user_of(f"{_ACCOUNT}{issued.namespace}:{issued.name}", uid=issued.uid)
