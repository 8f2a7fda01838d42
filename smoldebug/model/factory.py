"""`--model NAME` to a model that can be asked. Nothing is contacted, and no weights are loaded,
before the first question.

A name is `expert`, `scripted:FILE`, `replay:RUN`, PROVIDER/ID, or one of the settings file.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from smolagents import InferenceClientModel, Model
from smolagents.models import ChatMessage

from smoldebug.diagnose.expert import Expert
from smoldebug.errors import UsageError
from smoldebug.model import scripted
from smoldebug.model.asking import Asked
from smoldebug.model.expert import ExpertModel
from smoldebug.model.guarded import Guarded, InProcess
from smoldebug.model.keys import Found, key_of
from smoldebug.model.prices import price_of, resolve
from smoldebug.playbook.fields import did_you_mean
from smoldebug.playbook.settings import EXPERT, ModelSettings, Settings

SILENCE = 120.0  # seconds without a byte from an endpoint


@dataclass(frozen=True)
class Wanted:
    """One model of a provider, with all that its client has to know. `base` is "" for the
    provider's own endpoint, `key` is "" where there is none."""

    id: str
    base: str
    key: str
    about: ModelSettings


@dataclass(frozen=True)
class Provider:
    """`keys`: the variables its key usually is in, none where it needs no key. `base`: where it
    answers, if its client does not know; a user's own server when it is on this machine."""

    client: Callable[[Wanted], Model]
    package: str = ""  # what pip installs; "": the base install is enough
    modules: tuple[str, ...] = ()  # there when it is installed
    keys: tuple[str, ...] = ()
    base: str = ""
    bases: tuple[str, ...] = ()  # variables from which its client takes another base URL
    finds_key: bool = False  # its client looks for the key, in places of its own
    in_process: bool = False


# --- clients --------------------------------------------------------------------------------


def _openai(wanted: Wanted) -> Model:
    from smolagents import OpenAIModel

    return OpenAIModel(
        wanted.id,
        api_base=wanted.base or None,
        api_key=wanted.key or "none",
        client_kwargs=_client(),
        retry=False,
    )


def _azure(wanted: Wanted) -> Model:
    from smolagents import AzureOpenAIModel

    try:
        return AzureOpenAIModel(
            wanted.id,
            azure_endpoint=wanted.base or None,
            api_key=wanted.key,
            client_kwargs=_client(),
            retry=False,
        )
    except ValueError as error:  # no endpoint or no version; the text names the variable
        raise UsageError(f"azure/{wanted.id}: {error}") from error


def _client() -> dict[str, Any]:
    return {"timeout": SILENCE, "max_retries": 0}  # `Guarded` tries again


class _EndpointModel(InferenceClientModel):
    """InferenceClientModel at a URL: with `base_url` the stock one raises in smolagents 1.26, and
    with the URL as model id the endpoint would not learn which of its models is meant."""

    def create_client(self) -> Any:
        from huggingface_hub import InferenceClient

        options = ("base_url", "token", "timeout")
        return InferenceClient(**{name: self.client_kwargs[name] for name in options})


def _hf(wanted: Wanted) -> Model:
    if not wanted.base:
        return InferenceClientModel(wanted.id, token=wanted.key, timeout=SILENCE, retry=False)
    return _EndpointModel(
        wanted.id,
        base_url=wanted.base,
        token=wanted.key or "none",
        timeout=SILENCE,
        model=wanted.id,
        retry=False,
    )


def _litellm(wanted: Wanted) -> Model:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no fetch at import
    from smolagents import LiteLLMModel

    vars(importlib.import_module("litellm"))["suppress_debug_info"] = True  # on the terminal
    return LiteLLMModel(
        wanted.id,
        api_base=wanted.base or None,
        api_key=wanted.key or None,  # None: LiteLLM looks for it itself
        timeout=SILENCE,
        num_retries=0,
        drop_params=True,  # what a provider behind it does not take, such as tool_choice
        retry=False,
    )


def _bedrock(wanted: Wanted) -> Model:
    """Not smolagents' own class: it reads a key that Bedrock's answers do not have (1.26)."""
    return _litellm(Wanted(f"bedrock/{wanted.id}", wanted.base, wanted.key, wanted.about))


class _Weights(Model):
    """A model in this process, loaded (and fetched, where it is not here yet) when first asked."""

    def __init__(self, model_id: str, load: Callable[[], Model]) -> None:
        super().__init__(model_id=model_id)
        self._load = load
        self._loaded: Model | None = None

    def generate(self, messages: list[ChatMessage], **options: Any) -> ChatMessage:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded.generate(messages, **options)


def _transformers(wanted: Wanted) -> Model:
    def load() -> Model:
        from smolagents import TransformersModel

        said = importlib.import_module("transformers.utils.logging")
        said.disable_progress_bar()  # the terminal is the view's
        said.set_verbosity_error()
        warm = wanted.about.temperature
        drawn = {"do_sample": True, "temperature": warm} if warm else {"do_sample": False}
        return TransformersModel(wanted.id, max_new_tokens=wanted.about.max_output, **drawn)

    return _Weights(wanted.id, load)


def _mlx(wanted: Wanted) -> Model:
    def load() -> Model:
        from smolagents import MLXModel

        return MLXModel(wanted.id, max_tokens=wanted.about.max_output)

    return _Weights(wanted.id, load)


OTHERWISE = {"vertex_ai": "vertexai", "ollama_chat": "ollama"}  # LiteLLM's, in its variables
OPENAI, LITELLM = "smoldebug[openai]", "smoldebug[litellm]"
PROVIDERS = {
    "openai": Provider(
        _openai, OPENAI, ("openai",), ("OPENAI_API_KEY",), bases=("OPENAI_BASE_URL",)
    ),
    "hf": Provider(_hf, keys=("HF_TOKEN",)),
    "azure": Provider(
        _azure, OPENAI, ("openai",), ("AZURE_OPENAI_API_KEY",), bases=("AZURE_OPENAI_ENDPOINT",)
    ),
    "litellm": Provider(
        _litellm, LITELLM, ("litellm", "mcp"), bases=("{}_API_BASE", "{}_BASE_URL"), finds_key=True
    ),
    "bedrock": Provider(
        _bedrock,
        LITELLM,
        ("litellm", "mcp", "boto3"),
        bases=("AWS_BEDROCK_RUNTIME_ENDPOINT",),
        finds_key=True,
    ),
    "deepseek": Provider(_hf, keys=("DEEPSEEK_API_KEY",), base="https://api.deepseek.com"),
    "groq": Provider(_hf, keys=("GROQ_API_KEY",), base="https://api.groq.com/openai/v1"),
    "mistral": Provider(_hf, keys=("MISTRAL_API_KEY",), base="https://api.mistral.ai/v1"),
    "openrouter": Provider(_hf, keys=("OPENROUTER_API_KEY",), base="https://openrouter.ai/api/v1"),
    "together": Provider(_hf, keys=("TOGETHER_API_KEY",), base="https://api.together.ai/v1"),
    "llamacpp": Provider(_hf, base="http://localhost:8080/v1"),
    "ollama": Provider(_hf, base="http://localhost:11434/v1"),
    "vllm": Provider(_hf, base="http://localhost:8000/v1"),
    "mlx": Provider(_mlx, "smolagents[mlx-lm]", ("mlx_lm",), in_process=True),
    "transformers": Provider(
        _transformers, "smolagents[transformers]", ("torch", "transformers"), in_process=True
    ),
}


# --- names ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What a name stands for. `endpoint` is a base URL, "" for the provider's own."""

    name: str
    provider: str
    id: str
    endpoint: str
    about: ModelSettings

    @property
    def kind(self) -> Provider:
        return PROVIDERS[self.provider]

    @property
    def shares(self) -> str:
        """Whose outages and rate limits it shares: `openai at api.example.com`."""
        if self.endpoint:
            return f"{self.provider} at {urlsplit(self.endpoint).netloc}"
        behind, slash, _ = self.id.partition("/")
        return (
            f"{self.provider} {behind}" if self.provider == "litellm" and slash else self.provider
        )

    def key(self) -> Found:
        return key_of(self.about.key, self.kind.keys)

    @property
    def needs_key(self) -> bool:
        always = self.provider == "azure"  # an endpoint of one's own is nobody else's there
        return bool(self.about.key or (self.kind.keys and (always or not self.endpoint)))

    def key_state(self) -> tuple[str, bool]:
        """In words, never the key itself; whether it can be asked with that."""
        if self.kind.finds_key and not self.about.key:
            return "LiteLLM looks for it", True
        if not self.about.key and not self.kind.keys:
            return "none needed", True
        try:
            found = self.key()
        except UsageError as error:
            return f"missing: {error}", False
        if found.value:
            return f"set ({found.where})", True
        if self.needs_key:
            return f"missing: {found.where}", False
        return f"if it needs one: {found.where}", True

    def missing(self) -> str:
        """What to give pip, "" where all is there."""
        return (
            self.kind.package if any(find_spec(name) is None for name in self.kind.modules) else ""
        )


def target_of(name: str, settings: Settings, api_base: str = "") -> Target:
    """Raises UsageError for a name that is none, or a bad `api_base`."""
    about = settings.about(name)
    full = about.model or name
    provider, _, model_id = full.partition("/")
    if provider not in PROVIDERS or not model_id:
        close = did_you_mean(full, [*settings.models, EXPERT]) if name == full else ""
        hint = f"name it as PROVIDER/ID, such as openai/gpt-5; providers: {', '.join(PROVIDERS)}"
        raise UsageError(f"unknown model {full!r}{close}", hint)
    if "," in model_id:
        raise UsageError(f"unknown model {full!r}", "a chain is --model several times")
    endpoint = _base_url(api_base, "--api-base") or about.api_base or _of_environment(full)
    if not endpoint and not PROVIDERS[provider].keys:  # the user's own server, where there is one
        endpoint = PROVIDERS[provider].base
    return Target(name, provider, model_id, endpoint, about)


def _of_environment(full: str) -> str:
    """Where the provider's client would go, for a variable that it reads: it is to be shown, to be
    permitted and to be paid like any other."""
    provider, _, model_id = full.partition("/")
    behind, slash, _ = model_id.partition("/")
    behind = OTHERWISE.get(behind, behind) if slash else "openai"
    behind = behind.upper().replace("-", "_")
    for pattern in PROVIDERS[provider].bases:
        name = pattern.format(behind)
        if found := _base_url(os.environ.get(name, ""), name):
            return found
    return ""


def _base_url(text: str, source: str) -> str:
    """Raises UsageError for what is none, or holds what nobody is to see."""
    if text and not text.startswith(("http://", "https://")):
        raise UsageError(f"{source} is no http(s) URL: {text}")
    if text.rstrip("/").endswith("/chat/completions"):
        raise UsageError(f"{source} ends before /chat/completions: {text}")
    if "@" in urlsplit(text).netloc:
        raise UsageError(f"{source} holds a user or password", "a key has a variable of its own")
    return text


def build(
    name: str,
    settings: Settings,
    *,
    expert: Expert,
    api_base: str = "",
    may_cost: Callable[[str], bool] | None = None,
) -> Asked:
    """One model by its name. `may_cost` decides on a price that nobody knows.

    Raises UsageError for a name that is none, a bad `api_base`, or a missing package, key or price.
    """
    if name == EXPERT:
        return InProcess(EXPERT, ExpertModel(expert))
    kind, _, rest = name.partition(":")
    if kind == "scripted":
        return InProcess(name, scripted.load(Path(rest)))
    if kind == "replay":
        from smoldebug.model import replay

        return InProcess(name, replay.load(rest))
    target = target_of(name, settings, api_base)
    model = client_of(target)
    if target.kind.in_process:
        local = InProcess(name, model, told=True)
        local.settings = target.about
        return local
    quoted = price_of(name, target.about, target.endpoint, settings)
    return Guarded(
        name,
        model,
        target.about,
        provider=target.shares,
        endpoint=target.endpoint,
        price=resolve(quoted, settings.unknown_price, may_cost),
    )


def client_of(target: Target) -> Model:
    """Raises UsageError for a missing package or key."""
    if package := target.missing():
        raise UsageError(f"{target.name} needs a package", f"pip install '{package}'")
    found = target.key()
    if target.needs_key and not found.value:
        or_base = "" if target.about.key else ", or name an --api-base"
        raise UsageError(f"no key for {target.name}: {found.where}{or_base}")
    base = target.endpoint or target.kind.base
    return target.kind.client(Wanted(target.id, base, found.value, target.about))
