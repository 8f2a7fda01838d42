"""docs/goals.md says what is so: its examples load, its timeline is what a window does."""

import re
import textwrap
from pathlib import Path

import pytest

from smoldebug.goal.goal import KINDS
from smoldebug.goal.window import Window
from smoldebug.playbook.load import load
from smoldebug.playbook.rules import checks_of, kinds_of
from smoldebug.records import Outcome

PAGE = (Path(__file__).parent.parent / "docs" / "goals.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
HEAD = "apiVersion: smoldebug.dev/v1\nname: example\ntools: {git: {}, metrics: {url: 'http://p:9090'}}\n"


def loaded(example: str, folder: Path):
    if not example.startswith("goal:"):
        example = "goal:\n  all:\n" + textwrap.indent(example, "    ")
    path = folder / "example.yaml"
    path.write_text(HEAD + example, encoding="utf-8")
    return load(str(path)).playbook


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_load(example, tmp_path):
    assert loaded(example, tmp_path).goal.all


def test_every_kind_of_check_has_an_example(tmp_path):
    shown = {
        kind
        for example in EXAMPLES
        for check in checks_of(loaded(example, tmp_path).goal.all)
        for kind in kinds_of(check)
    }
    assert shown == set(KINDS)
    assert re.findall(r"^### (\w+)", PAGE, re.MULTILINE) == list(KINDS)


def test_the_timeline(tmp_path):
    (example,) = (text for text in EXAMPLES if "consecutive" in text)
    goal = loaded(example, tmp_path).goal
    window = Window(goal.consecutive, goal.for_, goal.every)
    rows = re.findall(
        r"^\| (\d+)s \| (\d+) \| (\d+)[^|]* \| (\d+)s \| (.*) \|$", PAGE, re.MULTILINE
    )
    assert len(rows) == 7
    for at, status, streak, held, says in rows:
        sample = Outcome.MET if status == "200" else Outcome.NOT_MET
        progress = window.feed(sample, float(at))
        assert (progress.streak, progress.held) == (int(streak), float(held))
        assert (progress.outcome is Outcome.MET) == (says == "**met**")
