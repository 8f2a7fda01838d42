"""Secrets and personal data out of text, with stable masks: one value is one mask in a whole run.

    [secret:3f2a]  keys, tokens, passwords; what a Secret or a secret-looking variable holds
    [email:9c1d]  [phone:0b77]  [card:51e0]  [iban:c4d8]  personal data, by class

A mask is keyed with random bytes of the run: who reads it cannot try telephone numbers until one
fits. A later process that is handed the same key makes the same masks.

Every pattern starts at a fixed word, and what it repeats is bounded or ends where the next match
could start: a line made to be slow is as fast as any other. What only names a secret stays
readable (`secretName: tls`, `invalid token: signature`): a mask there hides the cause, not a key.
"""

import base64
import binascii
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from urllib.parse import quote

from smoldebug.errors import UsageError
from smoldebug.personal import CLASSES
from smoldebug.records import Json

_key = secrets.token_bytes(16)
_KINDS = ("secret", *CLASSES)
_MASK = re.compile(rf"\[(?:{'|'.join(_KINDS)}):[0-9a-f]{{4}}\]")
_IN_MASK = re.compile(  # what replacing would break masks
    "|".join(r"\[?" + "?".join(kind) + r"?:?[0-9a-f]{0,4}\]?" for kind in _KINDS)
)
_SHORT = 6  # shorter values are too common to mask wherever they occur
_LONG = 60  # characters; keys are cut into lines of 64
_TELLING = 8  # of values nobody has declared; and no plain word: `postgres` is a password, too

_PASSWORD = r"(?:passw(?:or)?d|passphrase|(?<=[_\-\"'])pass(?=[\\\"']{0,4}\s{0,4}[=:]))"
_WORD = (
    rf"(?P<word>{_PASSWORD}|secret[_-]?key|secret|token"
    r"|(?:api|access|account|auth|private|encryption|signing)[_-]?key)"
)
_QUOTE = r"\\{0,3}[\"']"  # escaped where JSON stands in JSON
_VALUE = rf"(?:{_QUOTE}(?P<quoted>[^\"'\n\\]{{4,}})|(?P<secret>[^\s\"',;&\\]{{4,}}))"

_ASSIGNED = re.compile(
    rf"(?i)(?!secret:[0-9a-f]{{4}}\]){_WORD}(?P<rest>[\w.-]{{0,40}})(?P<close>{_QUOTE})?"
    rf"(?P<sign>\s{{0,4}}(?:[=:]|%3[ad])\s{{0,4}}){_VALUE}"
)
_NAMED = re.compile(rf"(?i){_WORD.replace('(?=', '(?=$|', 1)}(?P<rest>[\w.-]{{0,40}})$")
_VARIABLE = re.compile(  # of an environment, as manifests hold it, and diffs of manifests
    rf"(?i)\bname(?:{_QUOTE})?:\s{{0,4}}(?:{_QUOTE})?[\w.-]{{0,60}}?{_WORD}(?P<rest>[\w.-]{{0,40}})"
    rf"(?:{_QUOTE})?,?[^\S\n]{{0,4}}\n?[+-]?\s{{0,40}}(?:{_QUOTE})?value(?:{_QUOTE})?:\s{{0,4}}{_VALUE}"
)
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
    (_NAMES, _VARIABLE),
    (_NAMES, _ASSIGNED),
    (("pwd",), re.compile(r"(?i);\s?pwd\s?=\s?(?P<secret>[^\s;\"'\\]+)")),  # connection strings
    (
        ("://",),
        re.compile(
            r"://(?:\[secret:[0-9a-f]{4}\]|[^\s/:@?#\"'<>\\,\[])*:(?P<secret>[^\s/?#\"'<>\\,]+)@"
        ),
    ),
    (("@tcp(", "@unix("), re.compile(r":(?P<secret>[^\s:@/\"'\[\]]{3,200})@(?:tcp|unix)\(")),
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
        ("sig=", "signature="),  # of signed URLs
        re.compile(
            r"(?i)(?<![a-z])(?:sig|signature)=(?=[a-z%+/=_-]{0,80}\d)(?P<secret>[\w%+/=-]{16,})"
        ),
    ),
    (
        ("hooks.slack.com", "/webhooks/", "/webhookb2/"),
        re.compile(
            r"(?i)(?:hooks\.slack\.com/[a-z]+|/webhooks/\d+|/webhookb2)/(?P<secret>[\w/@-]{16,})"
        ),
    ),
    (
        ("akia", "asia"),  # the secret half of a key, beside the other
        re.compile(
            r"\bA[KS]IA[A-Z0-9]{12,}[\s:,;|/\"'=>]{1,9}(?P<secret>[A-Za-z0-9/+]{40})"
            r"(?![A-Za-z0-9/+=])"
        ),
    ),
    (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "xapp-", "sk-")
        + ("k_live_", "hf_", "npm_", "dckr_pat_", "pypi-", "shpat_", "shpca_", "shppa_", "shpss_")
        + ("dop_v1_", "whsec_", "gocspx-", "akia", "asia", "aiza", "ya29.", "hvs.", "hvb.", "sg."),
        re.compile(
            r"\b(?P<secret>(?:gh[pousr]_|github_pat_|glpat-|xox[abeps]-|xapp-|sk-|[rs]k_live_|hf_"
            r"|npm_|dckr_pat_|pypi-|shp(?:at|ca|pa|ss)_|dop_v1_|whsec_|GOCSPX-|A[KS]IA|AIza"
            r"|ya29\.|hv[sb]\.|SG\.[\w-]{12,}\.)[\w-]{12,})"
        ),
    ),
)
_CUE = re.compile("|".join({re.escape(cue) for cues, _ in _PATTERNS for cue in cues}))
# `secretName`, `token_ttl`, `PASSWORD_FILE`: about a secret, but not it
_ABOUT = re.compile(
    r"(?i)[\w.-]*(?:names?|refs?|file|path|dir|type|kind|count|seconds|ttl|length|limit|id|ur[il])"
)
_NO_VALUE = re.compile(
    r"(?i)(?:true|false|null|none|nil|undefined|missing|expired|invalid|required)[)\]}]*"
    r"|[*x]+|<[^>]*>|\[?redacted\]?|\$\([^)]*\)?|\$\{[^}]*\}?"
)
_RUN = re.compile(r"[a-z]+|[A-Z]+|[0-9]+|[/+_-]+")
_BASE64 = re.compile(r"(?<![\w+/-])[\w+/-]{16,}={0,2}", re.ASCII)

# Secrets as text, as `kubectl get -o yaml` and `-o json` print them
_SECRET_KIND = re.compile(r"\bkind\\?\"?:\s?\\?\"?Secret(?:List)?\b")
_DATA = re.compile(
    r"\"(?:data|stringData)\\?\"\s{0,4}:\s{0,4}\{(?P<json>[^{}]*)\}"
    r"|(?m:^(?P<indent> *)(?:data|stringData):\s*\n(?P<yaml>(?:(?P=indent) +\S.*\n?)+))"
)
_JSON_ITEM = re.compile(r"(?<=[:\s])\\?\"(?P<secret>[^\"\\]+)\\?\"(?=\s*(?:,|$))")
_YAML_ITEM = re.compile(r"(?m)^ +(?:[\w.-]+:(?: +|$))?+(?!(?:[|>][+-]?)?$)(?P<secret>\S.*)$")


class Redactor:
    """Masks patterns of secrets and of personal data, and the exact values it has been told.

    `classes` are those of personal data to mask, of CLASSES; `key` makes the masks, by default the
    one this process uses (`use_key`). Raises UsageError for an unknown class.
    """

    def __init__(
        self,
        values: Iterable[str] = (),
        *,
        classes: Iterable[str] = CLASSES,
        key: bytes | None = None,
    ) -> None:
        self.key, self._classes = key, [kind for kind in CLASSES if kind in set(classes)]
        if unknown := set(classes) - set(CLASSES):
            known = ", ".join(CLASSES)
            raise UsageError(f"unknown class of personal data: {min(unknown)}; known: {known}")
        self._values: dict[str, str] = {}  # what to look for, longest first; whose mask it gets
        self.learn(values)

    def learn(self, values: Iterable[str]) -> None:
        """Exact values to mask from now on, also as base64, URLs and JSON hold them."""
        for value in values:
            if len(value) >= _SHORT and not _IN_MASK.fullmatch(value):
                self._know(_forms(value), value)

    def _know(self, forms: set[str], value: str) -> None:
        if forms - self._values.keys():
            found = {**dict.fromkeys(forms, value), **self._values}
            self._values = dict(sorted(found.items(), key=lambda item: -len(item[0])))

    @property
    def known(self) -> int:
        """How many exact values it masks: more, where it has learned since."""
        return len(self._values)

    def mask(self, value: str, kind: str = "secret") -> str:
        """`[secret:3f2a]`: tells two values apart without telling what they are."""
        return mask(value, kind, self.key)

    def text(self, text: str) -> str:
        text = self._open(text)
        return _BASE64.sub(self._encoded, text)

    def _open(self, text: str) -> str:
        """What is written in the open, unlike base64."""
        known = len(self._values)
        text = self._known(text)
        secret = "Secret" in text and _SECRET_KIND.search(text) is not None
        if secret:
            text = _DATA.sub(self._secret_data, text)
        folded = text.casefold()
        if _CUE.search(folded):
            for cues, pattern in _PATTERNS:
                if any(cue in folded for cue in cues):
                    text = self._masked(pattern, text)
            if secret:  # what a mask took the place of may have hidden the data behind it
                text = _DATA.sub(self._secret_data, text)
        for kind in self._classes:
            text = CLASSES[kind](text, partial(self.mask, kind=kind))
        # What a line told may stand in one above it too
        return self._known(text) if len(self._values) > known else text

    def _known(self, text: str) -> str:
        for form, value in self._values.items():
            if form in text:
                text = text.replace(form, self.mask(value))
        return text

    def _encoded(self, match: re.Match[str]) -> str:
        if _opaque(match[0]):
            return self.mask(match[0])
        whole = match[0][: len(match[0]) // 4 * 4]
        try:
            decoded = base64.b64decode(whole.replace("-", "+").replace("_", "/")).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            return match[0]
        return match[0] if self._open(decoded) == decoded else self.mask(match[0])

    def _secret_data(self, match: re.Match[str]) -> str:
        """The values in the data of a Secret, learned and masked; its keys stay."""
        part, item = ("json", _JSON_ITEM) if match["json"] is not None else ("yaml", _YAML_ITEM)
        start, end = (at - match.start() for at in match.span(part))
        body = item.sub(
            lambda found: found[0].replace(found["secret"], self._of_secret(found["secret"]), 1),
            match[part],
        )
        return match[0][:start] + body + match[0][end:]

    def _of_secret(self, value: str) -> str:
        """The mask of a value in a Secret, learned as it is and decoded."""
        if _MASK.fullmatch(value):
            return value
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            decoded = value
        if _telling(decoded):
            self.learn([decoded])
        elif _telling(value):  # nobody logs that by chance
            self._know({value}, decoded)
        return self.mask(decoded)

    def _masked(self, pattern: re.Pattern[str], text: str) -> str:
        done: list[str] = []
        copied = start = 0
        while match := pattern.search(text, start):
            group = "quoted" if match.groupdict().get("quoted") else "secret"
            value = match[group] if group == "quoted" else match[group].rstrip(")}]")
            if pattern is _ASSIGNED and (not _secret(match, value) or _prose(match, value)):
                start = match.end("sign")  # its value may hold another key
                continue
            if pattern is _VARIABLE and _secret(match, value) and _telling(value):
                self.learn([value])  # elsewhere it may stand without its name
            if not _MASK.fullmatch(value) and not _MASK.fullmatch(f"{value}]"):
                done += [text[copied : match.start(group)], self.mask(value)]
                copied = match.start(group) + len(value)
            start = match.end(group)
        return "".join([*done, text[copied:]])

    # --- JSON -------------------------------------------------------------------------------

    def json(self, value: Json) -> Json:
        """The same for every string of a JSON value. Keys tell what is secret (`{"password": ...}`,
        `{"name": "DB_PASSWORD", "value": ...}`, a Secret's `data`), and such values are learned:
        from then on they are masked wherever they occur."""
        self.learn(_telling_values(value))
        return self._json(value)

    def _json(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._member(value, key) for key in value}
        if isinstance(value, list | tuple):
            return [self._json(item) for item in value]
        return value

    def fields(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """The same for values by JSON pointer, whose last part tells what is secret; for the
        `value` of a variable it is the part before."""
        return {path: self._member({name: values[path]}, name) for path, name in _named(values)}

    def _member(self, parent: dict[str, Json], key: str) -> Json:
        value = parent[key]
        if _is_data(parent, key):
            return {name: self._of_secret(str(value[name])) for name in value}
        item = self._json(value)
        secret = isinstance(item, str) and not _MASK.fullmatch(item) and _names_secret(parent, key)
        return self.mask(value) if secret else item


def use_key(key: bytes) -> None:
    """Make masks with this key, 16 random bytes that a run keeps, wherever no other is given: the
    same in its journal, its views and its reports."""
    global _key
    _key = key


def mask(value: str, kind: str = "secret", key: bytes | None = None) -> str:
    """The mask of a value, for tests and for whoever has no Redactor at hand."""
    return (
        f"[{kind}:{hmac.digest(key or _key, value.encode(errors='replace'), 'sha256').hex()[:4]}]"
    )


# --- what is a secret -----------------------------------------------------------------------


def masked(text: str) -> bool:
    """Whether a mask stands in it, in place of something that nobody here can know."""
    return _MASK.search(text) is not None


def _forms(value: str) -> set[str]:
    """A value as it is, and as it is written in base64, URLs and JSON."""
    raw = value.encode(errors="replace")
    return {value, base64.b64encode(raw).decode(), quote(raw, safe=""), json.dumps(value)[1:-1]}


def _telling(value: str) -> bool:
    """May this value be masked wherever it occurs? Not `postgres`, not what is masked already."""
    word = value.isalpha() and value.islower()
    return len(value) >= _TELLING and not word and not _MASK.search(value)


def _named(pointers: Iterable[str]) -> Iterator[tuple[str, str]]:
    for pointer in pointers:
        *_, parent, last = ("", *pointer.split("/"))
        yield pointer, parent.rstrip("]})") if last == "value" else last


def _opaque(word: str) -> bool:
    """A line of a key whose first line is not there, or anything else as long and as random: cases
    and digits take turns, as in no hash (one case) and no path (words)."""
    if len(word) < _LONG or word.islower() or word.isupper():
        return False
    turns = len(_RUN.findall(word))
    return turns > 0.4 * len(word)


def _telling_values(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str):
                if _names_secret(value, key) and _telling(item):
                    yield item
            else:
                yield from _telling_values(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _telling_values(item)


def _is_data(parent: dict[str, Json], key: str) -> bool:
    known = key in ("data", "stringData") and isinstance(parent[key], dict)
    return known and parent.get("kind") == "Secret"


def _names_secret(parent: dict[str, Json], key: str) -> bool:
    name, value = parent.get("name") if key == "value" else key, parent[key]
    if not isinstance(name, str) or len(value) < 4:
        return False
    found = _NAMED.search(name)
    return found is not None and _secret(found, value)


def _secret(match: re.Match[str], value: str) -> bool:
    """Does this key hold a secret? Not `tokenizer=`, `secretName:`, `tokens: 512`, `token=null`."""
    word, rest = match["word"], match["rest"]
    if rest.lower() == "s":
        open_text = _MASK.sub("", value)
        return any(map(str.isdigit, open_text)) and any(map(str.isalpha, open_text))
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
