"""A playbook as it would run: inputs applied, defaults left out, secrets masked."""

import re

import msgspec
import yaml

from smoldebug.playbook.load import Draft
from smoldebug.playbook.models import RunPlan
from smoldebug.playbook.tree import resolve
from smoldebug.records import Json
from smoldebug.redact import Redactor

_SECRET = re.compile(r"password|passwd|secret|token|api_?key", re.IGNORECASE)


def resolved(plan: RunPlan) -> dict[str, Json]:
    """Plain data that loads again as the same playbook; the inputs' defaults are what was given."""
    data: dict[str, Json] = msgspec.to_builtins(plan.playbook, enc_hook=str)
    for name, value in plan.inputs.items():
        data["inputs"][name].pop("required", None)
        data["inputs"][name]["default"] = value
    named = (value for name, value in plan.inputs.items() if _SECRET.search(name))
    cleaned: dict[str, Json] = Redactor(map(str, named)).json(data)
    return cleaned


def as_yaml(draft: Draft, plan: RunPlan) -> str:
    """The same as YAML, after comments on where it is from and what it needs."""
    head = [f"# {plan.source}"]
    head += [f"# needs --set {name}=..., shown as if it were: {name}" for name in draft.missing]
    head += [f"# not supported yet: {part}" for part in plan.unsupported]
    body = yaml.dump(resolved(plan), Dumper=_Dumper, sort_keys=False, width=100)
    return "\n".join([*head, body])


class _Dumper(yaml.SafeDumper):
    """Quotes what this project's reader, too, would not read back as text."""

    def text(self, value: str) -> yaml.ScalarNode:
        try:
            quoted = resolve(value) != value
        except ValueError:
            quoted = True
        return self.represent_scalar("tag:yaml.org,2002:str", value, '"' if quoted else None)


_Dumper.add_representer(str, _Dumper.text)
