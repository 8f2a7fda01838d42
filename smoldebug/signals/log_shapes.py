"""Log lines to shapes: what varies is masked, equal shapes are counted, errors come first.

Three passes, each cheaper than the next is wide: equal lines are counted once, what looks like a
time, id, address or number is masked, and shapes that still differ in a few words become one with
`<*>` in those places (after the Drain algorithm: He et al., ICWS 2017).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from smoldebug.untrusted import one_line

LINE = 1000  # characters of a line that count
SHOWN = 300  # characters of a line that are kept to be read and quoted
WORDS = 40  # leading words of a shape that are compared
ALIKE = 0.6  # share of equal words from which two shapes are one
CANDIDATES = 64  # shapes a new one is compared with, at most
NAMES = 3  # words seen in one place of otherwise equal lines from which they are names
LEVELS = ("error", "warn", "info", "")  # in this order of interest


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of line. `first` and `last` are lines as they were written (on one line, cut at 300
    characters), by order of reading; `source` (a pod, say) is where the last one stood. `level` is
    error, warn, info or ""."""

    shape: str
    count: int
    level: str
    first: str
    last: str
    source: str = ""


def log_shapes(logs: Mapping[str, str]) -> list[Shape]:
    """The shapes of several logs, by source: errors first, then warnings, then by count."""
    seen: dict[str, _Group] = {}
    for source, text in logs.items():
        for line in _records(text):
            key = _LEADING_TIME.sub("", line, count=1)
            group = seen.get(key)
            if group is None:
                seen[key] = _Group(line, line, source)
            else:
                group.count, group.last, group.source = group.count + 1, line, source
    shapes = _merged(_masked_groups(seen))
    return sorted(shapes, key=lambda shape: (LEVELS.index(shape.level), -shape.count))


@dataclass(slots=True)
class _Group:
    first: str
    last: str
    source: str
    count: int = 1
    level: str = ""

    def absorb(self, other: "_Group") -> None:
        self.count, self.last, self.source = self.count + other.count, other.last, other.source


def _records(text: str) -> list[str]:
    """Lines that hold something; the indented rest of a stack trace belongs to the line before."""
    records: list[str] = []
    for line in text.splitlines():
        line = line[:LINE].rstrip()
        if line and not (records and line[0] in " \t"):
            records.append(line)
    return records


def _masked_groups(seen: Mapping[str, _Group]) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    for key, group in seen.items():
        level, words = read_line(key)
        shape = mask(words)
        known = groups.setdefault(shape, group)
        if known is not group:
            known.absorb(group)
        group.level = level
    return groups


def _merged(groups: Mapping[str, _Group]) -> list[Shape]:
    """Shapes of one length, level and first word that differ in a few words become one."""
    buckets: dict[tuple[int, str, str], list[tuple[list[str], _Group]]] = {}
    for shape, group in groups.items():
        words = shape.split()[:WORDS]
        bucket = buckets.setdefault((len(words), group.level, words[0] if words else ""), [])
        for index, (known, into) in enumerate(bucket[:CANDIDATES]):
            if (joined := _joined(known, words)) is not None:
                into.absorb(group)
                bucket[index] = joined, into
                break
        else:
            bucket.append((words, group))
    return [
        Shape(
            " ".join(words),
            group.count,
            group.level,
            one_line(group.first, SHOWN),
            one_line(group.last, SHOWN),
            group.source,
        )
        for bucket in buckets.values()
        for words, group in bucket
    ]


def _joined(known: list[str], words: list[str]) -> list[str] | None:
    """Both as one, or None when they have too little in common. An HTTP status never merges."""
    same = sum(a == b for a, b in zip(known, words, strict=True))
    if same < ALIKE * len(words) or len(words) < 3:
        return None
    pairs = list(zip(known, words, strict=True))
    if any(a != b and (_STATUS.fullmatch(a) or _STATUS.fullmatch(b)) for a, b in pairs):
        return None
    return [a if a == b else "<*>" for a, b in pairs]


# --- one line -------------------------------------------------------------------------------

_TIME = (
    r"\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?"
    r"|[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d|\b\d\d:\d\d:\d\d(?:[.,]\d+)?"
)
_LEADING_TIME = re.compile(rf"^\[?(?:{_TIME})\]?:?\s*")
_STATUS = re.compile(r"\D*[1-5]\d\d\D*")
_REQUEST = r"\b(?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+(?: HTTP/\d(?:\.\d)?)?\"?"
_KEPT_KEYS = "msg|message|error|err|reason|level|severity|detail|cause|method"
_MASKS = re.compile(
    r"(?P<status>\b(?:status|code|status_code)[\"']?\s?[=:]?\s?[\"']?[1-5]\d\d\b"
    r"|(?<=[\"→>] )[1-5]\d\d\b)"
    rf"|(?P<request>\"?{_REQUEST} [1-5]\d\d\b)"
    rf"|(?P<kept>\b(?:{_KEPT_KEYS})[\"']?\s?[=:]\s?[\"'])"
    rf"|(?P<time>{_TIME})"
    r"|(?P<id>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|(?<=[a-z0-9])-[a-z0-9]{6,10}-[a-z0-9]{5}\b)"
    r"|(?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|(?<![\w:])(?=[0-9a-fA-F:]*\d)(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:]))"
    r"|(?P<hex>\b0x[0-9a-fA-F]+\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b)"
    r"|(?P<quoted>\"[^\"]{0,400}\"|(?<!\w)'[^']{0,400}')"
    r"|(?P<n>\d+(?:\.\d+)?)"
)


def mask(line: str) -> str:
    """A line with what varies replaced: `<t>` times, `<id>`, `<ip>`, `<hex>`, `<n>`, `"…"`.

    HTTP status codes stay, 200 and 502 are not the same line; so do messages in key="value", and
    quoted words that tell of an error.
    """
    return _MASKS.sub(_replacement, line)


def _replacement(match: re.Match[str]) -> str:
    kind, text = match.lastgroup, match.group()
    if kind in ("status", "kept"):
        return text
    if kind == "request":
        return mask(text[:-3].replace('"', "")) + text[-3:]
    if kind == "quoted":
        if _SOUNDS_BAD.search(text):
            return text[0] + mask(text[1:-1]) + text[0]
        return text if len(text) < 3 else f"{text[0]}…{text[0]}"
    if kind == "id" and text.startswith("-"):
        return "-<id>"
    return {"time": "<t>"}.get(kind or "", f"<{kind}>")


_EXPLICIT = re.compile(
    r"\b(?:level|lvl|severity)[\"']?\s?[=:]\s?[\"']?(?P<field>[A-Za-z]+)"
    r"|^(?P<klog>[IWEF])\d{4}\b"
    r"|\b(?P<word>FATAL|PANIC|CRITICAL|CRIT|ERROR|ERR|SEVERE|WARNING|WARN|NOTICE|INFO|DEBUG|TRACE)\b"
    r"|\[(?P<bracket>error|warn|warning|info|debug|notice|crit|emerg|alert)\]"
)
_LEADING_LEVEL = re.compile(
    r"^\[?(?:FATAL|CRITICAL|CRIT|ERROR|ERR|SEVERE|WARNING|WARN|NOTICE|INFO)\]?:?\s+",
    re.IGNORECASE,
)
_BEFORE_MESSAGE = re.compile(r"^(?:\w+=\S+ )+(?=msg=)")
_ONLY_MESSAGE = re.compile(r'msg="((?:[^"\\]|\\.)+)"')  # of key=value pairs
_CAUSE = (
    "error",
    "err",
    "exception",
    "cause",
)  # keys of a JSON line that say more than its message
_MESSAGE = ("msg", "message", "event", "text")  # keys of a JSON line
_LEVEL_OF = {
    "error": ("fatal", "panic", "critical", "crit", "error", "err", "severe", "emerg", "alert"),
    "warn": ("warning", "warn"),
    "info": ("info", "notice", "debug", "trace", "information"),
}
_LEVEL = {word: level for level, words in _LEVEL_OF.items() for word in words}
_KLOG = {"I": "info", "W": "warn", "E": "error", "F": "error"}
_SOUNDS_BAD = re.compile(
    r"\b(?:\w*Error|\w*Exception|error|panic|fatal|failed|failure|refused|timed out|timeout"
    r"|exhausted|denied|unavailable|cannot|unable to|no such|out of memory|OOM|Traceback)\b"
)
_SERVER_ERROR = re.compile(rf"{_REQUEST} 5\d\d\b")


_EXPONENT = re.compile(r"<n>[eE][+-]<n>")
_CALENDAR = re.compile(
    r"\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? "
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\b)"
)
_VARIES = re.compile(r"[\w.]*<(?:n|hex|id|ip|t)>(?:[\w.]|<(?:n|hex|id|ip|t)>)*")
_SAME_AGAIN = re.compile(r"<\*>(?:[\s,;:/-]*<\*>)+")


def error_words(line: str) -> str:
    """The words by which an error is told from other ones; "" for a line that is no error.

    They are the same whatever ids, numbers and times the line holds, however these are written; a
    word that tells of an error is never one of them.
    """
    level, words = read_line(_LEADING_TIME.sub("", line[:LINE].rstrip(), count=1))
    if level != "error":
        return ""
    masked = _EXPONENT.sub("<n>", mask(_CALENDAR.sub("", words)))
    return _SAME_AGAIN.sub("<*>", _VARIES.sub(_varying, masked)).strip() or "<*>"


def _varying(match: re.Match[str]) -> str:
    return match[0] if _SOUNDS_BAD.search(match[0]) else "<*>"


class KnownErrors:
    """Kinds of errors that have been logged, at most `most`: `full` says that some are missing.

    An error is known if its words are, or all but one, where at least three known ones differ just
    there: then it is a name. A word that tells of an error, or a status, is never such a name.
    """

    def __init__(self, most: int = 2000) -> None:
        self.examples: dict[str, str] = {}  # a line of each, by its words
        self.full, self._most, self._gaps = False, most, Counter[int]()

    def add(self, words: str, line: str) -> None:
        if words in self.examples:
            return
        self.full |= len(self.examples) >= self._most
        if not self.full:
            self.examples[words] = one_line(line, SHOWN)
            self._gaps.update(gap for _, gap in _gaps(words))

    def __contains__(self, words: str) -> bool:
        return words in self.examples or any(
            self._gaps[gap] >= NAMES and not (_SOUNDS_BAD.search(word) or _STATUS.fullmatch(word))
            for word, gap in _gaps(words)
        )


def _gaps(words: str) -> Iterator[tuple[str, int]]:
    """Each word, and what identifies all the others."""
    split = words.split()
    for place, word in enumerate(split[:WORDS]):
        yield word, hash((place, *split[:place], *split[place + 1 :]))


def read_line(line: str) -> tuple[str, str]:
    """(level, the words that matter). JSON lines become `message key=value ...` first."""
    if line.startswith("{"):
        try:
            data = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            data = None
        if isinstance(data, dict):
            return _from_json(data)
    return level_of(line), line


def message(line: str) -> str:
    """What a line says, without its time, its level and who says it; as it stands in the line."""
    if line.startswith("{"):
        try:
            data = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            data = None
        lowered = {str(k).lower(): v for k, v in data.items()} if isinstance(data, dict) else {}
        told = (lowered[key] for key in (*_CAUSE, *_MESSAGE) if isinstance(lowered.get(key), str))
        return next((said for said in told if said and said in line), line)
    rest = _LEADING_LEVEL.sub("", _LEADING_TIME.sub("", line, count=1), count=1)
    rest = _BEFORE_MESSAGE.sub("", rest, count=1)
    alone = _ONLY_MESSAGE.fullmatch(rest)
    return (alone[1] if alone else rest) or line


def serves_error(line: str) -> bool:
    """Whether it only says that a request was answered with 5xx."""
    return bool(_SERVER_ERROR.search(line))


def level_of(line: str) -> str:
    """error, warn, info or ""; what the line says of itself, else what it sounds like."""
    if _SERVER_ERROR.search(line):
        return "error"  # also where an access log calls it INFO
    found = _EXPLICIT.search(line[:200])
    if found:
        if found["klog"]:
            return _KLOG[found["klog"]]
        word = found["field"] or found["word"] or found["bracket"]
        if level := _LEVEL.get(word.lower()):
            return level
    return "error" if _SOUNDS_BAD.search(line) else ""


def _from_json(data: Mapping[str, object]) -> tuple[str, str]:
    lowered = {str(key).lower(): value for key, value in data.items()}
    named = next((lowered[key] for key in ("level", "severity", "lvl") if key in lowered), "")
    message = next((str(lowered[key]) for key in _MESSAGE if key in lowered), "")
    skip = ("level", "severity", "lvl", *_MESSAGE, "ts", "time")
    rest = [
        f"{key}={one_line(str(value), 120)}"
        for key, value in lowered.items()
        if key not in (*skip, "timestamp", "@timestamp")
    ]
    words = " ".join([message, *rest])
    return _LEVEL.get(str(named).lower()) or level_of(words), words
