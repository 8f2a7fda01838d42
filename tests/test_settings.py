"""The settings file: where it is looked for, what is said of a bad one, and that no key is told."""

import os
import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.errors import PlaybookError, UsageError
from smoldebug.model.factory import PROVIDERS, target_of
from smoldebug.model.keys import Found, key_of, keys
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import (
    Key,
    ModelSettings,
    Price,
    Settings,
    load_settings,
    read_settings,
    settings_file,
)
from smoldebug.preview.explain import table
from smoldebug.status import ExitStatus

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
BEGIN = "<!-- keys: made by tests/test_settings.py -->"
END = "<!-- end of keys -->"
SECRET = "k3y-of-somebody-8452"
WHOLE = """
apiVersion: smoldebug.dev/v1
model: {cheap: fast, strong: [openai/gpt-5, expert]}
models:
  fast:
    model: openai/gpt-oss-20b
    api_base: http://localhost:11434/v1
    key: {env: TEAM_KEY}
    price: {input: $0.15, output: $0.60, cached: 0.075}
    tools: text
    context: 32768
    requests_per_minute: 60
  openai/gpt-5: {max_output: 4096, temperature: 1}
budgets: {day: $5, day_tokens: 1000000}
unknown_price: {input: 3, output: 15}
cache: {responses: false, reads: 0s}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "settings.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


# --- where it is ----------------------------------------------------------------------------


def test_the_named_file_comes_first_then_the_home_then_the_users_folder(tmp_path):
    home = {"SMOLDEBUG_HOME": str(tmp_path)}
    assert settings_file({**home, "SMOLDEBUG_SETTINGS": "/x.yaml"}) == Path("/x.yaml")
    assert settings_file(home) == tmp_path / "settings.yaml"
    assert settings_file({}).parts[-2:] == ("smoldebug", "settings.yaml")


def test_none_is_the_defaults(tmp_path):
    assert load_settings({"SMOLDEBUG_HOME": str(tmp_path)}) == Settings()


@pytest.mark.parametrize("text", ["", "# model: expert\n"])
def test_nothing_in_it_is_the_defaults_too(write, text):
    assert read_settings(write(text)) == Settings()


def test_one_that_is_named_must_be_there(tmp_path):
    with pytest.raises(PlaybookError, match="none.yaml cannot be read: No such file") as caught:
        load_settings({"SMOLDEBUG_SETTINGS": str(tmp_path / "none.yaml")})
    assert caught.value.status is ExitStatus.USAGE


def test_one_that_cannot_be_read_is_not_taken_for_none(tmp_path):
    (tmp_path / "settings.yaml").symlink_to(tmp_path / "gone.yaml")
    with pytest.raises(PlaybookError, match="cannot be read"):
        load_settings({"SMOLDEBUG_HOME": str(tmp_path)})


# --- what it says ---------------------------------------------------------------------------


def test_every_part_is_read(write):
    settings = load_settings({"SMOLDEBUG_SETTINGS": str(write(WHOLE))})
    assert settings.about("fast") == ModelSettings(
        model="openai/gpt-oss-20b",
        api_base="http://localhost:11434/v1",
        key=Key(env="TEAM_KEY"),
        price=Price(input=Money(0.15), output=Money(0.6), cached=Money(0.075)),
        tools="text",
        context=32768,
        requests_per_minute=60,
    )
    assert settings.about("openai/gpt-5").max_output == 4096
    assert settings.unknown_price == Price(input=Money(3), output=Money(15))
    assert (settings.budgets.day, settings.cache.reads) == (5, 0)


def test_a_model_that_is_not_named_has_the_defaults():
    assert Settings().about("hf/any") == ModelSettings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "1:1 expected settings: a map such as"),
        ("modl: expert", "1:1 modl: unknown key; did you mean model?"),
        ("budgets: {day: lots}", "1:16 budgets.day: expected an amount of money"),
        ("models: {a/b: {tools: nativ}}", "1:23 models.a/b.tools: unknown value 'nativ'; did you"),
        ("models: {a/b: {price: {input: 1}}}", "models.a/b.price: needs output"),
        ("models: {a/b: {context: 8}}", "models.a/b.context: expected a whole number"),
        ("models: {fast: {tools: text}}", "1:16 models.fast: needs model: which one it is"),
        ("models: {fast: {model: slow}}", "1:17 models.fast.model: expected PROVIDER/ID"),
        ("models: {expert: {context: 8192}}", "1:18 models.expert: expert is built in"),
        ("models: {a/b: {api_base: localhost:1}}", "api_base: expected a URL such as http://"),
        ("models: {a/b: {api_base: 'http://[::1'}}", "api_base: is no URL"),
        ("models: {a/b: {api_base: 'http://h/v1/chat/completions'}}", "ends before /chat/"),
        ("models: {a/b: {base_url: 'http://h/v1'}}", "base_url: unknown key; did you mean api_"),
        ("models: {a/b: {api_key: x}}", "a/b.api_key: unknown key; key says where the key is"),
        ("models:\n  a/b:\n    tools: text\n   context: 1024", "is it indented as its neighbours"),
        ("unknown_price: guess", "1:16 unknown_price: unknown value 'guess'"),
        ("model: {cheap: a/b}", "1:8 model: needs strong"),
        ("model: expert\nmodel: expert", "2:1 model: is given twice"),
    ],
)
def test_a_bad_one_is_refused_with_its_place(write, text: str, says: str):
    path = write(text)
    with pytest.raises(PlaybookError) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"{path}:")
    assert says in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_an_error(tmp_path_factory, content: bytes):
    path = tmp_path_factory.getbasetemp() / "any-settings.yaml"
    path.write_bytes(content)
    with suppress(PlaybookError):
        assert isinstance(read_settings(path), Settings)


@pytest.mark.parametrize(
    "entry",
    [
        "{key: %s}",
        "{key: [%s]}",
        "{key: {%s: }}",
        "{key: {env: %s}}",
        "{key: {env: {%s: 1}}}",
        "{key: {file: %s}}",
        "{key: {keyring: %s}}",
        "{key: {env: A, keyring: %s}}",
        "{keyy: %s}",
        "{api_key: %s}",
        "{api_base: 'http://user:%s@example.com/v1'}",
        "%s",
        "[%s]",
    ],
)
def test_a_key_in_plain_is_refused_and_not_quoted(write, entry: str):
    with pytest.raises(PlaybookError) as caught:
        read_settings(write(f"models:\n  a/b: {entry % SECRET}\n"))
    assert ":2:" in str(caught.value)
    assert SECRET not in str(caught.value)
    if "{key: " in entry:
        assert "says where the key is, never the key itself" in str(caught.value)


# --- docs/models.md -------------------------------------------------------------------------


def test_the_reference_holds_the_table_of_today():
    """To renew it: python tests/test_settings.py"""
    _, _, rest = PAGE.read_text().partition(BEGIN)
    assert rest.partition(END)[0].strip() == table(Settings).strip()


def test_the_example_of_the_page_is_read(write):
    whole, gateway = re.findall(r"^```yaml\n(model:.*?)^```", PAGE.read_text(), re.M | re.S)
    assert list(read_settings(write(gateway)).models) == ["gateway"]
    settings = read_settings(write(whole))
    assert settings.about("fast").price == Price(input=Money(0.05), output=Money(0.2))
    assert [target_of(name, settings).provider for name in settings.models] == ["vllm", "openai"]


def test_the_page_names_every_provider_as_it_is():
    rows = dict(re.findall(r"^\| `(\w+)/ID` \|(.*)\|$", PAGE.read_text(), re.M))
    assert rows.keys() == PROVIDERS.keys()
    for name, provider in PROVIDERS.items():
        reaches, package, key = map(str.strip, rows[name].split("|"))
        assert provider.base in reaches
        assert package == (f"`{provider.package}`" if provider.package else "–")
        usual = "LiteLLM looks for it" if provider.finds_key else "–"
        assert key == (f"`{provider.keys[0]}`" if provider.keys else usual)


def renew() -> None:
    """Write the reference anew."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(Settings)}\n{END}{rest.partition(END)[2]}")


# --- keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "HF_TOKEN", "WATSONX_APIKEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    + ["AZURE_OPENAI_AD_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "HUGGING_FACE_HUB_TOKEN"],
)
def test_every_variable_that_a_client_takes_a_key_from_holds_a_secret(name):
    assert list(keys(None, {name: SECRET, "LANG": "C", "AWS_WEB_IDENTITY_TOKEN_FILE": "/x"})) == [
        SECRET
    ]


def test_a_key_is_where_the_settings_say_else_in_the_first_usual_variable():
    environ = {"TEAM_KEY": SECRET, "B": "b", "A": ""}
    assert key_of(Key(env="TEAM_KEY"), ("A", "B"), environ) == Found(SECRET, "env TEAM_KEY")
    assert key_of(None, ("A", "B"), environ) == Found("b", "env B")
    assert key_of(None, ("A", "C"), environ) == Found("", "set A or C")
    assert key_of(Key(env="GONE"), ("B",), environ) == Found("", "set GONE"), "no other is taken"


def test_the_file_of_a_key_holds_one_word(tmp_path):
    path = tmp_path / "openai.key"
    place = Key(file=str(path))
    path.write_text(f"  {SECRET}\n")
    path.chmod(0o600)
    assert key_of(place, ()) == Found(SECRET, f"file {path}")
    path.chmod(0o644)
    assert key_of(place, ()).where == f"file {path}, which others can read"
    for content, says in (
        (b"", "holds nothing"),
        (f"OPENAI_API_KEY = {SECRET}".encode(), "holds more than a key"),
        (b"\xff\xfe", "is no text"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=says) as caught:
            key_of(place, ())
        assert SECRET not in str(caught.value)
    path.unlink()
    with pytest.raises(UsageError, match="openai.key cannot be read: No such file"):
        key_of(place, ())
    os.mkfifo(path)
    with pytest.raises(UsageError, match="it is a pipe"):
        key_of(place, ())


def test_a_value_is_not_in_what_is_printed_of_it():
    assert SECRET not in repr(Found(SECRET, "env A"))


def test_every_value_that_gives_access_is_known_to_who_masks(tmp_path):
    path = tmp_path / "key"
    path.write_text("in-a-file")
    places = [Key(env="TEAM_TOKEN"), Key(file=str(path)), Key(file=str(tmp_path / "gone")), None]
    models = {f"a/{n}": ModelSettings(key=place) for n, place in enumerate(places)}
    environ = {"X_API_KEY": "x", "HF_TOKEN": "hf", "TEAM_TOKEN": "team", "PATH": "/bin"}
    assert set(keys(Settings(models=models), environ)) >= {"x", "hf", "team", "in-a-file"}
    assert set(keys(None, environ)) == {"x", "hf"}


def test_a_keyring_is_asked_for_the_key():
    place = Key(keyring="smoldebug/me")
    keyring = pytest.importorskip("keyring", reason="keyring is not installed")

    class Ring(keyring.backend.KeyringBackend):
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            if service == "locked":
                raise keyring.errors.KeyringLocked("it is locked")
            return SECRET if (service, username) == ("smoldebug", "me") else None

        set_password = delete_password = None

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        assert key_of(place, ()) == Found(SECRET, "keyring smoldebug/me")
        assert key_of(Key(keyring="x/y"), ()) == Found("", "keyring set x y")
        with pytest.raises(UsageError, match="does not give the key locked/me: it is locked"):
            key_of(Key(keyring="locked/me"), ())
        assert set(keys(Settings(models={"a/b": ModelSettings(key=place)}), {})) == {SECRET}
    finally:
        keyring.set_keyring(before)


@pytest.mark.skipif(find_spec("keyring") is not None, reason="keyring is installed")
def test_a_keyring_without_its_package_is_a_sentence():
    with pytest.raises(UsageError, match="needs a package") as caught:
        key_of(Key(keyring="smoldebug/me"), ())
    assert caught.value.hint == "pip install keyring"


if __name__ == "__main__":
    renew()
