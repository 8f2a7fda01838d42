"""A loaded machine is no failing test: property tests measure no time. Slow files go first."""

import pytest
from hypothesis import settings

settings.register_profile("smoldebug", deadline=None)
settings.load_profile("smoldebug")

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
