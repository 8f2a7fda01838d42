"""Which Helms this machine has, for the tests that drive one: those that $SMOLDEBUG_HELM lists
(paths, `:` between them), else `helm` on the PATH, else Helm's Python package."""

import importlib.util
import os
import shutil
import sys

import pytest

SDK = [sys.executable, "-P", "-m", "smoldebug.sources.helmsdk"]


def _found() -> list[list[str]]:
    if listed := os.environ.get("SMOLDEBUG_HELM", ""):
        return [[path] for path in listed.split(os.pathsep) if path]
    if found := shutil.which("helm"):
        return [[found]]
    return [SDK] if importlib.util.find_spec("helm_python") else []


HELMS = _found()
WHY = "there is no helm on the PATH, no helm-python-sdk, and SMOLDEBUG_HELM lists none"
each_helm = pytest.mark.parametrize(
    "helm_argv",
    HELMS or [pytest.param([], marks=pytest.mark.skip(reason=WHY))],
    ids=[str(number) for number in range(len(HELMS))] or ["none"],
)
