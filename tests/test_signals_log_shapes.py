"""Log lines to shapes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.signals.log_shapes import LEVELS, Shape, level_of, log_shapes, mask, message


def shapes_of(*lines: str) -> list[Shape]:
    return log_shapes({"auth-1": "\n".join(lines)})


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        ("2026-11-20T14:01:02.123Z started", "<t> started"),
        ("[20/Nov/2026:14:01:02 +0000] x", "[<t>] x"),
        ("peer 10.1.2.3:8080 gone", "peer <ip> gone"),
        ("req 7d9f8b6c-1111-2222-3333-444455556666", "req <id>"),
        ("pod auth-7d9f8b6c5d-x2x4z", "pod auth-<id>"),
        ("trace 0xdeadbeef 4bf92f3577b34da6", "trace <hex> <hex>"),
        ("took 12.5ms of 30s", "took <n>ms of <n>s"),
        ('user "mary ann" left', 'user "…" left'),
        ('level=warn msg="pool is full"', 'level=warn msg="pool is full"'),
        ("it's fine, don't worry", "it's fine, don't worry"),
        ('"GET /user/17 HTTP/1.1" 502 12', "GET /user/<n> HTTP/<n> 502 <n>"),
        ("upstream status=503 after 2 tries", "upstream status=503 after <n> tries"),
    ],
)
def test_what_varies_is_masked_and_what_tells_is_kept(line: str, shape: str) -> None:
    assert mask(line) == shape


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-01-01 ERROR x", "error"),
        ("level=warning msg=x", "warn"),
        ("W0102 03:04:05.6 x.go:1] slow", "warn"),
        ("[error] 31#31: *1 connect() failed", "error"),
        ("INFO no error here: 0 failed", "info"),
        ("connect: connection refused", "error"),
        ("ValueError: boom", "error"),
        ('INFO "GET / HTTP/1.1" 502 3', "error"),
        ("listening on :8080", ""),
    ],
)
def test_the_level_is_what_the_line_says_else_what_it_sounds_like(line: str, level: str) -> None:
    assert level_of(line) == level


def test_equal_shapes_are_counted_with_their_first_and_last_line() -> None:
    lines = [f"14:01:{second:02} ERROR pool exhausted ({second}/20)" for second in range(10, 40)]
    [found] = shapes_of(*lines)
    assert (found.count, found.level, found.source) == (30, "error", "auth-1")
    assert (found.first, found.last) == (lines[0], lines[-1])


def test_errors_come_first_however_rare() -> None:
    found = shapes_of(*["INFO served"] * 50, "WARN slow", *["ERROR bang"] * 2, "plain")
    assert [shape.level for shape in found] == ["error", "warn", "info", ""]


def test_one_word_that_differs_makes_one_shape_but_a_status_makes_two() -> None:
    users = [f"user {name} logged in from the office" for name in ("ann", "bob", "cy")]
    assert [shape.shape for shape in shapes_of(*users)] == ["user <*> logged in from the office"]
    answers = ["GET /health 200 in 3 ms", "GET /health 502 in 9 ms"]
    assert len(shapes_of(*answers)) == 2


def test_a_stack_trace_is_part_of_its_first_line() -> None:
    trace = "Traceback (most recent call last):\n  File 'a.py', line 1\n    x()\nKeyError: 'a'"
    found = log_shapes({"p": f"{trace}\n{trace}"})
    assert sorted(shape.count for shape in found) == [2, 2]


def test_json_lines_are_read() -> None:
    lines = [json.dumps({"level": "ERROR", "msg": "no user", "id": index}) for index in range(3)]
    [found] = shapes_of(*lines)
    assert (found.shape, found.level, found.count) == ("no user id=<n>", "error", 3)


def test_several_logs_are_folded_together() -> None:
    [found] = log_shapes({"auth-1": "slow 1", "auth-2": "slow 2\nslow 3"})
    assert (found.count, found.first, found.source) == (3, "slow 1", "auth-2")


WORDS = st.sampled_from(
    ["ERROR", "GET", "/a", "200", "10.0.0.1", '"', "'", "{", "x=1", "\x00", "\ud800", "é", "  "]
)
LINES = st.lists(st.one_of(st.lists(WORDS, max_size=8).map(" ".join), st.text(max_size=60)))


@given(LINES)
def test_any_text_is_folded_without_losing_a_line(lines: list[str]) -> None:
    text = "\n".join(lines)
    records = 0
    for line in text.splitlines():
        cut = line[:1000].rstrip()
        records += bool(cut) and not (records and cut[0] in " \t")
    found = log_shapes({"p": text})
    assert sum(shape.count for shape in found) == records
    assert [LEVELS.index(shape.level) for shape in found] == sorted(
        LEVELS.index(shape.level) for shape in found
    )
    assert all("\n" not in shape.first + shape.last for shape in found)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_never_tell_two_lines_apart(a: int, b: int) -> None:
    assert len(shapes_of(f"waited {a}ms for a slot", f"waited {b}ms for a slot")) == 1


def test_very_long_and_binary_lines() -> None:
    [found] = log_shapes({"p": "x" * 10_000_000})
    assert len(found.last) <= 300
    assert log_shapes({"p": "\x00\x01\xff" * 1000})
    assert log_shapes({"p": '"' * 5000 + "\n" + "{" * 5000 + "\n" + "a=1 " * 5000})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-01-01 12:00:03,123 ERROR no key: x", "no key: x"),
        ("[2026-01-01T12:00:03Z] warning: slow", "slow"),
        ('2026-01-01T12:00:03Z level=error service=pay msg="no key: \\"x\\""', 'no key: \\"x\\"'),
        ('level=error msg="went wrong" error="Bad: 1"', 'msg="went wrong" error="Bad: 1"'),
        ('{"level": "error", "msg": "cannot go on", "error": "KeyError: 1"}', "KeyError: 1"),
        ('{"level": "error", "msg": "no key", "code": 3}', "no key"),
        ('{"msg": "caf\\u00e9"}', '{"msg": "caf\\u00e9"}'),
        ("panic: index out of range", "panic: index out of range"),
    ],
)  # fmt: skip
def test_what_a_line_says_stands_in_it_word_for_word(line: str, said: str):
    assert message(line) == said
    assert said in line
