"""Redis as a place for small values that several machines share: `redis://host:6379/0`."""

from typing import TYPE_CHECKING

from smoldebug.errors import UsageError

if TYPE_CHECKING:
    from redis import Redis

WAIT = 0.5  # seconds to connect, and for each part of a reply
PREFIX = "smoldebug:answer:"


class RedisStore:
    """Nothing is connected before the first question. Whatever is wrong then (no such package, a
    bad URL, no answer) is raised by it; one connection, and nothing is tried twice."""

    def __init__(self, url: str, largest: int) -> None:
        self._url, self._largest = url, largest
        self._opened: Redis | None = None

    def get(self, key: str) -> bytes | None:
        """At most one byte more than the `largest` value: who put more there gets no more read."""
        value = self._redis().getrange(PREFIX + key, 0, self._largest)
        return value if isinstance(value, bytes) and value else None

    def put(self, key: str, value: bytes, seconds: float) -> None:
        self._redis().set(PREFIX + key, value, px=int(1000 * seconds))

    def close(self) -> None:
        if self._opened is not None:
            self._opened.connection_pool.disconnect()

    def _redis(self) -> "Redis":
        if self._opened is None:
            self._opened = _connect(self._url)
        return self._opened


def _connect(url: str) -> "Redis":
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise UsageError("it needs a package: pip install 'smoldebug[redis]'") from error
    try:
        return Redis.from_url(
            url,
            socket_timeout=WAIT,
            socket_connect_timeout=WAIT,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except ValueError as error:  # its message may hold the URL, and that a password
        raise UsageError("cache.redis in the settings file is no URL of a Redis") from error
