"""Documentation is true: commands exist, blocks run, links lead somewhere, tables are current."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from smoldebug.cli import program
from smoldebug.cli.app import app
from smoldebug.playbook.load import load
from smoldebug.status import PRECEDENCE, ExitStatus

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "examples").rglob("README.md")),
    ]
}
README, STATUS = PAGES["README.md"], (ROOT / "smoldebug/status.py").read_text(encoding="utf-8")
SHELL = {"bash", "sh", "console"}
HARMLESS = re.compile(
    r"(version|lab faults|playbooks (list|explain|schema|(show|plan|rbac) [\w-]+)|runs list)( |$)"
)


def blocks(*languages: str) -> list[tuple[str, str]]:
    """(page, text) of the fenced blocks marked with one of these languages."""
    return [
        (page, block)
        for page, text in PAGES.items()
        for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
        if language in languages
    ]


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `smoldebug` command in shell text, inside pipes and $(...) too."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                if words and Path(words[0]).name in ("smoldebug", "kubectl-smoldebug"):
                    yield words[1:]
                words = []
            elif not (not words and "=" in word):  # NAME=value before a command
                words.append(word)


def documented() -> list[str]:
    in_blocks = (arguments for _, block in blocks(*SHELL) for arguments in commands(block))
    in_help = (arguments for text in epilogs().values() for arguments in commands(text))
    return sorted({shlex.join(arguments) for arguments in (*in_blocks, *in_help)})


def leaves() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """(words, command) of every command that can be run."""
    pending = [("", typer.main.get_command(app))]
    while pending:
        words, command = pending.pop(0)
        if isinstance(command, typer.core.TyperGroup):
            pending += [(f"{words} {name}".strip(), sub) for name, sub in command.commands.items()]
        else:
            yield words, command


def epilogs() -> dict[str, str]:
    return {words: command.epilog or "" for words, command in leaves() if words != "version"}


# --- commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("line", documented())
def test_a_documented_command_can_be_parsed(line: str) -> None:
    command, arguments = typer.main.get_command(app), shlex.split(line)
    context = command.make_context("smoldebug", arguments)
    while isinstance(command, typer.core.TyperGroup):
        name, command, arguments = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("line", [line for line in documented() if HARMLESS.match(line)])
def test_a_harmless_documented_command_runs(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    assert program(shlex.split(line)) == ExitStatus.MET


@pytest.mark.parametrize("words", list(epilogs()))
def test_the_help_of_a_command_ends_with_examples_of_it(words: str) -> None:
    text = epilogs()[words]
    assert text.startswith("Examples:")
    assert f"smoldebug {words}" in text


def test_the_two_commands_of_the_readme_are_what_ci_runs() -> None:
    (see, test) = re.findall(r"^(python3 -m venv .*)$", README, re.M)
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert f'"{see}"' in script
    assert f'"{test}"' in script


# --- blocks and links -----------------------------------------------------------------------


@pytest.mark.parametrize(("page", "block"), blocks("yaml"))
def test_yaml_is_yaml_and_a_whole_playbook_loads(page: str, block: str, tmp_path: Path) -> None:
    read = yaml.safe_load(block) or ""
    if "apiVersion" in read and "kind" not in read:  # a policy: tests/test_policy.py loads it
        path = tmp_path / "playbook.yaml"
        path.write_text(block, encoding="utf-8")
        assert load(str(path)).unsupported == ()


def test_the_readme_shows_a_playbook() -> None:
    assert any(page == "README.md" for page, block in blocks("yaml") if "apiVersion" in block)


@pytest.mark.parametrize(("page", "block"), blocks("python"))
def test_python_runs(
    page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", list(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", PAGES[page])
    lost = [
        target
        for target in targets
        if "://" not in target and not (ROOT / page).parent.joinpath(target).exists()
    ]
    assert lost == []


# --- exit codes -----------------------------------------------------------------------------


def meanings() -> dict[str, str]:
    """Code -> what the comment beside it in status.py says."""
    return dict(re.findall(r"^    [A-Z_]+ = (\d+)  # (.*)$", STATUS, re.M))


def test_the_exit_code_page_says_what_the_source_says() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (.*?) \|", PAGES["docs/exit-codes.md"], re.M)
    assert {code: (name, says) for code, name, says in rows} == {
        code: (ExitStatus(int(code)).name, says) for code, says in meanings().items()
    }
    order = " > ".join(str(int(status)) for status in PRECEDENCE)
    assert order in " ".join(PAGES["docs/exit-codes.md"].split())


def test_the_readme_lists_every_exit_code() -> None:
    assert re.findall(r"^\| (\d+) \|", README, re.M) == list(meanings())


# --- architecture ---------------------------------------------------------------------------


def test_the_house_is_drawn_as_its_contract_says() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    drawing = re.search(r"^```text\n(.*?)\n\n", PAGES["docs/architecture.md"], re.M | re.S)
    assert drawing is not None
    lines = [line for line in drawing[1].splitlines() if not line.startswith(" ")]
    assert [re.split(r" {2,}", line)[0] for line in lines] == layers
