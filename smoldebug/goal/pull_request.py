"""pull_request: is the patch's pull request open, and did the checks of its last commit pass?"""

from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.edited import edited_at
from smoldebug.goal.manifests import measured_at
from smoldebug.playbook.patches import PullRequestCheck
from smoldebug.playbook.patchrules import manifests_of
from smoldebug.playbook.rules import checks_of
from smoldebug.records import CheckRun, Outcome, PullRequest
from smoldebug.sources.forge.open import compare_url
from smoldebug.sources.repository import Forge, Repository
from smoldebug.untrusted import one_line

GRACE = 30.0  # seconds in which a forge may still begin to check what it was sent


def pull_request(check: PullRequestCheck, setting: Setting) -> Check:
    label = "pull request" + (", its checks passed" if check.checks == "passed" else "")
    return Check(label, "pull_request", _PullRequest(check.checks == "passed", setting))


class _PullRequest:
    def __init__(self, passed: bool, setting: Setting) -> None:
        self.passed, self.playbook = passed, setting.plan.playbook
        self.world, self.clock = setting.world, setting.clock
        self.first_seen: dict[str, float] = {}  # by commit

    def __call__(self, sample: int) -> Measured:
        repository = self.world.repository
        if not repository.proposed and self.conforms(repository.base_commit()):
            return met(f"nothing to do: {repository.base} conforms already")
        forge = self.world.forge
        if forge is None:
            return inconclusive(_by_hand(repository))
        pull = forge.find(repository.branch)
        if pull is None:
            return not_met(f"no pull request of branch {repository.branch}")
        if problem := _astray(pull, repository.proposed or repository.tip()):
            return not_met(problem, route=pull.url)
        return self.of_checks(pull, forge)

    def conforms(self, commit: str) -> bool:
        """Whether there was nothing to patch. Nobody knows where no check looks at manifests."""
        goal = self.playbook.goal
        checks = list(checks_of([*goal.all, *goal.any]))
        seen = [measured_at(each, self.world, commit) for each in manifests_of(checks)]
        if any(each.edited for each in checks):
            seen.append(edited_at(self.playbook, self.world, commit))
        return bool(seen) and all(each.outcome is Outcome.MET for each in seen)

    def of_checks(self, pull: PullRequest, forge: Forge) -> Measured:
        state = "a draft" if pull.draft and pull.state == "open" else pull.state
        says = f"#{pull.number} is {state} at {pull.head[:7]}"
        if not self.passed:
            return met(says, route=pull.url)
        runs = [each for each in forge.checks(pull.head) if each.state != "skipped"]
        done = [each for each in runs if each.state == "passed"]
        if failed := [each for each in runs if each.state == "failed"]:
            more = f"; and {len(failed) - 1} more" if failed[1:] else ""
            return not_met(_why(failed[0]) + more, float(len(done)), route=pull.url)
        if pending := [each.name for each in runs if each.state == "pending"]:
            progress = f"checks {len(done)} of {len(runs)} passed; running: {', '.join(pending)}"
            return inconclusive(progress, route=pull.url, pending=True)
        if not runs and self.is_young(pull.head):
            return inconclusive(f"{says}; no checks yet", route=pull.url, pending=True)
        checks = f"{len(done)} of {len(runs)} checks passed" if runs else "no checks are configured"
        return met(f"{says}; {checks}", float(len(done)), route=pull.url)

    def is_young(self, commit: str) -> bool:
        now = self.clock.monotonic()
        return now - self.first_seen.setdefault(commit, now) < GRACE


def _astray(pull: PullRequest, commit: str) -> str:
    """Why this is not the pull request of this commit, "" when it is."""
    if pull.state == "closed":
        return f"#{pull.number} was closed and not merged"
    if pull.head != commit:
        ours = f"not at {commit[:7]}" if commit else "its branch is gone"
        return f"#{pull.number} stands at {pull.head[:7]}, {ours}"
    return ""


def _by_hand(repository: Repository) -> str:
    if not repository.url:
        return "the repository has no remote to open one at: the edits are in patch files"
    url = compare_url(repository.url, repository.base, repository.branch)
    return f"no forge is known: open it by hand: {url or repository.url}"


def _why(run: CheckRun) -> str:
    last = next(reversed(run.detail.strip().splitlines()), "")
    return f"{run.name} failed" + (f": {one_line(last, 160)}" if last else "")
