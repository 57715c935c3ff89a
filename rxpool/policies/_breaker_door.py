"""`BreakerDoor`: what all that calls through a `CircuitBreaker` does with it."""

import threading
from typing import Any

from reactivex import abc

from rxpool._core.broadcast import Broadcast
from rxpool._forks import held
from rxpool.errors import CircuitOpen, InvalidArgument
from rxpool.policies._breaker_publisher import BreakerEvent, TransitionPublisher
from rxpool.policies._breaker_state import BreakerMetrics, BreakerRules, BreakerState, State
from rxpool.policies._breaker_windows import FAILED, SLOW
from rxpool.policies._predicates import Errors, matches
from rxpool.timing import Clock

__all__ = ("BreakerDoor",)


class BreakerDoor:
    """The state of a breaker with the lock, the events and the timer around it.

    `now` is in seconds of the clock that `follow` was given.  No code of others runs in
    these methods, but for the user's functions of errors and attempts, and for `publish`.
    The lock is of the state, and never held while code of others runs.

    Attributes:
        events: Where changes of the state go.
        publisher: Knows whether `publish` has something to do.
    """

    __slots__ = (
        "_ignore",
        "_lock",
        "_name",
        "_own_clock",
        "_record",
        "_slow_after",
        "_state",
        "events",
        "publisher",
    )

    def __init__(
        self,
        name: str,
        rules: BreakerRules,
        wait: Any,
        slow_after: float,
        record: Errors,
        ignore: Errors,
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        self._name = name
        self._slow_after = slow_after
        self._record = record
        self._ignore = ignore
        self._own_clock = scheduler is not None
        self._lock = held(threading.RLock())  # of the state
        self._state = BreakerState(rules)
        self.publisher = TransitionPublisher(
            name, self._state, self._lock, wait, Clock.of(scheduler)
        )
        self.events: Broadcast[BreakerEvent] = self.publisher.events

    def follow(self, clock: Clock) -> None:
        """Take the time from *clock*, unless it has a clock already.

        Raises:
            InvalidArgument: If one of the two is virtual and the other is not.
        """
        with self._lock:
            if not self._own_clock:
                self.publisher.follow(clock)
                self._own_clock = True
        if self.publisher.clock.virtual != clock.virtual:
            raise InvalidArgument(
                f"breaker {self._name!r} is used in real and in virtual time; give it the "
                "scheduler of the pool, or use one breaker for each"
            )

    def admit(self, now: float) -> int:
        """A permit of 0 or more for one call that begins at *now*, or -1 if it is refused.

        Give the permit back with exactly one of `succeeded`, `failed` and `release`.
        """
        permit = self._state.free  # one read: it needs no lock
        if permit >= 0:
            return permit
        with self._lock:
            permit = self._state.admit(now)
            if self._state.changes:
                self.publisher.heard = True
            return permit

    @property
    def clean(self) -> bool:
        """Whether all calls were good lately: its window is full of them."""
        return self._state.clean >= 0

    def retry_after(self, now: float) -> float | None:
        """Seconds until a call may be let through, 0 if one may now; None if unknown."""
        with self._lock:
            return self._state.retry_after(now)

    def succeeded(self, permit: int, now: float, took: float) -> None:
        """The call returned at *now*, after *took* seconds."""
        how = SLOW if took > self._slow_after else 0
        if not how and permit == self._state.clean:  # one read, as in admit
            return
        with self._lock:
            self._state.record(permit, now, how)
            if self._state.changes:
                self.publisher.heard = True

    def failed(self, permit: int, now: float, took: float, error: BaseException) -> None:
        """The call raised *error* at *now*, after *took* seconds.

        What the user's predicates raise comes out, after the call was counted as a failure.
        """
        counts, how = True, FAILED
        try:
            if matches(self._ignore, error):
                counts = False
            elif not matches(self._record, error):
                counts, how = isinstance(error, Exception), 0
        finally:
            if took > self._slow_after:
                how += SLOW
            with self._lock:
                if counts:
                    self._state.record(permit, now, how)
                else:
                    self._state.release(permit)
                if self._state.changes:
                    self.publisher.heard = True

    def release(self, permit: int) -> None:
        """The call was cancelled, or never made: it counts as neither."""
        with self._lock:
            self._state.release(permit)

    def error(self, now: float | None = None) -> CircuitOpen:
        """What a call that is refused at *now* fails with."""
        wait = self.retry_after(self.publisher.clock.now() if now is None else now)
        if self._state.state == "half_open":
            return CircuitOpen(f"breaker {self._name!r} is half-open and has its probes", wait)
        again = "" if wait is None else f" for another {wait:.3g} s"
        return CircuitOpen(f"breaker {self._name!r} is open{again}", wait)

    def publish(self) -> None:
        """Tell the subscribers of `events` what happened; hold no lock.

        Changes come out one by one and in order, whoever publishes.  This also has the
        user's function say how long the breaker stays open.
        """
        if self.publisher.heard:
            self.publisher.publish()

    @property
    def state(self) -> State:
        """Where it is."""
        return self._state.state

    def metrics(self) -> BreakerMetrics:
        """A snapshot of its numbers."""
        now = self.publisher.clock.now()
        with self._lock:
            return self._state.metrics(now)

    def go(self, state: State) -> None:
        """Somebody wants it so; this calls `publish`."""
        now = self.publisher.clock.now()
        with self._lock:
            self._state.go(state, now)
            self.publisher.heard = True
        self.publisher.publish()
