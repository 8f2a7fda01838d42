"""smoldebug: incident triage with goals measured by code. Importing it does nothing else."""

__version__ = "0.1.0"
