"""Rules of the house that no linter knows. Which module may import which: pyproject.toml."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from smoldebug import errors, status

ROOT = Path(__file__).parent.parent
PACKAGE, TOOLS, TESTS = ROOT / "smoldebug", ROOT / "tools", ROOT / "tests"


def sources(*folders: Path, words: str = "") -> Iterator[tuple[str, ast.Module]]:
    """(path from the root, syntax tree) of every Python file, or of those that have any of the
    words (a regular expression): what has none of them uses none, and need not be parsed."""
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if re.search(words, text(path)):
                yield str(path.relative_to(ROOT)), parsed(path)


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(text(path))


@cache
def imports(tree: ast.Module) -> set[str]:
    """Every imported module; `from a import b` counts as `a` and as `a.b`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def calls(tree: ast.Module) -> set[str]:
    """Every called name as it is written: `time.sleep`, `open`."""
    return {dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def dotted(node: ast.expr) -> str:
    """`time.sleep`; of what is no name, its attributes. `ast.unparse` takes ten times as long."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "")
    return ".".join(reversed(parts))


# --- the code -------------------------------------------------------------------------------


def test_the_loop_can_be_read_in_one_sitting() -> None:
    assert len((PACKAGE / "run.py").read_text(encoding="utf-8").splitlines()) < 300


def test_an_exception_becomes_a_value_in_one_place() -> None:
    """Elsewhere exceptions fly. The lab's long-lived threads are a world of their own."""
    marked = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "noqa" in line and "BLE001" in line and "lab" not in path.relative_to(PACKAGE).parts
    ]
    assert marked == ["toolset.py"]


def test_one_module_starts_processes() -> None:
    modules = {"subprocess", "multiprocessing", "pty"}
    starts = re.compile(r"os\.(system|popen|fork|forkpty|exec\w+|spawn\w+|posix_spawn\w*)$")
    words = "|".join([*modules, "os"])
    found = {
        name
        for name, tree in sources(PACKAGE, TOOLS, words=rf"\b({words})\b")
        if modules & imports(tree) or any(starts.match(call) for call in calls(tree))
    }
    assert found == {"smoldebug/sources/process.py"}


def test_nothing_written_by_a_model_can_be_executed() -> None:
    """No eval, exec or compile anywhere: typed tool calls are the only way to act."""
    run = {"eval", "exec", "compile", "__import__"}
    found = {
        (name, call)
        for name, tree in sources(PACKAGE, TOOLS, words=rf"(?<!\.)\b({'|'.join(run)})\b")
        for call in run & calls(tree)
    }
    assert found == set()


def test_no_promise_rests_on_assert() -> None:
    """`python -O` removes them."""
    found = {
        f"{name}:{node.lineno}"
        for name, tree in sources(PACKAGE, TOOLS, words="assert")
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    }
    assert found == set()


TOOLS_MAY_IMPORT = {"toolset", "proposals", "records", "errors", "evidence", "signals", "sources"}
TOOLS_MAY_IMPORT |= {"edits", "pointers"}


def test_tools_are_strangers_and_know_a_few_modules_only() -> None:
    """They are the examples that users copy."""
    siblings = {path.stem for path in TOOLS.glob("*.py")}
    wrong = {
        (name, module)
        for name, tree in sources(TOOLS)
        for module in imports(tree)
        if (module.startswith("smoldebug.") and module.split(".")[1] not in TOOLS_MAY_IMPORT)
        or module.split(".")[0] in {"tools", *siblings} - sys.stdlib_module_names
    }
    assert wrong == set()


def test_the_page_says_what_tools_may_import() -> None:
    page = " ".join((ROOT / "docs/architecture.md").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"It may import (.*?), never another tool", page)
    assert set(re.findall(r"`(\w+)`", said)) == TOOLS_MAY_IMPORT


# --- the tests ------------------------------------------------------------------------------


def test_tests_use_the_shipped_fakes_and_no_mocks() -> None:
    found = {
        name
        for name, tree in sources(TESTS, words=r"\bmock\b|setattr")
        if any(module.split(".")[-1] == "mock" for module in imports(tree))
        or any(call.endswith("monkeypatch.setattr") for call in calls(tree))
    }
    assert found == set()


def test_tests_wait_by_a_clock_they_own() -> None:
    found = {
        name
        for name, tree in sources(TESTS, words=r"time\s*\.\s*sleep|from\s+time\b")
        if "time.sleep" in calls(tree) or "time.sleep" in imports(tree)
    }
    assert found == set()


# --- errors and exit statuses ---------------------------------------------------------------


def test_the_drawn_error_tree_is_the_real_one() -> None:
    drawn: list[tuple[str, str, str]] = []
    above: list[str] = []  # the class above, by depth
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ((?:│   |    )*)(?:[├└]── )?(\w+) +(?:\((\d+)\))?", line):
            depth = len(found[1]) // 4 + ("── " in line)
            above[depth:] = [found[2]]
            drawn.append((found[2], above[depth - 1] if depth else "Exception", found[3] or "1"))
    real = [
        (name, thing.__bases__[0].__name__, str(int(thing.status)))
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, errors.SmoldebugError)
    ]
    assert sorted(drawn) == sorted(real)


def test_precedence_ranks_every_status_that_a_started_run_can_have() -> None:
    started = set(status.ExitStatus) - {status.ExitStatus.USAGE}
    assert len(status.PRECEDENCE) == len(started)
    assert set(status.PRECEDENCE) == started


@pytest.mark.parametrize("one", status.ExitStatus)
def test_the_worst_of_two_is_one_of_them(one: status.ExitStatus) -> None:
    assert status.worst([one, status.ExitStatus.MET]) is one
    assert status.worst([one, status.ExitStatus.USAGE]) is status.ExitStatus.USAGE


# --- starting -------------------------------------------------------------------------------

IMPORT_ALL = """
import importlib, json, pkgutil, sys, threading
import smoldebug
for module in pkgutil.walk_packages(smoldebug.__path__, "smoldebug."):
    if not module.name.endswith(("__main__", "sitecustomize")):
        importlib.import_module(module.name)
print(json.dumps([thread.name for thread in threading.enumerate()]))
"""


def python(*arguments: str, cwd: Path) -> tuple[str, str]:
    """What a fresh interpreter prints (stdout, stderr); its folder and home are empty."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHON_DOTENV_DISABLED": "1",
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_importing_any_module_has_no_effects(tmp_path: Path) -> None:
    """No output, no file, no thread."""
    out, err = python("-c", IMPORT_ALL, cwd=tmp_path)
    assert (json.loads(out), err) == (["MainThread"], "")
    assert list(tmp_path.iterdir()) == []


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = {"git", "kubernetes", "promql_parser", "prometheus_api_client", "pydantic"}
    heavy |= {"requests", "rich", "smolagents", "urllib3", "yaml"}
    _, err = python("-X", "importtime", "-m", "smoldebug", "--help", cwd=tmp_path)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in err.splitlines()}
    assert "typer" in loaded
    assert loaded & heavy == set()
