"""Text from the world is data: made safe here for a terminal, a CI log, Markdown and a prompt."""

import re

from smoldebug.records import Json

# C0 except \n and \t, DEL, C1, zero-width and bidi controls, surrogates, byte-order marks, tags
_UNSAFE = re.compile(
    "[\u061c\U000e0000-\U000e007f\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")

# Words that address a reader who follows orders. A flag, never a filter: the line stays evidence.
_INSTRUCTION = re.compile(
    r"(ignore|disregard|forget)\s+(all\s+|any\s+|your\s+|the\s+)*(previous|prior|above|earlier)"
    r"|you\s+(are|must)\s+(now|an?\s+ai|call|run|execute)"
    r"|(system|developer)\s+prompt"
    r"|as\s+an?\s+(ai|assistant|language\s+model)"
    r"|(assistant|agent|ai)\s*[:,]\s*(please|run|execute|delete|scale|apply)",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """Without control characters (newline and tab stay), escape sequences and bidi overrides."""
    return _UNSAFE.sub("", _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def whole(value: Json) -> Json:
    """JSON without lone surrogates, which no file and no stream can take; else as it was."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def one_line(text: str, limit: int = 200) -> str:
    """Plain, on one line, at most `limit` characters."""
    flat = " ".join(plain(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def instruction_like(text: str) -> tuple[str, ...]:
    """Lines that read like an instruction to an AI, shortened; shown as a warning, kept as data."""
    return tuple(one_line(line, 120) for line in text.splitlines() if _INSTRUCTION.search(line))


def fence(text: str) -> str:
    """Quoted for a prompt: a block whose fence does not occur in the text."""
    mark = "```"
    while mark in text:
        mark += "`"
    return f"{mark}\n{text}\n{mark}"


def clip(text: str, limit: int = 8000) -> str:
    """At most about `limit` characters: the head, the tail, and how much is missing between."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... [{len(text) - 2 * half} characters cut] ...\n{text[-half:]}"
