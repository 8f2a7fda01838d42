"""Goals: what "fixed" means, decided by code. See docs/goals.md."""

from smoldebug.goal.goal import Goal

__all__ = ["Goal"]
