"""PromQL through prometheus-api-client: every query checked before it is sent, every call limited.

A `*.svc` address is reached through the API server's Service proxy with the cluster's credentials.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from smoldebug.clock import Clock
from smoldebug.errors import AccessDenied, ToolError, UnreachableError
from smoldebug.sources.http import service_of
from smoldebug.sources.kube_errors import Asked
from smoldebug.sources.network import why
from smoldebug.sources.world import HttpAccess, Series
from smoldebug.untrusted import one_line

MAX_POINTS = 5000  # per series of a range; Prometheus itself refuses more than 11,000
MAX_SERIES = 200


class Prometheus:
    """Implements smoldebug.sources.world.Metrics."""

    def __init__(self, url: str, clock: Clock, access: HttpAccess | None = None) -> None:
        """`url` is shown in messages; `access`, where given, is how it is really reached."""
        from prometheus_api_client import PrometheusConnect
        from urllib3 import Retry

        self.url, self._clock = url, clock
        target = (access.url if access else url).rstrip("/")
        self._session = _session(target, access, self._judge)
        self._client = PrometheusConnect(
            target, session=self._session, retry=Retry(total=0, redirect=0), timeout=10
        )

    def close(self) -> None:
        self._session.close()

    def instant(self, query: str, timeout: float = 10.0) -> list[Series]:
        check(query)
        return self._ask(lambda: self._client.custom_query(query, timeout=timeout))

    def range(self, query: str, seconds: float, step: float, timeout: float = 15.0) -> list[Series]:
        """The last `seconds`, a point every `step` seconds, or wider where that is too many."""
        check(query)
        end = self._clock.now()
        width = max(1.0, step, seconds / MAX_POINTS)
        return self._ask(
            lambda: self._client.custom_query_range(
                query, end - timedelta(seconds=seconds), end, f"{width:g}", timeout=timeout
            )
        )

    def _ask(self, send: Callable[[], Any]) -> list[Series]:
        from requests import RequestException

        try:
            answer = send()
            found = [answer] if _scalar(answer) else answer
            return [_series(item) for item in found[:MAX_SERIES]]
        except (KeyError, TypeError, ValueError) as error:  # among them requests' JSONDecodeError
            raise self._down("it does not answer like Prometheus") from error
        except (RequestException, OSError) as error:
            raise self._down(why(error)) from error

    def _judge(self, response: Any, **_: Any) -> None:
        """Called for every answer, before the client turns it into an exception of no type."""
        if response.status_code == 200:
            return
        try:
            said = response.json()
        except ValueError:
            said = {}
        said = said if isinstance(said, dict) else {}
        if response.status_code in (401, 403):
            denied = f"Prometheus at {self.url} refuses us: HTTP {response.status_code}"
            raise AccessDenied(denied, needs=self._needs(said))
        message = one_line(str(said.get("error") or said.get("message") or ""), 300)
        if said.get("errorType") in ("bad_data", "execution"):
            raise ToolError(f"Prometheus refused the query: {message}")
        raise self._down(message or f"HTTP {response.status_code}")

    def _needs(self, said: Mapping[str, Any]) -> str:
        """What RBAC lacks, where it was the API server on the way that said no."""
        service = service_of(self.url)
        if service is None or said.get("kind") != "Status" or said.get("code") != 403:
            return ""
        return str(Asked("get", "services/proxy", service.namespace))

    def _down(self, words: str) -> UnreachableError:
        return UnreachableError(f"cannot read Prometheus at {self.url}: {words}")


def check(query: str) -> None:
    """Raises ToolError, with the parser's words, for what is no PromQL. Takes < 1 ms."""
    import promql_parser

    try:
        promql_parser.parse(query)
    except ValueError as error:
        raise ToolError(
            f"not PromQL: {one_line(str(error), 200)}: {one_line(query, 200)}"
        ) from None


def _session(url: str, access: HttpAccess | None, judge: Callable[..., None]) -> Any:
    import requests

    class Credentials(requests.auth.AuthBase):
        def __call__(self, request: Any) -> Any:
            if access is not None:
                request.headers.update(access.headers())
            return request

    session = requests.Session()
    session.hooks["response"].append(judge)
    host = urlsplit(url).hostname or ""
    if access is not None:
        session.trust_env = False  # neither ~/.netrc nor a proxy meant for other hosts
        session.verify, session.cert = access.verify, access.cert
        session.auth = Credentials()
        if access.proxy:
            session.proxies = {"http": access.proxy, "https": access.proxy}
    elif host in ("localhost", "::1") or host.startswith("127."):
        session.trust_env = False
    return session


def _scalar(answer: Any) -> bool:
    """A scalar or string result is one bare point instead of a list of series."""
    return isinstance(answer, list) and len(answer) == 2 and isinstance(answer[0], int | float)


def _series(item: Any) -> Series:
    if isinstance(item, list):
        return Series({}, (_point(item),))
    points = item["values"] if "values" in item else [item["value"]]
    return Series(item.get("metric") or {}, tuple(map(_point, points)))


def _point(pair: Any) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
