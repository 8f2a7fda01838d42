"""docs/validate.md: its walk-through runs, its playbooks are sound, what it says comes out."""

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import SMOLDEBUG, environment, smoldebug
from realhelm import HELMS
from test_upgrade import CHART, DEADLINE, PLATFORM, Stage, chart, nobody

from smoldebug.events import AnyEvent, UndoBegan
from smoldebug.playbook import upgrades
from smoldebug.playbook.load import load
from smoldebug.preview.lint import lint
from smoldebug.sources.helm import Upgrade
from smoldebug.sources.process import LocalProcesses

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "validate.md").read_text(encoding="utf-8")
WHOLE, PINNED, STEPS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
WALK = PAGE.partition("## Try it")[2].partition("\n## ")[0]


# --- the walk-through -----------------------------------------------------------------------


@pytest.mark.helm
@pytest.mark.timeout(240)
@pytest.mark.skipif("SMOLDEBUG_HELM" not in os.environ, reason="takes minutes: .ci/run has it")
def test_the_walk_through_ends_as_the_page_says(tmp_path: Path):
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, argv in (("helm", HELMS[0]), ("smoldebug", SMOLDEBUG)):
        (bin_ / name).write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
        (bin_ / name).chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "upgrade.yaml").write_text(WHOLE)
    env = environment(tmp_path)
    env["PATH"] = f"{bin_}:{env['PATH']}"
    script = "set -euo pipefail\n" + "".join(re.findall(r"^```bash\n(.*?)^```$", WALK, re.M | re.S))
    try:
        done = LocalProcesses().run(["bash", "-c", script], timeout=220, cwd=str(tmp_path), env=env)
    finally:
        smoldebug("lab", "down", cwd=tmp_path, env=env)
    said = done.stdout + done.stderr
    assert done.code == 0, said
    (told,) = re.findall(r"^```text\n(.*?)^```$", WALK, re.M | re.S)
    assert [line for line in told.splitlines() if line not in said] == []
    assert said.count("nothing was changed") == 1  # by the dry run
    assert "exit 4" in said
    assert "5s after the steps" in said


# --- playbooks ------------------------------------------------------------------------------


def test_the_playbook_of_the_page_is_sound(tmp_path: Path):
    path = tmp_path / "upgrade.yaml"
    path.write_text(WHOLE)
    linted = lint(path)
    assert (linted.errors, linted.warnings, linted.unsupported) == ((), (), ())


def test_the_other_steps_and_conditions_load_for_each_cluster(tmp_path: Path):
    book = yaml.safe_load(WHOLE) | yaml.safe_load(PINNED) | yaml.safe_load(STEPS)
    kinds = ["helm-upgrade", "helm-rollback", "set-image", "apply-object"]
    book["tools"]["change"] = {"allow": kinds, "targets": ["*/platform/*"]}
    (tmp_path / "upgrade.yaml").write_text(yaml.safe_dump(book))
    for name in ("common", "eu-staging", "us-staging"):
        (tmp_path / f"{name}.yaml").write_text("{}")
    (tmp_path / "extra").mkdir()
    for cluster in book["matrix"]["cluster"]:
        made = load(str(tmp_path / "upgrade.yaml"), matrix={"cluster": cluster}).playbook
        first = made.steps[0].helm_upgrade
        assert first is not None
        assert first.values == ["common.yaml", f"{cluster}.yaml"]


# --- what comes out -------------------------------------------------------------------------


@dataclass
class Case:
    """How the upgrade of two services is set up, and what happens during it."""

    setting: dict[str, Any] = field(default_factory=dict)
    during: Callable[[Stage, AnyEvent], None] = lambda stage, event: None


def released_again(stage: Stage, event: AnyEvent) -> None:
    if isinstance(event, UndoBegan):
        stage.helm.charts[CHART] = [*stage.helm.charts[CHART], chart("3.0")]
        found = stage.helm.fetch(CHART, "3.0", stage.folder)
        stage.helm.upgrade(Upgrade(PLATFORM, found), "")


def interrupted(stage: Stage, event: AnyEvent) -> None:
    if stage.phases()[-1:] == ["watching"]:
        stage.signals.stop.set()


NOT_THERE = upgrades.Step(
    helm_upgrade=upgrades.HelmUpgrade(release="web", namespace="shop", chart=CHART)
)
CASES = {
    "every check held for its time": Case(),
    "the baseline does not hold": Case({"before": DEADLINE}),
    "a service breaks": Case({"bad": DEADLINE}),
    "somebody releases while it breaks": Case({"bad": DEADLINE}, during=released_again),
    "a service breaks, and `on_failure: report`": Case({"bad": DEADLINE, "on_failure": "report"}),
    "the release is not there": Case({"steps": [NOT_THERE]}),
    "nobody can say yes": Case({"approval": "ask", "approver": nobody}),
    "Ctrl-C, or SIGTERM": Case(during=interrupted),
}
ROWS = re.findall(r"^\| (.*?) \| `(.*?)` \| (\d+) \|$", PAGE, re.M)


def test_the_table_holds_what_is_tried():
    assert [what for what, _, _ in ROWS] == [*CASES]


@pytest.mark.parametrize(("what", "says", "status"), ROWS)
def test_what_comes_out_is_said(tmp_path: Path, what: str, says: str, status: str):
    case = CASES[what]
    stage = Stage(tmp_path, **case.setting)
    ended = stage.play(at=lambda event: case.during(stage, event))
    assert says in ended.reason
    assert int(ended.status) == int(status)
