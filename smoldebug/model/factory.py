"""`--model NAME` to a smolagents Model. Nothing is contacted before the first turn."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from smolagents import InferenceClientModel, Model

from smoldebug.diagnose.expert import Expert
from smoldebug.errors import UsageError
from smoldebug.model.endpoint import RequestLimits, through
from smoldebug.model.expert import ExpertModel

KEYS = {"openai": "OPENAI_API_KEY", "hf": "HF_TOKEN", "azure": "AZURE_OPENAI_API_KEY"}
PACKAGES = {
    "openai": "smoldebug[openai]",
    "azure": "smoldebug[openai]",
    "litellm": "smoldebug[litellm]",
    "transformers": "smolagents[transformers]",
    "hf": "smolagents",
}
LIMITS = RequestLimits()


def chain(
    names: Sequence[str], expert: Expert, api_base: str = "", limits: RequestLimits = LIMITS
) -> list[Model]:
    """The models to try, in order. The expert is always the last: it needs no network."""
    models = [build(name, expert, api_base, limits) for name in names if name != "expert"]
    return [*models, ExpertModel(expert)]


def keys() -> Iterator[str]:
    """Values of the environment that give access to a model: they must not appear anywhere."""
    for name, value in os.environ.items():
        if name in KEYS.values() or name.endswith(("_API_KEY", "_ACCESS_KEY", "_SESSION_TOKEN")):
            yield value


def build(name: str, expert: Expert, api_base: str = "", limits: RequestLimits = LIMITS) -> Model:
    """One model by name: expert, scripted:FILE, openai/ID, hf/ID, litellm/ID, azure/ID
    or transformers/ID. No bedrock: smolagents 1.26 reads a key that Bedrock's answers do not have.

    Raises UsageError for an unknown provider, a missing extra, a missing key or a bad `api_base`.
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
    if api_base and not api_base.startswith(("http://", "https://")):
        raise UsageError(f"--api-base is no http(s) URL: {api_base}")
    try:
        return builder(model_id, api_base, limits)
    except ImportError as error:
        hint = f"pip install '{PACKAGES[provider]}'"
        raise UsageError(f"{name} needs a package: {error}", hint) from error


def _key(provider: str, api_base: str) -> str:
    key = os.environ.get(KEYS[provider], "")
    if not key and not api_base:
        raise UsageError(f"no key for {provider}: set {KEYS[provider]}, or name an --api-base")
    return key or "none"


def _openai(model_id: str, api_base: str, limits: RequestLimits) -> Model:
    from smolagents import OpenAIModel

    key = _key("openai", api_base)
    model = OpenAIModel(
        model_id, api_base=api_base or None, api_key=key, client_kwargs=_client(limits)
    )
    return through(model, limits)


def _azure(model_id: str, api_base: str, limits: RequestLimits) -> Model:
    from smolagents import AzureOpenAIModel

    key, endpoint = _key("azure", ""), api_base or None
    try:
        model = AzureOpenAIModel(
            model_id, azure_endpoint=endpoint, api_key=key, client_kwargs=_client(limits)
        )
    except ValueError as error:  # no endpoint or no version; the text names the variable
        raise UsageError(f"azure/{model_id}: {error}") from error
    return through(model, limits)


def _client(limits: RequestLimits) -> dict[str, Any]:
    return {"timeout": limits.timeout, "max_retries": 0}  # `through` tries again


class _EndpointModel(InferenceClientModel):
    """InferenceClientModel at a URL: with `base_url` the stock one raises in smolagents 1.26, and
    with the URL as model id the endpoint would not learn which of its models is meant."""

    def create_client(self) -> Any:
        from huggingface_hub import InferenceClient

        options = ("base_url", "token", "timeout")
        return InferenceClient(**{name: self.client_kwargs[name] for name in options})


def _hf(model_id: str, api_base: str, limits: RequestLimits) -> Model:
    token = _key("hf", api_base)
    if not api_base:
        return through(InferenceClientModel(model_id, token=token, timeout=limits.timeout), limits)
    model = _EndpointModel(
        model_id, base_url=api_base, token=token, timeout=limits.timeout, model=model_id
    )
    return through(model, limits)


def _litellm(model_id: str, api_base: str, limits: RequestLimits) -> Model:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no fetch at import
    from smolagents import LiteLLMModel

    model = LiteLLMModel(model_id, api_base=api_base or None, timeout=limits.timeout, num_retries=0)
    return through(model, limits)


def _transformers(model_id: str, api_base: str, limits: RequestLimits) -> Model:
    from smolagents import TransformersModel

    return TransformersModel(model_id)


PROVIDERS: dict[str, Callable[[str, str, RequestLimits], Any]] = {
    "openai": _openai,
    "hf": _hf,
    "litellm": _litellm,
    "azure": _azure,
    "transformers": _transformers,
}
