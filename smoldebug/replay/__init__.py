"""Runs over recorded worlds: a run played again, and another playbook in place of its own."""
