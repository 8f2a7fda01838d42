"""A loaded machine is no failing test: property tests measure no time. Slow files go first."""

import gc
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# CI judges the same code the same way each time; whoever develops meets new cases.
settings.register_profile("smoldebug", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("smoldebug")

# What was compiled is kept also where bytecode is not wanted between the sources: every worker
# and every program that a test starts would compile all of it again.
if not sys.pycache_prefix:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parent.parent / ".pytest_cache" / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

SLOW = (
    "test_triage_lab",
    "test_crash",
    "test_patch_lab",
    "test_examples",
    "test_lab_cluster",
    "test_rbac_lab",
    "test_wheel",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All of it stays until the end: to look through it for garbage, again and again, was a third
    of its time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
