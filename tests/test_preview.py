"""What a playbook means before it runs: lint, explain, show, the schema and the reference."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from smoldebug.errors import UsageError
from smoldebug.playbook.convert import Converter
from smoldebug.playbook.load import assignments, draft, load
from smoldebug.playbook.models import Playbook
from smoldebug.playbook.parse import parse
from smoldebug.preview.explain import TABLE_BEGIN, TABLE_END, explain, table, tree
from smoldebug.preview.lint import lint
from smoldebug.preview.schema import schema, text
from smoldebug.preview.show import as_yaml
from smoldebug.shipped import shipped

DOCS = Path(__file__).parent.parent / "docs"
DOUBTFUL = sorted((Path(__file__).parent / "playbooks" / "doubtful").glob("*.yaml"))
SHIPPED = sorted(shipped("playbooks").glob("*.yaml"))
HEAD = "apiVersion: smoldebug.dev/v1\nname: example\n"


# --- lint -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_playbooks_are_sound(path):
    linted = lint(path)
    assert (linted.errors, linted.warnings, linted.unsupported) == ((), (), ())


@pytest.mark.parametrize("path", DOUBTFUL, ids=lambda path: path.stem)
def test_what_is_probably_not_meant_is_warned_about(path):
    expected = re.findall("^# warning: (.*)$", path.read_text(), re.MULTILINE)
    linted = lint(path)
    assert linted.errors == ()
    assert [line.removeprefix(f"{path}:") for line in linted.warnings] == expected


def test_lint_reports_what_is_no_yaml_like_any_other_error(tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text("a: [")
    assert lint(path).errors == (f"{path}:2:1 not YAML: did not find expected node content",)


# --- explain --------------------------------------------------------------------------------


def test_a_key_is_explained():
    entry = explain("goal.consecutive")
    assert entry.description == "Successes in a row that count as met."
    assert entry.type == "a whole number, 1 or more"
    assert (entry.default, entry.required) == ("1", False)
    assert entry.example == "goal:\n  consecutive: 3"


def test_indexes_and_names_may_stand_in_the_path():
    assert explain("goal.all[0].http.url").key == "goal.all.http.url"
    assert explain("inputs.port.default").key == "inputs.default"
    assert explain("tools.process.servers.web.run").key == "tools.process.servers.run"


def test_changes_are_spelled_out():
    assert "set-replicas-bounds" in explain("tools.change.allow").type


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("gaol", "no such key: gaol; did you mean goal?"),
        ("goal.consecutiv", "no such key: goal.consecutiv; did you mean consecutive?"),
        ("helm_upgrade", "no such key: helm_upgrade; did you mean steps.helm_upgrade?"),
        ("helm_upgrade.set", "no such key: helm_upgrade.set; did you mean steps.helm_upgrade.set?"),
        ("name.x", "no such key: name.x; it is not a block"),
        ("goal..every", "no such key: goal..every; known: description, all, any"),
    ],
)
def test_an_unknown_key_is_refused_with_what_is_close(key, says):
    with pytest.raises(UsageError, match="^" + re.escape(says)):
        explain(key)


@pytest.mark.parametrize("entry", list(tree()), ids=lambda entry: entry.key)
def test_every_key_is_described_and_its_example_loads(entry):
    assert entry.description.endswith(".")
    root, problems = parse(entry.example.encode(), "example")
    converter = Converter({})
    converter.convert(root, Playbook)
    wrong = [p for p in (*problems, *converter.problems) if not p.says.startswith("needs ")]
    assert wrong == []


# --- show -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("triage", "namespace=shop target=deployment/web"),
        ("triage-502", "service=checkout"),
        ("local-server", "port=8001"),
        ("helm-upgrade", "version=1.10"),
        ("add-env-var", "value=010"),
        ("durable-fix", "incident=https://example.org/7"),
    ],
)
def test_what_is_shown_loads_again_as_the_same_playbook(tmp_path, name, given):
    first = draft(shipped("playbooks") / f"{name}.yaml", assignments(given.split()))
    path = tmp_path / f"{name}.yaml"
    path.write_text(as_yaml(first, first.plan))
    second = load(str(path))
    without_inputs = [
        msgspec.structs.replace(plan.playbook, inputs={}) for plan in (first.plan, second)
    ]
    assert without_inputs[0] == without_inputs[1]
    assert second.inputs == first.plan.inputs


def test_secrets_are_masked(tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(
        HEAD + "inputs: {api_token: {default: hunter2hunter2}}\n"
        'goal: {all: [{http: {url: "http://shop/${{ inputs.api_token }}"}}]}\n'
    )
    read = draft(path)
    shown = as_yaml(read, read.plan)
    assert "hunter2" not in shown
    assert "[secret:" in shown


# --- schema and reference -------------------------------------------------------------------


def fits(value: Any, node: dict[str, Any]) -> bool:
    """Whether a value fits a JSON Schema: the keywords that ours uses, and no others."""
    known = {"$ref", "anyOf", "enum", "type", "properties", "additionalProperties", "required"}
    known |= {"items", "minItems", "minimum", "maximum", "pattern"}
    assert set(node) <= known | {"description", "examples", "default"}
    if "$ref" in node:
        return fits(value, schema()["$defs"][node["$ref"].rpartition("/")[2]])
    if "anyOf" in node:
        return any(fits(value, choice) for choice in node["anyOf"])
    if "enum" in node:
        return value in node["enum"]
    return "type" not in node or (is_a(value, node["type"]) and within(value, node))


def is_a(value: Any, kind: str) -> bool:
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, types.get(kind, (int, float)))


def within(value: Any, node: dict[str, Any]) -> bool:
    match value:
        case dict():
            fields, others = node.get("properties", {}), node["additionalProperties"]
            return set(node.get("required", ())) <= set(value) and all(
                fits(item, fields[key]) if key in fields else others and fits(item, others)
                for key, item in value.items()
            )
        case list():
            return len(value) >= node.get("minItems", 0) and all(
                fits(item, node["items"]) for item in value
            )
        case str():
            return re.search(node.get("pattern", ""), value) is not None
    return node.get("minimum", value) <= value <= node.get("maximum", value)


ROOT = {"$ref": "#/$defs/Playbook"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_schema_accepts_shipped_playbooks(path):
    assert fits(yaml.safe_load(path.read_text()), ROOT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("approval: ask", "aproval: ask"),
        ("approval: ask", "approval: asks"),
        ("  every: 5s", "  every: 5 seconds"),
        ("consecutive: 3", "consecutive: 0"),
        ("consecutive: 3", "consecutive: three"),
        ("cost: $1.00", "cost: 1 EUR"),
        ("allow: [scale,", "allow: [scal,"),
        ("goal:", "goals:"),
        ("status: 200", "status: ok"),
    ],
)
def test_the_schema_refuses_a_mistake(old, new):
    before = (shipped("playbooks") / "triage-502.yaml").read_text()
    after = before.replace(old, new)
    assert after != before
    assert not fits(yaml.safe_load(after), ROOT)


def test_the_checked_in_schema_is_current():
    """To renew it: smoldebug playbooks schema > docs/playbook.schema.json"""
    assert (DOCS / "playbook.schema.json").read_text() == text()


def test_the_reference_holds_the_table_of_today():
    """To renew it: python tests/test_preview.py"""
    _, _, rest = (DOCS / "playbooks.md").read_text().partition(TABLE_BEGIN)
    assert rest.partition(TABLE_END)[0].strip() == table().strip()


def test_the_worked_example_of_the_reference_is_sound(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "playbooks.md").read_text(), re.DOTALL)
    path = tmp_path / "checkout-answers.yaml"
    path.write_text(blocks[0])
    linted = lint(path)
    assert (linted.errors, linted.warnings, linted.unsupported) == ((), (), ())


def renew() -> None:
    """Write the generated files anew."""
    (DOCS / "playbook.schema.json").write_text(text())
    reference = DOCS / "playbooks.md"
    head, _, rest = reference.read_text().partition(TABLE_BEGIN)
    tail = rest.partition(TABLE_END)[2]
    reference.write_text(f"{head}{TABLE_BEGIN}\n\n{table()}\n{TABLE_END}{tail}")


if __name__ == "__main__":
    renew()
