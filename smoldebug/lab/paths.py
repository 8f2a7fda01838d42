"""Paths as a container means them, and where they really are: its processes see this machine's
files, so that the real path takes the place of each that is mounted or in its image."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smoldebug.lab.images import Image

_PATH = re.compile(r"(?<![\w./-])/[\w./-]+")


@dataclass(frozen=True, slots=True)
class Paths:
    """`mounts`: where a container sees a volume -> where that is."""

    image: Image
    mounts: Mapping[str, Path] = field(default_factory=dict)

    def in_command(self, text: str) -> str:
        """A word of a command with the real paths."""
        return _replaced(text, lambda path: self._mounted(path) or self.image.real(path))

    def in_variable(self, text: str) -> str:
        """The same for a variable, where a folder of the image may as well be a URL's path."""

        def real(path: str) -> Path | None:
            found = self.image.real(path)
            return self._mounted(path) or (found if found and found.is_file() else None)

        return _replaced(text, real)

    def _mounted(self, path: str) -> Path | None:
        for place in sorted(self.mounts, key=len, reverse=True):
            if path == place or path.startswith(f"{place}/"):
                return self.mounts[place] / path[len(place) + 1 :]
        return None


def _replaced(text: str, real: Callable[[str], Path | None]) -> str:
    return _PATH.sub(lambda found: str(real(found[0]) or found[0]), text)
