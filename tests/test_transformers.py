"""A model of local weights, for real: made here, tiny and untrained, loaded by TransformersModel.

Needs torch and transformers, which are no dependencies: .ci/run gives them a section of its own."""

import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

from smoldebug.clock import FakeClock  # noqa: E402 what follows needs nothing of these
from smoldebug.conversation import Message  # noqa: E402
from smoldebug.diagnose.expert import Expert  # noqa: E402
from smoldebug.diagnose.picture import Brief  # noqa: E402
from smoldebug.evidence import EvidenceStore  # noqa: E402
from smoldebug.model.asking import FREE, Asked, ModelFailed, Request  # noqa: E402
from smoldebug.model.factory import build  # noqa: E402
from smoldebug.playbook.settings import ModelSettings, Settings  # noqa: E402

TEMPLATE = """\
{% for message in messages %}{{ message.role }}: {{ message.content }}
{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}assistant:"""
EXPERT = Expert(EvidenceStore(FakeClock()), Brief())
QUESTION = Request([Message("system", "You repair."), Message("user", "What is wrong?")])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the hub has them: one layer of random weights, and a tokenizer of bytes."""
    folder: Path = tmp_path_factory.mktemp("tiny")
    alphabet = ["<end>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    words = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<end>", pad_token="<end>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    shape = transformers.LlamaConfig(
        vocab_size=len(alphabet),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=0,
    )
    transformers.LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def local(folder: Path, **settings: object) -> Asked:
    about = ModelSettings(model=f"transformers/{folder}", max_output=64, **settings)
    return build("tiny", Settings(models={"tiny": about}), expert=EXPERT)


def test_what_it_says_is_garbage_and_garbage_is_an_answer(weights: Path):
    model = local(weights)
    answer = model.ask(QUESTION)
    assert answer.text
    assert answer.calls == ()
    assert 0 < answer.tokens.out <= 64
    assert answer.tokens.into > 20
    assert model.ask(QUESTION).text == answer.text, "at temperature 0 it says the same again"


def test_it_costs_nothing_and_leaves_this_machine_for_nobody(weights: Path):
    model = local(weights)
    assert (model.price, model.provider, model.endpoint) == (FREE, "", "")


def test_it_is_warm_where_the_settings_say_so(weights: Path):
    model = local(weights, temperature=1.5)
    assert len({model.ask(QUESTION).text for _ in range(5)}) > 1


def test_nothing_is_loaded_before_the_first_question_and_no_thread_stays(tmp_path: Path):
    before = threading.active_count()
    model = local(tmp_path / "nothing-here")
    with pytest.raises(ModelFailed, match="nothing-here"):
        model.ask(QUESTION)
    assert threading.active_count() == before


def test_loading_writes_nothing_to_the_terminal(weights: Path, capfd: pytest.CaptureFixture[str]):
    local(weights).ask(QUESTION)
    assert capfd.readouterr() == ("", "")
