"""`DebounceManager`: one call per burst; the superseded share its result."""

# A future and who gives it know each other.
# pyright: reportPrivateUsage=false

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, overload

from reactivex import abc

from rxpool import _checks as checks
from rxpool._forks import bury, heed, inside
from rxpool.errors import InvalidArgument, Overflow
from rxpool.faces._calls import Call, CallFace
from rxpool.faces._future import CANCELLED, PENDING, RUNNING, FaceFuture, wake
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


class DebounceManager(CallFace):
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

    _name = "DebounceManager"

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
        super().__init__(1, max_pending, pool, scheduler)
        self._running = {}
        self._runs = 0
        self._trailing = last
        self._state = DebounceState(pause, longest, first, last)
        # Calls with one fate, in order; the last one that is not cancelled is made.
        self._held: list[FaceFuture[Any]] = []  # before the trailing edge
        self._next: list[FaceFuture[Any]] = []  # after an edge, before the run
        self._leader: FaceFuture[Any] | None = None  # without trailing: who began the burst
        heed(self)

    def forked(self) -> None:
        """See `Face`."""
        bury(self._held, self._next, *inside(self._state))
        super().forked()

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
        future: FaceFuture[Any] = FaceFuture(self, Call(checks.call("fn", fn), args, kwargs))
        shared = None
        with self._lock:
            self._check_open()
            if len(self._held) + len(self._next) >= self._max_pending:
                raise Overflow(f"{self._name}: max_pending={self._max_pending} calls wait")
            self._accepted += 1
            self._waiting += 1
            self._state.offer(future, self._now(), None, True)
            if not self._emitted(future):
                if self._trailing:
                    self._held.append(future)
                else:
                    shared = self._follow(future)
        if shared is not None:
            wake((shared,))
        self._pump()
        return future

    def _emitted(self, newcomer: FaceFuture[Any] | None = None) -> bool:
        """Move what came to an edge to `_next`; whether *newcomer* did.  The lock is held."""
        ready, found = self._state.ready, False
        while ready:
            future: FaceFuture[Any] = ready.popleft()
            if future is newcomer:
                found = True
                self._next.append(future)
                self._leader = None if self._trailing else future
            else:
                self._next += self._held
                self._held = []
        return found

    def _follow(self, future: FaceFuture[Any]) -> FaceFuture[Any] | None:
        """Share the leading call's fate; *future* if that is settled.  The lock is held."""
        leader = self._leader
        if leader is not None and leader._state is PENDING:
            # It waits for the run before it, and is the call that is to be made.
            self._next.insert(self._next.index(leader), future)
            return None
        self._waiting -= 1
        sharing = next((all for all in self._running.values() if leader in all), None)
        if sharing is not None:
            future._state = RUNNING
            future.item = None
            sharing.append(future)
            return None
        if leader is None or leader._state is CANCELLED:
            future.end(CANCELLED)
            self._cancelled += 1
        else:
            future.put(leader._result, leader._exception)
            self._failed += leader._exception is not None
            self._succeeded += leader._exception is None
        return future

    def flush(self) -> None:
        """Run the pending call now; the next one begins a new burst."""
        with self._lock:
            self._state.finish(self._now())
            self._emitted()
        self._pump()

    def cancel(self) -> None:
        """Cancel the futures of all calls that wait; the next call begins a new burst."""
        with self._lock:
            cancelled = self._clear()
            for future in cancelled:
                future.end(CANCELLED)
            self._waiting -= len(cancelled)
            self._cancelled += len(cancelled)
        wake(cancelled)
        self._pump()

    def metrics(self) -> DebounceMetrics:
        """The figures at this instant."""
        with self._lock:
            running = sum(map(len, self._running.values()))
            return DebounceMetrics(
                self._accepted,
                self._runs,
                self._waiting,
                running,
                self._succeeded,
                self._failed,
                self._cancelled,
            )

    # -- the engine -------------------------------------------------------------------------

    def _ring(self, now: float) -> None:
        # Edges come with the timer alone: calls of one turn are one burst, also without a wait.
        with self._lock:
            self._state.expire(now)
            self._emitted()
        self._pump()

    def _take(self, now: float) -> list[FaceFuture[Any]]:
        if self._running or not self._next:
            return []
        sharing = [future for future in self._next if future._state is PENDING]
        self._next = []
        if not sharing:
            return []
        for future in sharing:
            future._state = RUNNING
        for future in sharing[:-1]:
            future.item = None
        self._waiting -= len(sharing)
        self._runs += 1
        self._running[sharing[-1]] = sharing
        if self._leader is not None:
            self._leader = sharing[-1]
        return [sharing[-1]]

    def _due(self) -> float | None:
        return self._state.due

    def _start(self, work: FaceFuture[Any]) -> None:
        self._run(work)

    def _ran(self, error: BaseException | None, count: int, now: float) -> None:
        pass

    def _drain(self, now: float) -> None:
        self._state.finish(now)
        self._emitted()

    def _clear(self) -> list[FaceFuture[Any]]:
        self._state.clear()
        waiting = [each for each in (*self._next, *self._held) if each._state is PENDING]
        self._held, self._next = [], []
        return waiting

    def _cut(self) -> tuple[list[FaceFuture[Any]], list[FaceFuture[Any]]]:
        return self._clear(), self._cut_running()
