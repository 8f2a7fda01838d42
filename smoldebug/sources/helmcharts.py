"""Charts on this machine: their name and version, the CRDs they bring, a digest of every byte.

What Helm is given is a copy of the bytes that were looked at, in a folder of the run's own: nobody
can put another chart in its place between the look, the yes and the upgrade.
"""

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from smoldebug.errors import ToolError
from smoldebug.records import Json
from smoldebug.sources.goyaml import documents
from smoldebug.sources.helm import Chart

MOST_FILES, MOST_BYTES = 10_000, 100 << 20  # of one chart, unpacked
_DEEPEST = 4  # archives of subcharts inside archives
_CRD = re.compile(r"(?:charts/[^/]+/)*crds/.+\.(?:ya?ml|json)")
_TEMPLATE = re.compile(r"(?:charts/[^/]+/)*templates/.+")
_PACKED = re.compile(r"(?:charts/[^/]+/)*charts/[^/]+\.tgz")


class Entry(NamedTuple):
    """A file of a chart, or a link to another one of it."""

    data: bytes
    link: bool = False


def load(path: Path, said: str, version: str = "") -> Chart:
    """The chart in a folder or archive, which `said` names in errors. Raises ToolError where it
    is none, is larger than any chart, or of another version."""
    return _chart(path, _opened(path, said), said, version)


def copied(path: Path, said: str, version: str, folder: Path) -> Chart:
    """The same, of a copy below `folder`, which is made whole or not at all."""
    opened = _opened(path, said)
    chart = _chart(path, opened, said, version)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        made = beside / ("chart" if opened.packed is None else "chart.tgz")
        _write(made, opened)
        kept = made.replace(folder / made.name)
        beside.rmdir()
    except OSError as error:
        raise ToolError(f"the chart {said} cannot be kept: {_reason(error)}") from None
    return replace(chart, path=kept)


def _chart(path: Path, opened: "_Opened", said: str, wanted: str) -> Chart:
    entries = opened.entries
    try:
        crds = tuple(sorted(set(_crds(entries)) - {""}))
    except _READING as error:
        raise ToolError(f"the chart {said} cannot be read: {_reason(error)}") from None
    if "Chart.yaml" not in entries:
        raise ToolError(f"there is no Chart.yaml in it, so this is no chart: {said}")
    about = next(_documents(entries, "Chart.yaml"), None)
    name, version, app = (_word(about, key) for key in ("name", "version", "appVersion"))
    if not name or not version:
        raise ToolError(f"its Chart.yaml gives no name and version: {said}")
    if wanted not in ("", version):
        raise ToolError(f"{said} is version {version}, and not: {wanted}")
    return Chart(path, name, version, app, opened.digest, crds)


def templates(path: Path, said: str) -> list[str]:
    """The texts of its templates, with those of its subcharts. Raises ToolError, as `load` does."""
    entries = _opened(path, said).entries
    try:
        return list(_templates(entries))
    except _READING as error:
        raise ToolError(f"the chart {said} cannot be read: {_reason(error)}") from None


def digest_of(entries: Mapping[str, Entry]) -> str:
    """The same for the same files, in any order; another one where any byte or name differs."""
    found = hashlib.sha256()
    for name in sorted(entries):
        data, link = entries[name]
        for part in (os.fsencode(name), b"link" if link else b"file", data):
            found.update(b"%d:" % len(part) + part)
    return f"sha256:{found.hexdigest()}"


_READING = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error)


class _Opened(NamedTuple):
    """Its files, their digest, and the archive they were in."""

    entries: dict[str, Entry]
    digest: str
    packed: bytes | None = None


class _Room:
    """What a chart may still take, with all that is packed in it."""

    def __init__(self) -> None:
        self.bytes, self.files = MOST_BYTES, MOST_FILES

    def take(self, size: int, files: int = 0) -> None:
        self.bytes, self.files = self.bytes - size, self.files - files
        if self.bytes < 0:
            raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
        if self.files < 0:
            raise ValueError(f"it has more than {MOST_FILES} files")


def _opened(path: Path, said: str) -> _Opened:
    try:
        if path.is_dir():
            entries = _folder(path)
            return _Opened(entries, digest_of(entries))
        packed = _read(path, MOST_BYTES)
        found = f"sha256:{hashlib.sha256(packed).hexdigest()}"
        return _Opened(_unpacked(packed, _Room()), found, packed)
    except _READING as error:
        raise ToolError(f"the chart {said} cannot be read: {_reason(error)}") from None


def _write(path: Path, opened: _Opened) -> None:
    if opened.packed is not None:
        path.write_bytes(opened.packed)
        return
    for name, entry in opened.entries.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if entry.link:
            file.symlink_to(os.fsdecode(entry.data))
        else:
            file.write_bytes(entry.data)


def _reason(error: BaseException) -> str:
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)


def _read(path: Path, left: int) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path.name} is no file")
    with path.open("rb") as file:
        data = file.read(left + 1)
    if len(data) > left:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
    return data


def _folder(root: Path) -> dict[str, Entry]:
    """Helm follows links, so one that leads out of the chart is refused: what lies there is
    not what was looked at."""
    entries: dict[str, Entry] = {}
    room = _Room()
    for folder, folders, files in os.walk(root, onerror=_raise):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*links, *files):
            path = Path(folder, name)
            entry = _link(path, root) if path.is_symlink() else Entry(_read(path, room.bytes))
            room.take(len(entry.data), 1)
            entries[path.relative_to(root).as_posix()] = entry
    return entries


def _link(path: Path, root: Path) -> Entry:
    """As it has to be in a copy."""
    home, target = os.path.realpath(root), os.path.realpath(path)
    if os.path.commonpath([home, target]) != home:
        raise ValueError(f"{path.relative_to(root)} leads out of it")
    return Entry(os.fsencode(os.path.relpath(target, os.path.realpath(path.parent))), link=True)


def _raise(error: OSError) -> None:
    raise error


def _unpacked(packed: bytes, room: _Room) -> dict[str, Entry]:
    """The files of an archive, by their path below its only folder. Links have no content there:
    Helm skips them."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        data = stream.read(room.bytes + 1)
    room.take(len(data))
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            room.take(0, 1)
            if member.issparse():  # a few bytes that say they are many
                raise ValueError(f"{member.name} is a sparse file")
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                entries[member.name.removeprefix("./").partition("/")[2]] = Entry(content.read())
    return entries


def _crds(entries: Mapping[str, Entry]) -> Iterator[str]:
    """Names of the CRDs of a chart and its subcharts."""
    for path, data in _files(entries):
        if _CRD.fullmatch(path):
            for each in documents(data.decode("utf-8", "replace"), path):
                yield _word(each.get("metadata") if isinstance(each, dict) else None, "name")


def _templates(entries: Mapping[str, Entry]) -> Iterator[str]:
    for path, data in _files(entries):
        if _TEMPLATE.fullmatch(path):
            yield data.decode("utf-8", "replace")


def _files(
    entries: Mapping[str, Entry], room: _Room | None = None, depth: int = 0
) -> Iterator[tuple[str, bytes]]:
    """Those of a chart and of the subcharts that are packed in it; no links."""
    room = room or _Room()
    for path, entry in entries.items():
        if entry.link:
            continue
        yield path, entry.data
        if _PACKED.fullmatch(path) and depth < _DEEPEST:
            yield from _files(_unpacked(entry.data, room), room, depth + 1)


def _documents(entries: Mapping[str, Entry], path: str) -> Iterator[Json]:
    return documents(entries[path].data.decode("utf-8", "replace"), path)


def _word(document: Json, key: str) -> str:
    value = document.get(key) if isinstance(document, dict) else None
    return "" if value is None else str(value)
