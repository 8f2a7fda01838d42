"""The snippets of docs/ci.md: their shell steps are run, with a stand-in for the command that
writes the real files of a recorded upgrade."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from recorded_upgrade import cells, second_fails
from test_ci_outputs import read_outputs
from test_junit import read

from smoldebug.cli.app import app
from smoldebug.report import fleet
from smoldebug.status import ExitStatus
from smoldebug.view.github import outputs

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)]
GITHUB, GITLAB, ARGO = BLOCKS
STAND_IN = """\
#!{python}
import json, os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
name = Path(sys.argv[0]).name
with open({log!r}, "a") as log:
    log.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
if name == "smoldebug":
    from recorded_upgrade import cells, second_fails
    from smoldebug.report import junit, summary
    from smoldebug.view.github import hand_over
    told, given = cells(second_fails), dict(zip(sys.argv, sys.argv[1:]))
    if "--junit" in given:
        Path(given["--junit"]).write_text(junit.junit(told))
    if "--summary" in given:
        Path(given["--summary"]).write_text(summary.summary(told))
    if given.get("--output") == "github":
        hand_over(told, os.environ, summary=summary.summary(told),
                  short=summary.comment(told), report=given["--junit"])
    sys.exit(int(os.environ["CODE"]))
"""


class Runner:
    """A machine of a CI system: a checkout with a chart, and commands that only write down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        (folder / "bin").mkdir()
        (folder / "platform").mkdir()
        (folder / "platform/Chart.yaml").write_text("name: platform\nversion: 2.5.0\n")
        stand_in = STAND_IN.format(
            python=sys.executable, tests=str(ROOT / "tests"), log=str(self.log)
        )
        for name in ("smoldebug", "pip", "curl"):
            (folder / "bin" / name).write_text(stand_in)
            (folder / "bin" / name).chmod(0o755)

    def run(self, script: str, code: int = 0, **environ: str) -> int:
        """As GitHub and Argo do: a file, and bash that ends with the first error."""
        path = self.folder / "step.sh"
        path.write_text(script)
        done = subprocess.run(
            ["bash", "-e", str(path)],
            cwd=self.folder,
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "CODE": str(code), **environ},
            check=False,
            timeout=30,
        )
        return done.returncode

    def called(self, name: str) -> list[str]:
        """The arguments of the last call."""
        calls = [json.loads(line) for line in self.log.read_text().splitlines()]
        return next(call[1:] for call in reversed(calls) if call[0] == name)

    def validated(self) -> Mapping[str, Any]:
        """How the real command line reads what the stand-in was given."""
        words = self.called("smoldebug")
        command = typer.main.get_command(app)
        assert isinstance(command, typer.core.TyperGroup)
        found = command.commands["validate"]
        assert words[0] == "validate"
        return found.make_context("validate", words[1:]).params


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def expressions(value: Any) -> Iterator[str]:
    """Everything between `${{` and `}}`."""
    yield from re.findall(r"\$\{\{\s*(.*?)\s*\}\}", json.dumps(value))


# --- GitHub -------------------------------------------------------------------------------------


def step(name: str) -> dict[str, Any]:
    return next(each for each in GITHUB["jobs"]["validate"]["steps"] if each.get("name") == name)


def test_the_job_of_github_validates_and_hands_over(runner: Runner) -> None:
    environ = {name: str(runner.folder / name) for name in ("RUNNER_TEMP", "GITHUB_OUTPUT")}
    Path(environ["RUNNER_TEMP"]).mkdir()
    environ["GITHUB_STEP_SUMMARY"] = str(runner.folder / "summary")
    assert runner.run(step("Install")["run"]) == 0
    assert runner.called("pip") == ["install", "smoldebug[helm]"]
    assert runner.run(step("Kubeconfig")["run"], STAGING="kind: Config", **environ) == 0
    kubeconfig = runner.folder / "RUNNER_TEMP/kubeconfig"
    assert kubeconfig.read_text() == "kind: Config"
    assert kubeconfig.stat().st_mode & 0o077 == 0
    assert runner.run(step("Validate")["run"], code=4, **environ) == 4
    given = runner.validated()
    assert (given["playbook"], given["output"]) == ("helm-upgrade", "github")
    assert list(given["inputs"]) == ["chart=./platform", "version=2.5.0"]
    assert given["comment"] is True
    assert Path(given["kubeconfig"]) == kubeconfig
    found = read_outputs((runner.folder / "GITHUB_OUTPUT").read_text())
    assert (found["exit_code"], found["report"]) == ("4", "junit.xml")
    assert (runner.folder / found["report"]).exists()
    assert (runner.folder / "summary").read_text().startswith("## helm-upgrade: payments broke")


def test_the_file_that_is_kept_is_the_one_that_is_written() -> None:
    assert f"--junit {step('Keep the report')['with']['path']} " in step("Validate")["run"]


def test_only_outputs_that_there_are_are_read() -> None:
    known = read_outputs(outputs(cells(second_fails), "", ""))
    named = re.findall(r"steps\.validate\.outputs\.(\w+)", json.dumps(GITHUB))
    assert set(named) == {"exit_code", "cluster", "offender"}
    assert set(named) <= set(known)
    page = re.search(r"^The outputs are (.*?)\.  ?|^The outputs are (.*?)\.\s", PAGE, re.M | re.S)
    assert page
    assert set(known) <= set(re.findall(r"`(\w+)`", page[0]))


def test_a_pager_gets_what_the_cluster_said_as_data(runner: Runner) -> None:
    environ = {"CLUSTER": "eu", "OFFENDER": '"; touch owned; "', "PAGER": "https://pager.example"}
    assert runner.run(step("Page somebody")["run"], **environ) == 0
    assert runner.called("curl")[2] == 'eu could not be rolled back ("; touch owned; ")'
    assert not (runner.folder / "owned").exists()


def test_no_expression_stands_in_a_script() -> None:
    scripts = [each["run"] for each in GITHUB["jobs"]["validate"]["steps"] if "run" in each]
    assert not list(expressions(scripts))
    assert not [each for each in ARGO["spec"]["templates"] if "workflow.parameters" in
                each.get("script", {}).get("source", "")]  # fmt: skip


def test_the_job_may_do_no_more_than_it_needs() -> None:
    assert GITHUB["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert GITHUB["concurrency"]["cancel-in-progress"] is False


# --- GitLab -------------------------------------------------------------------------------------


def test_the_job_of_gitlab_validates_and_keeps_its_reports(runner: Runner) -> None:
    job = GITLAB["validate-upgrade"]
    script = "\n".join(job["script"])
    assert runner.run(script, code=4, STAGING_KUBECONFIG="/builds/kube.tmp") == 4
    given = runner.validated()
    assert list(given["inputs"]) == ["chart=./platform", "version=2.5.0"]
    assert (given["output"], str(given["kubeconfig"])) == ("gitlab", "/builds/kube.tmp")
    assert runner.called("pip") == ["install", "smoldebug[gitlab,helm]"]
    report = runner.folder / job["artifacts"]["reports"]["junit"]
    assert len(list(read(report.read_text()))) == 3
    assert all((runner.folder / path).exists() for path in job["artifacts"]["paths"])
    assert job["artifacts"]["when"] == "always"
    assert job["retry"]["exit_codes"] == [ExitStatus.UNREACHABLE]


# --- Argo ---------------------------------------------------------------------------------------

TEMPLATES = {each["name"]: each for each in ARGO["spec"]["templates"]}


def test_the_step_of_argo_ends_with_the_exit_code(runner: Runner) -> None:
    script = TEMPLATES["validate"]["script"]
    assert script["command"] == ["bash", "-e"]
    source = script["source"].replace("/tmp/", f"{runner.folder}/")
    assert runner.run(source, code=5, CHART="oci://x/y", VERSION="2.5.0; touch owned") == 5
    given = runner.validated()
    assert list(given["inputs"]) == ["chart=oci://x/y", "version=2.5.0; touch owned"]
    assert given["output"] == "plain"
    for artifact in TEMPLATES["validate"]["outputs"]["artifacts"]:
        assert f" {artifact['path']}" in script["source"]
        assert (runner.folder / Path(artifact["path"]).name).exists()


def test_argo_acts_on_exit_codes_that_there_are() -> None:
    steps = {each["name"]: each for group in TEMPLATES["main"]["steps"] for each in group}
    assert steps["validate"]["continueOn"] == {"failed": True}
    assert steps["page"]["when"] == f"{{{{steps.validate.exitCode}}}} == {ExitStatus.UNDO_FAILED:d}"
    retry = TEMPLATES["validate"]["retryStrategy"]["expression"]
    assert retry == f"asInt(lastRetry.exitCode) == {ExitStatus.UNREACHABLE:d}"
    assert {each["template"] for each in steps.values()} <= set(TEMPLATES)


@pytest.mark.parametrize("code", [0, 4, 130])
def test_the_workflow_of_argo_ends_as_the_step_did(runner: Runner, code: int) -> None:
    source = TEMPLATES["verdict"]["script"]["source"]
    assert runner.run(source.replace("{{inputs.parameters.code}}", str(code))) == code


def test_every_volume_of_argo_is_there() -> None:
    mounted = {each["name"] for each in TEMPLATES["validate"]["script"]["volumeMounts"]}
    assert mounted == {each["name"] for each in ARGO["spec"]["volumes"]}


# --- the page -----------------------------------------------------------------------------------


def test_the_options_in_its_table_are_options() -> None:
    named = set(re.findall(r"^\| `(--\w+)", PAGE, re.M))
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    known = {option for each in command.commands["validate"].params for option in each.opts}
    assert named == {"--output", "--junit", "--summary", "--comment"}
    assert named <= known


def test_the_readme_leads_there() -> None:
    assert "(docs/ci.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_document_has_the_fields_that_the_page_names_and_no_others() -> None:
    table = PAGE.partition("## The document")[2].partition("## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.M)
    named = [{name.removesuffix("[]") for name in re.findall(r"`(.*?)`", row)} for row in rows]
    at = named.index({"clusters"})
    document = fleet.document(cells(second_fails))
    assert set(document) == set().union(*named[: at + 1])
    assert set(document["clusters"][1]) == set().union(*named[at + 1 :])
