"""`BatchProcessor`: single calls, made together as batches (dynamic batching)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from reactivex import abc

from rxpool import _checks as checks
from rxpool._core.functions import is_async
from rxpool.faces._batching import Batching
from rxpool.faces._engine import FaceEngine, clock_of
from rxpool.faces._face import Face
from rxpool.faces._future import FaceFuture
from rxpool.faces._queue import QueueState
from rxpool.faces._records import BatchMetrics, BatchProgress, RetryPolicy, policy_of
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
        checks.call("fn", fn)
        places = checks.count("max_in_flight", max_in_flight, least=1)
        queue = QueueState(
            checks.count("max_size", max_size, least=1),
            checks.duration("max_delay", max_delay, above=True),
            places,
        )
        if on_progress is not None:
            checks.call("on_progress", on_progress)
        self._batching = Batching(
            fn, queue, policy_of(retry), checks.flag("bisect", bisect), on_progress
        )
        engine = FaceEngine(
            "BatchProcessor",
            self._batching,
            clock_of(scheduler),
            workers=places,
            max_pending=max_pending,
            pool=pool,
            scheduler=scheduler,
            waits_by="add_async",
        )
        super().__init__(engine)
        self._async = is_async(fn)
        self._absorb = queue.filling.absorb
        self._counts = engine.counts

    def add(self, item: _T) -> PoolFuture[_R]:
        """Take one item; the future of its own result.

        Waits if `max_pending` items wait already.

        Raises:
            PoolClosed: If this is closed.
            WouldBlock: If it would have to wait where it cannot: on the thread of a running
                event loop (there, use `add_async`), and in virtual time.
        """
        engine = self._engine
        future: FaceFuture[_R] = FaceFuture(engine, item)
        with engine.lock:  # what most items need, in one
            if (
                self._counts.waiting < engine.max_pending
                and engine.kept
                and not engine.closing
                and self._absorb(future, engine.now())
            ):
                self._counts.waiting += 1
                return future
        while not self._put(future):
            engine.await_room()
        return future

    async def add_async(self, item: _T) -> PoolFuture[_R]:
        """Like `add`, for coroutines: waits for room, then gives the future."""
        engine = self._engine
        future: FaceFuture[_R] = FaceFuture(engine, item)
        while not self._put(future):
            await engine.sleep_for_room()
        return future

    def _put(self, future: FaceFuture[_R]) -> bool:
        """Let it wait, if there is room."""
        engine = self._engine
        with engine.lock:
            engine.check_open()
            if self._counts.waiting >= engine.max_pending:
                return False
            self._counts.waiting += 1
            now = engine.now()
            if self._absorb(future, now):
                engine.keep()
                return True
            # The first or the last item of a batch.
            loop = loop_here() if self._async else None
            self._batching.add(future, now, loop)
        engine.pump()
        return True

    def flush(self) -> None:
        """Begin the open batch as soon as there is a place for it."""
        with self._engine.lock:
            self._batching.flush()
        self._engine.pump()

    def metrics(self) -> BatchMetrics:
        """The figures at this instant."""
        with self._engine.lock:
            return self._batching.metrics()
