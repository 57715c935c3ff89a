"""`aside`: a call that blocks, made on another thread while the event loop goes on."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

from rxpool._threads import DaemonThread

__all__ = ("aside",)

_R = TypeVar("_R")


async def aside(call: Callable[[], _R]) -> _R:
    """Make *call* on a thread of its own, and wait for it.

    Unlike those of `asyncio.to_thread` that thread can be had while the interpreter exits
    too.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    outcome: list[_R] = []
    errors: list[BaseException] = []

    def tell() -> None:
        if not ended.done():
            ended.set_result(None)

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            errors.append(error)
        with suppress(RuntimeError):  # the loop is closed, and nobody waits there
            loop.call_soon_threadsafe(tell)

    DaemonThread(copy_context().run, "rxpool-aside", (run,)).start()
    await ended
    if errors:
        raise errors[0]
    return outcome[0]
