"""How many tokens a request will take to read, before it is sent."""

from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec
from smolagents import Tool

from smoldebug.conversation import Message, tokens

REQUEST = 16  # tokens around all messages


@lru_cache(maxsize=4096)
def estimate(text: str) -> int:
    """Tokens of a text, for a model whose tokenizer is not known."""
    return len(text.encode("utf-8", "replace")) * 2 // 5 + 1


def count(
    messages: Iterable[Message], tools: Iterable[Tool] = (), size: Callable[[str], int] = estimate
) -> int:
    """Tokens of a request; `size` counts those of a text."""
    described = (
        msgspec.json.encode([tool.name, tool.description, tool.inputs]).decode() for tool in tools
    )
    said = sum(tokens(message, size) for message in messages)
    return REQUEST + said + sum(size(text) + 16 for text in described)
