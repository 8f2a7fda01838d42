"""Charts on this machine: their name and version, the CRDs they bring, a digest of every byte."""

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping
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


def load(path: Path, said: str) -> Chart:
    """The chart in a folder or archive, which `said` names in errors. Raises ToolError where it
    is none, or is larger than any chart."""
    try:
        entries, digest = _opened(path)
        crds = tuple(sorted(set(_crds(entries)) - {""}))
    except _READING as error:
        raise ToolError(f"the chart {said} cannot be read: {_reason(error)}") from None
    if "Chart.yaml" not in entries:
        raise ToolError(f"there is no Chart.yaml in it, so this is no chart: {said}")
    about = next(_documents(entries, "Chart.yaml"), None)
    name, version, app = (_word(about, key) for key in ("name", "version", "appVersion"))
    if not name or not version:
        raise ToolError(f"its Chart.yaml gives no name and version: {said}")
    return Chart(path, name, version, app, digest, crds)


def templates(path: Path, said: str) -> list[str]:
    """The texts of its templates, with those of its subcharts. Raises ToolError, as `load` does."""
    try:
        return list(_templates(_opened(path)[0]))
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


def _opened(path: Path) -> tuple[dict[str, Entry], str]:
    """Its files and their digest."""
    if path.is_dir():
        entries = _folder(path)
        return entries, digest_of(entries)
    packed = _read(path, MOST_BYTES)
    return _unpacked(packed), f"sha256:{hashlib.sha256(packed).hexdigest()}"


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
    home, left = os.path.realpath(root), MOST_BYTES
    for folder, folders, files in os.walk(root, onerror=_raise):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*links, *files):
            path = Path(folder, name)
            if path.is_symlink():
                entry = Entry(os.fsencode(path.readlink()), link=True)
                if os.path.commonpath([home, os.path.realpath(path)]) != home:
                    raise ValueError(f"{path.relative_to(root)} leads out of it")
            else:
                entry = Entry(_read(path, left))
            left -= len(entry.data)
            entries[path.relative_to(root).as_posix()] = entry
            if len(entries) > MOST_FILES:
                raise ValueError(f"it has more than {MOST_FILES} files")
    return entries


def _raise(error: OSError) -> None:
    raise error


def _unpacked(packed: bytes) -> dict[str, Entry]:
    """The files of an archive, by their path below its only folder. Links have no content there:
    Helm skips them."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                entries[member.name.removeprefix("./").partition("/")[2]] = Entry(content.read())
            if len(entries) > MOST_FILES:
                raise ValueError(f"it has more than {MOST_FILES} files")
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


def _files(entries: Mapping[str, Entry], depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Those of a chart and of the subcharts that are packed in it; no links."""
    for path, entry in entries.items():
        if entry.link:
            continue
        yield path, entry.data
        if _PACKED.fullmatch(path) and depth < _DEEPEST:
            yield from _files(_unpacked(entry.data), depth + 1)


def _documents(entries: Mapping[str, Entry], path: str) -> Iterator[Json]:
    return documents(entries[path].data.decode("utf-8", "replace"), path)


def _word(document: Json, key: str) -> str:
    value = document.get(key) if isinstance(document, dict) else None
    return "" if value is None else str(value)
