"""Label and field selectors as `kubectl get -l` takes them: `app=web,tier in (a, b),!canary`."""

import re
from collections.abc import Callable
from typing import Any

from smoldebug.errors import ToolError

_TERM = re.compile(
    r"(?P<absent>!)?(?P<key>[\w./-]+)"
    r"(?:\s*(?P<op>==|=|!=)\s*(?P<value>[^,()]*)|\s+(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?"
    r"\s*(?:,\s*|$)"
)


def holds(selector: str, value_of: Callable[[str], Any]) -> bool:
    """Whether it picks an object; `value_of` gives a label's value, None for one it has not.
    Raises ToolError when it is no selector."""
    place = 0
    while place < len(selector):
        term = _TERM.match(selector, place)
        if term is None:
            raise ToolError(f"not a selector: {selector!r}")
        if not _holds(term, value_of(term["key"])):
            return False
        place = term.end()
    return True


def field_of(item: Any, path: str) -> Any:
    """The value that a field selector compares: `status.phase`; None where it is absent."""
    for key in path.split("."):
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _holds(term: re.Match[str], actual: Any) -> bool:
    if term["set"]:
        listed = [value.strip() for value in term["values"].split(",")]
        return (actual in listed) == (term["set"] == "in")
    if term["op"]:
        return ((actual or "") == term["value"].strip()) == (term["op"] != "!=")
    return (actual is None) == bool(term["absent"])
