"""Edits in the text of a file: the object gets what was asked for, no other byte changes."""

import random
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from smoldebug.edits.intended import intended
from smoldebug.edits.marks import exact
from smoldebug.edits.operations import Operation
from smoldebug.edits.scalars import written
from smoldebug.edits.text import all_edited, documents, edited
from smoldebug.errors import ChangeRefused
from smoldebug.pointers import child, item, lookup
from smoldebug.sources.goyaml import read

FOLDER = Path(__file__).parent / "manifests"
FILES = sorted(FOLDER.iterdir())
GOOD = [path for path in FILES if ".bad." not in path.name and ".refused." not in path.name]
EMPTY = re.compile(rb"\s*(?:\[\]|\{ ?\}|~|null)?\s*(#.*)?\s*")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def put(text: str, pointer: str, value: Any) -> str:
    return edited(text.encode(), 0, [Operation(pointer, value)]).decode()


def drop(text: str, *pointers: str) -> str:
    return edited(text.encode(), 0, [Operation(each, remove=True) for each in pointers]).decode()


def difference(before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """What one is and the other has where they differ, from the first to the last byte."""
    most = min(len(before), len(after))
    start = next((at for at in range(most) if before[at] != after[at]), most)
    most -= start
    end = next((at for at in range(most) if before[-1 - at] != after[-1 - at]), most)
    return before[start : len(before) - end], after[start : len(after) - end]


# --- the corpus ------------------------------------------------------------------------------


def containers(document: Any, pointer: str = "") -> Iterator[str]:
    """Pointers of the containers called app."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "containers" and any(each["name"] == "app" for each in value):
                yield item(child(pointer, key), name="app")
            yield from containers(value, child(pointer, key))
    elif isinstance(document, list):
        for at, value in enumerate(document):
            yield from containers(value, child(pointer, str(at)))


def places(data: bytes) -> list[tuple[int, str, Any]]:
    """The documents with a container called app: index, its pointer, the document."""
    found = [(at, each) for at, (_, each) in enumerate(documents(data))]
    return [(at, place, each) for at, each in found for place in containers(each)]


def filled(document: Any, pointer: str) -> bool:
    """Whether something on the way to a pointer stands in the file with nothing in it."""
    above, _, last = pointer.rpartition("/")
    here = lookup(document, above)
    empty = isinstance(here, dict) and last in here and not here[last]
    return empty or bool(above) and filled(document, above)


def owner(container: str) -> str:
    return container.partition("/spec/")[0]


def additions(container: str) -> dict[str, Operation]:
    pod, _, _ = container.rpartition("/containers/")
    meta = f"{owner(container)}/metadata"
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5}
    mount = {"name": "tmp", "mountPath": "/tmp/a,b"}
    return {
        "env": Operation(f"{container}/env/[name=NEW]", {"name": "NEW", "value": "true"}),
        "label": Operation(f"{meta}/labels/team", "shop"),
        "annotation": Operation(f"{meta}/annotations/a.example~1note", 'two\nlines: "#"'),
        "port": Operation(
            f"{container}/ports/[containerPort=7,protocol=TCP]", {"containerPort": 7}
        ),
        "probe": Operation(f"{container}/readinessProbe", probe),
        "volume": Operation(f"{pod}/volumes/[name=tmp]", {"name": "tmp", "emptyDir": {}}),
        "mount": Operation(f"{container}/volumeMounts/[mountPath=~1tmp~1a~2b]", mount),
        "memory": Operation(f"{container}/resources/requests/memory", "64Mi"),
        "container": Operation(f"{pod}/containers/[name=new]", {"name": "new", "image": "n:1"}),
    }


def check(data: bytes, index: int, operations: list[Operation], again: bool = True) -> bytes:
    """The file after the operations, which must be what they mean and stay as it is then."""
    after = edited(data, index, operations)
    wanted = [each for _, each in documents(data)]
    wanted[index] = intended(wanted[index], operations)
    assert [each for _, each in documents(after)] == wanted
    assert not again or edited(after, index, operations) == after
    return after


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_something_new_goes_in_and_every_byte_around_it_stays(path: Path):
    data = path.read_bytes()
    assert places(data)
    for index, container, document in places(data):
        for name, operation in additions(container).items():
            after = check(data, index, [operation])
            gone, come = difference(data, after)
            empty = EMPTY.fullmatch(gone)
            assert empty, name
            assert (empty[1] or b"") in come, name
            if not filled(document, operation.pointer):
                undo = Operation(operation.pointer, remove=True)
                assert edited(after, index, [undo]) == data, name


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_a_value_is_replaced_where_it_stands(path: Path):
    data = path.read_bytes()
    for index, container, document in places(data):
        for pointer, value in ((f"{container}/image", "new:2"), (f"{container}/name", "renamed")):
            assert isinstance(lookup(document, pointer), str)
            after = check(data, index, [Operation(pointer, value)], again=value != "renamed")
            gone, come = difference(data, after)
            assert len(come) <= len(value) + 2
            assert b"\n" not in gone + come


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_what_is_removed_takes_nothing_else_along(path: Path):
    data = path.read_bytes()
    for index, container, document in places(data):
        for name in [each["name"] for each in lookup(document, f"{container}/env") or []]:
            after = check(data, index, [Operation(f"{container}/env/[name={name}]", remove=True)])
            gone, come = difference(data, after)
            assert come == b""
            assert name.encode() in gone
        after = check(data, index, [Operation(f"{container}/image", remove=True)])
        assert difference(data, after)[1] == b""


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_many_edits_of_a_document_are_made_at_once(path: Path):
    data = path.read_bytes()
    for index, container, document in places(data):
        old = [
            Operation(f"{container}/env/[name={each['name']}]", remove=True)
            for each in lookup(document, f"{container}/env") or []
        ]
        new = [*additions(container).values(), Operation(f"{container}/image", "new:2")]
        check(data, index, [*old, *new])


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_edits_of_many_documents_come_to_the_same_at_once_and_one_by_one(path: Path):
    data = path.read_bytes()
    if b"%YAML" not in data:  # a directive stands only at the top
        data = b"\n---\n".join([data, b"{a: 1}", data.removeprefix(b"\xef\xbb\xbf")])
    edits: dict[int, list[Operation]] = {}
    for index, container, _ in places(data):
        image = Operation(f"{container}/image", remove=True)
        edits.setdefault(index, []).extend([*additions(container).values(), image])
    assert edits
    one_by_one = data
    for index, operations in edits.items():
        one_by_one = edited(one_by_one, index, operations)
    assert all_edited(data, edits) == one_by_one


def test_edits_of_many_documents_are_made_all_or_none():
    data = b"a: 1\n---\nb: &x [1]\nc: *x\n---\nd: 1\n"
    good = {0: [Operation("/a", 2)], 2: [Operation("/d", 2)]}
    assert all_edited(data, good) == data.replace(b"a: 1", b"a: 2").replace(b"d: 1", b"d: 2")
    with pytest.raises(ChangeRefused, match="^line 3: &x is used on line 4 too"):
        all_edited(data, {**good, 1: [Operation("/b", [2])]})


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_what_cannot_be_read_or_edited_is_refused_with_its_line(path: Path):
    first = path.read_text(encoding="utf-8").split("\n")[0]
    if ".bad." in path.name:
        with pytest.raises(ChangeRefused) as refusal:
            documents(path.read_bytes())
    elif ".refused." in path.name:
        ((index, container, _),) = places(path.read_bytes())
        new = {"name": "SMOLDEBUG", "value": "true"}
        with pytest.raises(ChangeRefused) as refusal:
            edited(path.read_bytes(), index, [Operation(f"{container}/env/[name=SMOLDEBUG]", new)])
    else:
        return
    assert str(refusal.value).removesuffix(": edit it by hand") == first.removeprefix("# error: ")


# --- how a file is read ------------------------------------------------------------------------


def test_a_file_is_read_as_kubectl_reads_it():
    text = (
        "on: off\n012: 0644\nd: 2020-01-02\nt: 12:30\nx: ~\nf: 1e3\ni: 1_000\nbig: 0x1F\nv: 1.2.3"
    )
    assert documents(text.encode()) == [
        (1, {"true": False, "10": 420, "d": "2020-01-02", "t": "12:30", "x": None, "f": 1000.0,
             "i": 1000, "big": 31, "v": "1.2.3"}),
    ]  # fmt: skip


def test_documents_say_on_which_line_they_begin():
    assert documents(b"# c\n---\na: 1\n---\n---\n\n# d\n- 2\n") == [
        (3, {"a": 1}),
        (5, None),
        (8, [2]),
    ]
    assert documents(b"") == []


def test_a_file_has_bounds():
    for data, why in (
        (b"a: " + b"x" * 10_000_000, "larger than 10 MB"),
        (b"---\n" * 1001, "more than 1000 documents"),
        (b"[" * 500, "nested deeper"),
        (b"- &a0 1\n" + b"".join(b"- &a%d [*a%d]\n" % (n + 1, n) for n in range(200)), "deeper"),
        (b"a: \xff", "is not UTF-8"),
        (b"a: \0", "control characters"),
    ):
        with pytest.raises(ChangeRefused, match=why) as refusal:
            documents(data)
        assert str(refusal.value).startswith("line ")


# --- text stays text ---------------------------------------------------------------------------

MISREAD = [
    "true", "False", "y", "no", "On", "null", "~", "", "0123", "0o17", "0x1F", "1e3", "1_000", ".5",
    "12:30", "2020-01-02", "1.", "+1", "-0", ".inf", ".NaN", "=", "<<", "08", "0b11",
    " leading", "trailing ", "a: b", "a:", "#x", "a #b", "- a", "-", "?", "? a", "[a]", "{a}", "*a",
    "&a", "!a", "|", ">", "%a", "@a", "`a`", "'a", '"a', "two\nlines", "tab\t", "a\\b", "---",
    "...", "\u2028", "\x7f", "\ufeff", "é", "🚀", "a, b", "$(HOME)/x", "--flag=1", "1.2.3",
]  # fmt: skip


@pytest.mark.parametrize("text", MISREAD)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_text_is_the_same_text_for_every_reader(text: str, quote: str):
    modern = YAML(typ="safe", pure=True)
    for line in (f"a: {written(text, quote)}", f"a: [{written(text, quote, flow=True)}]"):
        found = [read_by(line)["a"] for read_by in (yaml.safe_load, modern.load)]
        found.append(documents(line.encode())[0][1]["a"])
        assert [each[0] if "[" in line[:4] else each for each in found] == [text] * 3


@given(st.text())
@settings(max_examples=200)
def test_any_text_survives_or_is_refused(text: str):
    for old in ("a: 1\n", 'a: "b"\n', "a: 'b'\n", "a: |\n  b\n", "{a: b}", '{"a":"b"}'):
        try:
            after = edited(old.encode(), 0, [Operation("/a", text)])
        except ChangeRefused:
            assert any("\ud800" <= each <= "\udfff" for each in text)
        else:
            assert documents(after)[0][1] == {"a": text}


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1))
def test_numbers_and_booleans_stay_what_they_are(number: float):
    for value in (number, True, False, None):
        line = f"a: {written(value)}"
        assert yaml.safe_load(line) == documents(line.encode())[0][1] == {"a": value}
        assert type(read(written(value))) is type(value)


# --- what a reviewer wants ---------------------------------------------------------------------


def test_a_replaced_value_keeps_its_quotes_and_comment():
    assert put("a: 'x'  # why\n", "/a", "y") == "a: 'y'  # why\n"
    assert put('a: "x"  # why\n', "/a", "y") == 'a: "y"  # why\n'
    assert put("a: x  # why\n", "/a", "z") == "a: z  # why\n"
    assert put("a: x  # why\n", "/a", "yes") == 'a: "yes"  # why\n'
    assert put("a: 'x'\n", "/a", 3) == "a: 3\n"
    assert put("a: # why\n", "/a", 3) == "a: 3 # why\n"
    assert (
        put("a: |  # why\n  x\n  y\nb: 1\n", "/a", "1\n\n2\n") == "a: |  # why\n  1\n\n  2\nb: 1\n"
    )
    assert put("a: >-\n  x\n", "/a", "1\n2") == "a: |-\n  1\n  2\n"


def test_values_change_between_one_line_and_a_block():
    assert put("a: x # c\nb: 1\n", "/a", {"c": [1]}) == "a: # c\n  c:\n    - 1\nb: 1\n"
    assert put("a: # c\n  x: 1\nb: 1\n", "/a", 5) == "a: 5 # c\nb: 1\n"
    assert put("a:\n- x: 1\n  y: 2\n- z\n", "/a/0", "t") == "a:\n- t\n- z\n"
    assert put("a:\n- x: 1\n- z\n", "/a/1", {"k": 1, "l": 2}) == "a:\n- x: 1\n- k: 1\n  l: 2\n"
    assert put("a:\n-\n- z\n", "/a/0", {"k": 1}) == "a:\n- k: 1\n- z\n"
    assert drop("a:\n  x: 1\n", "/a/x") == "a: {}\n"


def test_a_new_key_goes_where_a_reviewer_expects_it():
    container = "c:\n  name: a\n  image: i\n  args: [x]\n  resources: {}\n  stdin: true\n"
    new = [{"name": "N", "value": "v"}]
    assert put(container, "/c/env", new).split("\n")[4] == "  env:"
    assert put("resources: {}\nname: a\n", "/env", new).split("\n")[2] == "env:"
    assert put("a: 1\nc: 2\ne: 3\n", "/d", 0) == "a: 1\nc: 2\nd: 0\ne: 3\n"
    assert put("b: 1\nc: 2\nd: 3\n", "/a", 0) == "b: 1\na: 0\nc: 2\nd: 3\n"
    assert put("c: 1\na: 2\n", "/b", 0) == "c: 1\na: 2\nb: 0\n"
    assert put("labels:\n  z: a\n  resources: b\n", "/labels/env", "c").endswith("  env: c\n")


def test_comments_below_a_list_stay_below_unless_they_are_of_its_last_item():
    text = "env:\n- name: A\n  # of A\n# of image\nimage: x\n"
    after = put(text, "/env/[name=B]", {"name": "B"})
    assert after == "env:\n- name: A\n  # of A\n- name: B\n# of image\nimage: x\n"


def test_a_comment_goes_with_what_it_is_about():
    text = "env:\n# of A\n- name: A # A\n  # in A\n# of B,\n# and more\n- name: B\n# of x\nx: 1\n"
    assert drop(text, "/env/[name=A]") == text[:5] + text[text.index("# of B") :]
    assert drop(text, "/env/[name=B]") == text.replace("# of B,\n# and more\n- name: B\n", "")
    assert drop(text, "/env/[name=A]", "/env/[name=B]") == "# of x\nx: 1\n"
    retired = "env:\n- name: A\n# - name: OLD\n#   value: x\n- name: B\n"
    assert drop(retired, "/env/[name=B]") == retired.removesuffix("- name: B\n")


def test_blank_lines_between_items_stay_single():
    text = "a:\n\n- 1\n\n- 2\n\n- 3\nb: 1\n"
    assert put(text, "/a/3", 4) == "a:\n\n- 1\n\n- 2\n\n- 3\n\n- 4\nb: 1\n"
    assert drop(text, "/a/0") == "a:\n\n- 2\n\n- 3\nb: 1\n"
    assert drop(text, "/a/1") == "a:\n\n- 1\n\n- 3\nb: 1\n"
    assert drop(text, "/a/2") == "a:\n\n- 1\n\n- 2\nb: 1\n"


def test_the_first_key_of_an_item_leaves_its_dash():
    assert drop("- name: a\n  value: b # c\n", "/0/name") == "- value: b # c\n"


def test_json_keeps_its_commas():
    text = '{\n  "a": [\n    1,\n    2\n  ]\n}\n'
    assert drop(text, "/a/1") == '{\n  "a": [\n    1\n  ]\n}\n'
    assert drop(text, "/a/0") == '{\n  "a": [\n    2\n  ]\n}\n'
    swap = [Operation("/a", remove=True), Operation("/b", {"c": "d"})]
    assert edited(b'{"x":1,"a":2}', 0, swap) == b'{"x":1,"b":{"c":"d"}}'
    probe = b'{\n  "x": {\n    "old": 1\n  },\n  "y": 2\n}'
    swap = [Operation("/x/new", {"c": 1}), Operation("/y", remove=True), Operation("/z", 3)]
    assert edited(probe, 0, swap).decode().split("\n")[1:-1] == [
        '  "x": {', '    "old": 1,', '    "new": {', '      "c": 1', "    }", "  },", '  "z": 3',
    ]  # fmt: skip


def test_an_anchor_changes_only_when_all_its_places_should():
    text = "a: &x\n- 1\nb: *x\n"
    everywhere = [Operation("/a/1", 2), Operation("/b/1", 2)]
    assert edited(text.encode(), 0, everywhere) == b"a: &x\n- 1\n- 2\nb: *x\n"
    for pointer in ("/a/1", "/b/1"):
        with pytest.raises(ChangeRefused, match="^line 1: &x is|^line 3: \\*x is"):
            put(text, pointer, 2)
    with pytest.raises(ChangeRefused, match="^line 1: &x is used on line 3 too"):
        drop(text, "/a")
    with pytest.raises(ChangeRefused, match="^line 2: what << merges would be no map"):
        put("a: &x {}\nb: {<<: *x}\n", "/a", 1)
    assert put("a: &x 1\nb: *x # c\n", "/b", 2) == "a: &x 1\nb: 2 # c\n"
    assert put("a: &x {k: 1}\nb: {<<: *x}\n", "/b/k", 2) == "a: &x {k: 1}\nb: {<<: *x, k: 2}\n"


def test_what_has_no_place_is_refused_with_the_line_of_the_document():
    data = b"---\n---\na: 1\nb: [1, 1]\n"
    for operation, why in (
        (Operation("/a/b/c", 1), "line 3: there is no place for: a.b.c"),
        (Operation("/b/7", 1), "line 3: there is no place for: b.7"),
        (Operation("", 1), "line 3: an edit is of a field, not of the object as a whole"),
        (Operation("/a", float("nan")), "line 3: not a number that a manifest can hold: nan"),
    ):
        with pytest.raises(ChangeRefused) as refusal:
            edited(data, 1, [operation])
        assert str(refusal.value) == why
    with pytest.raises(ChangeRefused, match="^line 1: the file has no document 3$"):
        edited(data, 2, [])
    absent = [Operation(each, remove=True) for each in ("/x/y", "/b/[k=v]", "/a/b/c")]
    assert edited(data, 1, absent) == data


# --- any manifest, in any style ----------------------------------------------------------------

WORDS = ["a", "b", "c", "d", "name", "env", "image", "resources", "x/y", "on"]
SCALARS = [*MISREAD, 0, 7, -1, 1.5, True, False, None]


class Somebody:
    """Writes values as people do, who each have their style, and do not keep to it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.step = self.random.choice([2, 4])
        self.dash = self.random.choice([0, 2])
        self.gap = self.random.choice(["- ", "-   "])
        self.newline = self.random.choice(["\n", "\r\n"])

    def maybe(self, text: str) -> str:
        return text if self.random.random() < 0.2 else ""

    def value(self, depth: int = 0) -> Any:
        kind = self.random.choice("mmllss") if depth < 4 else "s"
        size = self.random.randrange(5)
        if kind == "m" or depth == 0:
            keys = self.random.sample(WORDS, size + (depth == 0))
            return {key: self.value(depth + 1) for key in keys}
        if kind == "l":
            return [self.value(depth + 1) for _ in range(size)]
        return self.random.choice(SCALARS)

    def text(self, value: Any) -> bytes:
        text = self.newline.join(self.lines(value, 0)) + self.maybe(self.newline)
        return (self.maybe("\ufeff") + text).encode()

    def lines(self, value: Any, column: int) -> list[str]:
        pad = " " * column
        found: list[str] = []
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            found += [""] if self.maybe("y") else []
            found += [f"{pad}# about {key}"] if self.maybe("y") else []
            comment = self.maybe("  # why - not: x")
            whole = not each or not isinstance(each, dict | list) or bool(self.maybe("flow"))
            if isinstance(value, dict):
                head = f"{pad}{written(key, self.maybe(chr(34)))}:"
                deeper = self.dash if isinstance(each, list) else self.step
                inside = [] if whole else self.lines(each, column + deeper)
                found += (
                    [f"{head} {self.flow(each)}{comment}"] if whole else [head + comment, *inside]
                )
            elif whole:
                found.append(f"{pad}{self.gap}{self.flow(each)}{comment}")
            else:
                inside = self.lines(each, column + len(self.gap))
                while not inside[0] or inside[0].lstrip().startswith("#"):
                    inside = inside[1:]
                found += [pad + self.gap + inside[0].lstrip(), *inside[1:]]
        return found

    def flow(self, value: Any) -> str:
        space, quote = self.random.choice(["", " "]), self.random.choice(["", "'", '"'])
        if isinstance(value, list):
            return f"[{space}{', '.join(map(self.flow, value))}{space}]"
        if isinstance(value, dict):
            pairs = (f"{written(k, flow=True)}: {self.flow(v)}" for k, v in value.items())
            return f"{{{space}{', '.join(pairs)}{space}}}"
        return written(value, quote, flow=True)

    def operation(self, value: Any) -> Operation:
        pointer = self.random.choice(pointers(value))
        pointer += self.random.choice(["", "", "", "/new", "/[name=n]", "/[name=n]/value"])
        return Operation(
            pointer, self.value(self.random.choice([1, 2, 9])), bool(self.maybe("gone"))
        )


def pointers(value: Any, pointer: str = "") -> list[str]:
    if isinstance(value, dict):
        inside = [(child(pointer, key), each) for key, each in value.items()]
    elif isinstance(value, list):
        inside = [(child(pointer, str(at)), each) for at, each in enumerate(value)]
    else:
        return []
    return [at for place, each in inside for at in (place, *pointers(each, place))]


TAIL = re.compile(rb"(?:\n(?:#.*|[ \t\r]*))*\Z")


def sections(data: bytes) -> dict[bytes, bytes]:
    """The text of each key that stands at the left, without the comments above the next."""
    parts = re.split(rb"^(?=[^\s#-])", data.removeprefix(b"\xef\xbb\xbf"), flags=re.MULTILINE)
    return {part.split(b":")[0].strip(b'"'): TAIL.sub(b"", part) for part in parts[1:]}


@given(st.integers(0, 2**32))
@settings(max_examples=400)
def test_any_edit_of_any_manifest_comes_to_what_was_meant(seed: int):
    somebody = Somebody(seed)
    value = somebody.value()
    text = somebody.text(value)
    assert documents(text)[0][1] == value
    operations = [somebody.operation(value) for _ in range(somebody.random.randint(1, 3))]
    try:
        wanted = intended(value, operations)
    except ChangeRefused:
        return
    if not wanted:
        return
    after = edited(text, 0, operations)
    assert exact(documents(after)[0][1]) == exact(wanted)
    before, now = sections(text), sections(after)
    for key in wanted:
        if exact(value.get(key)) == exact(wanted[key]):
            same = before[written(key).strip('"').encode()].splitlines()
            assert now[written(key).strip('"').encode()].splitlines()[: len(same)] == same
    assert list(now) == [key for key in before if key in now] + [k for k in now if k not in before]


# --- bytes from anywhere -----------------------------------------------------------------------

INK = "ab:-#[]{},&*!|>'\"%?@ \n\t\r0.~<"


@given(st.binary(max_size=200) | st.text(alphabet=INK, max_size=60).map(str.encode))
@settings(max_examples=200)
def test_any_bytes_are_read_and_edited_or_refused(data: bytes):
    with suppress(ChangeRefused):
        for at, (_, document) in enumerate(documents(data)):
            if isinstance(document, dict):
                check(data, at, [Operation("/smoldebug/[name=a]/b", "yes")])


@given(st.sampled_from(GOOD), st.integers(0, 5000), st.integers(0, 12), st.text(INK, max_size=2))
@settings(max_examples=150)
def test_a_damaged_file_is_edited_right_or_refused(path: Path, at: int, cut: int, ink: str):
    whole = path.read_bytes()
    at %= len(whole)
    damaged = whole[:at] + ink.encode() + whole[at + cut :]
    found = []
    with suppress(ChangeRefused, TypeError, KeyError):  # the latter for what is no workload now
        found = places(damaged)
    for index, container, _ in found:
        with suppress(ChangeRefused):
            check(damaged, index, [*additions(container).values()])
