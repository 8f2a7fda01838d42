"""Models by name, and the one that plays a script. Models behind HTTP: test_model_endpoints.py."""

from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from smolagents.models import MessageRole

from smoldebug.clock import FakeClock
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.errors import UsageError
from smoldebug.evidence import EvidenceStore
from smoldebug.model.factory import PACKAGES, PROVIDERS, build
from smoldebug.model.scripted import ScriptedFailure, ScriptedModel, load

EXPERT = Expert(EvidenceStore(FakeClock()), Brief())
MODULES = {"openai": "openai", "azure": "openai", "litellm": "litellm", "transformers": "torch"}


# --- by name -------------------------------------------------------------------------------------


def test_the_expert_needs_nothing():
    assert build("expert", EXPERT).model_id == "expert"


@pytest.mark.parametrize("provider", MODULES)
def test_a_missing_package_is_one_sentence_and_a_pip_command(
    provider: str, monkeypatch: pytest.MonkeyPatch
):
    if find_spec(MODULES[provider]):
        pytest.skip(f"{MODULES[provider]} is installed")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "x")
    with pytest.raises(UsageError, match=f"{provider}/m needs a package: ") as error:
        build(f"{provider}/m", EXPERT)
    assert error.value.hint == f"pip install '{PACKAGES[provider]}'"


def test_every_provider_has_a_package_with_an_extra_that_exists():
    assert set(PACKAGES) == set(PROVIDERS)
    for package in PACKAGES.values():
        name, _, extra = package.removesuffix("]").partition("[")
        assert not extra or extra in (metadata(name).get_all("Provides-Extra") or [])


# --- scripts -------------------------------------------------------------------------------------


def script(tmp_path: Path, text: str) -> ScriptedModel:
    path = tmp_path / "script.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_a_script_is_played_turn_by_turn_and_ends_in_an_escalation(tmp_path: Path):
    model = script(
        tmp_path,
        """
        - thought: The server may be down.
          calls:
            - check_server: {name: web}
            - wait: {seconds: 5, why: slow}
        - say: I am not sure
        - raw: {tool: check_server, arguments: '{"name": "w'}
        - fail: 503
        """,
    )
    assert model.model_id == "scripted:script.yaml"
    first = model.generate([])
    assert first.content == "The server may be down."
    assert [(call.function.name, call.function.arguments) for call in first.tool_calls] == [
        ("check_server", {"name": "web"}),
        ("wait", {"seconds": 5, "why": "slow"}),
    ]
    second = model.generate([])
    assert (second.role, second.content) == (MessageRole.ASSISTANT, "I am not sure")
    assert not second.tool_calls
    [raw] = model.generate([]).tool_calls
    assert raw.function.arguments == '{"name": "w'
    with pytest.raises(ScriptedFailure, match="503"):
        model.generate([])
    for _ in range(2):
        [last] = model.generate([]).tool_calls
        assert last.function.name == "escalate"
    assert len(model.asked) == 6


def test_text_is_not_searched_for_calls():
    model = ScriptedModel([{"say": '{"name": "reboot"}'}])
    with pytest.raises(ValueError, match="no tool call"):
        model.parse_tool_calls(model.generate([]))


def test_a_model_is_built_from_a_script_by_name(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("- say: hi\n")
    assert build(f"scripted:{tmp_path / 's.yaml'}", EXPERT).generate([]).content == "hi"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a script"),
        ("just text", "not a script"),
        ("calls: []", "not a script"),
        ("- 3", "not a script"),
        ("- calls: {look: {}}", r"calls"),
        ("- calls: [look]", r"calls"),
        ("- raw: look", "raw"),
        ("- raw: {tool: look}", "arguments"),
        ("- calls: []\n  says: x", "says"),
        ("- thought: x", "turn 1 must have one of: calls, say, raw, fail"),
        ("- say: x\n- say: x\n  fail: x", "turn 2 must have one of"),
        ("- say: 'x", "cannot read the script"),
        ("- !!python/object/apply:os.system [reboot]", "cannot read the script"),
        ("- say: \x01", "cannot read the script"),
    ],
)
def test_what_is_no_script_is_said_in_one_sentence(tmp_path: Path, text: str, says: str):
    with pytest.raises(UsageError, match=says):
        script(tmp_path, text)


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"cannot read the script: .*none\.yaml"):
        load(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot read the script"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"- say: \xe9\n")
    with pytest.raises(UsageError, match="cannot read the script"):
        load(tmp_path / "latin.yaml")
