"""Text from the world is data: made safe here for a terminal, a CI log, Markdown and a prompt."""

import re
from itertools import islice

from smoldebug.records import Json

DEEPEST = 100  # levels of JSON; no tool takes more, and no recursion here goes further

# C0 except \n and \t, DEL, C1, surrogates, and what is invisible or turns the direction of text:
# soft hyphen, zero-width and bidi controls, line separators, annotations, byte-order marks, tags
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")

# Words that address a reader who follows orders. A flag, never a filter: the line stays evidence.
_INSTRUCTION = re.compile(
    r"\b(ignore|disregard|forget|override)\s+(all\s+|any\s+|your\s+|the\s+|of\s+)*"
    r"(previous|prior|above|earlier|instructions|safety|guard)\b"
    r"|\byou\s+(are|must)\s+(now|an?\s+ai|call|run|execute)\b"
    r"|\b(system|developer)\s+prompt\b|\b(new|updated)\s+instructions\b"
    r"|\bas\s+an?\s+(ai|assistant|language\s+model)\b"
    r"|\b(assistant|agent|ai|llm)\s*[:,]\s*(please|run|execute|delete|scale|apply|call)\b"
    r"|<\|\w{1,30}\|>|\[/?INST\]",  # the marks of chat templates
    re.IGNORECASE,
)
_CUES = frozenset(  # words without which no line matches: most texts have none of them
    [
        "ignore",
        "disregard",
        "forget",
        "override",
        "you",
        "prompt",
        "instructions",
        "ai",
        "assistant",
        "language",
        "agent",
        "llm",
        "inst",
    ]
)
_FLAGS = 10  # lines; a log full of them is flagged no better by all


def plain(text: str) -> str:
    """Without control characters (newline and tab stay), escape sequences and bidi overrides."""
    return _UNSAFE.sub("", _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def whole(value: Json, depth: int = DEEPEST) -> Json:
    """JSON that every file and stream can take: lone surrogates become `?`, what is nested deeper
    than `depth` becomes `...`."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict | list | tuple) and not depth:
        return "..."
    if isinstance(value, dict):
        return {whole(key): whole(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item, depth - 1) for item in value]
    return value


def one_line(text: str, limit: int = 200) -> str:
    """Plain, on one line, at most `limit` characters."""
    flat = " ".join(plain(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def instruction_like(text: str) -> tuple[str, ...]:
    """The first lines that read like an instruction to an AI, shortened; shown as a warning."""
    clean = plain(text)
    if "<|" not in clean and _CUES.isdisjoint(re.findall(r"[a-z]+", clean.casefold())):
        return ()
    found = (one_line(line, 120) for line in clean.splitlines() if _INSTRUCTION.search(line))
    return tuple(islice(found, _FLAGS))


def fence(text: str) -> str:
    """Quoted for a prompt: a block whose fence does not occur in the text."""
    mark = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{mark}\n{text}\n{mark}"


def clip(text: str, limit: int = 8000) -> str:
    """At most about `limit` characters: the head, the tail, and how much is missing between."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... [{len(text) - 2 * half} characters cut] ...\n{text[-half:]}"
