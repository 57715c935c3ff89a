"""What functions do on an event loop that are not ``async def``: threads, Observables."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool import _forks
from rxpool.backends._awaiting import check_process
from rxpool.backends._runner import SEVERAL, ChunkRunner
from rxpool.backends._threads import ThreadBackend

__all__ = ("Threads", "observe")


async def observe(runner: ChunkRunner, job: Any, work: abc.ObservableBase[Any]) -> Any:
    """Give the items of *work* as results of *job*; they come on the threads that emit."""
    ending = _Ending()
    handle = SingleAssignmentDisposable()
    try:
        handle.disposable = _subscribe(runner, job, work, ending)
        return await ending.come()
    finally:
        handle.dispose()


def _subscribe(
    runner: ChunkRunner, job: Any, work: abc.ObservableBase[Any], ending: "_Ending"
) -> abc.DisposableBase:
    return work.subscribe(
        lambda value: runner.part(job, value),
        lambda error: ending(None, error),
        lambda: ending(SEVERAL, None),
    )


class _Ending:
    """The end of work elsewhere, which any thread may tell by calling this."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[tuple[Any, BaseException | None]]
        self._future = self._loop.create_future()
        self._generation = _forks.generation
        self.error: BaseException | None = None  # in a forked child, where nobody waits

    @property
    def told(self) -> bool:
        """Whether it is over."""
        return self._future.done() and not self._future.cancelled()

    async def come(self) -> Any:
        """Wait for the value, or raise the error."""
        value, error = await self._future
        if error is not None:
            raise error
        return value

    def __call__(self, value: Any, error: BaseException | None) -> None:
        if _forks.generation != self._generation:
            self.error = error
            return
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, value, error)

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if not self._future.done():
            # Not as its exception: futures refuse StopIteration, and a GeneratorExit would
            # look like the end of the loop.
            self._future.set_result((value, error))


class _Call:
    """A function to be called on a thread."""

    def __init__(
        self, job: Any, function: Callable[[Any], Any], item: Any, context: Context
    ) -> None:
        self.note: Any = None
        self.job = job
        self.function = function
        self.item = item
        self.context = context
        self.ending = _Ending()
        self.gone = False  # nobody wants the result
        self.handle = SingleAssignmentDisposable()


class Threads:
    """Calls plain functions on threads of its own; a coroutine waits for each."""

    def __init__(self, name: str, runner: ChunkRunner, slots: int) -> None:
        self._runner = runner
        self._calls: dict[Any, _Call] = {}  # by job
        self._here = threading.local()
        self.crew = ThreadBackend(name)
        self.crew.bind(self, slots)  # type: ignore[arg-type]

    async def run(self, job: Any, function: Callable[[Any], Any], item: Any) -> Any:
        """Call ``function(item)`` on a thread; see to what it returns here.

        An awaitable is awaited, and the items of an Observable are results of the job.
        """
        call = _Call(job, function, item, copy_context())
        self._calls[job] = call
        try:
            self.crew.start((call,))
            value = await call.ending.come()
        except asyncio.CancelledError:
            if not call.ending.told:  # else the function raised it
                call.gone = True
                self.crew.abandon((call,))
            raise
        finally:
            call.handle.dispose()
            del self._calls[job]
        if isinstance(value, Awaitable):
            return await value  # pyright: ignore[reportUnknownVariableType]
        return value

    def work(self, call: _Call, note: Any) -> None:
        """Make a call on this thread; `ThreadBackend` calls this."""
        call.note = note
        if call.gone:
            return
        stack = self._runner.stack()
        stack.append(call.job)
        self._here.call = call
        generation = _forks.generation
        try:
            call.context.run(self._make, call)
        except BaseException as error:
            check_process(generation, error)
            call.ending(None, error)
        finally:
            self._here.call = None
            stack.pop()

    def _make(self, call: _Call) -> None:
        generation = _forks.generation
        value = call.function(call.item)
        check_process(generation)
        if isinstance(value, abc.ObservableBase):
            call.handle.disposable = _subscribe(self._runner, call.job, value, call.ending)  # pyright: ignore[reportUnknownArgumentType]
            check_process(generation, call.ending.error)
        else:
            call.ending(value, None)

    def lend(self, job: Any) -> None:
        """*job* waits for others: if it has a thread, another may take its place."""
        call = self._calls.get(job)
        if call is not None:
            self.crew.lend((call,))

    def waits(self) -> None:
        """This thread is going to wait: if it is one of these, another may take its place."""
        call = getattr(self._here, "call", None)
        if call is not None:
            self.crew.lend((call,))
