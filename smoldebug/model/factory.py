"""`--model NAME` to a smolagents Model. Nothing is contacted before the first turn."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smolagents import Model

from smoldebug.diagnose.expert import Expert
from smoldebug.errors import UsageError
from smoldebug.model.expert import ExpertModel

REQUEST_LIMIT = 120  # seconds for one request; the agent's own limit is above it
KEYS = {"openai": "OPENAI_API_KEY", "hf": "HF_TOKEN", "azure": "AZURE_OPENAI_API_KEY"}


def chain(names: Sequence[str], expert: Expert, api_base: str = "") -> list[Model]:
    """The models to try, in order. The expert is always the last: it needs no network."""
    models = [build(name, expert, api_base) for name in names if name != "expert"]
    return [*models, ExpertModel(expert)]


def build(name: str, expert: Expert, api_base: str = "") -> Model:
    """One model by name: expert, scripted:FILE, openai/ID, hf/ID, litellm/ID, azure/ID,
    bedrock/ID or transformers/ID.

    Raises UsageError for an unknown provider, a missing extra or a missing key.
    """
    if name == "expert":
        return ExpertModel(expert)
    if name.startswith("scripted:"):
        from smoldebug.model.scripted import load

        return load(Path(name.removeprefix("scripted:")))
    provider, _, model_id = name.partition("/")
    builder = PROVIDERS.get(provider)
    if builder is None or not model_id:
        known = ", ".join(["expert", "scripted:FILE", *(f"{key}/ID" for key in PROVIDERS)])
        raise UsageError(f"unknown model {name!r}; known: {known}")
    try:
        return builder(model_id, api_base)
    except ImportError as error:
        extra = provider if provider in ("openai", "litellm") else f"smolagents[{provider}]"
        hint = f"smoldebug[{extra}]" if provider in ("openai", "litellm") else extra
        raise UsageError(
            f"{name} needs a package: {error}", hint=f"pip install '{hint}'"
        ) from error


def _key(provider: str, api_base: str) -> str:
    key = os.environ.get(KEYS[provider], "")
    if not key and not api_base:
        raise UsageError(f"no key for {provider}: set {KEYS[provider]}, or name an --api-base")
    return key or "none"


def _openai(model_id: str, api_base: str) -> Model:
    from smolagents import OpenAIModel

    return OpenAIModel(
        model_id,
        api_base=api_base or None,
        api_key=_key("openai", api_base),
        retry=False,  # stock sleeps for minutes on 429, where no Ctrl-C reaches it
        client_kwargs={"timeout": REQUEST_LIMIT, "max_retries": 1},
    )


def _azure(model_id: str, api_base: str) -> Model:
    from smolagents import AzureOpenAIModel

    return AzureOpenAIModel(
        model_id,
        azure_endpoint=api_base or None,
        api_key=_key("azure", ""),
        retry=False,
        client_kwargs={"timeout": REQUEST_LIMIT, "max_retries": 1},
    )


def _hf(model_id: str, api_base: str) -> Model:
    from smolagents import InferenceClientModel

    if api_base:  # base_url= raises in smolagents 1.26; the whole URL as the model works
        model_id = f"{api_base.rstrip('/')}/chat/completions"
    token = _key("hf", api_base)
    return InferenceClientModel(model_id, token=token, timeout=REQUEST_LIMIT, retry=False)


def _litellm(model_id: str, api_base: str) -> Model:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no fetch at import
    from smolagents import LiteLLMModel

    return LiteLLMModel(model_id, api_base=api_base or None, retry=False, timeout=REQUEST_LIMIT)


def _bedrock(model_id: str, api_base: str) -> Model:
    from smolagents import AmazonBedrockModel

    return AmazonBedrockModel(model_id)


def _transformers(model_id: str, api_base: str) -> Model:
    from smolagents import TransformersModel

    return TransformersModel(model_id)


PROVIDERS: dict[str, Callable[[str, str], Any]] = {
    "openai": _openai,
    "hf": _hf,
    "litellm": _litellm,
    "azure": _azure,
    "bedrock": _bedrock,
    "transformers": _transformers,
}
