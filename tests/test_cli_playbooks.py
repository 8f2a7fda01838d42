"""`smoldebug playbooks`: which there are, what they mean, what is wrong with one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from smoldebug.cli.playbooks import app
from smoldebug.errors import PlaybookError, UsageError

MINIMAL = """\
apiVersion: smoldebug.dev/v1
name: triage
description: "[red]Ours[/red] \U0001f680"
goal: {all: [{tcp: {host: db, port: 80}}], consecutive: 3, within: 1m}
"""
Call = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with playbooks of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMOLDEBUG_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "triage.yaml").write_text(MINIMAL)
    return tmp_path


@pytest.fixture
def playbooks(folder: Path) -> Call:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)

    return call


def test_list_shows_where_each_is_from_and_what_it_hides(playbooks: Call):
    lines = playbooks("list").stdout.splitlines()
    triage = next(line for line in lines if line.startswith("triage "))
    assert triage.split("  ")[1:] != []
    assert "./playbooks (hides shipped)" in triage
    assert "[red]Ours[/red] \U0001f680" in triage  # text, not markup
    assert any(line.startswith("triage-502") and "shipped" in line for line in lines)


def test_list_as_json(playbooks: Call):
    listed = {row["name"]: row for row in json.loads(playbooks("list", "-o", "json").stdout)}
    assert listed["triage"]["hides"] == ["shipped"]
    assert listed["local-server"]["source"] == "shipped"
    assert Path(listed["triage"]["path"]) == Path("playbooks/triage.yaml")


def test_a_broken_playbook_is_listed_with_what_is_wrong(folder: Path, playbooks: Call):
    (folder / "playbooks" / "broken.yaml").write_text("a: [\x1b")
    listed = {row["name"]: row for row in json.loads(playbooks("list", "-o", "json").stdout)}
    assert listed["broken"]["description"].startswith("cannot be used: playbooks/broken.yaml:1:5")


def test_home_comes_before_the_shipped_ones(
    folder: Path, playbooks: Call, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SMOLDEBUG_HOME", str(folder))
    (folder / "playbooks" / "triage-502.yaml").write_text(MINIMAL)
    listed = {row["name"]: row for row in json.loads(playbooks("list", "-o", "json").stdout)}
    assert listed["triage-502"]["source"] == "./playbooks"
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    listed = {row["name"]: row for row in json.loads(playbooks("list", "-o", "json").stdout)}
    assert listed["triage-502"]["source"] == "$SMOLDEBUG_HOME/playbooks"
    assert listed["triage-502"]["hides"] == ["shipped"]


def test_show_puts_the_inputs_in(playbooks: Call):
    shown = playbooks("show", "triage-502", "--set", "service=checkout").stdout
    assert "url: http://checkout.shop.svc:8080/health" in shown
    assert "within: 10m" in shown


def test_show_needs_no_inputs(playbooks: Call):
    shown = playbooks("show", "triage-502").stdout
    assert "# needs --set service=..., shown as if it were: service" in shown


def test_show_says_what_would_not_run(folder: Path, playbooks: Call):
    (folder / "later.yaml").write_text(MINIMAL.replace("all: [", "all: [{sql: {query: x}}, "))
    shown = playbooks("show", "./later.yaml").stdout
    assert "# not supported yet: goal.all[0].sql (later.yaml:4:" in shown


def test_show_of_a_broken_playbook_says_what_is_wrong(folder: Path, playbooks: Call):
    (folder / "broken.yaml").write_text(MINIMAL + "gaol: 1\n")
    with pytest.raises(PlaybookError, match=r"broken\.yaml:5:1 gaol: unknown key; did you mean"):
        playbooks("show", "broken.yaml")


def test_lint_looks_at_the_playbooks_of_this_folder(playbooks: Call):
    result = playbooks("lint")
    assert result.stdout == "playbooks/triage.yaml ok\n"
    assert result.return_value == 0


def test_lint_reports_every_file_and_fails_on_errors(folder: Path, playbooks: Call):
    (folder / "bad.yaml").write_text(MINIMAL + "gaol: 1\nscpoe: 2\n")
    (folder / "odd.yaml").write_text(MINIMAL + "inputs: {x: {default: 1}}\n")
    result = playbooks("lint", "bad.yaml", "odd.yaml", "none.yaml")
    assert result.stdout.splitlines() == [
        "bad.yaml:5:1 gaol: unknown key; did you mean goal?",
        "bad.yaml:6:1 scpoe: unknown key; did you mean scope?",
        "odd.yaml:2:1 warning: name: the file is called odd, and that is the name to run it by",
        "odd.yaml:5:13 warning: inputs.x: is never used",
        "none.yaml cannot be read: No such file or directory",
    ]
    assert result.return_value == 2


def test_lint_as_json(folder: Path, playbooks: Call):
    (folder / "bad.yaml").write_text(MINIMAL + "gaol: 1\n")
    (linted,) = json.loads(playbooks("lint", "bad.yaml", "--output", "json").stdout)
    assert linted["file"] == "bad.yaml"
    assert linted["errors"] == ["bad.yaml:5:1 gaol: unknown key; did you mean goal?"]


def test_lint_of_nothing_is_a_mistake(folder: Path, playbooks: Call):
    (folder / "playbooks" / "triage.yaml").unlink()
    with pytest.raises(UsageError, match=r"no playbooks in: \./playbooks"):
        playbooks("lint")


def test_explain_one_key(playbooks: Call):
    assert playbooks("explain", "goal.within").stdout == (
        "goal.within: Deadline from the start; waiting for approval not counted.\n\n"
        "value:    a duration such as 500ms, 30s, 5m or 1h30m\n"
        "default:  none\n\n"
        "example:\n  goal:\n    within: 10m\n"
    )


def test_explain_lists_the_whole_tree(playbooks: Call):
    lines = playbooks("explain").stdout.splitlines()
    assert "goal                               What fixed means; decided by code." in lines
    assert any(line.startswith("      url ") for line in lines)


def test_schema_is_json(playbooks: Call):
    assert json.loads(playbooks("schema").stdout)["title"] == "smoldebug playbook"


@pytest.mark.parametrize("command", ["list", "show", "lint", "explain", "schema"])
def test_every_help_has_an_example(playbooks: Call, command: str):
    assert f"smoldebug playbooks {command}" in CliRunner().invoke(app, [command, "--help"]).stdout


# --- what one may do, and the role it needs -------------------------------------------------


def test_plan_tells_what_a_playbook_may_do(playbooks: Call):
    shown = playbooks("plan", "triage-502", "--set", "service=checkout").stdout
    assert "CHANGES     scale, rollback: Deployment/shop/checkout" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_plan_names_the_model_that_the_environment_names(
    playbooks: Call, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SMOLDEBUG_MODEL", "openai/gpt-oss-20b")
    told = json.loads(playbooks("plan", "triage-502", "-o", "json").stdout)
    assert told["missing"] == ["service"]
    assert told["sections"]["SENT AWAY"][0].startswith("to openai/gpt-oss-20b: ")


def test_plan_names_the_models_of_the_settings(
    folder: Path, playbooks: Call, monkeypatch: pytest.MonkeyPatch
):
    settings = folder / "settings.yaml"
    settings.write_text("model: [vllm/small, openai/gpt-5]\n")
    monkeypatch.setenv("SMOLDEBUG_SETTINGS", str(settings))
    monkeypatch.delenv("SMOLDEBUG_MODEL", raising=False)
    told = json.loads(playbooks("plan", "triage-502", "-o", "json").stdout)
    assert told["sections"]["SENT AWAY"][0].startswith("to vllm/small, then openai/gpt-5: ")


def test_a_policy_in_force_narrows_the_plan(
    folder: Path, playbooks: Call, monkeypatch: pytest.MonkeyPatch
):
    policy = folder / "policy.yaml"
    policy.write_text("apiVersion: smoldebug.dev/v1\nkind: Policy\ndeny: {changes: [rollback]}\n")
    monkeypatch.setenv("SMOLDEBUG_POLICY", str(policy))
    assert f"but not rollback: {policy}" in playbooks("plan", "triage-502").stdout.replace(
        "\n              ", " "
    )


def test_text_of_a_playbook_is_no_command_to_a_ci_system(folder: Path, playbooks: Call):
    (folder / "odd.yaml").write_text(
        MINIMAL.replace("name: triage", "name: odd").replace('"[red]', '"##[group]::error:: [red]')
    )
    shown = playbooks("plan", "./odd.yaml").stdout
    assert "##[group]" not in shown
    assert "[red]Ours[/red]" in shown  # text, not markup


def test_rbac_prints_what_kubectl_applies(playbooks: Call):
    shown = playbooks("rbac", "triage-502", "--set", "service=checkout").stdout
    documents = [*yaml.safe_load_all(shown)]
    kinds = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Role", "RoleBinding"]
    assert [one["kind"] for one in documents] == kinds
    assert "kubectl -n shop create serviceaccount smoldebug" in shown


def test_rbac_as_json_for_another_account(playbooks: Call):
    arguments = ("triage-502", "--set", "service=checkout", "--service-account", "ops/robot")
    printed = json.loads(playbooks("rbac", *arguments, "--read-only", "-o", "json").stdout)
    subjects = [one["subjects"] for one in printed["items"] if "subjects" in one]
    assert subjects[0] == [{"kind": "ServiceAccount", "namespace": "ops", "name": "robot"}]
    verbs = {v for one in printed["items"] for rule in one.get("rules", ()) for v in rule["verbs"]}
    assert verbs == {"get", "list"}


def test_a_role_is_not_made_of_samples(playbooks: Call):
    with pytest.raises(UsageError, match="--set service="):
        playbooks("rbac", "triage-502")
