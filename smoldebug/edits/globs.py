"""The globs of a playbook's paths are those of CODEOWNERS: one matcher, below both."""

from smoldebug.sources.globs import matches as matches
