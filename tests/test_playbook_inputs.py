"""A value that somebody hands in stays a value, wherever the playbook puts it."""

from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import promql_parser
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smoldebug.errors import PlaybookError, UsageError
from smoldebug.playbook.load import load
from smoldebug.playbook.models import Playbook

HOSTILE = st.text(max_size=12) | st.text("\"'`\\{}[]()#/@:?&.%*-, \nab", max_size=12)
WORDS = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)

TEMPLATE = """\
apiVersion: smoldebug.dev/v1
name: template
inputs: {{x: {{default: sample}}}}
description: "about ${{{{ inputs.x }}}}"
goal:
  all:
    - {check}
tools: {{metrics: {{url: "http://prometheus:9090"}}}}
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Load the template with one check, and a value for x."""
    folder: Path = tmp_path_factory.mktemp("inputs")

    def load_with(check: str, value: str) -> Playbook:
        path = folder / "template.yaml"
        path.write_text(TEMPLATE.format(check=check), encoding="utf-8")
        return load(str(path), {"x": value}).playbook

    return load_with


def shape(promql: str) -> list[str]:
    """The kinds of a query's nodes, in order: what a value must not be able to change."""
    return [
        line.strip().rstrip("({[,")
        for line in repr(promql_parser.parse(promql)).splitlines()
        if not line.strip().startswith(('"', "value:"))
    ]


@pytest.mark.parametrize("mark", ['"', "'", "`"])
def test_a_value_never_leaves_a_promql_string(loaded, mark):
    query = f"sum(rate(errors{{job={mark}${{{{ inputs.x }}}}{mark},code='5'}}[1m])) / total"
    check = f"metric: {{query: {msgspec.json.encode(query).decode()}, below: 1}}"
    plain_shape = shape(query.replace("${{ inputs.x }}", "x"))

    @settings(deadline=None)
    @given(value=HOSTILE)
    @example(value='"} or vector(0) #')
    @example(value="'} or vector(0) #")
    @example(value="\\")
    def holds(value):
        try:
            metric = loaded(check, value).goal.all[0].metric
        except UsageError:
            assert (mark == "`" and set(value) & {"`", "\\"}) or not value.isprintable()
            return
        assert shape(metric.query) == plain_shape
        selector = promql_parser.parse(metric.query).lhs.expr.args[0].vector_selector
        assert selector.matchers.matchers[0].value == value

    holds()


@pytest.mark.parametrize(
    "query",
    [
        "sum(rate(errors[${{ inputs.x }}]))",
        "errors > ${{ inputs.x }}",
        "# it's a comment ${{ inputs.x }}\nerrors",
        '# it\'s a comment\nerrors{job="${{ inputs.x }}"}',
        'errors{job="\\${{ inputs.x }}"}',
    ],
)
def test_outside_a_string_a_value_is_one_word_or_refused(loaded, query):
    check = f"metric: {{query: {msgspec.json.encode(query).decode()}, below: 1}}"
    sizes = set()
    for word in ("5m", "5", "x"):
        with suppress(ValueError):
            sizes.add(len(shape(query.replace("${{ inputs.x }}", word))))

    @settings(deadline=None)
    @given(value=HOSTILE | WORDS)
    @example(value='"} or vector(0) #')
    @example(value="5m]) or vector(0) #")
    def holds(value):
        with suppress(UsageError):
            text = loaded(check, value).goal.all[0].metric.query
            assert len(shape(text)) in sizes

    holds()


def test_a_comment_ends_with_its_line(loaded):
    check = "metric: {query: \"# it's\\nup{job='${{ inputs.x }}'}\", below: 1}"
    query = loaded(check, "two words").goal.all[0].metric.query
    assert query == "# it's\nup{job='two words'}"


def test_a_text_of_many_expressions_is_bounded(loaded):
    check = f'metric: {{query: "{"${{ inputs.x }}" * 1000}", below: 1}}'
    with pytest.raises(PlaybookError, match="at most 10000 characters long"):
        loaded(check, "x")


@settings(deadline=None)
@given(value=HOSTILE | WORDS)
@example(value="evil.example/")
@example(value="a@evil.example")
@example(value="evil.example#")
@example(value="a:80")
def test_a_value_never_changes_whose_host_a_url_has(loaded, value):
    with suppress(UsageError):
        url = loaded('http: {url: "http://${{ inputs.x }}.shop.svc:8080/"}', value).goal.all[0]
        assert urlsplit(url.http.url).netloc == f"{value}.shop.svc:8080"
        assert urlsplit(url.http.url).path == "/"


@settings(deadline=None)
@given(value=HOSTILE | WORDS)
@example(value="..")
@example(value="a/../b")
def test_a_value_is_one_step_of_a_path(loaded, value):
    with suppress(UsageError):
        check = 'http: {url: "http://shop/a/${{ inputs.x }}/b?c=${{ inputs.x }}"}'
        parts = urlsplit(loaded(check, value).goal.all[0].http.url)
        assert (parts.netloc, parts.fragment) == ("shop", "")
        first, step, last = parts.path[1:].split("/")
        assert (first, unquote(step), last) == ("a", value, "b")
        assert value not in ("", ".", "..")
        assert unquote(parts.query) == f"c={value}"


@settings(deadline=None)
@given(value=HOSTILE | st.sampled_from(["true", "null", "5", "[a]", "{a: b}", "&a", "!!str x"]))
def test_a_value_never_changes_the_structure(loaded, value):
    with suppress(UsageError):
        data = "{a: '${{ inputs.x }}', b: 'is ${{ inputs.x }}'}"
        check = f"object: {{kind: ConfigMap, matches: {{data: {data}}}}}"
        playbook = loaded(check, value)
        assert playbook.description == f"about {value}"
        assert playbook.goal.all[0].object.matches == {"data": {"a": value, "b": f"is {value}"}}
        assert playbook.tools == loaded(check, "x").tools


@settings(deadline=None)
@given(value=HOSTILE)
def test_a_value_is_never_an_option_of_a_command(loaded, value):
    with suppress(UsageError):
        run = loaded('command: {run: [ping, "${{ inputs.x }}"]}', value).goal.all[0].command.run
        assert run == ["ping", value]
        assert not value.startswith("-")


@given(value=st.characters(categories=["Cc", "Cs"]) | st.sampled_from("\u202e\u2066\u200b"))
def test_a_control_character_is_refused_everywhere(loaded, value):
    with pytest.raises(UsageError, match="control character"):
        loaded("rollout: {}", f"a{value}b")


@pytest.mark.parametrize("value", ["*", "a/b", "shop/*", "", "a b", "-x"])
def test_a_value_cannot_widen_a_target(tmp_path, value):
    path = tmp_path / "template.yaml"
    target = 'change: {allow: [scale], targets: ["Deployment/${{ inputs.x }}/web"]}'
    path.write_text(
        TEMPLATE.format(check="rollout: {}").replace("tools: {", f"tools: {{{target}, ")
    )
    with pytest.raises(PlaybookError, match="a value here must be a name"):
        load(str(path), {"x": value})


def test_a_wrong_value_is_blamed_once_and_not_on_the_file():
    says = "^target: expected KIND/NAME, as in deployment/checkout, got 'checkout'$"
    with pytest.raises(UsageError, match=says):
        load("triage", {"target": "checkout", "namespace": "shop"})
    with pytest.raises(UsageError, match="^target: expected one of Deployment, .* got 'pod'$"):
        load("triage", {"target": "pod/checkout-1", "namespace": "shop"})
    with pytest.raises(UsageError, match="^namespace: not a namespace: 'Shop'$"):
        load("triage", {"namespace": "Shop"})
