"""Reports: a journal in, documents out. Every one works on a run that stopped at any event."""

from smoldebug.report.document import document
from smoldebug.report.handover import handover
from smoldebug.report.markdown import markdown
from smoldebug.report.sections import sections

__all__ = ["document", "handover", "markdown", "sections"]
