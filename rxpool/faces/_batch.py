"""`BatchProcessor`: single calls, made together as batches (dynamic batching)."""

# A future and who gives it know each other.
# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import random
from typing import Any, Generic, TypeVar

from reactivex import abc

from rxpool import _checks as checks
from rxpool._core.causes import as_failure, ends_program
from rxpool._core.functions import is_async
from rxpool._forks import bury, heed, inside
from rxpool._log import log
from rxpool.errors import BatchSizeError
from rxpool.faces._face import Face
from rxpool.faces._future import PENDING, RUNNING, FaceFuture, wake
from rxpool.faces._queue import Batch, QueueState
from rxpool.faces._records import (
    BatchMetrics,
    BatchProgress,
    RetryPolicy,
    policy_of,
    results_of,
)
from rxpool.faces._runner import loop_here
from rxpool.pool import PoolFuture, WorkerPool

__all__ = ("BatchProcessor",)

_T = TypeVar("_T")
_R = TypeVar("_R")


class BatchProcessor(Face, Generic[_T, _R]):
    """Gathers items and gives them to a function as lists; each gets its own result.

    ::

        async with BatchProcessor(predict, max_size=32, max_delay=0.005) as processor:
            label = await processor.add(image)

    - A batch **begins** when it is full, when its first item is `max_delay` old, at `flush`
      and at `close`; if `max_in_flight` batches run, when one of them ends, and until
      then it goes on filling.
    - An item **fails** with the exception that stands in its place in the results, with
      what the function raised, or with `BatchSizeError` if the results were not as many as
      the items.  `retry` repeats only what failed, together; a wrong number is not
      repeated.  While it waits for that it keeps no other batch from running.
    - **Cancelling** the future of an item before its batch has begun takes the item out.

    Args:
        fn: Takes a list and returns a list as long, with a result or an exception for each
            item.  If it is an ``async def`` it runs on the event loop from which items were
            last added; else, and if there was no running loop, on a thread.
        max_size: The most items in a batch; 1 or more.
        max_delay: The longest that an item waits for its batch to fill, in seconds or as a
            timedelta; above 0.
        max_in_flight: The most batches at once; 1 or more.
        max_pending: How many items may wait; beyond it `add` waits.  1 or more.
        retry: The number of attempts, made one right after the other, or an object like
            `Retry`.  Its `elapsed` counts from the first attempt.
        bisect: Whether a batch for which the function raised, or returned no list of the right
            length, is made again in two halves, after all attempts of `retry`, down to single
            items: so that only the bad ones fail.
        on_progress: Is given a `BatchProgress` after each batch, on the thread where that
            ended.  What it raises is logged.
        pool: Where `fn` runs; by default a small pool of its own, closed with this.
        scheduler: The clock; by default the shared `TimerScheduler`.

    Raises:
        InvalidArgument: If an argument is out of range.

    All methods can be called from any thread and on any event loop.  The contract of the
    results is that of DataLoader, without its cache.
    """

    _name = "BatchProcessor"
    _waits_by = "add_async"

    def __init__(
        self,
        fn: Callable[[list[_T]], Sequence[_R | BaseException]]
        | Callable[[list[_T]], Awaitable[Sequence[_R | BaseException]]],
        *,
        max_size: int = 100,
        max_delay: checks.Seconds = 0.01,
        max_in_flight: int = 1,
        max_pending: int = 10_000,
        retry: int | RetryPolicy | None = None,
        bisect: bool = False,
        on_progress: Callable[[BatchProgress], object] | None = None,
        pool: WorkerPool | None = None,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        self._fn: Callable[[list[_T]], Any] = checks.call("fn", fn)
        self._async = is_async(fn)
        places = checks.count("max_in_flight", max_in_flight, least=1)
        self._queue = QueueState(
            checks.count("max_size", max_size, least=1),
            checks.duration("max_delay", max_delay, above=True),
            places,
        )
        self._retry = policy_of(retry)
        self._bisect = checks.flag("bisect", bisect)
        if on_progress is not None:
            checks.call("on_progress", on_progress)
        self._on_progress = on_progress
        super().__init__(places, max_pending, pool, scheduler)
        self._loop: asyncio.AbstractEventLoop | None = None  # that of who added last
        self._absorb = self._queue.filling.absorb
        self._batches = self._attempts = self._failed_attempts = self._running = 0
        self._attempt_seconds = self._retry_wait_seconds = 0.0
        heed(self)

    def forked(self) -> None:
        """See `Face`."""
        bury(*inside(self._queue))
        super().forked()
        self._loop = None

    def add(self, item: _T) -> PoolFuture[_R]:
        """Take one item; the future of its own result.

        Waits if `max_pending` items wait already.

        Raises:
            PoolClosed: If this is closed.
            WouldBlock: If it would have to wait where it cannot: on the thread of a running
                event loop (there, use `add_async`), and in virtual time.
        """
        future: FaceFuture[_R] = FaceFuture(self, item)
        with self._lock:  # what most items need, in one
            if (
                self._waiting < self._max_pending
                and self._kept
                and not self._closing
                and self._absorb(future, self._now())
            ):
                self._waiting += 1
                self._accepted += 1
                return future
        while not self._put(future):
            with self._lock:
                self._await_room()
        return future

    async def add_async(self, item: _T) -> PoolFuture[_R]:
        """Like `add`, for coroutines: waits for room, then gives the future."""
        future: FaceFuture[_R] = FaceFuture(self, item)
        while not self._put(future):
            await self._sleep_for_room()
        return future

    def _put(self, future: FaceFuture[_R]) -> bool:
        """Let it wait, if there is room."""
        with self._lock:
            self._check_open()
            if self._waiting >= self._max_pending:
                return False
            self._waiting += 1
            self._accepted += 1
            now = self._now()
            if self._absorb(future, now):
                self._keep()
                return True
            # The first or the last item of a batch.
            self._queue.filling.offer(future, now, None, True)
            if self._async and (loop := loop_here()) is not None:
                self._loop = loop
        self._pump()
        return True

    def flush(self) -> None:
        """Begin the open batch as soon as there is a place for it."""
        with self._lock:
            self._queue.flush()
        self._pump()

    def metrics(self) -> BatchMetrics:
        """The figures at this instant."""
        with self._lock:
            return BatchMetrics(
                self._accepted,
                self._succeeded,
                self._failed,
                self._cancelled,
                self._waiting,
                self._running,
                self._batches,
                self._attempts,
                self._failed_attempts,
                self._attempt_seconds,
                self._retry_wait_seconds,
            )

    # -- the engine -------------------------------------------------------------------------

    def _take(self, now: float) -> list[Batch]:
        taken: list[Batch] = []
        while (batch := self._queue.take(now)) is not None:
            if not batch.begun:
                batch.begun = True
                batch.calls = [call for call in batch.calls if call._state is PENDING]
                if not batch.calls:
                    self._queue.end(batch)
                    continue
                for call in batch.calls:
                    call._state = RUNNING
                self._waiting -= len(batch.calls)
                self._running += len(batch.calls)
                self._free(len(batch.calls))
                self._batches += 1
            elif batch.attempts > 1:
                self._retry_wait_seconds += now - batch.failed_at
            self._attempts += 1
            taken.append(batch)
        return taken

    def _due(self) -> float | None:
        return self._queue.due

    def _drain(self, now: float) -> None:
        self._queue.flush()

    def _busy(self) -> bool:
        return not self._queue.idle

    def _gone(self, future: FaceFuture[Any]) -> None:
        self._queue.cancelled(self._waiting)

    def _cut(self) -> tuple[list[FaceFuture[Any]], list[FaceFuture[Any]]]:
        fresh, ran = self._queue.clear()
        self._running = 0
        return [future for future in fresh if future._state is PENDING], ran

    def _start(self, work: Batch) -> None:
        began = self._now()
        with self._lock:
            if work not in self._queue.running:
                return  # terminated meanwhile
            items: list[_T] = [call.item for call in work.calls]
        loop = self._loop

        def done(given: Any, error: BaseException | None) -> None:
            self._ended(work, began, given, error)

        self._runner.run(partial(self._fn, items), loop, None, done)

    def _ended(  # noqa: C901 - one branch for each way that a batch ends
        self, batch: Batch, began: float, given: Any, error: BaseException | None
    ) -> None:
        """An attempt ended: settle what is settled, repeat what is to be repeated."""
        now = self._now()
        calls = batch.calls
        results: list[Any] = []
        if error is None:
            try:
                results = results_of(given, len(calls))
            except BaseException as wrong:
                error = wrong
        whole = error is not None
        if error is not None:
            results = [as_failure(error)] * len(calls)
        failed, again, wait, settled = 0, dict[int, None](), 0.0, calls
        if whole or any(isinstance(result, BaseException) for result in results):
            again, wait = self._retried(batch, results, error, now)
            failed = sum(isinstance(result, BaseException) for result in results) - len(again)
            settled = [call for at, call in enumerate(calls) if at not in again]
            results = [result for at, result in enumerate(results) if at not in again]
        halved = whole and self._bisect and not again and len(calls) > 1
        if halved and isinstance(error, Exception):
            failed, settled, results = 0, [], []
        else:
            halved = False
        with self._lock:
            if not self._queue.end(batch):
                return  # terminated meanwhile
            self._attempt_seconds += now - began
            self._failed_attempts += whole
            self._running -= len(settled)
            self._failed += failed
            self._succeeded += len(settled) - failed
            for call, result in zip(settled, results, strict=True):
                if failed and isinstance(result, BaseException):
                    call.put(None, result)
                else:
                    call.put(result, None)
            if again:
                batch.calls = [calls[at] for at in again]
                batch.failed_at = now
                self._queue.repeat(batch, now + wait)
            elif halved:
                self._queue.halve(batch)
            progress = None
            if self._on_progress is not None:
                progress = BatchProgress(
                    self._accepted, self._succeeded, self._failed, self._cancelled
                )
        try:
            wake(settled)
        finally:
            self._pump()
        if progress is not None and self._on_progress is not None:
            try:
                self._on_progress(progress)
            except BaseException as problem:
                log.error("on_progress raised", face=self._name, exc_info=problem)
                if ends_program(problem):
                    raise

    def _retried(
        self, batch: Batch, results: list[Any], whole: BaseException | None, now: float
    ) -> tuple[dict[int, None], float]:
        """Which calls are made again, and after how long; the others' errors are final."""
        again: dict[int, None] = {}
        if self._retry is None or isinstance(whole, BatchSizeError):
            return again, 0.0
        longest = 0.0
        decided: dict[int, float | None] = {}  # the policy is asked once about one error
        for at, result in enumerate(results):
            if not isinstance(result, Exception):
                continue
            if id(result) not in decided:
                try:
                    decided[id(result)] = self._retry.wait_before_next(
                        batch.attempts, result, now - batch.since, random()
                    )
                except BaseException as problem:
                    results[at] = as_failure(problem)
                    if whole is not None:
                        results[:] = [results[at]] * len(results)
                        return {}, 0.0
                    continue
            wait = decided[id(result)]
            if wait is not None:
                again[at] = None
                longest = max(longest, wait)
        return again, longest
