"""Secrets out of text, with stable masks: the same value is the same mask everywhere in a run.

Every pattern starts at a fixed word, and what it repeats is bounded or ends where the next match
could start: a line made to be slow is as fast as any other. What only names a secret stays
readable (`secretName: tls`, `invalid token: signature`): a mask there hides the cause, not a key.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping

from smoldebug.records import Json

_MASK = re.compile(r"\[secret:[0-9a-f]{4}\]")
_IN_MASK = re.compile(r"\[?s?e?c?r?e?t?:?[0-9a-f]{0,4}\]?")  # what replacing would break masks
_SHORT = 6  # shorter values are too common to mask wherever they occur

_PASSWORD = r"(?:passw(?:or)?d|passphrase)"
_WORD = rf"(?P<word>{_PASSWORD}|secret[_-]?key|secret|token|(?:api|access|private)[_-]?key)"
_QUOTE = r"\\{0,3}[\"']"  # escaped where JSON stands in JSON
_VALUE = rf"(?:{_QUOTE}(?P<quoted>[^\"'\n\\]{{4,}})|(?P<secret>[^\s\"',;&\\]{{4,}}))"

_ASSIGNED = re.compile(
    rf"(?i)(?!secret:[0-9a-f]{{4}}\]){_WORD}(?P<rest>[\w.-]{{0,40}})(?P<close>{_QUOTE})?"
    rf"(?P<sign>\s{{0,4}}[=:]\s{{0,4}}){_VALUE}"
)
_KEY = re.compile(rf"(?i){_WORD}(?P<rest>[\w.-]{{0,40}})$")
# Each pattern with words of which its match holds one: most texts hold none, and are not searched.
_NAMES = ("pass", "secret", "token", "key")
_PATTERNS = (
    (
        ("private key",),
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
            r"(?P<secret>(?:[^-]|-(?!----)){1,16384}(?=-----END)"
            r"|(?:\s|\\[nr]){0,8}[A-Za-z0-9+/=]{40}[A-Za-z0-9+/=\s\\]*)"  # a log that is cut off
        ),
    ),
    (
        _NAMES,  # an environment variable as manifests hold it
        re.compile(
            rf"(?i)\bname(?:{_QUOTE})?:\s{{0,4}}(?:{_QUOTE})?[\w.-]{{0,60}}?{_WORD}[\w.-]{{0,40}}"
            rf"(?:{_QUOTE})?,?\s{{0,40}}(?:{_QUOTE})?value(?:{_QUOTE})?:\s{{0,4}}{_VALUE}"
        ),
    ),
    (_NAMES, _ASSIGNED),
    (
        ("://",),
        re.compile(
            r"://(?:\[secret:[0-9a-f]{4}\]|[^\s/:@?#\"'<>\\,\[])*:(?P<secret>[^\s/?#\"'<>\\,]+)@"
        ),
    ),
    (("eyj",), re.compile(r"(?<![\w-])(?P<secret>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)")),
    (
        ("authorization",),
        re.compile(
            rf"(?i)\bauthorization(?:{_QUOTE})?\s{{0,4}}[:=]\s{{0,4}}(?:{_QUOTE})?"
            r"(?:bearer|basic|token)\s{1,4}(?P<secret>[^\s\"',\\]+)"
        ),
    ),
    (("bearer",), re.compile(r"(?i)\bbearer\s{1,4}(?P<secret>[\w.~+/-]{16,}=*)")),
    (
        ("_", "-", "akia", "asia", "aiza", "ya29."),
        re.compile(
            r"\b(?P<secret>(?:gh[pousr]_|github_pat_|glpat-|xox[abeps]-|sk-|[rs]k_live_|hf_|npm_"
            r"|dckr_pat_|A[KS]IA|AIza|ya29\.)[\w-]{12,})"
        ),
    ),
)
# `secretName`, `token_ttl`, `PASSWORD_FILE`: about a secret, but not it
_ABOUT = re.compile(
    r"(?i)[\w.-]*(?:names?|refs?|file|path|dir|type|kind|count|seconds|ttl|length|limit|id|ur[il])"
)
_NO_VALUE = re.compile(
    r"(?i)(?:true|false|null|none|nil|undefined|missing|expired|invalid|required)[)\]}]*"
    r"|[*x]+|<[^>]*>|\[?redacted\]?|\$\([^)]*\)?|\$\{[^}]*\}?"
)


class Redactor:
    """Masks patterns of secrets and the exact values it has been told."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self.learn(values)

    def learn(self, values: Iterable[str]) -> None:
        """Exact values to mask from now on, also in base64, as Secrets hold them."""
        for value in values:
            if len(value) >= _SHORT and not _IN_MASK.fullmatch(value):
                encoded = base64.b64encode(value.encode(errors="replace")).decode()
                self._values |= {value, encoded}

    def text(self, text: str) -> str:
        for value in sorted(self._values, key=len, reverse=True):
            if value in text:
                text = text.replace(value, mask(value))
        folded = text.casefold()
        for cues, pattern in _PATTERNS:
            if any(cue in folded for cue in cues):
                text = _masked(pattern, text)
        return text

    def json(self, value: Json) -> Json:
        """The same for every string of a JSON value; keys are left alone, and tell what is secret
        (`{"password": ...}`, `{"name": "DB_PASSWORD", "value": ...}`)."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._member(value, key) for key in value}
        if isinstance(value, list | tuple):
            return [self.json(item) for item in value]
        return value

    def fields(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """The same for values by JSON pointer, whose last part tells what is secret."""
        return {path: self._named(path.rpartition("/")[2], values[path]) for path in values}

    def _named(self, name: str, value: Json) -> Json:
        return self.json({name: value})[name]

    def _member(self, parent: dict[str, Json], key: str) -> Json:
        item = self.json(parent[key])
        name = parent.get("name") if key == "value" else key
        if not isinstance(item, str) or not isinstance(name, str) or len(item) < 4:
            return item
        found = _KEY.search(name)
        secret = found and _secret(found, item) and not _MASK.fullmatch(item)
        return mask(item) if secret else item


def mask(value: str) -> str:
    """`[secret:3f2a]`: tells two secrets apart without telling what they are."""
    return f"[secret:{hashlib.sha256(value.encode(errors='replace')).hexdigest()[:4]}]"


def _masked(pattern: re.Pattern[str], text: str) -> str:
    done: list[str] = []
    copied = start = 0
    while match := pattern.search(text, start):
        group = "quoted" if match.groupdict().get("quoted") else "secret"
        value = match[group] if group == "quoted" else match[group].rstrip(")}]")
        if pattern is _ASSIGNED and (not _secret(match, value) or _prose(match, value)):
            start = match.end("sign")  # its value may hold another key
            continue
        if not _MASK.fullmatch(value) and not _MASK.fullmatch(f"{value}]"):
            done += [text[copied : match.start(group)], mask(value)]
            copied = match.start(group) + len(value)
        start = match.end(group)
    return "".join([*done, text[copied:]])


def _secret(match: re.Match[str], value: str) -> bool:
    """Does this key hold a secret? Not `tokenizer=`, `secretName:`, `tokens: 512`, `token=null`."""
    word, rest = match["word"], match["rest"]
    if rest.lower() == "s":
        return any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    same_word = rest[:1].isalpha() and (rest[0].islower() or word.isupper())
    return not (same_word or _ABOUT.fullmatch(rest) or _NO_VALUE.fullmatch(value))


def _prose(match: re.Match[str], value: str) -> bool:
    """`invalid token: signature`: a sentence, no key. A password is masked even in a sentence."""
    before = match.string[max(0, match.start() - 60) : match.start()]
    return (
        value.isalpha()
        and match["sign"].endswith(" ")
        and not match["close"]
        and not re.match(_PASSWORD, match["word"], re.IGNORECASE)
        and re.search(rf"(?:[^\W\d_]|{_MASK.pattern})[ \t]+\S*$", before) is not None
    )
