"""Loading playbooks: what each file means, and what is said about a file that means nothing."""

from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldebug.errors import PlaybookError, UsageError
from smoldebug.playbook.base import Duration, Money
from smoldebug.playbook.fields import fields_of
from smoldebug.playbook.find import Place, available, find, places
from smoldebug.playbook.load import assignments, draft, load, require_supported
from smoldebug.playbook.models import Check, Goal, Playbook, RunPlan
from smoldebug.shipped import shipped

FILES = Path(__file__).parent / "playbooks"
NO_MAPPING = (
    "not YAML: mapping values are not allowed in this context; is it indented as its neighbours "
    'are? A text with ": " in it needs quotes'
)
MINIMAL = b"apiVersion: smoldebug.dev/v1\nname: x\ngoal: {all: [{tcp: {host: db, port: 80}}]}\n"


def marked(path: Path, mark: str) -> list[str]:
    """The words after `# mark: ` in the first lines of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(f"# {mark}: ") for line in lines if line.startswith(f"# {mark}: ")]


def load_file(path: Path) -> RunPlan:
    return load(str(path), assignments(marked(path, "set")))


@pytest.fixture
def write(tmp_path: Path):
    def write(content: bytes | str) -> str:
        path = tmp_path / "example.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FILES.glob("*.bad.yaml")), ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_every_error_at_its_place(path):
    with pytest.raises(PlaybookError) as caught:
        load_file(path)
    assert str(caught.value).splitlines() == [f"{path}:{says}" for says in marked(path, "error")]


@pytest.mark.parametrize("path", sorted(FILES.glob("*.good.yaml")), ids=lambda path: path.stem)
def test_a_good_file_loads_and_runs(path):
    require_supported(load_file(path))


def test_words_that_other_readers_misread_stay_text():
    plan = load_file(FILES / "yaml-traps.good.yaml")
    playbook, check = plan.playbook, plan.playbook.goal.all[0].object
    assert plan.inputs == {"on": "NO", "version": "1.10"}
    assert playbook.description == "1.10"
    assert (check.name, check.namespace) == ("NO", "yes")
    expected = {"on": "off", "at": "1:30", "version": "1.10", "from": "2026-11-20"}
    assert check.matches == {"data": expected}
    assert (playbook.goal.every, playbook.goal.within) == (0.5, 5400)
    assert (playbook.limits.cost, playbook.limits.max_steps) == (2, 5)


def test_what_the_reference_says_of_changes_loads(write):
    page = (FILES.parent.parent / "docs" / "playbooks.md").read_text(encoding="utf-8")
    block = next(part for part in page.split("```") if part.startswith("yaml\ntools:"))
    playbook = load(write(MINIMAL.decode() + block.removeprefix("yaml\n"))).playbook
    (window,) = playbook.limits.windows
    assert (window.from_, window.to, window.timezone) == ("09:00", "17:00", "Europe/Berlin")
    assert playbook.limits.freezes[0].from_ == "2026-12-20"


def test_a_value_is_typed_alone_and_escaped_inside_text():
    plan = load_file(FILES / "expressions.good.yaml")
    goal = plan.playbook.goal
    tcp, metric, http, command = goal.all
    assert goal.description == 'check"out\\ on 9090'
    assert tcp.tcp.port == 9090
    assert metric.metric.query == 'up{job="check\\"out\\\\"}'
    assert http.http.url == "http://127.0.0.1:8080/api/of/check%22out%5C?verbose=true"
    assert command.command.run == ["echo", 'check"out\\', "--port=9090"]
    assert plan.playbook.scope.namespaces == ["shop", "auth"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name: \xff", ":1:7 is not UTF-8 text"),
        (b"a: 1\nb: \x00", ":2:4 control or invisible character U+0000"),
        (b"#" * (1 << 20) + b"#", ":1:1 is larger than 1 MiB"),
        (b"? " + b"k" * 201 + b"\n: 1", ":1:3 a key longer than 200 characters"),
        ("é: é: é".encode(), f":1:5 {NO_MAPPING}"),
    ],
)
def test_what_is_no_text_or_no_yaml_is_refused(write, content, says):
    path = write(content)
    with pytest.raises(PlaybookError) as caught:
        load(path)
    assert str(caught.value) == path + says


def test_a_byte_order_mark_and_windows_lines_are_fine(write):
    path = write(b"\xef\xbb\xbf" + MINIMAL.replace(b"\n", b"\r\n"))
    assert load(path).playbook.name == "x"


def test_many_errors_are_cut(write):
    path = write(MINIMAL + b"scope: {%s}\n" % b", ".join(b"x%d: 1" % n for n in range(50)))
    with pytest.raises(PlaybookError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 30 more"


def test_a_file_that_cannot_be_read_is_said_so(tmp_path):
    with pytest.raises(PlaybookError, match=r"gone\.yaml no such file"):
        load(str(tmp_path / "gone.yaml"))
    with pytest.raises(PlaybookError, match="no such file"):
        load(str(tmp_path) + "/")
    with pytest.raises(PlaybookError, match="no such file"):
        load("x" * 5000 + ".yaml")


# --- the shipped playbooks ------------------------------------------------------------------


def test_the_incident_playbook_means_what_it_says():
    plan = load(str(shipped("playbooks") / "triage-502.yaml"), {"service": "checkout"})
    http, ratio = plan.playbook.goal.all
    assert http.http.url == "http://checkout.shop.svc:8080/health"
    assert ratio.ratio.total == 'sum(rate(http_requests_total{job="checkout"}[30s]))'
    assert plan.playbook.tools.change.targets[:2] == [
        "Deployment/shop/checkout",
        "Deployment/shop/auth",
    ]
    assert plan.unsupported == ()


def test_parts_of_later_versions_load_and_are_named_with_their_place(write):
    plan = load(write(MINIMAL.replace(b"all: [", b"all: [{sql: {query: select 1}}, ")))
    assert plan.unsupported == (f"goal.all[0].sql ({plan.source}:3:15)",)
    with pytest.raises(PlaybookError, match="this version does not run yet: goal.all"):
        require_supported(plan)


def test_triage_looks_at_every_workload_of_the_namespace():
    playbook = load(str(shipped("playbooks") / "triage.yaml"), {"namespace": "shop"}).playbook
    assert [check.rollout.target for check in playbook.goal.all if check.rollout] == [""]
    assert playbook.scope.namespaces == ["shop"]
    assert playbook.tools.change.targets[0] == "Deployment/shop/*"
    assert playbook.tools.metrics is None  # nobody said where Prometheus is


def test_triage_of_one_workload_knows_its_namespace():
    given = {"target": "deploy/web", "namespace": "shop", "prometheus": "http://p.obs.svc:9090"}
    playbook = load(str(shipped("playbooks") / "triage.yaml"), given).playbook
    rollout, restarts, _ = playbook.goal.all
    assert rollout.rollout.target == restarts.restarts.target == "Deployment/shop/web"
    assert playbook.tools.metrics.url == "http://p.obs.svc:9090"


def test_the_local_server_may_be_restarted_and_nothing_else():
    playbook = load(str(shipped("playbooks") / "local-server.yaml"), {"port": "8123"}).playbook
    server = playbook.tools.process.servers["web"]
    assert server.url == playbook.goal.all[0].http.url == "http://127.0.0.1:8123/"
    assert "8123" in server.run
    assert playbook.tools.change.targets == ["Process/local/web"]
    assert playbook.approval == "auto"
    assert playbook.tools.change.allow == playbook.allow_without_undo == ["process-restart"]


# --- inputs ---------------------------------------------------------------------------------


def with_inputs(text: str) -> bytes:
    return MINIMAL + f"inputs: {{{text}}}\n".encode()


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        ("80", "81", 81),
        ("0.5", "2", 2),
        ("true", "False", False),
        ("text", "5", "5"),
        ("[a]", "b, c,", ["b", "c"]),
        ("[a]", '["b,c", 5]', ["b,c", 5]),
        ("[a]", "", []),
    ],
)
def test_an_input_has_the_type_of_its_default(write, default, text, value):
    assert load(write(with_inputs(f"x: {{default: {default}}}")), {"x": text}).inputs["x"] == value


@pytest.mark.parametrize(
    ("default", "text", "says"),
    [
        ("80", "many", "--set x: expected a whole number, got: many"),
        ("80", "010", "--set x: expected a whole number, got: 010"),
        ("80", "true", "--set x: expected a whole number, got: true"),
        ("true", "yes", "--set x: expected true or false, got: yes"),
        ("0.5", "half", "--set x: expected a number, got: half"),
        ("[a]", "[a", "--set x: not a JSON list: [a"),
        ("[a]", '[["a"]]', '--set x: not a JSON list: [["a"]]'),
        ("text", "a\nb", "--set x: holds a control character: 'a b'"),
        ("text", "\x1b[2J", "--set x: holds a control character: ''"),
    ],
)
def test_a_value_of_another_type_is_refused(write, default, text, says):
    with pytest.raises(UsageError) as caught:
        load(write(with_inputs(f"x: {{default: {default}}}")), {"x": text})
    assert str(caught.value) == says


def test_missing_inputs_are_all_named(write):
    path = write(with_inputs("a: {required: true}, b: {required: true}, c: {}"))
    with pytest.raises(UsageError, match="inputs are missing: --set a=... --set b=..."):
        load(path)
    assert load(path, {"a": "1", "b": "2"}).inputs == {"a": "1", "b": "2", "c": ""}


def test_an_unknown_input_is_refused_with_what_is_close(write):
    with pytest.raises(UsageError, match="no such input: --set servce; did you mean service?"):
        load(write(with_inputs("service: {default: web}")), {"servce": "web"})


def test_a_required_input_that_is_empty_is_missing(write):
    """As with --set version=$VERSION, where nobody has set that."""
    path = write(with_inputs("version: {required: true}, tag: {}"))
    with pytest.raises(UsageError, match="inputs are missing: --set version=..."):
        load(path, {"version": "", "tag": ""})
    assert load(path, {"version": "2.5.0", "tag": ""}).inputs["tag"] == ""


def test_a_file_with_missing_inputs_is_judged_all_the_same(write):
    path = write(
        with_inputs("n: {required: true}") + b"limits: {max_steps: '${{ inputs.n }}', wall: x}"
    )
    assert [problem.key for problem in draft(Path(path)).problems] == ["limits.wall"]


def test_set_words_are_assignments():
    assert assignments(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    for words in (["a"], ["=a"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--set"):
            assignments(words)


# --- where playbooks are found --------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    def folder(label: str, *names: str) -> Place:
        path = tmp_path / label
        path.mkdir()
        for name in names:
            (path / name).write_bytes(MINIMAL + f"# {label}\n".encode())
        return Place(label, path)

    return [folder("near", "a.yaml", "b.yml"), folder("far", "a.yml", "c.yaml", "notes.txt")]


def test_the_first_place_wins_and_says_what_it_hides(folders):
    near, far = folders
    assert find("a", folders) == near.folder / "a.yaml"
    assert find("c", folders) == far.folder / "c.yaml"
    listed = {entry.name: (entry.place, entry.hides) for entry in available(folders)}
    assert listed == {"a": (near, (far,)), "b": (near, ()), "c": (far, ())}


def test_one_folder_under_two_names_hides_nothing(folders):
    near = folders[0]
    again = Place("again", near.folder / ".." / "near")
    assert [entry.hides for entry in available([near, again])] == [(), ()]


def test_a_copy_of_a_shipped_playbook_is_that_playbook(tmp_path, monkeypatch):
    """As in a checkout of which a copy is installed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "playbooks").mkdir()
    copy = tmp_path / "playbooks" / "triage.yaml"
    copy.write_bytes((shipped("playbooks") / "triage.yaml").read_bytes())
    assert find("triage").read_bytes() == copy.read_bytes()


def test_an_unknown_name_says_what_is_close_and_where_it_looked(folders):
    (folders[0].folder / "triage.yaml").write_bytes(MINIMAL)
    with pytest.raises(PlaybookError, match="no such playbook: triag; did you mean triage") as e:
        find("triag", folders)
    assert e.value.hint == "looked in near, far"


def test_a_file_that_is_right_here_is_given_by_its_path(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-playbook.yaml").write_bytes(MINIMAL)
    with pytest.raises(PlaybookError, match="no such playbook: my-playbook") as e:
        find("my-playbook", folders)
    assert e.value.hint == "a file is given by its path: ./my-playbook.yaml"


def test_the_folder_one_stands_in_replaces_no_playbook_of_another_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "playbooks").mkdir()
    planted = tmp_path / "playbooks" / "triage.yaml"
    planted.write_bytes(MINIMAL)
    with pytest.raises(PlaybookError, match="has the name of another playbook: shipped") as e:
        find("triage")
    assert e.value.hint == "-p ./playbooks/triage.yaml if it is meant"
    assert find("./playbooks/triage.yaml").read_bytes() == MINIMAL
    planted.rename(planted.with_name("mine.yaml"))
    assert find("mine").name == "mine.yaml"


def test_a_pipe_is_no_playbook(folders):
    import os

    os.mkfifo(folders[0].folder / "pipe.yaml")
    with pytest.raises(PlaybookError, match="no such file"):
        load(str(folders[0].folder / "pipe.yaml"))


def test_the_usual_places_end_at_the_shipped_folder():
    assert places()[0].label == "./playbooks"
    assert places()[-1] == Place("shipped", shipped("playbooks"))


# --- properties -----------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=10**12))
def test_a_duration_is_read_back_as_it_is_written(milliseconds):
    duration = Duration(milliseconds / 1000)
    assert Duration.parse(str(duration)) == pytest.approx(duration, abs=0.0005)


@given(st.integers(min_value=0, max_value=10**8))
def test_money_is_read_back_as_it_is_written(cents):
    assert Money.parse(str(Money(cents / 100))) == cents / 100


@given(st.text(alphabet="0123456789.dhms -e$", max_size=12) | st.text(max_size=8))
def test_text_is_a_duration_or_refused(text):
    with suppress(ValueError):
        assert 0 <= Duration.parse(text) < 10**12


KEYS = sorted({key for block in (Playbook, Goal, Check) for key in fields_of(block)})
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
TREES = st.recursive(
    SCALARS | st.sampled_from(["5m", "$1", "${{ inputs.x }}", "ask", "Deployment/a/*"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=25,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "fuzz.yaml"


def must_load_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(UsageError):  # PlaybookError is one
        load(str(path))


@given(
    content=st.binary(max_size=300)
    | st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass"))
)
@settings(deadline=None)
def test_any_bytes_load_or_are_refused(scratch, content):
    must_load_or_refuse(scratch, content)


@given(
    prefix=st.integers(0, len(MINIMAL)), noise=st.text("[]{}&*!|>'\"%@`:-?,# \n\tax", max_size=30)
)
@settings(deadline=None)
def test_any_punctuation_loads_or_is_refused(scratch, prefix, noise):
    must_load_or_refuse(scratch, MINIMAL[:prefix] + noise.encode() + MINIMAL[prefix:])


@given(tree=TREES)
@settings(max_examples=200, deadline=None)
def test_any_tree_loads_or_is_refused(scratch, tree):
    must_load_or_refuse(scratch, yaml.safe_dump(tree).encode())


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_playbook_with_any_part_replaced_loads_or_is_refused(scratch, data):
    name = data.draw(st.sampled_from(["triage", "triage-502", "helm-upgrade", "add-env-var"]))
    tree = yaml.safe_load((shipped("playbooks") / f"{name}.yaml").read_text())
    at = tree
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            at[key] = data.draw(TREES)
            break
        at = at[key]
    must_load_or_refuse(scratch, yaml.safe_dump(tree).encode())


def test_loaded_playbooks_are_frozen(write):
    playbook = load(write(MINIMAL)).playbook
    with pytest.raises(AttributeError):
        playbook.name = "other"
    assert msgspec.structs.replace(playbook, name="other").name == "other"
