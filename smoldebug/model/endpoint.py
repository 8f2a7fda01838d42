"""One request to a provider's endpoint, sent by a client of smolagents and read by us.

smolagents sends every request of an API model through the model's `retryer`; that is where ours
takes the stock one's place. The client libraries open the connection, sign the request and know
its URL. What comes back they would read without limits, and believe: so its bytes are read here, as
soon as the headers are there. That is, where they are built on httpx2, or its forerunner httpx with
the same interface; LiteLLM has a client of its own for each provider, and hands over objects.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from smolagents import InferenceClientModel, OpenAIModel
from smolagents.models import ApiModel

from smoldebug.model.streaming import Assembler, Said, Trouble, completion, streamed, strict
from smoldebug.records import Json
from smoldebug.toolset import begin

if TYPE_CHECKING:
    import httpx2

CONNECT = 10.0  # seconds for a connection
MOST = 8 << 20  # bytes of one answer
WORDS = 64 << 10  # bytes of an error
SHOWN = 0.05  # seconds between two states of a text that is still coming
LATE = "the endpoint did not answer in time"
PASSING = (408, 409, 425, 429)  # and 5xx: the same request may work a moment later
# By name: each client library has classes of its own, and none of them need be installed.
UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
LOST = {"APIConnectionError", "NetworkError", "RemoteProtocolError"}

_thread = threading.local()  # .exchange: what the hooks of shared HTTP clients are called for


class Taken(Exception):
    """An answer, carried past a client library that has nothing more to do with it."""

    def __init__(self, said: Said) -> None:
        super().__init__("read")
        self.said = said


@dataclass
class Exchange:
    """One try. `body` is what the endpoint gets, `given` what the client library makes that of;
    `heard` is told the text so far; `end` is by `time.monotonic`."""

    body: dict[str, Any]
    end: float
    heard: Callable[[str], None]
    cut: threading.Event = field(default_factory=threading.Event)
    given: dict[str, Any] = field(default_factory=dict)
    _socket: Any = None
    _shown: float = 0.0

    def stop(self) -> None:
        """From another thread: whoever waits for bytes is woken."""
        self.cut.set()
        if self._socket is not None:
            with suppress(OSError, ValueError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def begun(self, response: "httpx2.Response") -> None:
        if (stream := response.extensions.get("network_stream")) is not None:
            self._socket = stream.get_extra_info("socket")
        self.look()

    def look(self) -> None:
        """Raises Trouble when there is no time left."""
        if self.cut.is_set() or time.monotonic() > self.end:
            raise Trouble(LATE)

    def show(self, made: Assembler) -> None:
        now = time.monotonic()
        if now - self._shown >= SHOWN:
            self._shown = now
            self.heard(made.text())


class Endpoint:
    """Raises nothing by itself: `send` gives a future, `said` tells what came of it."""

    def __init__(self, model: ApiModel) -> None:
        self.model = model
        model.retryer = _exchanged
        if isinstance(model, OpenAIModel):
            model.client = model.client.with_options(http_client=_http(), max_retries=0)

    def send(self, exchange: Exchange) -> "Future[Said]":
        return begin(lambda: self._sent(exchange))

    def keys(self) -> list[str]:
        """What a message about a failure must not quote."""
        holders = (self.model, self.model.client)
        found = (getattr(each, name, "") for each in holders for name in ("api_key", "token"))
        return [key for key in found if isinstance(key, str) and len(key) > 5]

    def _sent(self, exchange: Exchange) -> Said:
        _thread.exchange = exchange
        if isinstance(self.model, OpenAIModel):  # else looked through part by part: 6 ms
            exchange.given = {"messages": [], "extra_body": exchange.body}
        elif isinstance(self.model, InferenceClientModel):
            from huggingface_hub import get_session

            _hook(get_session())
            exchange.given = _for_hub(exchange.body)
        else:
            exchange.given = {**exchange.body, "timeout": exchange.end - time.monotonic()}
        self.model.generate([])
        said: Said = _thread.said
        return said


def said(work: "Future[Said]") -> Said:
    """Raises Trouble for whatever kept a request from being answered."""
    error = work.exception()
    if error is None:
        return work.result()
    for each in _causes(error):
        if isinstance(each, Taken):
            return each.said
        if isinstance(each, Trouble):
            raise each
    raise _trouble(error) from error


# --- bytes ----------------------------------------------------------------------------------


@cache
def _http() -> "httpx2.Client":
    from openai import DefaultHttpxClient

    client = DefaultHttpxClient()
    _hook(client)
    return client


def _hook(client: "httpx2.Client") -> None:
    for kind, function in (("request", _limit), ("response", _take)):
        hooks = client.event_hooks[kind]
        if function not in hooks:
            hooks.append(function)


def _limit(request: "httpx2.Request") -> None:
    exchange: Exchange | None = getattr(_thread, "exchange", None)
    if exchange is None:
        return
    left = max(0.05, exchange.end - time.monotonic())
    limits = dict.fromkeys(("read", "write", "pool"), left)
    request.extensions["timeout"] = {**limits, "connect": min(left, CONNECT)}
    wanted = exchange.body.get("response_format")
    if wanted and _asks(request):  # huggingface_hub makes one of its own server's of it
        raw = json.dumps({**json.loads(request.content), "response_format": wanted}).encode()
        library = sys.modules[type(request).__module__.partition(".")[0]]
        request.stream = library.ByteStream(raw)
        request.headers["Content-Length"] = str(len(raw))


def _asks(request: "httpx2.Request") -> bool:
    return request.method == "POST" and request.url.path.endswith("/chat/completions")


def _take(response: "httpx2.Response") -> None:
    """Read the answer to our question here, in place of the client library."""
    exchange: Exchange | None = getattr(_thread, "exchange", None)
    if exchange is None or not _asks(response.request):
        return
    if response.has_redirect_location:
        _stay(response)
        return
    exchange.begun(response)
    if response.status_code >= 400:
        raise _refused(response.status_code, _words(response, exchange), response.headers)
    raise Taken(_read(response, exchange))


def _stay(response: "httpx2.Response") -> None:
    """Raises Trouble for a redirect to another host: what may be told to this one, and the key,
    need not be for that one."""
    here, there = response.url, response.url.join(response.headers["location"])
    if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
        why = f"the endpoint sends its callers on to {there.host}"
        raise Trouble(why, status=response.status_code)


def _read(response: "httpx2.Response", exchange: Exchange) -> Said:
    chunks = _bounded(response.iter_bytes(), exchange)
    if "event-stream" in response.headers.get("content-type", ""):
        return streamed(chunks, exchange.show)
    raw = b"".join(chunks)
    if raw.lstrip()[:5] in (b"data:", b"event"):  # some do not say so
        return streamed([raw], exchange.show)
    try:
        return completion(strict(raw))
    except ValueError as error:
        if raw.lstrip().startswith(b"<"):
            page = "the endpoint answers with a web page: is api_base right?"
            raise Trouble(page, words=_start(raw)) from None
        raise Trouble(f"the endpoint's answer is no JSON: {error}", words=_start(raw)) from None


def _bounded(chunks: Iterable[bytes], exchange: Exchange) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        exchange.look()
        size += len(chunk)
        if size > MOST:
            raise Trouble(f"the endpoint's answer is longer than {MOST >> 20} MiB")
        yield chunk


def _words(response: "httpx2.Response", exchange: Exchange) -> str:
    raw = b""
    for chunk in _bounded(response.iter_bytes(), exchange):
        raw += chunk
        if len(raw) > WORDS:
            break
    try:
        body = strict(raw)
    except ValueError:
        return _start(raw)
    about = body.get("error", body) if isinstance(body, dict) else body
    words = [about.get("message"), about.get("code")] if isinstance(about, dict) else [about]
    return " ".join(each for each in words if isinstance(each, str)) or _start(raw)


def _start(raw: bytes) -> str:
    return raw[:2000].decode("utf-8", "replace")


# --- objects --------------------------------------------------------------------------------


def _exchanged(send: Callable[..., Any], **known: Any) -> Any:
    """The `retryer`: sends what we want sent, and gives smolagents something it can read."""
    exchange: Exchange = _thread.exchange
    response = send(**{**known, **exchange.given})
    body = _plain(response)
    if isinstance(body, dict):
        _thread.said = completion(body)
    else:
        _thread.said = _objects(response, exchange)
    message = SimpleNamespace(role="assistant", content="", tool_calls=None)
    usage = SimpleNamespace(prompt_tokens=0, completion_tokens=0)
    return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage=usage)


def _objects(chunks: Iterable[Any], exchange: Exchange) -> Said:
    """A stream that a client library has read. It tells no [DONE]: the finish reason must."""
    made = Assembler()
    for chunk in chunks:
        exchange.look()
        made.add(_plain(chunk))
        exchange.show(made)
    return made.said(ended=False)


def _plain(thing: Any) -> Json:
    """An object of a client library as JSON; None for what is none, e.g. a stream."""
    if isinstance(thing, dict):
        return thing
    dump = getattr(thing, "model_dump", None)
    dumped = dump(warnings=False) if dump is not None else None
    return dumped if isinstance(dumped, dict) else None


def _for_hub(body: dict[str, Any]) -> dict[str, Any]:
    """huggingface_hub's client has no parameter for the newer name."""
    newer = {name: body[name] for name in ("max_completion_tokens",) if name in body}
    return {**{name: body[name] for name in body if name not in newer}, "extra_body": newer}


# --- failures -------------------------------------------------------------------------------


def _refused(status: int, words: str, headers: Mapping[str, str]) -> Trouble:
    again = (status >= 500 and status != 501) or status in PASSING
    refused = Trouble(f"the endpoint answers {status}", status=status, words=words, again=again)
    refused.after = headers.get("retry-after", "")
    return refused


def _trouble(error: BaseException) -> Trouble:
    """What a client library raised, in our words."""
    names = {each.__name__ for cause in _causes(error) for each in type(cause).__mro__}
    sent = not names & UNSENT
    if any("Timeout" in name for name in names):
        return Trouble(LATE, sent=sent)
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        return _refused(status, text_of(error), headers)
    words = text_of(list(_causes(error))[-1])
    if names & LOST:
        why = "the connection to the endpoint broke"
        return Trouble(why, words=words, again=True, sent=sent)
    return Trouble("the request failed", words=words, sent=False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or cause.__context__


def text_of(error: BaseException) -> str:
    """What an exception of somebody else's says; some cannot even say that."""
    with suppress(Exception):
        return str(error) or type(error).__name__
    return type(error).__name__
