"""`MapWorker`: one function on a pool, called item by item or with a list of items."""

# Futures and who gives them know each other.
# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import Callable, Iterable
from contextvars import copy_context
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from rxpool import _checks as checks
from rxpool._core.causes import ends_program
from rxpool._core.sleeper import Sleeper
from rxpool._core.waits import at_most
from rxpool.errors import InvalidArgumentType, PoolClosed, WouldBlock
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.batch_future import BatchFuture
from rxpool.pool._flows.calls import SubmitFlow
from rxpool.pool._flows.future import PoolFuture
from rxpool.pool._flows.options import FlowOptions
from rxpool.pool._state.report import FlowReport, counts_of
from rxpool.pool._state.task import Task

__all__ = ("ItemFuture", "MapWorker", "WorkerFlow")

_T = TypeVar("_T")
_R = TypeVar("_R")


class ItemFuture(PoolFuture[_R], Generic[_R]):
    """The future of one item: `cancel` succeeds until its first attempt starts."""

    def cancel(self) -> bool:
        """Take the item back, if it still waits for a worker."""
        return super().cancel() if self._calls.withdraw(self) else self.cancelled()


class WorkerFlow(SubmitFlow):
    """The flow of all items of a `MapWorker`."""

    chunkable = True

    def __init__(self, engine: Engine, options: FlowOptions, name: str) -> None:
        state = options.open(engine.slots, emits_drops=True)
        engine.failures.guard(state, options.policies, options.fn)
        super().__init__(engine, state)
        self.fn = options.fn
        self.name = name
        #: those with items that are not in the state yet; under the lock
        self.batches: set[BatchFuture[Any]] = set()
        self.closed = False
        self._rank = options.rank if options.sorts else None

    def function(self, task: Task) -> Callable[..., Any]:
        """See `Binding`."""
        return self.fn  # type: ignore[no-any-return]

    def subject(self, task: Task) -> Any:
        """See `Binding`."""
        return task.item

    def job(self, task: Task) -> tuple[Callable[[Any], Any], Any]:
        """See `Binding`."""
        return self.fn, task.item

    def prepare(self, item: Any) -> ItemFuture[Any]:
        """A future for *item*, which is not in the state yet."""
        future: ItemFuture[Any] = ItemFuture(self)
        task = Task(self.state, item, self._engine.now(), copy_context() or None)
        future._task = task
        task.answer_to(future)
        return future

    def enter(self, future: ItemFuture[Any], waits: bool) -> bool:
        """Put it in the state; False if there is no room and the caller does not wait."""
        task = future._task
        assert task is not None
        if self._rank is not None:
            try:
                self._rank(self.state, task)
            except BaseException as error:
                if ends_program(error):
                    raise
                self._refuse(task, error)
                return True
        if self.state.gate is not None:
            self.state.gate.prepare(task)
        return self._enter(task, future, waits)

    def _refuse(self, task: Task, error: BaseException) -> None:
        """The user's function of the key or the priority failed."""
        engine = self._engine
        with engine.lock:
            self._open()
            self.state.settlement.refuse(task, error)
            entry = self.begin_delivery()
            pending = engine.dispatcher.pending()
        engine.dispatcher.carry_out(pending)
        engine.dispatcher.deliver(self, entry)

    def _waits(self, task: Task) -> bool:
        """See there; of one that waits for something else than a worker it is too late."""
        return task in self.state.waiting

    def expect(self, batch: BatchFuture[Any]) -> None:
        """Items of *batch* will come."""
        self._unsettled.add(batch)
        batch.add_done_callback(self._unsettled.discard)
        with self._engine.lock:
            self.batches.add(batch)
            self._open()

    def futures(self) -> list[PoolFuture[Any]]:
        """Of all items and batches that are not settled."""
        state = self.state
        with self._engine.lock:
            busy = state.tasks | state.uncommitted
            tasks = [*state.waiting, *busy, *state.parked]
            return [*self.batches, *(task.future for task in tasks)]

    def forked(self, why: str) -> None:
        """See `Binding`."""
        super().forked(why)
        self.batches.clear()

    def _future(self, entry: Task) -> PoolFuture[Any]:
        return entry.future  # type: ignore[no-any-return]

    def _check_open(self, admitted: bool) -> None:
        # What belongs to a batch was accepted with it.
        super()._check_open(admitted or bool(self.batches))

    def _is_quiet(self) -> bool:
        return not self.batches and super()._is_quiet()


class MapWorker(Generic[_T, _R]):
    """See `WorkerPool.worker`.

    A context manager, sync and async: leaving the block closes it; leaving it by an
    exception takes back what waits first.
    """

    def __init__(self, engine: Engine, options: FlowOptions, name: str, pool: object) -> None:
        with engine.lock:
            engine.registry.check_open()
        self._engine = engine
        self._pool = pool  # which is kept as long as this is
        self._calls = WorkerFlow(engine, options, name)
        self.name = name

    def __repr__(self) -> str:
        state = "closed" if self._calls.closed else "open"
        return f"<MapWorker {self.name!r}, {state}, {self.pending} pending>"

    @property
    def pending(self) -> int:
        """Items that are accepted and not settled."""
        with self._engine.lock:
            return self._calls.state.counts.in_flight

    def execute(self, item: _T) -> ItemFuture[_R]:
        """Run the function on *item*; a future of its result, that can be awaited too.

        Waits if `max_pending` items wait already, or does as `overflow` says: an item that is
        dropped fails with `ItemDropped`.

        Raises:
            PoolClosed: If this, or the pool, is closed.
            Overflow: With ``overflow="error"``, if there is no room.
            WouldBlock: If it would have to wait where it cannot.
        """
        self._check_open()
        future = self._calls.prepare(item)
        self._calls.enter(future, True)
        return future

    def execute_batch(
        self,
        items: Iterable[_T],
        on_progress: Callable[[int, int], object] | None = None,
    ) -> BatchFuture[_R]:
        """Run the function on each of *items*; one future of the list of results.

        Results are in the order of the items.  If items fail, the future has the error of
        the first of them, once all are settled.  It never waits: items for which there is no
        room stay in the batch until there is.  Cancelling the future takes back the items
        that wait.

        Args:
            items: Read at once; none gives an empty list.
            on_progress: Called with the number of settled items and the number of all, after
                each, one call at a time; what it raises is on `WorkerPool.faults`.

        Raises:
            PoolClosed: If this, or the pool, is closed.
        """
        if on_progress is not None:
            checks.call("on_progress", on_progress)
        if not isinstance(items, Iterable):
            raise InvalidArgumentType(f"items must be iterable, got {checks.shown(items)}")
        self._check_open()
        batch: BatchFuture[_R] = BatchFuture(self._calls, list(items), on_progress)
        batch.begin()
        return batch

    def metrics(self) -> FlowReport:
        """What became of the items so far."""
        with self._engine.lock:
            return FlowReport(self.name, **counts_of(self._calls.state))

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Take nothing more, and wait until what was accepted is settled.

        Returns whether it is: not if *timeout* seconds went by first, and perhaps not in
        virtual time, on a worker of the pool or on the loop that runs the work, where nobody
        can wait.
        """
        limit = checks.patience("timeout", timeout)
        engine, calls = self._engine, self._calls
        calls.closed = True
        deadline = None if limit is None else monotonic() + limit
        may_wait = self._may_wait()
        with engine.lock:
            while not calls.quiet:
                left = None if deadline is None else deadline - monotonic()
                if not may_wait or (left is not None and left <= 0):
                    return False
                engine.registry.changed.wait(at_most(left))
            engine.registry.retire(calls.state)
        return True

    def cancel(self) -> int:
        """Take back all items that wait for a worker; how many those were."""
        return sum(future.cancel() for future in self._calls.futures())

    def _check_open(self) -> None:
        if self._calls.closed:
            raise PoolClosed(f"{self.name} is closed")
        with self._engine.lock:
            self._engine.registry.check_open()

    def _may_wait(self) -> bool:
        engine = self._engine
        if (
            engine.clock.virtual
            or engine.registry.works_here()
            or engine.registry.foreign is not None
        ):
            return False
        try:
            self._engine.backend.waits()
        except WouldBlock:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._calls.closed = True
            self.cancel()
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._calls.closed = True
        if error is not None:
            self.cancel()
        try:
            while futures := [each for each in self._calls.futures() if not each.done()]:
                for future in futures:
                    await _end_of(future)
        except asyncio.CancelledError:
            self.cancel()
            raise
        self.close(0)


async def _end_of(future: PoolFuture[Any]) -> None:
    """Wait until *future* is done, however it ends."""
    sleeper = Sleeper()
    future.add_done_callback(lambda _: sleeper.wake())
    await sleeper.sleep()
