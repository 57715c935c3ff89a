"""Coroutines on an event loop."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.backends.event_loop._backend import AsyncioBackend
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.backends.event_loop._backend": "AsyncioBackend",
        },
    )

__all__ = ("AsyncioBackend",)
