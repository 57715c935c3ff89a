"""Where work runs.  A backend knows nothing of streams, order or bounds."""

from rxpool.backends._base import SEVERAL, Backend, Job, LocalBackend, Runner
from rxpool.backends._choice import ProcessKeywords, backend_for
from rxpool.backends._errand import apply
from rxpool.backends._scheduler import SchedulerBackend
from rxpool.backends._threads import ThreadBackend

__all__ = (
    "SEVERAL",
    "Backend",
    "Job",
    "LocalBackend",
    "ProcessKeywords",
    "Runner",
    "SchedulerBackend",
    "ThreadBackend",
    "apply",
    "backend_for",
)
