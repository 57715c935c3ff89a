"""What follows from a change of a breaker's state: events, timers, the user's wait."""

import weakref
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from rxpool import _checks as checks
from rxpool._core.broadcast import Broadcast
from rxpool._forks import heed
from rxpool._log import log
from rxpool.policies._breaker_state import DEFAULT_WAIT, BreakerState, State
from rxpool.timing import Clock
from rxpool.timing._alarm import Alarm

__all__ = ("BreakerEvent", "TransitionPublisher")


_VERBS: dict[State, str] = {
    "closed": "closed",
    "open": "opened",
    "half_open": "half-opened",
    "forced_open": "forced open",
    "disabled": "disabled",
    "metrics_only": "only counts",
}


@dataclass(frozen=True, slots=True)
class BreakerEvent:
    """A breaker went from one state to another."""

    breaker: str  #: its name
    before: State
    after: State
    at: float  #: seconds on the clock of the breaker


class TransitionPublisher:
    """Carries out what changes of a state entail, with no lock held.

    One thread at a time is at it, so changes come out in order; others leave theirs to it.

    Attributes:
        heard: There may be something to do; set under the lock.
        clock: Of the timers and of the state.
        events: Where the changes go.
    """

    def __init__(
        self,
        name: str,
        state: BreakerState,
        lock: AbstractContextManager[Any],
        wait: Any,
        clock: Clock,
    ) -> None:
        self.events: Broadcast[BreakerEvent] = Broadcast(f"breaker {name}")
        self.heard = False
        self.clock = clock
        self._name = name
        self._state = state
        self._lock = lock  # of the state, and of the fields here
        self._wait = wait
        self._busy = False
        self._alarm = Alarm(clock, self._ring)  # for the end of a state
        # A breaker that is gone leaves no timer.
        weakref.finalize(self, self._alarm.cancel).atexit = False
        heed(self)

    def forked(self) -> None:
        """A child has neither the timer nor, unless that has forked, the thread at work."""
        self._alarm.forked()
        self._busy, self.heard = False, True
        self._state.forsake()

    def follow(self, clock: Clock) -> None:
        """Take the time from *clock*.  Locked."""
        self.clock = self._alarm.clock = clock

    def publish(self) -> None:
        """Do what there is to do."""
        with self._lock:
            if self._busy:
                self.heard = True
                return
            self._busy = True
        try:
            while self._step():
                pass
        except BaseException:
            self._busy = False
            raise

    def _step(self) -> bool:
        """Do one thing: ask for the wait, set the timer, or tell of a change."""
        event = due = None
        state = self._state
        with self._lock:
            asks, serial, attempt = state.wants_wait, state.serial, state.attempt
            if not asks:
                due = state.due
                if due == self._alarm.due:
                    if not state.changes:
                        self.heard = self._busy = False
                        return False
                    event = BreakerEvent(self._name, *state.changes.popleft())
        if asks:
            wait = self._asked(attempt)
            with self._lock:
                state.set_wait(serial, wait)
        elif event is not None:
            log.info(f"breaker {_VERBS[event.after]}", breaker=self._name, before=event.before)
            self.events.send(event)
        else:
            self._alarm.move(due)
        return True

    def _asked(self, attempt: int) -> float:
        """What the user's function says."""
        try:
            return checks.duration("wait_duration_in_open_state", self._wait(attempt))
        except Exception as error:
            log.error("wait_duration_in_open_state raised", breaker=self._name, exc_info=error)
            return DEFAULT_WAIT

    def _ring(self, now: float) -> None:
        with self._lock:
            self._state.expire(now)
            self.heard = True
        self.publish()
