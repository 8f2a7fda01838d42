"""CODEOWNERS: who is asked about a file. And the template of a repository's pull requests.

The rules are those of GitHub: the last that fits a file counts, a rule without owners leaves it to
nobody. GitLab's sections each count on their own; owners of a heading are those of its rules.
Gitea asks its owners by itself, and its regular expressions are not read here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from smoldebug.sources.globs import matches
from smoldebug.sources.repository import Tree

MOST = 15  # people; GitHub asks no more of a pull request
_LARGEST = 3 << 20  # bytes; GitHub reads no larger file
_PLACES = (
    ".github/CODEOWNERS",
    "CODEOWNERS",
    "docs/CODEOWNERS",
    ".gitlab/CODEOWNERS",
    ".gitea/CODEOWNERS",
    ".forgejo/CODEOWNERS",
)
_TEMPLATES = (
    *(
        f"{folder}pull_request_template.md"
        for folder in (".github/", "", "docs/", ".gitea/", ".forgejo/")
    ),
    ".gitlab/merge_request_templates/default.md",
)
_TEMPLATE_BYTES = 64 << 10
_SECTION = re.compile(r"\^?\[(?P<name>[^\]]*)\](?:\[\d+\])?(?P<owners>\s.*)?")
_OWNER = re.compile(
    r"@([A-Za-z0-9_][\w.-]{0,99}(?:/(?!\.\.?(?:/|$))[\w.-]{1,100}){0,20})", re.ASCII
)
_WORD = re.compile(r"(?:\\.|[^\s\\])+")

_Rule = tuple[tuple[str, ...], tuple[str, ...]]  # globs, owners


def owners(text: str, paths: Sequence[str]) -> tuple[str, ...]:
    """The owners of these files, `alice` or `shop/platform`, at most 15. E-mail addresses name
    nobody that a forge could ask."""
    sections = _sections(text)
    found = (owner for path in paths for rules in sections for owner in _owners_of(path, rules))
    return tuple(dict.fromkeys(found))[:MOST]


def find(tree: Tree) -> str:
    """The text of a commit's CODEOWNERS, "" where there is none."""
    return _text(tree, _PLACES, _LARGEST)


def template(tree: Tree) -> str:
    """What its pull requests begin with, "" where nothing is given."""
    real = {path.lower(): path for path in tree.files()}
    return _text(tree, (real[path] for path in _TEMPLATES if path in real), _TEMPLATE_BYTES)


def _text(tree: Tree, places: Iterable[str], largest: int) -> str:
    files = tree.files()
    for path in places:
        entry = files.get(path)
        if entry and entry.kind == "file" and entry.size <= largest:
            return tree.read(path).decode("utf-8", "replace").removeprefix("\ufeff")
    return ""


def _owners_of(path: str, rules: Sequence[_Rule]) -> tuple[str, ...]:
    return next((owners for globs, owners in reversed(rules) if matches(path, globs)), ())


def _sections(text: str) -> list[list[_Rule]]:
    sections: dict[str, list[_Rule]] = {}
    rules, of_heading = sections.setdefault("", []), tuple[str, ...]()
    for line in map(str.strip, text.splitlines()):
        heading = _SECTION.fullmatch(line)
        if heading:
            rules = sections.setdefault(heading["name"].strip().lower(), [])
            of_heading = tuple(_people(_words(heading["owners"] or "")))
        elif words := list(_words(line)):
            pattern, excluded = words[0].removeprefix("!"), words[0].startswith("!")
            people = tuple(_people(words[1:])) if len(words) > 1 else of_heading
            rules.append((_globs(pattern), () if excluded else people))
    return list(sections.values())


def _words(line: str) -> Iterator[str]:
    """Up to a comment. A space or `#` of a name is written with a backslash."""
    for word in _WORD.findall(line):
        if word.startswith("#"):
            return
        yield word


def _people(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        if owner := _OWNER.fullmatch(word):
            yield owner[1]


def _globs(pattern: str) -> tuple[str, ...]:
    """A name alone stands for itself in any folder, and for all that is in a folder of that name;
    `docs/*` for the files in `docs`, not for those deeper down."""
    plain = re.sub(r"\\(.)", r"\1", pattern).replace("[", "[[]")
    anchored = "/" in plain.rstrip("/")
    glob = plain.strip("/") if anchored else f"**/{plain.strip('/')}"
    if plain.endswith("/"):
        return (f"{glob}/**",)
    if glob.rpartition("/")[2] in ("*", "**"):
        return (glob,)
    return (glob, f"{glob}/**")
