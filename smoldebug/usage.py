"""What models were asked and what that cost, in the words of every view and report."""

from dataclasses import replace

from smoldebug.clock import duration
from smoldebug.events import ModelAnswered
from smoldebug.records import Usage
from smoldebug.untrusted import one_line


def dollars(cost: float) -> str:
    """`$0.97`, below ten cents `$0.015`, below one `$0.0042`: never nothing for something."""
    if cost == 0 or cost >= 0.1:
        return f"${cost:.2f}"
    if cost >= 0.01:
        return f"${cost:.3f}".removesuffix("0")
    return f"${cost:.4f}" if cost >= 0.0001 else "< $0.0001"


def spent(usage: Usage) -> list[str]:
    """`3 model calls`, `12,400 tokens (35 % cached)`, `$0.11`; what was not used is not told, so
    a model that is free has no dollars."""
    parts = [f"{usage.calls} model call{'' if usage.calls == 1 else 's'}"] if usage.calls else []
    if tokens := usage.tokens_in + usage.tokens_out:
        parts.append(f"{tokens:,} tokens{cached_share(usage)}")
    return [*parts, dollars(usage.cost)] if usage.cost else parts


def cached_share(usage: Usage) -> str:
    """` (35 % cached)`: how much of what was sent the provider still had; "" for nothing."""
    share = min(1.0, usage.cached_in / usage.tokens_in) if usage.tokens_in else 0.0
    return f" ({share:.0%} cached)".replace("%", " %") if usage.cached_in else ""


def answered(event: ModelAnswered) -> str:
    """`openai/x 1.2s · 1,830 in (1,600 cached) · 92 out · $0.0004`, of one that failed why."""
    name = one_line(event.model, 100)
    if event.cached:
        return f"{name} as it answered the same question before"
    about, kept = "~" * event.estimated, f" ({event.cached_in:,} cached)" * bool(event.cached_in)
    parts = [f"{name} {duration(event.seconds)}"]
    parts += [f"{about}{event.tokens_in:,} in{kept}"] if event.tokens_in else []
    parts += [f"{about}{event.tokens_out:,} out"] if event.tokens_out else []
    parts += [dollars(event.cost)] if event.cost else []
    told = " · ".join(parts)
    return f"{told}: no answer: {one_line(event.error, 300)}" if event.error else told


def plus(usage: Usage, event: ModelAnswered) -> Usage:
    """With one call more; what a response cache answers is none."""
    if event.cached:
        return usage
    return replace(
        usage,
        calls=usage.calls + 1,
        tokens_in=usage.tokens_in + event.tokens_in,
        tokens_out=usage.tokens_out + event.tokens_out,
        cached_in=usage.cached_in + event.cached_in,
        cost=round(usage.cost + event.cost, 9),  # nobody counts less than a billionth of a dollar
    )
