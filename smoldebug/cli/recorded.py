"""What runs over recorded worlds need of this machine: the tools that a playbook may use."""

from smoldebug.cli.options import Options
from smoldebug.cli.toolbox import toolset
from smoldebug.clock import FakeClock
from smoldebug.evidence import EvidenceStore
from smoldebug.notebook import Notebook
from smoldebug.playbook.models import RunPlan
from smoldebug.redact import Redactor
from smoldebug.sources.fakes import FakeCluster, fake_world
from smoldebug.toolset import ToolSpec


def tools_of(plan: RunPlan, options: Options) -> list[ToolSpec]:
    """Their descriptions; none of them is called. Raises UsageError for one that is not there."""
    clock = FakeClock()
    evidence = EvidenceStore(clock)
    world = fake_world(cluster=FakeCluster(), clock=clock)
    made = toolset(plan, options, world, evidence, Notebook(evidence), Redactor())
    return list(made.specs.values())
