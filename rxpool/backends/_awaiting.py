"""Runs coroutines on a thread that has no event loop: one loop per thread, kept."""

import asyncio
import threading
from collections.abc import Awaitable
from contextvars import Context
from typing import Any

__all__ = ("as_coroutine", "close_loop", "run_here")

_local = threading.local()


async def as_coroutine(awaitable: Awaitable[Any]) -> Any:
    """*awaitable* as what event loops make tasks of."""
    return await awaitable


def run_here(awaitable: Awaitable[Any], context: Context | None = None) -> Any:
    """Run *awaitable* to its end on this thread's own event loop."""
    runner: asyncio.Runner | None = getattr(_local, "runner", None)
    if runner is None:
        runner = _local.runner = asyncio.Runner()
    return runner.run(as_coroutine(awaitable), context=context)


def close_loop() -> None:
    """Close this thread's event loop, if it has one."""
    runner: asyncio.Runner | None = getattr(_local, "runner", None)
    if runner is not None:
        _local.runner = None
        runner.close()
