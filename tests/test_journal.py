"""The journal survives being killed at any byte, and shows an edit."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hostile import built, stamped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smoldebug.clock import FakeClock
from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.events import (
    AnyEvent,
    ChangeIntended,
    Note,
    Stamp,
    Stamped,
    Thought,
    ToolCalled,
    from_line,
    to_json,
    to_line,
)
from smoldebug.journal import Journal, find, new_run_id, read, runs_folder
from smoldebug.records import Card, Change, ChangeKind, ObjectRef
from smoldebug.untrusted import whole


def written(path: Path, *events: AnyEvent) -> list[Stamped]:
    items = [stamped(event, seq) for seq, event in enumerate(events)]
    with Journal(path) as journal:
        for item in items:
            journal.append(item)
    return items


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


SOME = (Note("one"), Thought(1, "two\nlines é 🎉", "expert"), Note("three", "warning"))


# --- events as lines -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", get_args(AnyEvent), ids=lambda kind: kind.__name__)
def test_every_event_survives_a_round_trip(kind: type[AnyEvent]):
    @settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(built(kind))
    def check(event: AnyEvent) -> None:
        fitting = msgspec.convert(plain(event), kind)
        line = to_line(stamped(fitting))
        assert b"\n" not in line
        assert from_line(line) == stamped(fitting)
        assert json.loads(line)["event"]["event"] == kind.__name__
        assert msgspec.json.encode(to_json(stamped(fitting))) == line

    check()


def plain(event: AnyEvent) -> Any:
    """What JSON can say of an event: no lone surrogates, no NaN."""
    return msgspec.json.decode(msgspec.json.encode(whole(msgspec.to_builtins(event))))


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"null", b"[]", b"{}", b'{"run":"x"}', to_line(stamped(SOME[0]))[:-1], b"\xff"]
    + [to_line(stamped(SOME[0])).replace(b'"Note"', b'"Notice"')],
)
def test_what_is_no_event_is_refused(line: bytes):
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        from_line(line)


def test_events_are_numbered_and_timed():
    clock = FakeClock()
    clock.sleep(100)
    stamp = Stamp("7f3a1c", clock, first_seq=5)
    clock.sleep(1.23456)
    first, second = stamp(SOME[0]), stamp(SOME[1])
    assert (first.seq, second.seq) == (5, 6)
    assert first.elapsed == 1.235
    assert first.at == clock.now()


# --- writing and reading -------------------------------------------------------------------------


def test_what_is_written_is_read(path: Path):
    items = written(path, *SOME)
    assert read(path) == items
    lines = path.read_bytes().splitlines()
    assert len(lines) == 3
    assert all(set(json.loads(line)) == {"chain", "record"} for line in lines)


def test_appending_goes_on_where_it_ended(path: Path):
    written(path, *SOME)
    again = stamped(Note("four"), 3)
    with Journal(path) as journal:
        journal.append(again)
    assert read(path)[-1] == again
    assert len(read(path)) == 4


def test_every_event_is_readable_before_the_next_one(path: Path):
    with Journal(path) as journal:
        for count, event in enumerate(SOME, start=1):
            journal.append(stamped(event, count))
            assert len(read(path)) == count


def test_only_its_owner_may_read_it(path: Path):
    written(path, *SOME)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


HOSTILE: list[Any] = ["\ud800", {"\udfff": ["\x00", float("nan"), 2**70, -0.0]}, "\u2028", "\r\n"]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_nothing_in_an_event_keeps_it_out_of_the_journal(path: Path, value: Any):
    written(path, ToolCalled(1, "t1c0", "look", value), *SOME)
    first, *rest = read(path)
    assert first.event.tool == "look"
    assert len(rest) == 3


# --- killed while writing ------------------------------------------------------------------------


def test_a_line_torn_at_any_byte_is_left_out_and_the_chain_goes_on(path: Path):
    items = written(path, *SOME)
    data = path.read_bytes()
    ends = [0, *(at + 1 for at, byte in enumerate(data) if byte == ord("\n"))]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        complete = sum(end <= cut for end in ends) - 1
        assert read(path) == items[:complete]
        with Journal(path) as journal:
            journal.append(items[-1])
        assert read(path) == [*items[:complete], items[-1]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters()), max_size=4), st.data())
def test_any_run_torn_anywhere_can_be_read_and_gone_on_with(
    tmp_path: Path, texts: list[str], data: st.DataObject
):
    path = tmp_path / "any.jsonl"
    path.unlink(missing_ok=True)
    written(path, *map(Note, texts))
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[: data.draw(st.integers(0, len(whole_file)))])
    before = read(path)
    with Journal(path) as journal:
        journal.append(stamped(Note("after"), 9))
    assert read(path) == [*before, stamped(Note("after"), 9)]


def test_a_missing_journal_is_named(path: Path):
    with pytest.raises(UsageError, match=r"cannot read the journal: .*journal\.jsonl"):
        read(path)


def test_an_empty_journal_is_a_run_without_events(path: Path):
    written(path)
    assert read(path) == []


def test_what_cannot_be_written_is_an_error_in_words(path: Path):
    with Journal(path) as journal, Path("/dev/full").open("wb", buffering=0) as full:
        os.dup2(full.fileno(), journal._file.fileno())
        with pytest.raises(SmoldebugError, match="cannot write the journal: .*No space left"):
            journal.append(stamped(SOME[0]))


def test_a_disk_that_fills_up_in_the_middle_of_a_line_tears_it(path: Path):
    """A file size limit stands in for the disk, in a process of its own."""
    script = f"""
import resource, signal
from pathlib import Path
from smoldebug.errors import SmoldebugError
from smoldebug.events import Note
from smoldebug.journal import Journal
from datetime import datetime, UTC
from smoldebug.events import Stamped
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Journal(Path({str(path)!r})) as journal:
    for seq in range(100):
        try:
            journal.append(Stamped("x", seq, 0.0, datetime.now(UTC), Note("n" * 100)))
        except SmoldebugError as error:
            print(seq, error)
            break
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    seq, _, words = done.stdout.partition(" ")
    assert words.startswith("cannot write the journal: File too large")
    assert path.stat().st_size == 1000
    assert len(read(path)) == int(seq)


# --- the intent is on the disk -------------------------------------------------------------------


def test_the_intent_of_a_change_is_synced_before_append_returns(tmp_path: Path):
    """A pipe takes lines, but cannot be synced: it says who tries."""
    change = Change(
        ChangeKind.SCALE, ObjectRef("Deployment", "shop", "auth"), {"/a": 1}, {"/a": 2}, "busy"
    )
    card = Card("C1", change, "", "", "", "", "", "")
    journal = Journal(tmp_path / "journal.jsonl")
    reader, writer = os.pipe()
    try:
        with journal:
            os.dup2(writer, journal._file.fileno())
            journal.append(stamped(Note("a pipe takes a line")))
            with pytest.raises(
                SmoldebugError, match="cannot write the journal: .*Invalid argument"
            ):
                journal.append(stamped(ChangeIntended(card, None)))
    finally:
        os.close(reader)
        os.close(writer)


# --- somebody edited it --------------------------------------------------------------------------


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("line", range(3))
def test_an_edited_line_is_found(path: Path, line: int):
    written(path, *SOME)
    lines = lines_of(path)
    lines[line] = lines[line].replace(b'"seq":', b'"seq": 1')
    path.write_bytes(b"".join(lines))
    with pytest.raises(UsageError, match=rf"journal\.jsonl:{line + 1}: .*chain is broken"):
        read(path)


@pytest.mark.parametrize("order", [[1, 2], [0, 2], [1, 0, 2], [0, 1, 1, 2], [0, 2, 1]])
def test_a_line_removed_doubled_or_moved_is_found(path: Path, order: list[int]):
    written(path, *SOME)
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[index] for index in order))
    with pytest.raises(UsageError, match="chain is broken"):
        read(path)


def test_two_runs_do_not_fit_together(tmp_path: Path):
    written(tmp_path / "one", *SOME)
    written(tmp_path / "two", Note("other"), *SOME[1:])
    mixed = [*lines_of(tmp_path / "two")[:1], *lines_of(tmp_path / "one")[1:]]
    (tmp_path / "one").write_bytes(b"".join(mixed))
    with pytest.raises(UsageError, match=":2: .*chain is broken"):
        read(tmp_path / "one")


@pytest.mark.parametrize(
    "junk", [b"not json\n", b"{}\n", b"\xff\xfe\n", b'{"chain": 1}\n', b"\n\n"]
)
def test_what_is_no_journal_is_named_by_line(path: Path, junk: bytes):
    written(path, *SOME)
    with path.open("ab") as file:
        file.write(junk)
    with pytest.raises(UsageError, match=r"journal\.jsonl:4: not a journal line"):
        read(path)


# --- finding runs --------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    for age, name in enumerate(["aaa111", "aab222", "ccc333"]):
        folder = tmp_path / "runs" / name
        written(folder / "journal.jsonl", *SOME)
        os.utime(folder / "journal.jsonl", (1000 - age, 1000 - age))
    (tmp_path / "runs" / "ddd444").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("no run")
    return tmp_path / "runs"


def test_runs_are_kept_in_the_home_folder(runs: Path):
    assert runs_folder() == runs


def test_a_run_is_found_by_its_id_a_prefix_or_as_the_last(runs: Path):
    assert find("aab222") == runs / "aab222"
    assert find("c") == runs / "ccc333"
    assert find("last") == runs / "aaa111", "the one written to last"


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        ("aa", "several runs start with: aa"),
        ("x", "no such run: x"),
        ("ddd", "no such run: ddd"),
        ("../runs/aaa111", "no such run"),
        ("*", "no such run"),
        ("", "several runs"),
    ],
)
def test_a_run_that_cannot_be_told_is_an_error(runs: Path, prefix: str, says: str):
    with pytest.raises(UsageError, match=says.replace("*", r"\*")) as error:
        find(prefix)
    assert "runs list" in error.value.hint


def test_there_is_no_last_run_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path / "new"))
    with pytest.raises(UsageError, match="no such run: last"):
        find("last")
    assert not (tmp_path / "new").exists()


def test_run_ids_are_short_and_new(runs: Path):
    ids = {new_run_id() for _ in range(50)}
    assert len(ids) > 45
    assert all(len(run) == 6 and set(run) <= set("0123456789abcdef") for run in ids)


# --- two at once -----------------------------------------------------------------------------


def test_two_do_not_go_on_with_one_run(path: Path):
    with Journal(path), pytest.raises(UsageError, match="somebody else is going on with this run"):
        Journal(path)


def test_whoever_read_it_before_somebody_went_on_does_not(path: Path):
    with Journal(path) as journal:
        journal.append(stamped(Note("one"), 0))
    seen = len(read(path))
    with Journal(path, seen) as journal:
        journal.append(stamped(Note("two"), 1))
    with pytest.raises(UsageError, match="going on with this run"):
        Journal(path, seen)
    assert len(read(path)) == 2
