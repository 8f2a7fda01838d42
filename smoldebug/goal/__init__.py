"""Goals: what "fixed" means, decided by code. See docs/goals.md."""

from smoldebug.goal.findings import red_lights
from smoldebug.goal.goal import Goal

__all__ = ["Goal", "red_lights"]
