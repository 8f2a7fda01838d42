"""edited: are the playbook's edits made? Made again, they would change nothing."""

from smoldebug.coverage import counted, outcome, place
from smoldebug.edits.draft import drafted
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.renderings import once, proposed
from smoldebug.playbook.models import Playbook
from smoldebug.playbook.patches import EditedCheck
from smoldebug.sources.world import World

_OPEN = ("changed", "differs", "refused")  # what another run of the edits would do, or could not


def edited(check: EditedCheck, setting: Setting) -> Check:
    playbook, world = setting.plan.playbook, setting.world

    def measure(sample: int) -> Measured:
        return edited_at(playbook, world, proposed(world))

    return Check("the playbook's edits are made", "edited", measure)


def edited_at(playbook: Playbook, world: World, commit: str) -> Measured:
    """The check, on one commit of the run's repository."""
    done = once(world, commit, "edited", lambda: drafted(playbook, world.repository.tree(commit)))
    left = [row for row in done.edited if row.state in _OPEN]
    if left:
        more = f"; and {len(left) - 1} more" if left[1:] else ""
        says = "not edited" if left[0].state == "changed" else outcome(left[0])
        made = float(len(done.edited) - len(left))
        return not_met(f"{place(left[0])} {left[0].ref}: {says}{more}", made)
    if done.problems or not done.edited:
        more = f"; and {len(done.problems) - 1} more" if done.problems[1:] else ""
        return inconclusive("".join(done.problems[:1]) + more or "the playbook has no edits")
    return met(f"{counted(done.edited)} ({commit[:7]})", float(len(done.edited)))
