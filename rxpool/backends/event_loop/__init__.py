"""Coroutines on an event loop."""

from rxpool.backends.event_loop._backend import AsyncioBackend

__all__ = ("AsyncioBackend",)
