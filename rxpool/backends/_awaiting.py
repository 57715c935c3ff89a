"""Runs coroutines on a thread that has no event loop: one loop per thread, kept."""

import asyncio
import threading
from collections.abc import Awaitable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from rxpool import _forks

__all__ = (
    "as_coroutine",
    "check_process",
    "close_loop",
    "end_of",
    "part",
    "run_here",
    "run_here_once",
    "run_with",
    "stop_turning",
)


def check_process(generation: int, error: BaseException | None = None) -> None:
    """End a child in which what was begun in its parent, so many forks ago, has returned."""
    if _forks.generation != generation:
        _forks.end_child(error)


async def as_coroutine(awaitable: Awaitable[Any]) -> Any:
    """*awaitable* as what event loops make tasks of."""
    generation = _forks.generation
    try:
        value = await awaitable
    except (GeneratorExit, asyncio.CancelledError):
        raise  # not of its own accord
    except BaseException as error:
        check_process(generation, error)
        raise
    check_process(generation)
    return value


def stop_turning(runner_or_loop: Any) -> None:
    """In a child: the next turn of a loop, which the thread that forked may be in, raises.

    What it waits with is shared with the parent.
    """
    loop = getattr(runner_or_loop, "_loop", runner_or_loop)
    for name, give_up in (("_ready", "clear"), ("_selector", "close")):
        part = getattr(loop, name, None)  # other loops than asyncio's have others
        if part is not None:
            getattr(part, give_up)()


def part(loop: Any) -> None:
    """In a child that goes on with *loop*: have it wait with something of its own.

    Else the parent's would not hear any more what this one gives up when it is closed.
    """
    with suppress(AttributeError):  # other loops than asyncio's have other parts
        shared, own = loop._selector, type(loop._selector)()
        for key in shared.get_map().values():
            if key.fileobj != loop._ssock.fileno():
                own.register(key.fileobj, key.events, key.data)
        loop._selector = own
        for each in (shared, loop._ssock, loop._csock):
            each.close()
        loop._internal_fds -= 1
        loop._make_self_pipe()


class _Runners:
    """The event loops of all threads that have one.

    It is not enough that each thread has its own: a forked child forgets what belongs to
    other threads, and the end of a loop there would disturb the one of the parent.
    """

    def __init__(self) -> None:
        self._here = threading.local()
        self._all: set[asyncio.Runner] = set()
        _forks.heed(self)

    def get(self) -> asyncio.Runner:
        """That of this thread."""
        runner: asyncio.Runner | None = getattr(self._here, "runner", None)
        if runner is None:
            self._here.runner = runner = asyncio.Runner()
            self._all.add(_forks.kept(runner))
        return runner

    def close(self) -> None:
        """Close that of this thread, if there is one."""
        runner: asyncio.Runner | None = getattr(self._here, "runner", None)
        if runner is not None:
            self._here.runner = None
            self._all.discard(runner)
            runner.close()

    def forked(self) -> None:
        """All of them are the parent's."""
        stop_turning(getattr(self._here, "runner", None))
        self._here.runner = None
        self._all.clear()


_runners: Final = _Runners()


async def end_of(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Its value or its error: as the exception of a task some of them would end the loop."""
    try:
        return await awaitable, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


def run_here(awaitable: Awaitable[Any], context: Context | None = None) -> Any:
    """Run *awaitable* to its end on this thread's own event loop."""
    return run_with(_runners.get(), awaitable, context)


def run_here_once(awaitable: Awaitable[Any], context: Context | None = None) -> Any:
    """The same where nobody tells when the thread ends, so that no loop can be kept."""
    try:
        return run_here(awaitable, context)
    finally:
        close_loop()


def run_with(runner: asyncio.Runner, awaitable: Awaitable[Any], context: Context | None) -> Any:
    """Run *awaitable* to its end with *runner*."""
    generation = _forks.generation
    try:
        return runner.run(as_coroutine(awaitable), context=context)
    except BaseException:
        if _forks.generation != generation:
            _forks.end_child(RuntimeError(_forks.NO_LOOP))
        raise


close_loop: Final = _runners.close
