"""`DebounceManager`: one call per burst; the superseded share its result."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, overload

from reactivex import abc

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument
from rxpool.faces._calls import Call
from rxpool.faces._debouncing import Debouncing
from rxpool.faces._engine import FaceEngine, clock_of
from rxpool.faces._face import Face
from rxpool.faces._future import FaceFuture, wake
from rxpool.operators._debounce import DebounceState
from rxpool.pool import PoolFuture, WorkerPool

__all__ = ("DebounceManager", "DebounceMetrics")

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class DebounceMetrics:
    """The figures of a `DebounceManager`.

    At every instant accepted = succeeded + failed + cancelled + pending + running.
    """

    accepted: int  #: calls of `execute`
    runs: int  #: calls of a function that were begun
    pending: int  #: futures whose run has not begun
    running: int  #: futures that share the run that goes on
    succeeded: int  #: futures
    failed: int
    cancelled: int


class DebounceManager(Face):
    """Makes one call per burst of calls.

    ::

        manager = DebounceManager(0.3, max_wait=2.0)
        found = await manager.execute(search, text)  # the result of the newest search

    A burst goes on while each call comes within `wait` of the one before.  The call that
    the **trailing** edge runs is the newest one, `wait` after it came; its result goes to
    all the calls that it superseded.  With **leading** the first call of a burst runs at
    once, and the trailing edge only follows if there was a second one.  Without trailing
    the later calls of the burst get the result of the leading one.

    Runs never overlap.  An edge that comes while a call runs waits for its end; if another
    comes meanwhile, only the newest of the calls that wait is made.

    A future that is cancelled before its run takes its call out: if that was the newest, the
    newest one that is left runs in its place.

    Args:
        wait: Seconds or a timedelta; 0 means the next turn of the scheduler.
        max_wait: The longest that a call waits for its edge, however long the burst goes on,
            in seconds or as a timedelta; below `wait` it counts as `wait`, None is no limit.
        leading: Run the first call of a burst.
        trailing: Run the last call of a burst.
        max_pending: How many calls may wait for one run; 1 or more.
        pool: Where plain functions run; by default a thread of its own, closed with this.
        scheduler: The clock; by default the shared `TimerScheduler`.

    Raises:
        InvalidArgument: If an argument is out of range, or no edge is wanted.

    The edges are lodash's, as in `rxpool.operators.debounce`.  All methods can be called
    from any thread and on any event loop.
    """

    def __init__(
        self,
        wait: checks.Seconds,
        *,
        max_wait: checks.Seconds | None = None,
        leading: bool = False,
        trailing: bool = True,
        max_pending: int = 100_000,
        pool: WorkerPool | None = None,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        pause = checks.duration("wait", wait)
        longest = None if max_wait is None else checks.duration("max_wait", max_wait)
        first, last = checks.flag("leading", leading), checks.flag("trailing", trailing)
        if not (first or last):
            raise InvalidArgument(f"debounce would run nothing with {leading=}, {trailing=}")
        self._calls = Debouncing(DebounceState(pause, longest, first, last), last)
        engine = FaceEngine(
            "DebounceManager",
            self._calls,
            clock_of(scheduler),
            workers=1,
            max_pending=max_pending,
            pool=pool,
            scheduler=scheduler,
        )
        super().__init__(engine)

    @overload
    def execute(
        self, fn: Callable[_P, Awaitable[_R]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PoolFuture[_R]: ...

    @overload
    def execute(
        self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PoolFuture[_R]: ...

    def execute(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> PoolFuture[Any]:
        """Ask for ``fn(*args, **kwargs)``; the future of the result of the call that is made.

        A coroutine function runs on the event loop that runs here, if one does; all else on
        a worker thread.

        Raises:
            PoolClosed: If this is closed.
            Overflow: If `max_pending` calls wait for one run already; `max_wait` keeps a
                burst from going on so long.
        """
        engine = self._engine
        future: FaceFuture[Any] = FaceFuture(engine, Call(checks.call("fn", fn), args, kwargs))
        with engine.lock:
            engine.check_open()
            self._calls.refuse_more_than(engine.max_pending)
            ended = self._calls.add(future, engine.now())
        if ended is not None:
            wake((ended,))
        engine.pump()
        return future

    def flush(self) -> None:
        """Run the pending call now; the next one begins a new burst."""
        engine = self._engine
        with engine.lock:
            self._calls.drain(engine.now())
        engine.pump()

    def cancel(self) -> None:
        """Cancel the futures of all calls that wait; the next call begins a new burst."""
        with self._engine.lock:
            cancelled = self._calls.cancel()
        wake(cancelled)
        self._engine.pump()

    def metrics(self) -> DebounceMetrics:
        """The figures at this instant."""
        with self._engine.lock:
            counts = self._calls.counts
            return DebounceMetrics(
                counts.accepted,
                self._calls.runs,
                counts.waiting,
                counts.running,
                counts.succeeded,
                counts.failed,
                counts.cancelled,
            )
