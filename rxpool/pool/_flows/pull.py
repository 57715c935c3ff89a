"""`pool.pull`: a source that reads on only while what it feeds has room."""

import asyncio
import operator
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from typing import Any, Final, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.scheduler import (
    CurrentThreadScheduler,
    TrampolineScheduler,
    VirtualTimeScheduler,
)

from rxpool._core.causes import as_failure, ends_program
from rxpool._core.inlet import Inlet, current_inlet
from rxpool._core.reach import inlet_from
from rxpool._core.waits import can_wait, pass_gate
from rxpool._forks import gate as new_gate
from rxpool.backends._awaiting import as_coroutine
from rxpool.errors import PoolClosed
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.pull_source import PullSource
from rxpool.pool._flows.reading import at_hand, read_ahead
from rxpool.pool._flows.subscription import MapFlow

__all__ = ("pull",)

_T = TypeVar("_T")

_AT_ONCE: Final = 64  #: items read at most before others on a trampoline get their turn


def pull(engine: Engine, items: Iterable[_T] | AsyncIterable[_T]) -> Observable[_T]:
    """See `WorkerPool.pull`."""

    def subscribe(
        observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        inlet = current_inlet() or inlet_from(observer)
        if inlet is not None:
            inlet.is_pulled()
        loop = asyncio._get_running_loop()
        if isinstance(items, AsyncIterable) and loop is not None:
            feed = _LoopReader(engine, observer, inlet, loop)
            feed.read(aiter(items))
            return Disposable(feed.stop)
        chosen = scheduler or engine.default_scheduler or CurrentThreadScheduler.singleton()
        reader = _Reader(engine, observer, inlet, loop, items, chosen)
        chosen.schedule(reader.run)
        return Disposable(reader.stop)

    return Observable(subscribe)


def _drive(items: AsyncIterator[_T]) -> Iterator[_T]:
    """An async iterator, step by step on an event loop of its own."""
    with asyncio.Runner() as runner:
        while True:
            try:
                item = runner.run(as_coroutine(anext(items)))
            except StopAsyncIteration:
                return
            yield item


def _has_an_end(items: Any, iterator: Any) -> bool:
    """Whether it is known that there is a last item."""
    try:
        return isinstance(items, Sized) or operator.length_hint(iterator, -1) >= 0
    except TypeError:  # `itertools.repeat`
        return False


class _LoopReader(PullSource):
    """Reads an async iterable on the event loop that runs already."""

    def __init__(
        self,
        engine: Engine,
        observer: abc.ObserverBase[Any],
        inlet: Inlet | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._room = asyncio.Event()
        self._on: asyncio.AbstractEventLoop = loop
        self._task: asyncio.Task[None] | None = None
        super().__init__(engine, observer, inlet, loop, False)  # at last, as of `_Reader`

    def read(self, items: AsyncIterator[Any]) -> None:
        """Begin."""
        self._task = self._on.create_task(self._read(items))
        self._task.add_done_callback(self._done)

    async def _read(self, items: AsyncIterator[Any]) -> None:
        inlet, room, loop = self._inlet, self._room, self._on
        while not self._over:
            if inlet is not None and not inlet.room():
                room.clear()
                if inlet.on_room(lambda: loop.call_soon_threadsafe(room.set)):
                    await room.wait()
            try:
                item = await anext(items)
            except StopAsyncIteration:
                self._finish(None)
                return
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                if ends_program(error):
                    raise
                self._finish(as_failure(error))
                return
            self._emitting = True
            if not self._over:
                self._observer.on_next(item)
            self._emitting = False
        self._leave()

    def _done(self, task: "asyncio.Task[None]") -> None:
        """However the task ended, the observer is told an end."""
        if task.cancelled():
            self._finish(PoolClosed("the event loop cancelled the reading of pool.pull"))
        elif (error := task.exception()) is not None:
            self.stop()
            raise error

    def _wake_up(self) -> None:
        task = self._task
        if task is not None:
            try:
                self._on.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # the loop is closed
                return


class _Others:
    """Whether other actions of a scheduler cannot run before the reader's returns.

    The items that were read may be among them, as operators such as `flat_map` schedule what
    they give: a reader that goes on would never see that there is no room any more.
    """

    __slots__ = ("_arrived", "_inlet", "_left", "_length", "_trampolines", "_virtual")

    def __init__(self, scheduler: abc.SchedulerBase, inlet: Inlet | None) -> None:
        self._trampolines = scheduler if isinstance(scheduler, TrampolineScheduler) else None
        self._virtual: Any = scheduler if isinstance(scheduler, VirtualTimeScheduler) else None
        self._inlet: Any = getattr(inlet, "state", None)  # of a flow; what else is in between
        self._left = _AT_ONCE
        self._arrived = self._length = 0

    def before(self) -> None:
        """An item is going to be given on."""
        if self._virtual is not None and self._inlet is not None:
            self._arrived, self._length = self._inlet.counts.accepted, len(self._virtual._queue)

    def wait(self, items: int) -> bool:
        """So many were: whether it is others' turn."""
        if self._trampolines is not None:
            self._left -= items
            # Each thread has a queue of its own.
            trampoline: Any = self._trampolines.get_trampoline()
            if self._left > 0 and not trampoline._queue.items:
                return False
            self._left = _AT_ONCE
            return True
        if self._virtual is None or self._inlet is None:
            return False
        # In virtual time a turn may take a tick: only if it is the item that is on its way.
        return (
            self._inlet.counts.accepted == self._arrived
            and len(self._virtual._queue) > self._length
        )


class _Reader(PullSource):
    """Reads on one thread; where that may not wait, it leaves and is called again.

    It leaves also where other actions of its scheduler are due.
    """

    def __init__(
        self,
        engine: Engine,
        observer: abc.ObserverBase[Any],
        inlet: Inlet | None,
        loop: asyncio.AbstractEventLoop | None,
        items: Iterable[Any] | AsyncIterable[Any],
        scheduler: abc.SchedulerBase,
    ) -> None:
        self._items: Iterator[Any]
        if isinstance(items, AsyncIterable):
            self._items = _drive(aiter(items))
        else:
            self._items = iter(items)
        self._scheduler = scheduler
        self._here = isinstance(scheduler, CurrentThreadScheduler)
        self._others = _Others(scheduler, inlet)
        self._wake: Callable[[], object] | None = None
        # At last: a pool that closes may stop it from then on.
        super().__init__(engine, observer, inlet, loop, _has_an_end(items, self._items))

    def stands_still(self, loop: Any) -> bool:
        """Never: whoever makes room reads on."""
        return False

    def run(self, _: abc.SchedulerBase | None = None, __: Any = None) -> None:
        """Read until the end, or until there is no room."""
        try:
            flow = None if self._engine.clock.virtual else self._flow_below()
            if flow is None:
                self._read()
            else:
                self._read_many(flow)
        except BaseException:  # of the subscriber, or Ctrl-C
            self.stop()
            raise

    def _read(self) -> None:
        observer, inlet, others = self._observer, self._inlet, self._others
        while not self._over:
            if inlet is not None and not inlet.room() and not self._wait(inlet):
                return
            if self._over:
                break
            try:
                item = next(self._items)
            except StopIteration:
                self._finish(None)
                return
            except BaseException as error:
                if ends_program(error):
                    raise
                self._finish(as_failure(error))
                return
            self._emitting = True
            others.before()
            if not self._over:
                observer.on_next(item)
            self._emitting = False
            if others.wait(1) and not self._over:
                self._scheduler.schedule(self.run)
                return
        self._leave()

    def _flow_below(self) -> MapFlow | None:
        """The flow that this feeds, if nothing is in between and it takes several at once."""
        inlet = self._inlet
        if not (isinstance(inlet, MapFlow) and inlet.takes_many and at_hand(self._items)):
            return None
        # The observer is the one that `subscribe` wraps a function in.
        given: object = getattr(self._observer, "_on_next", None)
        return inlet if given == inlet.on_next else None

    def _read_many(self, flow: MapFlow) -> None:
        """The same for a flow that takes several items at once."""
        capacity, others = flow.state.capacity, self._others
        more = True
        while more and not self._over:
            if not flow.room() and not self._wait(flow):
                return
            if self._over:
                break
            ahead: list[Any] = []
            error: BaseException | None = None
            try:
                more = read_ahead(self._items, max(1, min(capacity.to_read(), _AT_ONCE)), ahead)
            except BaseException as raised:
                if ends_program(raised):
                    raise
                error, more = as_failure(raised), False
            self._emitting = True
            if not self._over:
                flow.take_many(ahead)
            self._emitting = False
            if not more:
                self._finish(error)
                return
            if others.wait(len(ahead)) and not self._over:
                self._scheduler.schedule(self.run)
                return
        self._leave()

    def _wake_up(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def _wait(self, inlet: Inlet) -> bool:
        """Wait for room; False if `run` is to be called again instead."""
        # A thread of a scheduler is not kept waiting: work may need it to make room.
        # Nor is one of the pool that goes on with what was begun on an event loop.
        if self._loop is not None or not (self._here and can_wait(self._engine.clock)):
            return not inlet.on_room(lambda: self._scheduler.schedule(self.run))
        if self._engine.registry.works_here():
            return True  # the inlet runs a waiting task on this thread
        gate = new_gate()
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
            pass_gate(gate)
        self._wake = None
        return True
