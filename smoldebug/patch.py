"""A playbook's edits: from manifests to one change that pushes a branch and opens a pull request.

Edits are made and committed in the run's own clone before anybody is asked. What is then approved,
once, is the commit (its id stands for every byte) with the pull request that follows it.
"""

UNCHANGED = "unchanged"  # state of the outcome where there is nothing to patch


class Patch:
    pass
