"""Replacements in a text, by position, and what its lines are like around them."""

import re
from collections.abc import Sequence

from smoldebug.errors import ChangeRefused

_BLANK = re.compile(r"[ \t]*\r?\n")
_INDENT = re.compile(r"[ \t]*")
_COMMENT = re.compile(r"([ \t]*)#.*\n?")


class Splices:
    """Replacements of parts of a text, none of which touches another.

    A text without a newline at its end is worked on as if it had one.
    """

    def __init__(self, text: str) -> None:
        self._open_end = not text.endswith("\n")
        self.text = text + self._newline(text, len(text)) if self._open_end else text
        self._found: list[tuple[int, int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def first(self) -> int:
        """Where the first of them is."""
        return min(self._found)[0] if self._found else 0

    def replace(self, start: int, end: int, new: str) -> None:
        self._found.append((start, end, new))

    def insert_lines(self, at: int, lines: Sequence[str]) -> None:
        """Whole lines, at the start of a line, with its neighbour's kind of newline."""
        newline = self.newline(at)
        self.replace(at, at, "".join(line + newline for line in lines))

    def newline(self, at: int) -> str:
        """How the line before a position ends."""
        return self._newline(self.text, at)

    @staticmethod
    def _newline(text: str, at: int) -> str:
        end = text.rfind("\n", 0, at)
        end = end if end >= 0 else text.find("\n")
        return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"

    def applied(self) -> str:
        """The text with all of them done. Raises ChangeRefused where one is inside another."""
        parts: list[str] = []
        at = 0
        for start, end, new in sorted(self._found, key=lambda each: each[:2]):
            if start < at and new:
                line = self.text.count("\n", 0, start) + 1
                raise ChangeRefused(f"line {line}: edits touch each other here: edit it by hand")
            parts += self.text[at:start], new
            at = max(at, end)
        text = "".join([*parts, self.text[at:]])
        return text.removesuffix(self.newline(len(self.text))) if self._open_end else text

    # --- lines ----------------------------------------------------------------------------

    def line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def line_end(self, at: int) -> int:
        """Where the next line starts; a position after a newline is on the line before."""
        if at > 0 and self.text[at - 1] == "\n":
            return at
        return self.text.find("\n", at) + 1 or len(self.text)

    def column(self, at: int) -> int:
        return at - self.line_start(at)

    def indent(self, at: int) -> str:
        """The white space that the line of a position begins with."""
        found = _INDENT.match(self.text, self.line_start(at))
        return found[0] if found else ""

    def begins_line(self, at: int) -> bool:
        return not self.text[self.line_start(at) : at].strip()

    def blank(self, at: int) -> int:
        """Where the blank line that starts at a position ends, 0 if it is none."""
        found = _BLANK.match(self.text, at)
        return found.end() if found else 0

    def blank_before(self, at: int) -> int:
        """Where the blank line before a line starts, -1 if it is none."""
        start = self.line_start(at - 1) if at else 0
        return start if at and self.blank(start) == at else -1

    def comment(self, at: int) -> tuple[int, int]:
        """Column and end of the comment line that starts at a position; -1 if it is none."""
        found = _COMMENT.match(self.text, at)
        return (len(found[1]), found.end()) if found else (-1, at)

    def after(self, end: int, column: int) -> int:
        """Where what ends at a position is over, comment lines below it included that are indented
        deeper than its column."""
        at = self.line_end(end)
        while self.comment(at)[0] > column:
            at = self.comment(at)[1]
        return at

    def comments_above(self, start: int, column: int) -> int:
        """Where the comment lines directly above a line start that have its column."""
        while start and self.comment(self.line_start(start - 1))[0] == column:
            start = self.line_start(start - 1)
        return start
