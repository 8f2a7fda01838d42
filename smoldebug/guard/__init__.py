"""What may be read and what may be changed: data in, decision out. No I/O of its own."""

from smoldebug.guard.fields import CLUSTERLESS, FIELDS, LOCAL
from smoldebug.guard.guard import Guard, Recent, asks, covers
from smoldebug.guard.limits import Tally
from smoldebug.guard.scoped import ScopedCluster, ScopedHelm, plural

__all__ = [
    "CLUSTERLESS",
    "FIELDS",
    "LOCAL",
    "Guard",
    "Recent",
    "ScopedCluster",
    "ScopedHelm",
    "Tally",
    "asks",
    "covers",
    "plural",
]
