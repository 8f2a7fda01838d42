"""command and python: the playbook's own commands and predicates.

Both run what the playbook's author wrote. A command is an argv that the operator can read in the
playbook; a predicate is Python, so it needs the operator's word (`--allow-code`), lives in the
playbook's own folder, and is not even imported before it is first asked.
"""

import importlib.util
import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from smoldebug.errors import ToolError, UsageError
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.playbook.models import CommandCheck
from smoldebug.sources.world import World
from smoldebug.toolset import within_limit
from smoldebug.untrusted import one_line

PREDICATE_LIMIT = 30.0  # seconds


def command(check: CommandCheck, setting: Setting) -> Check:
    line = " ".join(check.run)
    label = f"command {one_line(line, 40)} = exit {check.exit_code}"
    return Check(label, "command", partial(_run, check, setting.world), line)


def _run(check: CommandCheck, world: World, sample: int) -> Measured:
    done = world.processes.run(check.run, timeout=check.timeout)
    if done.code is None:
        return not_met(f"not finished after {check.timeout:g} s")
    if done.code != check.exit_code:
        last = one_line((done.stderr.strip() or done.stdout.strip())[-2000:].split("\n")[-1], 120)
        return not_met(f"exit {done.code}" + (f": {last}" if last else ""), done.code)
    if check.contains not in done.stdout + done.stderr:
        wanted = one_line(check.contains, 60)
        return not_met(f"exit {done.code}, but the output does not contain: {wanted}", done.code)
    return met(f"exit {done.code} in {done.seconds:.2g} s", done.code)


def python(spec: str, setting: Setting) -> Check:
    """Raises UsageError when code is not allowed, or not found in the playbook's folder."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", spec, re.ASCII):
        raise UsageError(f"python check is not module:function: {spec!r}")
    if not setting.allow_code:
        raise UsageError(f"the goal runs the playbook's own code: {spec}", "add --allow-code")
    module, _, function = spec.partition(":")
    folder = Path(setting.plan.folder).resolve()
    path = folder.joinpath(*module.split(".")).with_suffix(".py").resolve()
    if not (path.is_file() and path.is_relative_to(folder)):
        raise UsageError(f"python check: no {module.replace('.', '/')}.py beside the playbook")
    return Check(f"python {spec}", "python", _Predicate(path, function, setting), spec)


class _Predicate:
    def __init__(self, path: Path, function: str, setting: Setting) -> None:
        self.path, self.function, self.setting = path, function, setting
        self.module: ModuleType | None = None

    def __call__(self, sample: int) -> Measured:
        done = within_limit(self._ask, PREDICATE_LIMIT, None)
        if done is None:
            return inconclusive(f"no answer within {PREDICATE_LIMIT:g} s")
        error = done.exception()
        if error is not None:
            return inconclusive(one_line(f"raised {type(error).__name__}: {error}"))
        answer = done.result()
        holds, says = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
        if not isinstance(holds, bool) or not isinstance(says, str):
            return inconclusive(f"returned {one_line(repr(answer), 60)}, not True or False")
        return (met if holds else not_met)(
            one_line(says) or ("holds" if holds else "does not hold")
        )

    def _ask(self) -> Any:
        if self.module is None:
            self.module = _load(self.path)
        predicate = getattr(self.module, self.function, None)
        if not callable(predicate):
            raise ToolError(f"{self.path.name} has no function {self.function}")
        state = {"observations": [], "evidence": [], "inputs": dict(self.setting.plan.inputs)}
        return predicate(state | dict(self.setting.state() if self.setting.state else {}))


def _load(path: Path) -> ModuleType:
    name = f"smoldebug_predicate_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ToolError(f"cannot be imported: {path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
