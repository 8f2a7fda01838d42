"""Numbers in sentences."""


def count(number: int, noun: str) -> str:
    """`1 restart`, `3 restarts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
