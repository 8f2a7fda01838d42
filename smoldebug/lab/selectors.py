"""Label and field selectors: text in, a predicate over objects out."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from smoldebug.lab.apierror import bad_request
from smoldebug.sources.world import Object

Predicate = Callable[[Object], bool]
_Terms = tuple[tuple[str, str, frozenset[str]], ...]

_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_LABEL_TERM = re.compile(
    rf"\s*(?:!\s*(?P<absent>{_KEY})|(?P<key>{_KEY})"
    r"(?:\s*(?P<op>==?|!=)\s*(?P<value>[-A-Za-z0-9_.]*)"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*"
)
_FIELD_TERM = re.compile(r"(?P<path>[A-Za-z0-9.]+)(?P<op>==?|!=)(?P<value>.*)")


@lru_cache(maxsize=256)
def parse(text: str) -> _Terms:
    """A label selector as (key, `in | notin | exists | absent`, values). Raises ApiError 400."""
    terms, position = [], 0
    while position < len(text):
        found = _LABEL_TERM.match(text, position)
        if not found or text[found.end() : found.end() + 1] not in ("", ","):
            raise bad_request(f"unable to parse requirement: {text[position:]!r}")
        terms.append(_term(found))
        position = found.end() + 1
    return tuple(terms)


def _term(found: re.Match[str]) -> tuple[str, str, frozenset[str]]:
    if found["absent"]:
        return found["absent"], "absent", frozenset()
    if found["op"]:
        return found["key"], "notin" if found["op"] == "!=" else "in", frozenset([found["value"]])
    if found["set"]:
        values = frozenset(v.strip() for v in found["values"].split(","))
        return found["key"], found["set"], values
    return found["key"], "exists", frozenset()


def labels_match(text: str, labels: Mapping[str, str]) -> bool:
    """Whether the label selector `text` picks an object with these labels."""
    return _all_hold(parse(text), labels)


def selector_matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """The `matchLabels` and `matchExpressions` form; an empty selector picks everything."""
    same: _Terms = tuple(
        (key, "in", frozenset([value]))
        for key, value in (selector.get("matchLabels") or {}).items()
    )
    words = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    more: _Terms = tuple(
        (term["key"], words[term["operator"]], frozenset(term.get("values") or ()))
        for term in selector.get("matchExpressions") or ()
    )
    return _all_hold(same + more, labels)


def selector_text(selector: Mapping[str, Any]) -> str:
    """The same form as one line: `app=web,tier in (a,b)`."""
    terms = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        values = ",".join(sorted(term.get("values") or ()))
        terms.append(
            {
                "In": f"{term['key']} in ({values})",
                "NotIn": f"{term['key']} notin ({values})",
                "Exists": term["key"],
            }.get(term["operator"], f"!{term['key']}")
        )
    return ",".join(terms)


def _all_hold(terms: _Terms, labels: Mapping[str, str]) -> bool:
    for key, operator, values in terms:
        present = key in labels
        held = {
            "in": present and labels.get(key) in values,
            "notin": not present or labels[key] not in values,
            "exists": present,
            "absent": not present,
        }
        if not held[operator]:
            return False
    return True


@lru_cache(maxsize=256)
def _field_terms(text: str) -> tuple[tuple[tuple[str, ...], bool, str], ...]:
    terms = []
    for part in filter(None, text.split(",")):
        found = _FIELD_TERM.fullmatch(part.strip())
        if not found:
            raise bad_request(f"invalid selector: {part!r}; can't understand it")
        terms.append((tuple(found["path"].split(".")), found["op"] != "!=", found["value"]))
    return tuple(terms)


def exact_field(text: str, path: str = "metadata.name") -> str:
    """The value a field selector demands of the field at `path`, "" if none. Raises ApiError."""
    terms = _field_terms(text) if text else ()
    return next((v for p, same, v in terms if same and p == tuple(path.split("."))), "")


def fields_match(text: str, obj: Object) -> bool:
    """Whether the field selector picks the object; a missing field reads as ""."""
    return all((_field(obj, path) == value) == same for path, same, value in _field_terms(text))


def _field(obj: Any, path: tuple[str, ...]) -> str:
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    if isinstance(obj, bool):
        return str(obj).lower()
    return "" if obj is None else str(obj)


def predicate(namespace: str | None, labels: str, fields: str) -> Predicate:
    """The three ways a list or watch narrows its objects, as one. Raises ApiError 400."""
    parse(labels), _field_terms(fields)  # a bad selector fails even where nothing is stored

    def picks(obj: Object) -> bool:
        meta = obj["metadata"]
        return (
            (not namespace or meta.get("namespace") == namespace)
            and (not labels or labels_match(labels, meta.get("labels") or {}))
            and (not fields or fields_match(fields, obj))
        )

    return picks
