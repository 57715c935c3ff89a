"""`Guard` and `Call`: what policies say to a call that nobody schedules.

They know no way to wait: `_guarded_calls` waits, on a thread or on an event loop.
"""

from collections.abc import Callable
from random import random
from threading import Lock
from time import monotonic
from typing import Any

from rxpool._core.causes import caused
from rxpool._forks import afresh
from rxpool.policies._arguments import MISSING, asked_pause, flaw, looks_at_results, uses_budget
from rxpool.policies._breaker import CircuitBreaker, breaker_door
from rxpool.policies._http import BadResponse
from rxpool.policies._limit import Limit, limit_door
from rxpool.policies._limit_door import Ticket
from rxpool.policies._retry import Retry
from rxpool.timing import Clock, TimerScheduler

__all__ = ("Call", "Guard")


class Guard:
    """The policies of one function; the order and the rules are those of a pool."""

    __slots__ = ("_budget", "_lock", "breaker", "clock", "fallback", "limit", "retry")

    def __init__(
        self,
        retry: Retry | None,
        breaker: CircuitBreaker | None,
        limit: Limit | None,
        fallback: Any,
    ) -> None:
        self.retry = retry
        self.breaker = None if breaker is None else breaker_door(breaker)
        self.limit = None if limit is None else limit_door(limit)
        self.fallback = fallback
        self.clock = Clock(TimerScheduler.singleton())  # sets no timer, starts no thread
        if self.breaker is not None:
            self.breaker.follow(self.clock)
        self._budget = None if retry is None else retry.open_budget()
        self._lock = afresh(Lock())  # of the budget

    @property
    def counts(self) -> bool:
        """Whether `deposit` is to be called for each call."""
        return self._budget is not None

    def deposit(self) -> None:
        """A call is made for the first time."""
        if self._budget is not None:
            with self._lock:
                self._budget.deposit(monotonic())

    def wait(self, attempts: int, error: Exception, elapsed: float) -> float | None:
        """Seconds until the next attempt, or None; calls functions of the user."""
        if self.retry is None:
            return None
        wait = self.retry.wait_before_next(attempts, error, elapsed, random())
        if wait is None or self._budget is None or not uses_budget(self.retry, error):
            return wait
        with self._lock:
            return wait if self._budget.withdraw(monotonic()) else None

    @property
    def looks(self) -> bool:
        """Whether `flaw` is to be asked."""
        return looks_at_results(self.retry)

    def flaw(self, result: Any) -> Exception | None:
        """What an attempt has failed with that returned *result*, if it has."""
        return flaw(self.retry, result)

    def replace(self, error: Exception) -> Any:
        """What stands in for *error*, which else is raised."""
        if isinstance(error, BadResponse):
            return error.response
        fallback = self.fallback
        if fallback is MISSING:
            try:
                raise error
            finally:
                del error  # or this frame and the error keep each other alive
        if not callable(fallback):
            return fallback
        try:
            return fallback(error)
        except BaseException as raised:
            caused(raised, error)
            raise


class Call:
    """One call of the function, with all of its attempts.

    Args:
        guard: The policies.
        item: What functions of the limit see.
        began: When the call did.
        permit: Of the attempt that began then, if one did; -1 if there is no breaker, or if
            it refused that attempt.
    """

    __slots__ = ("_attempts", "_began", "_guard", "_item", "_permit", "_started", "_ticket")

    def __init__(
        self, guard: Guard, item: Any, began: float, permit: int | None = None
    ) -> None:
        self._guard = guard
        self._item = item
        self._attempts = 0
        self._began = self._started = began
        # Of the attempt that runs.  -1: there is no breaker.
        self._permit = None if permit == -1 and guard.breaker is not None else permit
        self._ticket: Ticket | None = None

    def may_start(self, wake: Callable[[], object]) -> bool:
        """Whether an attempt may start now; if not, ask again after *wake* was called.

        Whoever waits for the limit holds no permit of the breaker, and whom the breaker
        refuses takes nothing from the limit.

        Raises:
            CircuitOpen: If the breaker refuses; that is an attempt, too, as the caller waits.
        """
        guard = self._guard
        breaker, limit = guard.breaker, guard.limit
        now = monotonic()
        permit = -1
        if breaker is not None:
            permit = breaker.admit(now)
            breaker.publish()
            if permit < 0:
                raise breaker.error(now)
        if limit is not None:
            granted = False
            try:
                if self._ticket is None:
                    self._ticket = limit.ticket(self._item, wake, guard.clock)
                granted = limit.enter(self._ticket, now)
                limit.arm()
            finally:
                if not granted:
                    self._release(permit)
            if not granted:
                return False
        self._permit, self._started = permit, now
        return True

    def succeeded(self) -> None:
        """The attempt ended well."""
        permit, self._permit = self._permit, None
        breaker, limit = self._guard.breaker, self._guard.limit
        now = monotonic()
        took = now - self._started
        if breaker is not None and permit is not None:
            breaker.succeeded(permit, now, took)
            breaker.publish()
        if limit is not None:
            limit.done(None, took, now)
            limit.arm()

    def cancelled(self) -> None:
        """The attempt is not wanted any more: it counts as nothing."""
        permit, self._permit = self._permit, None
        limit = self._guard.limit
        if permit is not None:
            self._release(permit)
            if limit is not None:
                limit.give_back()
        self._leave()

    def failed(self, error: Exception) -> tuple[float | None, Exception]:
        """The attempt ended badly, or was refused: the wait before the next one, or None.

        And what it is that failed: a function of the user may raise when it is asked.
        """
        self._attempts += 1
        try:
            self._report(error)
            return self._guard.wait(self._attempts, error, monotonic() - self._began), error
        except Exception as raised:
            return None, caused(raised, error)

    def _report(self, error: Exception) -> None:
        permit, self._permit = self._permit, None
        breaker, limit = self._guard.breaker, self._guard.limit
        if permit is None:
            self._leave()
            return
        now = monotonic()
        took = now - self._started
        if limit is not None:
            pause = asked_pause(self._guard.retry, error)
            if pause is not None:
                limit.pause(pause, now)
            limit.done(error, took, now)
            limit.arm()
        if breaker is not None:
            try:
                breaker.failed(permit, now, took, error)
            finally:
                breaker.publish()

    def _release(self, permit: int) -> None:
        breaker = self._guard.breaker
        if breaker is not None:
            breaker.release(permit)
            breaker.publish()

    def _leave(self) -> None:
        """Whoever stood in line does so no longer."""
        limit = self._guard.limit
        if limit is not None:
            if self._ticket is not None:
                limit.leave(self._ticket)
            limit.arm()
