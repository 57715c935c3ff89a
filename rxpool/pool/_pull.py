"""`pool.pull`: a source that reads on only while what it feeds has room."""

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler

from rxpool._core.inlet import Inlet, current_inlet
from rxpool._core.stage import can_wait
from rxpool.backends._awaiting import as_coroutine
from rxpool.pool._engine import Engine

__all__ = ("pull",)

_T = TypeVar("_T")


def pull(engine: Engine, items: Iterable[_T] | AsyncIterable[_T]) -> Observable[_T]:
    """See `WorkerPool.pull`."""

    def subscribe(
        observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        inlet = current_inlet()
        if inlet is not None:
            inlet.is_pulled()
        if isinstance(items, AsyncIterable) and (loop := asyncio._get_running_loop()):
            return _feed_on(loop, aiter(items), observer, inlet)
        chosen = scheduler or engine.default_scheduler or CurrentThreadScheduler.singleton()
        reader = _Reader(engine, _iterator(items), observer, inlet, chosen)
        chosen.schedule(reader.run)
        return Disposable(reader.stop)

    return Observable(subscribe)


def _feed_on(
    loop: asyncio.AbstractEventLoop,
    items: AsyncIterator[_T],
    observer: abc.ObserverBase[_T],
    inlet: Inlet | None,
) -> abc.DisposableBase:
    """Read on the event loop that runs already."""

    room = asyncio.Event()

    async def feed() -> None:
        while True:
            if inlet is not None and not inlet.room():
                room.clear()
                if inlet.on_room(lambda: loop.call_soon_threadsafe(room.set)):
                    await room.wait()
            try:
                item = await anext(items)
            except StopAsyncIteration:
                observer.on_completed()
                return
            except Exception as error:
                observer.on_error(error)
                return
            observer.on_next(item)

    task = loop.create_task(feed())

    def stop() -> None:
        loop.call_soon_threadsafe(task.cancel)

    return Disposable(stop)


def _iterator(items: Iterable[_T] | AsyncIterable[_T]) -> Iterator[_T]:
    if isinstance(items, AsyncIterable):
        return _drive(aiter(items))
    return iter(items)


def _drive(items: AsyncIterator[_T]) -> Iterator[_T]:
    """An async iterator, step by step on an event loop of its own."""
    with asyncio.Runner() as runner:
        while True:
            try:
                item = runner.run(as_coroutine(anext(items)))
            except StopAsyncIteration:
                return
            yield item


class _Reader(abc.DisposableBase):
    """Reads on one thread; where that may not wait, it leaves and is called again."""

    def __init__(
        self,
        engine: Engine,
        items: Iterator[Any],
        observer: abc.ObserverBase[Any],
        inlet: Inlet | None,
        scheduler: abc.SchedulerBase,
    ) -> None:
        self._engine = engine
        self._items = items
        self._observer = observer
        self._inlet = inlet
        self._scheduler = scheduler
        self._here = isinstance(scheduler, CurrentThreadScheduler)
        self._stopped = False
        self._wake: Callable[[], object] | None = None

    def run(self, _: abc.SchedulerBase | None = None, __: Any = None) -> None:
        """Read until the end, or until there is no room."""
        observer, inlet = self._observer, self._inlet
        # Whoever cuts or leaves this subscription may not have it yet.
        while not (self._stopped or (inlet is not None and inlet.closed)):
            if inlet is not None and not inlet.room() and not self._wait(inlet):
                return
            if self._stopped or (inlet is not None and inlet.closed):
                return
            try:
                item = next(self._items)
            except StopIteration:
                observer.on_completed()
                return
            except Exception as error:
                observer.on_error(error)
                return
            observer.on_next(item)

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    dispose = stop

    def _wait(self, inlet: Inlet) -> bool:
        """Wait for room; False if `run` is to be called again instead."""
        # A thread of a scheduler is not kept waiting: work may need it to make room.
        if not (self._here and can_wait(self._engine.clock)):
            return not inlet.on_room(lambda: self._scheduler.schedule(self.run))
        if self._engine.works_here():
            return True  # the inlet runs a waiting task on this thread
        gate = threading.Lock()
        gate.acquire()
        opened = False

        def open_gate() -> None:
            nonlocal opened
            with self._engine.lock:
                if opened:
                    return
                opened = True
            gate.release()

        self._wake = open_gate
        if self._stopped:
            return True
        if inlet.on_room(open_gate):
            gate.acquire()
        self._wake = None
        return True
