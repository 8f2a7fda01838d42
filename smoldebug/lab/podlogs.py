"""Containers' logs: one bounded file per run of a container, each line with its time."""

import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from smoldebug.lab.runtime import LogOptions

SIZE_LIMIT = 4 << 20  # bytes of one file; then its older half goes
_FOLLOW = 0.2  # seconds between looks at a log somebody follows
LINE_LIMIT = 16 << 10  # bytes; a longer line is split, as container runtimes do


@dataclass(slots=True)
class _Pipe:
    source: IO[bytes]
    path: Path
    file: IO[bytes]
    rest: bytes = b""


class LogPump:
    """One thread that copies what containers say into their files."""

    def __init__(self) -> None:
        self._ready = selectors.DefaultSelector()
        self._wake, waker = os.pipe()
        self._waker = waker
        self._ready.register(self._wake, selectors.EVENT_READ)
        self._new: list[_Pipe] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="pod-logs", daemon=True)
        self._thread.start()

    def attach(self, source: IO[bytes], path: Path) -> None:
        """Copy `source` to a new file until it ends; the pump then closes both."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._new.append(_Pipe(source, path, path.open("wb", buffering=0)))
        os.write(self._waker, b".")

    def stop(self) -> None:
        self._stopping = True
        os.write(self._waker, b".")
        self._thread.join()
        for key in list(self._ready.get_map().values()):
            if isinstance(key.data, _Pipe):
                self._close(key.data)
        self._ready.close()
        os.close(self._wake)
        os.close(self._waker)

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._ready.select():
                if isinstance(key.data, _Pipe):
                    self._copy(key.data)
                else:
                    os.read(self._wake, 4096)
            with self._lock:
                new, self._new = self._new, []
            for pipe in new:
                self._ready.register(pipe.source, selectors.EVENT_READ, pipe)

    def _copy(self, pipe: _Pipe) -> None:
        chunk = os.read(pipe.source.fileno(), 1 << 16)
        lines = (pipe.rest + chunk).split(b"\n")
        pipe.rest = lines.pop()
        if not chunk or len(pipe.rest) > LINE_LIMIT:
            lines, pipe.rest = [*lines, *([pipe.rest] if pipe.rest else [])], b""
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode()
        pipe.file.write(b"".join(stamp + line + b"\n" for line in lines))
        if pipe.file.tell() > SIZE_LIMIT:
            self._halve(pipe)
        if not chunk:
            self._close(pipe)

    def _halve(self, pipe: _Pipe) -> None:
        kept = pipe.path.read_bytes()[-SIZE_LIMIT // 2 :].partition(b"\n")[2]
        pipe.file.close()
        pipe.file = pipe.path.open("wb", buffering=0)
        pipe.file.write(kept)

    def _close(self, pipe: _Pipe) -> None:
        self._ready.unregister(pipe.source)
        pipe.source.close()
        pipe.file.close()


def read(path: Path, options: LogOptions) -> bytes:
    """What a log holds of what was asked for."""
    return _chosen(path.read_bytes() if path.exists() else b"", options)[: options.limit]


def follow(path: Path, options: LogOptions, running: Callable[[], bool]) -> Iterator[bytes]:
    """A log as it grows, until the container that writes it no longer runs; b"" now and then."""
    with path.open("rb") as file:
        yield _chosen(file.read(), options)
        whole = replace(options, tail=None, since=None)
        while True:
            runs = running()
            time.sleep(_FOLLOW)
            if os.fstat(file.fileno()).st_size < file.tell():  # its older half has been cut off
                file.seek(0, os.SEEK_END)
            yield _chosen(file.read(), whole)
            if not runs:
                return


def _chosen(content: bytes, options: LogOptions) -> bytes:
    lines = content.splitlines(keepends=True)
    if options.since is not None:
        start = options.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
        lines = [line for line in lines if line[: len(start)] >= start]
    if options.tail is not None:
        lines = lines[-options.tail :] if options.tail > 0 else []
    return b"".join(lines if options.timestamps else (line.partition(b" ")[2] for line in lines))
