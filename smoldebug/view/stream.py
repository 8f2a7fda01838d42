"""Streams that take any text: where the encoding has no `✓`, a sign of the same width stands in."""

from typing import TextIO

from smoldebug.untrusted import inert

#: One character each, so that nothing moves on the screen. Words stand beside every symbol.
_ASCII = str.maketrans(
    {
        "✓": "+", "✗": "x", "●": "*", "○": "o", "▸": ">", "⚠": "!", "?": "?",
        "→": ">", "·": "-", "–": "-", "…": "~", "“": '"', "”": '"', "×": "x",
        "─": "-", "█": "#", "░": ".", "▕": "[", "▏": "]",
        "▁": "_", "▂": "_", "▃": ".", "▄": "-", "▅": "=", "▆": "+", "▇": "*",
    }
)  # fmt: skip


class Encodable:
    """A text stream for an encoding that is not UTF-8; characters it lacks become `?`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.encoding = stream, stream.encoding

    def write(self, text: str) -> int:
        safe = text.translate(_ASCII).encode(self.encoding, "replace").decode(self.encoding)
        return self._stream.write(safe)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


class Inert:
    """A text stream for a log, where a CI system may read; see `untrusted.inert`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.encoding = stream, stream.encoding

    def write(self, text: str) -> int:
        return self._stream.write(inert(text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._stream.fileno()


class Prefixed:
    """A text stream of whole lines, each of which begins with the same words."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix, self.encoding = stream, prefix, stream.encoding

    def write(self, text: str) -> int:
        lines = text.removesuffix("\n").split("\n")
        self._stream.write("".join(inert(f"{self._prefix}{line}") + "\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


def encodable(stream: TextIO) -> TextIO:
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    return stream if encoding.startswith("utf") else Encodable(stream)  # type: ignore[return-value]


def drawn_on(stream: TextIO) -> TextIO:
    """For what draws: where no terminal is, a wrapped line may begin with a CI system's command."""
    kept = encodable(stream)
    return kept if stream.isatty() else Inert(kept)  # type: ignore[return-value]
