"""`ThrottleManager`: calls at a rate, in order, and so many at once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, overload

from reactivex import abc

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument
from rxpool.faces._calls import Call
from rxpool.faces._engine import FaceEngine, clock_of
from rxpool.faces._face import Face
from rxpool.faces._future import FaceFuture
from rxpool.faces._line import LineState
from rxpool.faces._throttling import Throttling
from rxpool.pool import PoolFuture, WorkerPool

__all__ = ("ThrottleManager", "ThrottleMetrics")

_P = ParamSpec("_P")
_R = TypeVar("_R")

_AT_ONCE = 1024  #: calls, where no number is given: nothing is unbounded
_THREADS = 32


@dataclass(frozen=True, slots=True)
class ThrottleMetrics:
    """The figures of a `ThrottleManager`, all of calls.

    At every instant started = running + succeeded + failed.
    """

    started: int
    waiting: int  #: stand in line
    running: int
    succeeded: int
    failed: int
    cancelled: int  #: left the line before they started


class ThrottleManager(Face):
    """Starts calls at a rate, first in, first out.

    ::

        async with ThrottleManager(10, burst=5, max_concurrent=3) as manager:
            page = await manager.execute(fetch, url)

    A call starts when the bucket holds a token, a place is free, and none waits before it.
    It takes both at that instant; the place is given back when it ends, however it ends.
    Cancelling the future of a call that waits takes it out of the line, and costs no token.

    Args:
        rate: Calls in `per`; above 0.
        per: Seconds or a timedelta; above 0.
        burst: The most tokens; the bucket starts full and refills continuously.  With 0 each
            call waits for a token of its own.
        cooldown: When a start leaves less than one token, none follows for so many seconds
            (or a timedelta) from that start.
        max_concurrent: The most calls at once; 1 or more.  None stands for 1024, of which
            those on threads take turns on 32.
        strict: Never start more than `rate` in any window of `per`; `burst` has no effect.
        max_pending: How many calls may wait; beyond it `execute` waits.  1 or more.
        pool: Where plain functions run; by default a pool of its own, closed with this.
        scheduler: The clock; by default the shared `TimerScheduler`.

    Raises:
        InvalidArgument: If an argument is out of range.

    The bucket, the cooldown and the strict window are those of `rxpool.operators.throttle`.
    All methods can be called from any thread and on any event loop.
    """

    def __init__(
        self,
        rate: float,
        *,
        per: checks.Seconds = 1.0,
        burst: float = 1,
        cooldown: checks.Seconds = 0.0,
        max_concurrent: int | None = None,
        strict: bool = False,
        max_pending: int = 1024,
        pool: WorkerPool | None = None,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        tempo = checks.number("rate", rate, above=True)
        window = checks.duration("per", per, above=True)
        depth = checks.number("burst", burst)
        pause = checks.duration("cooldown", cooldown)
        exact = checks.flag("strict", strict)
        if exact and tempo < 1:
            raise InvalidArgument(
                f"strict with a rate below 1 lets nothing pass, got {rate=}; use a longer per"
            )
        places = _AT_ONCE
        if max_concurrent is not None:
            places = checks.count("max_concurrent", max_concurrent, least=1)
        clock = clock_of(scheduler)
        line = LineState(
            tempo,
            clock.now(),
            per=window,
            burst=depth,
            cooldown=pause,
            strict=exact,
            places=places,
            max_pending=max_pending,
        )
        self._calls = Throttling(line)
        engine = FaceEngine(
            "ThrottleManager",
            self._calls,
            clock,
            workers=min(places, _THREADS),
            max_pending=max_pending,
            pool=pool,
            scheduler=scheduler,
            waits_by="execute_async",
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
        """Call ``fn(*args, **kwargs)`` when its turn comes; the future of its result.

        A coroutine function runs on the event loop that runs here, if one does; all else on
        a worker thread.  Waits if `max_pending` calls wait already.

        Raises:
            PoolClosed: If this is closed.
            WouldBlock: If it would have to wait where it cannot: on the thread of a running
                event loop (there, use `execute_async`), and in virtual time.
        """
        future = self._future(fn, args, kwargs)
        while not self._put(future):
            self._engine.await_room()
        return future

    @overload
    async def execute_async(
        self, fn: Callable[_P, Awaitable[_R]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PoolFuture[_R]: ...

    @overload
    async def execute_async(
        self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PoolFuture[_R]: ...

    async def execute_async(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> PoolFuture[Any]:
        """Like `execute`, for coroutines: waits for room in the line, then gives the future."""
        future = self._future(fn, args, kwargs)
        while not self._put(future):
            await self._engine.sleep_for_room()
        return future

    def _future(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> FaceFuture[Any]:
        return FaceFuture(self._engine, Call(checks.call("fn", fn), args, kwargs))

    def _put(self, future: FaceFuture[Any]) -> bool:
        """Let it stand in line, if there is room."""
        engine = self._engine
        with engine.lock:
            engine.check_open()
            if not self._calls.join(future, engine.now()):
                return False
        engine.pump()
        return True

    def metrics(self) -> ThrottleMetrics:
        """The figures at this instant."""
        with self._engine.lock:
            counts = self._calls.counts
            return ThrottleMetrics(
                self._calls.started,
                counts.waiting,
                counts.running,
                counts.succeeded,
                counts.failed,
                counts.cancelled,
            )
