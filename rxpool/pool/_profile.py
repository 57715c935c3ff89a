"""`Profile`: what a pool's time goes into, by looking at it now and then."""

import sys
from time import process_time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from reactivex.disposable import SerialDisposable

from rxpool.pool._engine.engine import Engine

if TYPE_CHECKING:
    from rxpool.metrics import Bottleneck, TraceWriter

__all__ = ("Profile", "Shares")


class Shares:
    """Seconds in which something was so, summed over looks; no clock, no thread."""

    def __init__(self, now: float) -> None:
        self.elapsed = 0.0
        self.source_waiting = self.inbox_full = self.limit_wait = self.subscriber_busy = 0.0
        self.workers_busy = self.interpreter_cpu = 0.0
        self._last = now

    def add(
        self,
        now: float,
        *,
        busy: int,
        starved: bool,
        full: bool,
        limited: bool,
        slow: bool,
        cpu: float = 0.0,
    ) -> None:
        """What a look at *now* saw counts for the time since the one before."""
        passed = max(0.0, now - self._last)
        self._last = now
        self.elapsed += passed
        self.workers_busy += busy * passed
        self.source_waiting += starved * passed
        self.inbox_full += full * passed
        self.limit_wait += limited * passed
        self.subscriber_busy += slow * passed
        self.interpreter_cpu += cpu

    def pause(self, now: float) -> None:
        """There was nothing to look at."""
        self._last = now

    def bottleneck(self, workers: int) -> "Bottleneck":
        """What limits, with so many workers."""
        from rxpool.metrics import Bottleneck, bottleneck  # which few programs ask for

        if not self.elapsed:
            return Bottleneck("nothing", 0.0, "Nothing was measured yet.")
        return bottleneck(
            elapsed=self.elapsed,
            workers=workers,
            source_waiting=self.source_waiting,
            inbox_full=self.inbox_full,
            workers_busy=self.workers_busy,
            limit_wait=self.limit_wait,
            subscriber_busy=self.subscriber_busy,
            interpreter_cpu=self.interpreter_cpu,
        )


def _shares_one_interpreter(engine: Engine) -> bool:
    """Whether the CPU time of this process says how busy one interpreter is with the work."""
    free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
    here = engine.backend.traits.in_this_process
    return here and not free_threaded and not engine.clock.virtual


class Profile:
    """Looks at a pool every so many seconds, and says what limits it.

    See `WorkerPool.profile`.  A context manager; `close` ends it, as the end of the pool does.
    """

    def __init__(self, engine: Engine, trace: "TraceWriter | None", every: float) -> None:
        self._engine = engine
        self._every = every
        self._shares = Shares(engine.now())
        self._timer = SerialDisposable()
        self._writer = (
            None
            if trace is None
            else engine.telemetry.attempts.subscribe(
                trace.on_next, trace.on_error, trace.on_completed
            )
        )
        self._trace = trace
        self._cpu = process_time()
        self._shared = _shares_one_interpreter(engine)
        self._ring(engine.now())

    def bottleneck(self) -> "Bottleneck":
        """What limited the pool so far, with the share of the time in which it did."""
        return self._shares.bottleneck(self._engine.slots.total)

    def __str__(self) -> str:
        return str(self.bottleneck())

    def close(self) -> None:
        """Look no more, and close the trace; what was measured can still be asked."""
        self._timer.dispose()
        if self._writer is not None and self._trace is not None:
            self._writer.dispose()
            self._trace.close()

    def _ring(self, now: float) -> None:
        engine = self._engine
        with engine.lock:
            flows = list(engine.registry.flows)
            ended = engine.registry.terminated or (engine.registry.closing and not flows)
            idle = not flows and engine.clock.virtual
            self._look(now, flows)
        if not (ended or idle):
            self._timer.disposable = engine.clock.alarm(engine.now() + self._every, self._ring)

    def _look(self, now: float, flows: list[Any]) -> None:
        """Take a sample.  The engine's lock is held."""
        slots = self._engine.slots
        before, self._cpu = self._cpu, process_time()
        if not flows:
            self._shares.pause(now)
            return
        states = [flow.state for flow in flows]
        waiting = any(each.waiting or each.parked or each.reserved for each in states)
        feeding = any(not each.ended for each in states)
        self._shares.add(
            now,
            busy=min(slots.total, sum(each.running for each in states)),
            starved=feeding and slots.free > 0 and not waiting,
            full=any(not each.ended and not each.capacity.has_room() for each in states),
            limited=any(each.parking.held_by_limit() for each in states),
            slow=any(flow.state.binding.delivering() for flow in flows),
            cpu=self._cpu - before if self._shared else 0.0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
