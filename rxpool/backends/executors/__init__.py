"""Executors of `concurrent.futures`, whichever, as places where work runs."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.backends.executors._backend import ExecutorBackend
    from rxpool.backends.executors._threads import ThreadExecutorBackend
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.backends.executors._backend": "ExecutorBackend",
            "rxpool.backends.executors._threads": "ThreadExecutorBackend",
        },
    )

__all__ = ("ExecutorBackend", "ThreadExecutorBackend")
