"""Executors of `concurrent.futures`, whichever, as places where work runs."""

from rxpool.backends.executors._backend import ExecutorBackend
from rxpool.backends.executors._threads import ThreadExecutorBackend

__all__ = ("ExecutorBackend", "ThreadExecutorBackend")
