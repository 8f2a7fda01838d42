"""The tool contract, discovery, and `call`: the one place an exception becomes an observation.

A tool is a typed function; its signature is its argument schema, checked in full before it runs:

    @tool(effect="read")
    def disk_free(path: str = "/") -> Observation:
        \"\"\"How full a file system is.

        Args:
            path: Folder on the file system in question.
        \"\"\"

A first parameter named `ctx` receives a ToolContext. A tool that changes something returns a
Change; `change.py` is the one executor. No declared effect = it does not load.
"""

import importlib.util
import inspect
import json
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Protocol, TypeVar, get_type_hints

import msgspec

from smoldebug.clock import duration
from smoldebug.edits.rendered import Rendering
from smoldebug.edits.workspace import Workspace
from smoldebug.errors import SmoldebugError, ToolError, UsageError
from smoldebug.events import encode, plainest
from smoldebug.evidence import EvidenceStore
from smoldebug.reads import Reads
from smoldebug.records import (
    Change,
    ChangeKind,
    Edited,
    Effect,
    Evidence,
    Json,
    ObjectRef,
    Observation,
)
from smoldebug.redact import Redactor
from smoldebug.shipped import shipped
from smoldebug.sources.world import World
from smoldebug.untrusted import clip, instruction_like, one_line, plain, whole

LOAD_LIMIT = 30.0  # seconds to import a file of tools
POLL = 0.02  # seconds between looks at a running tool, its deadline and the cancel flag
TEXT_LIMIT = 8000  # characters of an observation that a model reads
MARK = "__smoldebug_tool__"
_OWN = ("builtin", "git")  # families that write what is the run's own: its notes, its draft
T = TypeVar("T")


class Patching(Protocol):
    """What the tools for patches work on: the run's draft, and the changes it becomes."""

    @property
    def workspace(self) -> Workspace: ...

    def described(self, kind: str, name: str, namespace: str) -> Rendering:
        """What of the repository would be applied; "" for any."""
        ...

    def edited(self, target: ObjectRef, field: str, value: Json, *, remove: bool) -> list[Edited]:
        """Draft one edit of one object. Raises ToolError where it cannot be made."""
        ...

    def pushed(self, why: str) -> Change:
        """Commit what is drafted, and the change that pushes the branch. Raises ToolError when
        nothing is drafted."""
        ...

    def requested(self, title: str, summary: str) -> Change:
        """The change that opens the branch's pull request, or updates it."""
        ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may use. `settings` is its family's block of the playbook, as plain data."""

    world: World
    settings: Mapping[str, Json] = field(default_factory=dict)
    evidence: EvidenceStore | None = None
    namespace: str = "default"  # used where a call names none
    patch: Patching | None = None  # of playbooks with tools.git


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str
    effect: Effect
    family: str
    timeout: float
    function: Callable[..., Observation | Change]
    arguments: type[msgspec.Struct]
    schema: Mapping[str, Json]  # JSON Schema of the arguments object
    wants_context: bool
    changes: ChangeKind | None = None  # what it proposes


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended. `ok` is false when it was refused or failed; `text` says which and why."""

    ok: bool
    text: str
    seconds: float = 0.0
    evidence: Evidence | None = None
    change: Change | None = None
    flags: tuple[str, ...] = ()
    refused: bool = False  # no such tool or wrong arguments: nothing ran


class Remark(str):
    """Returned by a tool that only has something to say to the model: it is no evidence."""


class Cancelled(BaseException):
    """The operator asked to stop now, while a tool or a model was running."""


def tool(
    *, effect: str, timeout: float = 30.0, family: str = "", changes: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function as a tool.

    `effect` is read, probe, change or execute; `timeout` seconds; `family` the key of the
    playbook's `tools:` block that enables it (default: the file's name); `changes` the kind of
    Change it proposes, which the playbook must allow.
    Raises UsageError when the signature cannot be described to a model.
    """

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        kind = ChangeKind(changes) if changes else None
        spec = describe(function, Effect(effect), timeout, family)
        setattr(function, MARK, replace(spec, changes=kind))
        return function

    return mark


def describe(
    function: Callable[..., Any], effect: Effect, timeout: float = 30.0, family: str = ""
) -> ToolSpec:
    """What `@tool` records about a function (or a bound method)."""
    name = function.__name__
    summary, described = _docstring(function)
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    wants_context = bool(parameters) and parameters[0].name == "ctx"
    fields: list[Any] = []
    for parameter in parameters[wants_context:]:
        if parameter.name not in hints or parameter.name not in described:
            raise UsageError(
                f"tool {name}: parameter {parameter.name!r} needs a type and a line under Args:"
            )
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"tool {name}: arguments are given by name: {parameter}")
        meta = msgspec.Meta(description=described[parameter.name])
        annotated: Any = Annotated[hints[parameter.name], meta]
        if parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, annotated))
        else:
            fields.append((parameter.name, annotated, parameter.default))
    arguments = msgspec.defstruct(
        f"{name}_arguments", fields, frozen=True, forbid_unknown_fields=True, kw_only=True
    )
    return ToolSpec(
        name=name,
        description=summary,
        effect=effect,
        family=family or function.__module__.rpartition(".")[2].removeprefix("smoldebug_tools_"),
        timeout=timeout,
        function=function,
        arguments=arguments,
        schema=_schema(arguments),
        wants_context=wants_context,
    )


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The text before `Args:`, and its lines by parameter."""
    text, _, arguments = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:\n")
    if not text.strip():
        raise UsageError(f"tool {function.__name__}: needs a docstring, it is what a model reads")
    described: dict[str, str] = {}
    current = ""
    for line in arguments.splitlines():
        if line[:1].strip():  # the next section
            break
        if found := re.match(r"\s{2,}(\w+):\s*(.+)", line):
            current = found[1]
            described[current] = found[2].strip()
        elif current and line.strip():
            described[current] += " " + line.strip()
    return " ".join(text.split()), described


def _schema(arguments: type[msgspec.Struct]) -> dict[str, Json]:
    """JSON Schema with references inlined: small models and smolagents do not follow `$ref`."""
    whole = msgspec.json.schema(arguments)
    definitions = whole.pop("$defs", {})

    def inline(node: Json) -> Json:
        if isinstance(node, dict):
            if reference := node.get("$ref"):
                found = definitions[reference.rpartition("/")[2]]
                rest = {key: value for key, value in node.items() if key != "$ref"}
                return inline({**found, **rest})
            named = {key: value for key, value in node.items() if not _is_title(key, value)}
            return {key: inline(value) for key, value in named.items()}
        return [inline(item) for item in node] if isinstance(node, list) else node

    described: dict[str, Json] = inline(whole)
    return described


def _is_title(key: str, value: Json) -> bool:
    """A schema's own name, which repeats the parameter's; not a parameter called `title`."""
    return key == "title" and isinstance(value, str)


# --- discovery ------------------------------------------------------------------------------


@cache
def shipped_tools() -> tuple[ToolSpec, ...]:
    """Those that come with smoldebug, loaded once however many runs a process makes."""
    return tuple(load_folder(shipped("tools")))


def load_folder(folder: Path) -> list[ToolSpec]:
    """Tools of every `*.py` file of a folder, in order of file and line; `_*` is skipped.

    Raises UsageError, naming the file, when one cannot be imported or a tool is not well formed.
    """
    if not folder.is_dir():
        raise UsageError(f"no such tools folder: {folder}")
    found: list[ToolSpec] = []
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_"):
            found += _load_file(path)
    return found


def _load_file(path: Path) -> list[ToolSpec]:
    name = f"smoldebug_tools_{path.stem}"

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError("is no Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    module = _loaded(str(path), load)
    return [spec for spec in _specs(module) if spec.function.__module__ == name]


def load_entry_points() -> list[ToolSpec]:
    """Tools of installed packages: entry points of group `smoldebug.tools` (function or module).

    Raises UsageError, naming the entry point, when one cannot be loaded or holds no tool.
    """
    found: list[ToolSpec] = []
    for point in sorted(entry_points(group="smoldebug.tools"), key=lambda point: point.name):
        where = f"entry point {point.name} = {point.value}"
        thing = _loaded(where, point.load)
        specs = _specs(thing) if isinstance(thing, ModuleType) else _marked([thing])
        if not specs:
            raise UsageError(f"{where}: holds no tool")
        found += specs
    return found


def _loaded(where: str, load: Callable[[], Any]) -> Any:
    """What a file or an installed package gives; whatever it raises becomes a sentence."""
    done = within_limit(load, LOAD_LIMIT, None)
    if done is None:
        raise UsageError(f"{where}: takes longer than {LOAD_LIMIT:g} s to load")
    error = done.exception()
    if isinstance(error, SmoldebugError):
        raise UsageError(f"{where}: {error}", error.hint) from error
    if error is not None:
        raise UsageError(f"{where}: cannot be loaded: {one_line(said(error), 300)}") from error
    return done.result()


def _specs(module: ModuleType) -> list[ToolSpec]:
    return _marked(vars(module).values())


def _marked(things: Iterable[Any]) -> list[ToolSpec]:
    """The specs of the tools among things, each once."""
    specs = (getattr(thing, MARK, None) for thing in things)
    found = {id(spec): spec for spec in specs if isinstance(spec, ToolSpec)}
    return list(found.values())


# --- calling --------------------------------------------------------------------------------


class Toolset:
    """The tools of one run, by name, with the context each family gets."""

    def __init__(
        self,
        specs: Iterable[ToolSpec],
        context: Callable[[ToolSpec], ToolContext],
        evidence: EvidenceStore,
        redactor: Redactor,
        reads: Reads | None = None,
    ) -> None:
        self.specs: dict[str, ToolSpec] = {}
        for spec in sorted(specs, key=lambda spec: spec.name):  # stable: prompt caches, replay
            if spec.name in self.specs:
                raise UsageError(f"two tools are called: {spec.name}")
            self.specs[spec.name] = spec
        self._context, self.evidence, self.redactor = context, evidence, redactor
        self._reads = reads  # None: every call reads

    def parse(self, name: str, arguments: Json) -> msgspec.Struct:
        """Checked arguments. Raises UsageError, in words a model can act on, if it may not run."""
        spec = self.specs.get(name)
        if spec is None:
            raise UsageError(f"unknown tool {name!r}; available: {', '.join(self.specs)}")
        return checked_arguments(spec, arguments)

    def call(
        self,
        name: str,
        arguments: Json,
        *,
        limit: float = float("inf"),
        cancel: threading.Event | None = None,
    ) -> Answer:
        """Check, run with a time limit, record. Never raises for what a tool does.

        `limit` seconds cut the tool's own limit (what the run has left). Raises Cancelled when
        `cancel` is set while the tool runs.
        """
        try:
            parsed = self.parse(name, arguments)
        except UsageError as error:
            return Answer(False, clip(f"ERROR {error}", TEXT_LIMIT), refused=True)
        if limit <= 0:
            return Answer(False, f"ERROR no time is left for {name}. NOT executed.")
        spec = self.specs[name]
        given = msgspec.to_builtins(parsed)
        if (known := self._known(spec, given)) is not None:
            return known
        values = {key: getattr(parsed, key) for key in parsed.__struct_fields__}
        began = time.monotonic()
        outcome = self._run(spec, values, min(spec.timeout, limit), cancel)
        seconds = time.monotonic() - began
        if isinstance(outcome, Change):
            return Answer(
                True, f"proposed: {outcome.kind} {outcome.target}", seconds, change=outcome
            )
        if isinstance(outcome, Observation):
            return self._observed(spec, given, outcome, seconds)
        text = clip(self._clean(outcome), TEXT_LIMIT)
        if isinstance(outcome, Remark):
            return Answer(True, text, seconds)
        return Answer(False, text, seconds, flags=instruction_like(text))

    def _observed(
        self, spec: ToolSpec, arguments: Mapping[str, Json], seen: Observation, seconds: float
    ) -> Answer:
        data = self.redactor.json(seen.data)  # first: it tells which values are secret
        clean = Observation(
            text=self._clean(seen.text),
            data=data,
            source=seen.source,
            ref=self._clean(seen.ref),
            gaps=tuple(map(self._clean, seen.gaps)),
        )
        evidence = self.evidence.add(spec.name, arguments, clean)
        if self._reads is not None and _repeats(spec):
            self._reads.keep(evidence, seconds)
        flags = instruction_like(clean.text)
        text = clip(clean.text, TEXT_LIMIT)
        return Answer(True, text, seconds, evidence=evidence, flags=flags)

    def _known(self, spec: ToolSpec, arguments: Mapping[str, Json]) -> Answer | None:
        """The answer to the same call a moment ago, under the number it has: no new evidence."""
        if self._reads is None:
            return None
        if _outdates(spec):
            self._reads.forget()
        found = self._reads.known(spec.name, arguments) if _repeats(spec) else None
        if found is None:
            return None
        evidence, age = found
        text = f"as [{evidence.id}], {duration(age)} ago:\n{evidence.observation.text}"
        return Answer(True, clip(text, TEXT_LIMIT), flags=instruction_like(text))

    def shown(self, record: T) -> T:
        """A record or an event with the secrets in its texts masked."""
        masked = self.redactor.json(whole(msgspec.to_builtins(record), text=plain))
        return msgspec.convert(masked, type(record))

    def _clean(self, text: str) -> str:
        return self.redactor.text(plain(text))

    def _run(
        self,
        spec: ToolSpec,
        values: Mapping[str, Any],
        limit: float,
        cancel: threading.Event | None,
    ) -> Observation | Change | Remark | str:
        """What the tool returned, or (a plain str) the text of what went wrong."""

        def body() -> Any:
            context = (self._context(spec),) if spec.wants_context else ()
            return _checked(spec, spec.function(*context, **values))

        done = within_limit(body, limit, cancel)
        if done is None:
            return f"ERROR {spec.name} timed out after {limit:.3g} s; outcome unknown"
        error = done.exception()
        if error is None:
            checked: Observation | Change | Remark = done.result()
            return checked
        if isinstance(error, SmoldebugError):
            return f"ERROR {spec.name}: {error}" + (f" ({error.hint})" if error.hint else "")
        tail = "".join(traceback.format_exception(error)[-3:])[-1500:]
        return f"ERROR {spec.name} raised {said(error)}\n{tail}"


def _repeats(spec: ToolSpec) -> bool:
    """Whether the same call would show the same a moment later. A probe is sent to be sent; the
    notebook's and the draft's tools only look like reads. What a log or a metric tells of the last
    minutes is as good after seconds."""
    return spec.effect is Effect.READ and spec.family not in _OWN


def _outdates(spec: ToolSpec) -> bool:
    """Whether what was read before may be different now, though nobody sends a change."""
    return spec.name == "wait" or spec.family == "git"


def checked_arguments(spec: ToolSpec, arguments: Json) -> msgspec.Struct:
    """Arguments as the tool takes them. Raises UsageError if it may not run with these."""
    try:
        if isinstance(arguments, str):  # as some models hand it over
            arguments = json.loads(arguments or "{}", object_pairs_hook=_once)
        plain_json = msgspec.json.encode({} if arguments is None else arguments)
        if b"null" in plain_json and _not_finite(arguments):
            raise msgspec.ValidationError("NaN and infinity are no JSON numbers")
        return msgspec.json.decode(plain_json, type=spec.arguments)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        schema = msgspec.json.encode(spec.schema).decode()
        raise UsageError(
            f"invalid call to {spec.name}: {error}. Schema: {schema}. NOT executed."
        ) from error


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """An object's members. Of a name that is given twice nobody knows which was meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def begin(function: Callable[[], Any]) -> "Future[Any]":
    """Call a function in a thread of its own; the future of what it returns or raises.

    In a thread, because neither a tool nor a model can be trusted to honour a limit. A thread
    cannot be killed either, so every source gives its calls limits of their own.
    """
    future: Future[Any] = Future()

    def body() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 the one place an exception becomes a value
            future.set_exception(error)

    threading.Thread(target=body, daemon=True).start()
    return future


def within_limit(
    function: Callable[[], Any], limit: float, cancel: threading.Event | None
) -> "Future[Any] | None":
    """Call a function; its finished future, or None when `limit` seconds passed first.

    Raises Cancelled when `cancel` is set meanwhile.
    """
    future = begin(function)
    end = time.monotonic() + limit
    while not wait([future], POLL).done:
        if cancel is not None and cancel.is_set():
            raise Cancelled("it was running; its outcome is unknown")
        if time.monotonic() > end:
            return None
    return future


def _checked(spec: ToolSpec, value: Any) -> Observation | Change | Remark:
    """A tool's value in the contract's terms: a Change only from a tool that declared it, and
    nothing that a journal cannot hold. Raises ToolError."""
    if isinstance(value, Remark):
        return value
    if isinstance(value, Change) and spec.effect not in (Effect.CHANGE, Effect.EXECUTE):
        raise ToolError(f"it proposed a change but declares effect {spec.effect}")
    try:
        if isinstance(value, Change):  # a copy that nobody else can alter after it was approved
            return msgspec.json.decode(encode(value), type=Change)
        seen = value if isinstance(value, Observation) else Observation(str(value))
        plain_data = msgspec.to_builtins(seen, str_keys=True, enc_hook=plainest)
        seen = msgspec.convert(plain_data, Observation)
        return replace(seen, data=whole(seen.data, text=plain))
    except (msgspec.MsgspecError, TypeError, UnicodeEncodeError, RecursionError) as error:
        raise ToolError(f"it returned a value that is not well formed: {error}") from error


def said(error: BaseException) -> str:
    """Type and message; also of an exception whose message cannot be had."""
    return "".join(traceback.format_exception_only(error)).strip()


def _not_finite(value: Json) -> bool:
    if isinstance(value, float):
        return value != value or value in (float("inf"), float("-inf"))
    if isinstance(value, Mapping):
        return any(map(_not_finite, value.values()))
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and any(map(_not_finite, value))
    )
