"""Where work runs.  A backend knows nothing of streams, order or bounds."""

from rxpool.backends._base import Backend, LocalBackend, Traits
from rxpool.backends._choice import ProcessKeywords, backend_for
from rxpool.backends._errand import apply
from rxpool.backends._runner import SEVERAL, Chunk, ChunkRunner, Job, Runner, ThreadRunner
from rxpool.backends._scheduler import SchedulerBackend
from rxpool.backends._threads import ThreadBackend

__all__ = (
    "SEVERAL",
    "Backend",
    "Chunk",
    "ChunkRunner",
    "Job",
    "LocalBackend",
    "ProcessKeywords",
    "Runner",
    "SchedulerBackend",
    "ThreadBackend",
    "ThreadRunner",
    "Traits",
    "apply",
    "backend_for",
)
