"""Where work runs.  A backend knows nothing of streams, order or bounds."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.backends._base import Backend, LocalBackend, Traits
    from rxpool.backends._choice import ProcessKeywords, backend_for
    from rxpool.backends._errand import apply
    from rxpool.backends._runner import SEVERAL, Chunk, ChunkRunner, Job, Runner, ThreadRunner
    from rxpool.backends._scheduler import SchedulerBackend
    from rxpool.backends._threads import ThreadBackend
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.backends._base": "Backend LocalBackend Traits",
            "rxpool.backends._choice": "ProcessKeywords backend_for",
            "rxpool.backends._errand": "apply",
            "rxpool.backends._runner": "SEVERAL Chunk ChunkRunner Job Runner ThreadRunner",
            "rxpool.backends._scheduler": "SchedulerBackend",
            "rxpool.backends._threads": "ThreadBackend",
        },
    )

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
