"""The model that plays a script. Models by name: test_model_factory.py; behind HTTP:
test_model_endpoints.py."""

from pathlib import Path

import pytest
from smolagents.models import MessageRole

from smoldebug.errors import UsageError
from smoldebug.model.scripted import ScriptedFailure, ScriptedModel, load

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
