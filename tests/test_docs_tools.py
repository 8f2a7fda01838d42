"""docs/tools.md: its example is run, its list of shipped tools is the tools' own."""

import re
from pathlib import Path

import pytest

from smoldebug.errors import UsageError
from smoldebug.evidence import EvidenceStore
from smoldebug.records import IN_GIT, OF_RELEASE
from smoldebug.redact import Redactor
from smoldebug.shipped import shipped
from smoldebug.sources.fakes import fake_world
from smoldebug.toolset import ToolContext, Toolset, ToolSpec, load_folder

PAGE = (Path(__file__).parent.parent / "docs" / "tools.md").read_text(encoding="utf-8")
LIST = re.compile(r"^\| Tool .*?(?=\n\n)", re.M | re.S)


def table() -> str:
    """The list of shipped tools, one line each, by family."""
    rows = ["| Tool | Effect | Needs in the playbook | What it does |", "|---|---|---|---|"]
    specs = sorted(load_folder(shipped("tools")), key=lambda spec: (spec.family, spec.name))
    return "\n".join([*rows, *map(_row, specs)])


def _row(spec: ToolSpec) -> str:
    either = spec.family == "manifests"  # of a cluster, or of a repository
    needs = "`tools.kubectl` or `tools.git`" if either else f"`tools.{spec.family}`"
    if spec.family == "helm" and not spec.changes:
        needs = f"`change.allow: [{']` or `['.join(OF_RELEASE)}]`"
    if spec.changes and spec.changes not in IN_GIT:  # these need no tools.change
        allowed = f"`change.allow: [{spec.changes}]`"
        needs = allowed if spec.family in ("change", "helm") else f"{needs}, {allowed}"
    arguments = ", ".join(spec.arguments.__struct_fields__)
    return f"| `{spec.name}({arguments})` | {spec.effect} | {needs} | {spec.description} |"


def test_the_list_of_shipped_tools_is_current() -> None:
    """To renew it: python tests/test_docs_tools.py"""
    written = LIST.search(PAGE)
    assert written, "docs/tools.md has no list"
    assert written[0] == table()


def test_the_tool_of_the_page_is_short_and_works(tmp_path: Path) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    assert len(code.splitlines()) <= 15
    (tmp_path / "disk.py").write_text(code, encoding="utf-8")
    world = fake_world()
    evidence = EvidenceStore(world.clock)
    specs = load_folder(tmp_path)
    tools = Toolset(specs, lambda _: ToolContext(world), evidence, Redactor())
    answer = tools.call("disk_free", {"path": str(tmp_path)})
    assert re.fullmatch(r".+: \d+ % used", answer.text)
    assert "disk_free" in PAGE.split("custom:")[1].splitlines()[0]


@pytest.mark.parametrize(
    "required", ['effect="read", ', "How full a file system is.", "path: Folder on", ": str"]
)
def test_what_the_page_calls_required_is_required(tmp_path: Path, required: str) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    assert required in code
    kept = re.sub(r"Args:\n.*", "", code) if required.startswith("How") else code
    (tmp_path / "disk.py").write_text(kept.replace(required, ""), encoding="utf-8")
    with pytest.raises(UsageError):
        load_folder(tmp_path)


def renew() -> None:
    """Write the list anew: python tests/test_docs_tools.py"""
    path = Path(__file__).parent.parent / "docs" / "tools.md"
    path.write_text(re.sub(LIST, lambda _: table(), PAGE), encoding="utf-8")


if __name__ == "__main__":
    renew()
