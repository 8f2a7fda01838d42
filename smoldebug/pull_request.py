"""What a pull request, its commits and its comments say: plain facts in, text for a forge out.

Text from the world stands in code, escaped or fenced: it pings nobody, closes no issue, fetches
nothing, gives the forge no order and cannot end what marks our part of a text. A title and a commit
message have no such fences; into those goes only what can be read in no other way.
"""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from smoldebug.coverage import EDITED, by_need, counted, place, state
from smoldebug.playbook.patches import Edit
from smoldebug.records import CheckRun, Edited, Json, Quote
from smoldebug.redact import Redactor
from smoldebug.untrusted import clip, code, escaped, fence, inert, one_line, plain, web_address

SUBJECT = 72  # characters of a title, and of the first line of a commit
BODY = 60_000  # characters; GitHub takes 65,536, and people add to it
KEPT = BODY // 2  # of a template, or of what people wrote; a longer one is left out
PART = 4_000  # characters of one list beside the table
SUMMARY = 2_000
CAUSE = 4_000  # characters of what a failed check said
FAILED = 10  # checks of which that is told
BEGIN, END = "<!-- smoldebug:begin -->", "<!-- smoldebug:end -->"

T = TypeVar("T")
Shown = Callable[[str], str]  # masks secrets
_MASKS = Redactor()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is told of a patch. Any text in it may come from the world."""

    run: str
    version: str
    playbook: str
    edits: Sequence[Edit]
    edited: Sequence[Edited]  # against the base branch: all that the pull request brings
    revision: str = ""  # of the playbook: its commit
    why: str = ""  # its description
    incident: str = ""  # a link, or a name
    problems: Sequence[str] = ()  # files that could not be read or edited
    uncovered: Sequence[str] = ()  # live objects that no manifest describes
    drift: Sequence[str] = ()  # live objects that differ from their manifest
    quotes: Sequence[Quote] = ()
    model: str = ""  # that had a part in choosing the edits; "": none had
    summary: str = ""  # in the words of `writer`
    writer: str = ""  # a model
    template: str = ""  # the repository's; or the body as it stands, which people may have edited


# --- title and commits ------------------------------------------------------------------------


def title(edits: Sequence[Edit], edited: Sequence[Edited]) -> str:
    """`Set FEATURE_FLAG=true in 12 Deployments of staging`; at most 72 characters."""
    first = edits[0] if edits else None
    more = f" and {_count(len(edits) - 1, 'more edit')}" if edits[1:] else ""
    where = f"{more} in {_objects(edited)}" if edited else more
    whole = f"{does(first)}{where}"
    return whole if len(whole) <= SUBJECT else one_line(f"{does(first, False)}{where}", SUBJECT)


def commit_message(facts: Facts, path: str = "", subject: str = "") -> str:
    """For a commit of one file where `path` is given. `subject` is the playbook's, if it has one.

    Who made it, and any sign-off, Git adds.
    """
    rows = [row for row in facts.edited if not path or row.path == path]
    says = [one_line(subject, SUBJECT) or title(facts.edits, rows)]
    if why := quiet(_MASKS.text(facts.why)):
        says.append(textwrap.fill(why, SUBJECT))
    says.append(f"Made by smoldebug {quiet(facts.version)}, playbook {quiet(facts.playbook)}.")
    trailers = [f"Smoldebug-Run: {_word(facts.run)}"]
    if address := web_address(facts.incident):
        trailers.append(f"Incident: {address}")
    return "\n\n".join([*says, "\n".join(trailers)]) + "\n"


def _objects(edited: Sequence[Edited]) -> str:
    """`12 Deployments of staging`; of a single one its name."""
    refs = {row.ref for row in edited if row.state in EDITED}
    kinds, namespaces = {ref.kind for ref in refs}, {ref.namespace for ref in refs}
    kind = _word(kinds.pop(), "") if len(kinds) == 1 else ""
    namespace = _word(namespaces.pop(), "") if len(namespaces) == 1 else ""
    if len(refs) == 1 and kind and (name := _word(refs.pop().name, "")):
        return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
    many = _count(len(refs), kind or "object")
    return f"{many} of {namespace}" if namespace else many


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


_PLAIN = re.compile(r"[A-Za-z0-9_./:+-]{1,60}(?:@sha256:[0-9a-f]{64})?")


def _word(text: str, otherwise: str = "something") -> str:
    """A name or value that reads as one and does nothing where text is not escaped."""
    return text if _PLAIN.fullmatch(text) and ":/" not in text else otherwise


def _path(text: str) -> str:
    """`spec.containers.app.image`: in brackets stand words to a CI."""
    return _word(text.replace("[", ".").replace("]", ""))


_ACTS = re.compile(r"(?<!\w)@(?=\w)|#(?=\w)|!(?=\d)|GH-(?=\d)|:(?=//)|\*\*\*", re.IGNORECASE)


def quiet(text: str, limit: int = 1000) -> str:
    """A line for where nothing is escaped: a title in a model's words, a commit message. In it is
    no mention, no reference to an issue, no word to a CI."""
    flat = one_line(text, 1000).replace("[", "(").replace("]", ")")
    return one_line(_ACTS.sub(lambda found: f"{found[0][:3]} ", flat), limit)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _pair(name: str, value: Json, values: bool) -> str:
    """`NAME=value`; the name alone where the value is a secret, long or no word."""
    seen = _MASKS.json({"name": name, "value": _text(value)})["value"] if values else ""
    said = _word(seen, "")
    return f"{_word(name)}={said}" if said else _word(name)


def _resources(edit: Any, values: bool) -> str:
    of = [
        " ".join([side, *(_pair(name, value, values) for name, value in given.items())])
        for side, given in (("requests", edit.requests), ("limits", edit.limits))
        if given
    ]
    return f"Set {' and '.join(of) or 'resources'}"


def _image(edit: Any, values: bool) -> str:
    image = _word(edit.image, "") if values else ""
    return f"Set the image to {image}" if image else "Set the image"


# A playbook's action, in words; `values`: whether with what is set
_DOES: Mapping[str, Callable[[Any, bool], str]] = {
    "set_env": lambda edit, values: f"Set {_pair(edit.name, edit.value, values)}",
    "remove_env": lambda edit, values: f"Remove {_word(edit.name)}",
    "set_image": _image,
    "set_resources": _resources,
    "set_replicas": lambda edit, values: f"Set replicas={edit.replicas}",
    "set_probe": lambda edit, values: f"Set the {edit.probe} probe",
    "set_label": lambda edit, values: f"Set label {_pair(edit.name, edit.value, values)}",
    "remove_label": lambda edit, values: f"Remove label {_word(edit.name)}",
    "set_annotation": lambda edit, values: f"Set annotation {_pair(edit.name, edit.value, values)}",
    "remove_annotation": lambda edit, values: f"Remove annotation {_word(edit.name)}",
    "set": lambda edit, values: f"Set {_pair(_path(edit.path), edit.value, values)}",
    "remove": lambda edit, values: f"Remove {_path(edit.path)}",
    "add_item": lambda edit, values: (
        f"Add {_word(_text(edit.item.get(edit.key)), 'an item')} to {_path(edit.path)}"
    ),
    "remove_item": lambda edit, values: (
        f"Remove {_word(edit.value, 'an item')} from {_path(edit.path)}"
    ),
}


def does(edit: Edit | None, values: bool = True) -> str:
    """An edit in words: `Set FEATURE_FLAG=true`; without `values` it is `Set FEATURE_FLAG`."""
    for name, words in _DOES.items():
        if (action := getattr(edit, name, None)) is not None:
            return words(action, values)
    return "Edit manifests"


# --- the body ---------------------------------------------------------------------------------


def body(facts: Facts, shown: Shown = _MASKS.text) -> str:
    """Markdown. Where `facts.template` has our part already, that is replaced and all else kept;
    else our part stands below its first heading, or above it."""
    before, after = _around(facts.template)
    text = Markdown(shown)
    head = [BEGIN, *text.what(facts), "### Coverage", text.line(counted(facts.edited))]
    tail = [*text.gaps(facts), *text.evidence(facts), *text.origin(facts), END]
    room = BODY - sum(len(part) + 2 for part in (before, after, *head, *tail))
    parts = [before, *head, text.table(facts.edited, room), *tail, after]
    return "\n\n".join(part for part in parts if part) + "\n"


_OURS = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
_HEADING = re.compile(r"(?:\s|(?><!--.*?-->))*+#{1,6}[ \t][^\n]*", re.DOTALL)


def _around(template: str) -> tuple[str, str]:
    """What stands before and after our part."""
    template = template.replace("\r\n", "\n")
    found = _OURS.search(template)
    if found is None and (heading := _HEADING.match(template)):
        start = end = heading.end()
    else:
        start, end = found.span() if found else (0, 0)
    before, after = template[:start].strip("\n"), template[end:].strip("\n")
    return (before, after) if len(before) + len(after) <= KEPT else ("", "")


class Markdown:
    """Text from the world as Markdown, secrets masked, without what marks our part."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def line(self, text: str, limit: int = 300) -> str:
        """GitLab takes a line that begins with a slash for an order."""
        return re.sub("^/", r"\/", escaped(self._safe(text), limit))

    def code(self, text: str, limit: int = 300) -> str:
        return code(one_line(self._safe(text), limit) or "?")

    def fence(self, text: str, limit: int) -> str:
        """A block in which no line begins like an order to GitLab, or to a CI that prints it."""
        told = inert(plain(clip(self._safe(text).strip(), limit)))
        return fence(re.sub(r"(?m)^/", " /", told))

    def _safe(self, text: str) -> str:
        """Cut far beyond what is shown of it, so that no half of a secret is."""
        return self._shown(plain(clip(text, 5 * CAUSE))).replace("<!--", "<! --")

    # --- parts ------------------------------------------------------------------------------

    def what(self, facts: Facts) -> list[str]:
        many = facts.edits if facts.edits[1:] else ()
        edits = bounded(many, lambda edit: f"- {escaped(does(edit))}", PART)
        why = [f"Why: {self.line(facts.why, 1000)}"] if facts.why.strip() else []
        if facts.incident.strip():
            address = web_address(facts.incident.strip())
            why.append(f"Incident: {f'<{address}>' if address else self.code(facts.incident)}")
        head = f"**{escaped(title(facts.edits, facts.edited))}**"
        return [head, *([edits] if edits else []), *why]

    def table(self, edited: Sequence[Edited], room: int) -> str:
        if not edited:
            return ""
        head = "| Object | File | Result |\n| --- | --- | --- |"
        return f"{head}\n{bounded(by_need(edited), self._row, room - len(head) - 60, chr(10))}"

    def _row(self, row: Edited) -> str:
        result = self.line(state(row)) + (f": {self._cell(row.detail)}" if row.detail else "")
        return f"| {self._cell(str(row.ref))} | {self._cell(place(row))} | {result} |"

    def _cell(self, text: str) -> str:
        return self.code(text, 200).replace("|", r"\|")

    def gaps(self, facts: Facts) -> list[str]:
        """What the pull request does not bring."""
        found: list[str] = []
        for heading, lines in (
            ("Only in the cluster, in no manifest here", facts.uncovered),
            ("Runs otherwise than its manifest says", facts.drift),
            ("Could not be read or edited", facts.problems),
        ):
            if lines:
                items = bounded(lines, lambda line: f"- {self.line(line)}", PART)
                found += [f"### {heading}", items]
        return found

    def evidence(self, facts: Facts) -> list[str]:
        known = [quote for quote in facts.quotes if quote.verified]
        quotes = bounded(known, self._quote, PART)
        found = ["### Evidence", quotes] if quotes else []
        if summary := plain(facts.summary[: 2 * SUMMARY]).strip()[:SUMMARY]:
            lines = (self.line(line, 1000) for line in summary.splitlines() if line.strip())
            by = self.code(facts.writer or "a model", 80)
            found += [
                f"### Summary, in the words of {by}",
                "> " + "\n>\n> ".join(lines) + "\n>\n> (Nobody has checked this summary.)",
            ]
        return found

    def _quote(self, quote: Quote) -> str:
        return f"- {self.line(quote.evidence, 20)}: {self.code(quote.text)}"

    def origin(self, facts: Facts) -> list[str]:
        by = "The lines were edited by code, as the playbook says; no model had a part in them."
        if facts.model:
            model = self.code(facts.model, 80)
            by = f"The lines were edited by code; the model {model} had a part in choosing them."
        at = f" at {self.code(facts.revision, 80)}" if facts.revision else ""
        version, book, run = (
            self.code(name, 80) for name in (facts.version, facts.playbook, facts.run)
        )
        undo = self.undo(facts.run)
        return [
            "### How this was made",
            f"{by} smoldebug {version}, playbook {book}{at}, run {run}.",
            "### Undo",
            f"{undo} closes this pull request and takes the branch back. Once merged, revert it.",
        ]

    def undo(self, run: str) -> str:
        return self.code(f"smoldebug undo {run}", 120)


def bounded(items: Sequence[T], line: Callable[[T], str], room: int, after: str = "") -> str:
    """The lines that fit, then how many do not."""
    kept: list[str] = []
    for item in items:
        words = line(item)
        if (room := room - len(words) - 1) < 0:
            break
        kept.append(words)
    more = [f"{after}… and {len(items) - len(kept)} more"] if items[len(kept) :] else []
    return "\n".join([*kept, *more])


# --- comments ---------------------------------------------------------------------------------


def failure_comment(
    run: str, reason: str, checks: Sequence[CheckRun], marker: str, shown: Shown = _MASKS.text
) -> str:
    """What failed, with what the failed checks said. `marker` tells it from other comments."""
    text = Markdown(shown)
    failed = [check for check in checks if check.state == "failed"]
    open_ = [text.code(check.name, 80) for check in checks if check.state == "pending"]
    parts = [marker, f"**{len(failed)} of {len(checks)} checks failed.** {text.line(reason)}"]
    for check in failed[:FAILED]:
        parts.append(f"{text.code(check.name, 80)} failed{':' if check.detail.strip() else '.'}")
        if check.detail.strip():
            parts.append(text.fence(check.detail, CAUSE))
    if failed[FAILED:]:
        parts.append(f"… and {len(failed) - FAILED} more")
    if open_:
        parts.append(f"Not finished: {', '.join(open_[:FAILED])}")
    parts.append(f"The branch stays. {text.undo(run)} takes it back.")
    return "\n\n".join(parts) + "\n"
