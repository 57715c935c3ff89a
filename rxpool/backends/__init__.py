"""Where work runs.  A backend knows nothing of streams, order or bounds."""

from rxpool.backends._base import Backend, Job, Runner
from rxpool.backends._scheduler import SchedulerBackend
from rxpool.backends._threads import ThreadBackend

__all__ = ("Backend", "Job", "Runner", "SchedulerBackend", "ThreadBackend")
