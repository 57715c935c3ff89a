"""`Gate`: what the policies of a flow say to each of its tasks."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import random
from typing import Any, Final

from rxpool.errors import CircuitOpen, InvalidItem
from rxpool.policies import CircuitBreaker, Hedge, Limit, Retry, Ticket
from rxpool.policies._given import MISSING, is_seconds, uses_budget
from rxpool.pool._binding import NO_VALUE
from rxpool.pool._parking import GO, WAIT, Stored
from rxpool.pool._task import Task
from rxpool.records import Journal
from rxpool.timing import Clock

__all__ = ("NO_POLICIES", "Gate", "Policies")


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a flow, outermost first."""

    fallback: Any = MISSING
    retry: Retry | None = None
    breaker: CircuitBreaker | None = None
    limit: Limit | None = None
    hedge: Hedge | None = None
    journal: Journal | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self != NO_POLICIES


NO_POLICIES: Final = Policies()


class Gate:
    """Asks the policies of one flow.

    What the engine's lock guards is called under it, and calls no function of the user; what
    does is said to.  *later* takes what is to be done once the lock is released.
    """

    __slots__ = (
        "_asked",
        "_budget",
        "_clock",
        "_hedged",
        "_hedges",
        "_later",
        "_lock",
        "_run",
        "_wake",
        "admits",
        "apart",
        "policies",
        "quick",
    )

    def __init__(
        self,
        policies: Policies,
        fn: Callable[..., Any],
        clock: Clock,
        wake: Callable[[Task], object],
        later: Callable[[Callable[[], object]], object],
    ) -> None:
        self.policies = policies
        #: whether it is asked before each attempt
        self.admits = bool(policies.breaker or policies.limit or policies.journal)
        #: whether tasks that wait for the limit may be passed by others
        self.apart = policies.limit is not None and policies.limit.keyed
        #: whether it can be asked without the engine's lock, from one task to the next
        self.quick = policies.breaker is not None and not (policies.limit or policies.journal)
        self._clock = clock
        self._wake = wake
        self._later = later
        if policies.breaker is not None:
            policies.breaker.follow(clock)
        self._budget = None if policies.retry is None else policies.retry.open_budget()
        self._asked = 0  # first attempts that the budget knows of
        self._lock = threading.Lock()  # of the budget
        self._run = None if policies.journal is None else policies.journal.open(fn, {})
        self._hedges = None if policies.hedge is None else policies.hedge.open_budget()
        self._hedged = 0  # items that its budget knows of

    def prepare(self, task: Task) -> None:
        """Ask the user's functions about a task before it is accepted; the lock is not held."""
        limit, run = self.policies.limit, self._run
        if run is not None:
            try:
                name = run.identify(task.item)
                if run.emit == "stored":
                    found = run.stored(name)
                else:
                    found = (NO_VALUE,) if run.finished(name) else None
                task.journalled = name, found
            except Exception as error:
                task.journalled = None, error
        if limit is not None:
            try:
                task.ticket = limit.ticket(task.item, partial(self._wake, task), self._clock)
            except Exception as error:
                task.ticket = error

    def inherit(self, task: Task, part: Task) -> None:
        """*part* stands in for *task*."""
        if hasattr(task, "ticket"):
            ticket = task.ticket
            part.ticket = ticket.copy() if isinstance(ticket, Ticket) else ticket

    # -- under the lock ---------------------------------------------------------------------

    def admit(self, task: Task) -> Any:
        """Whether an attempt may start now.

        GO, WAIT, the error that it fails with, or `Stored`: it need not.
        """
        breaker, limit = self.policies.breaker, self.policies.limit
        if self._run is not None:
            _, found = task.journalled
            if found is not None:
                return Stored(found[0]) if isinstance(found, tuple) else found
        now = self._clock.now()
        permit = -1
        if breaker is not None:
            permit = breaker.admit(now)
            self._later(breaker.publish)
            if permit < 0:
                return breaker.error(now)
        if limit is not None:
            ticket = task.ticket
            if not isinstance(ticket, Ticket):
                self._release(permit)
                return ticket
            ticket.wake = partial(self._wake, task)  # it may be another attempt
            granted = limit.enter(ticket, now)
            self._later(limit.arm)
            if not granted:
                self._release(permit)
                if not hasattr(task, "asked"):
                    task.asked = now
                return WAIT
            if hasattr(task, "asked"):
                task.held = now - task.asked
        task.permit = permit
        return GO

    def _release(self, permit: int) -> None:
        if permit >= 0:
            assert self.policies.breaker is not None
            self.policies.breaker.release(permit)
            self._later(self.policies.breaker.publish)

    def leave(self, task: Task) -> None:
        """A task that waited in line does so no longer."""
        limit = self.policies.limit
        if limit is not None and isinstance(ticket := task.ticket, Ticket):
            limit.leave(ticket)
            self._later(limit.arm)

    def succeeded(self, task: Task, now: float) -> None:
        """An attempt ended well."""
        permit, task.permit = task.permit, None
        if permit is None:
            return
        took = now - task.started
        if permit >= 0:
            assert self.policies.breaker is not None
            self.policies.breaker.succeeded(permit, now, took)
            self._later(self.policies.breaker.publish)
        if self.policies.limit is not None:
            self.policies.limit.done(None, took, now)
            self._later(self.policies.limit.arm)

    def cancelled(self, task: Task) -> None:
        """A task is not wanted any more, be it that it waits or runs."""
        permit, task.permit = getattr(task, "permit", None), None
        if permit is None:
            self.leave(task)
            return
        self._release(permit)
        if self.policies.limit is not None:
            self.policies.limit.give_back()
            self._later(self.policies.limit.arm)

    def hedges(self, now: float, first_attempts: int) -> bool:
        """Whether the budget has room for one more second run."""
        if self._hedges is None:
            return True
        if first_attempts > self._hedged:
            self._hedges.deposit(now, first_attempts - self._hedged)
            self._hedged = first_attempts
        return self._hedges.withdraw(now)

    # -- under the lock or not, if it is `quick` --------------------------------------------

    def permit(self, now: float) -> int:
        """A permit for an attempt that is about to start, or -1."""
        assert self.policies.breaker is not None
        return self.policies.breaker.admit(now)

    def unused(self, permit: int) -> None:
        """A permit was not needed."""
        assert self.policies.breaker is not None
        self.policies.breaker.release(permit)

    def good(self, task: Task, now: float) -> None:
        """An attempt ended well; the lock is not held."""
        breaker = self.policies.breaker
        assert breaker is not None
        permit, task.permit = task.permit, None
        if permit is not None:
            breaker.succeeded(permit, now, task.took)
            breaker.publish()

    # -- not under the lock -------------------------------------------------------------------

    def failed(self, permit: int | None, error: BaseException, took: float) -> None:
        """An attempt failed; calls functions of the user."""
        breaker, limit = self.policies.breaker, self.policies.limit
        now = self._clock.now()
        if limit is not None:
            if permit is not None:
                pause: Any = getattr(error, "retry_after", None)
                if is_seconds(pause):
                    limit.pause(pause, now)
                limit.done(error, took, now)
            limit.arm()
        if breaker is not None and permit is not None and permit >= 0:
            try:
                breaker.failed(permit, now, took, error)
            finally:
                breaker.publish()

    def keep(self, task: Task, value: Any) -> BaseException | None:
        """Have the journal remember a result; the error if it cannot."""
        if self._run is None:
            return None
        if value is NO_VALUE:
            return InvalidItem("a journal keeps one result of each item, no Observable's")
        try:
            self._run.record(task.journalled[0], value)
        except Exception as error:
            return error
        return None

    def wait(self, task: Task, error: BaseException, first_attempts: int) -> float | None:
        """Seconds until the next attempt, or None; calls functions of the user."""
        retry = self.policies.retry
        if retry is None or error in (getattr(task, "ticket", None), self._unkept(task)):
            return None  # what is wrong with the item itself stays wrong
        now = self._clock.now()
        attempts = _tries(retry, task.attempts, getattr(task, "refused", 0), error)
        wait = retry.wait_before_next(attempts, error, now - task.accepted, random())
        if wait is None or self._budget is None or not uses_budget(error):
            return wait
        with self._lock:
            if first_attempts > self._asked:
                self._budget.deposit(now, first_attempts - self._asked)
                self._asked = first_attempts
            return wait if self._budget.withdraw(now) else None

    def _unkept(self, task: Task) -> Any:
        """Why the journal could not be asked about *task*."""
        return None if self._run is None else task.journalled[1]

    def replaces(self, error: BaseException) -> bool:
        """Whether there is something to stand in for a result that is *error*."""
        return self.policies.fallback is not MISSING

    def fallback(self, item: Any, error: BaseException) -> Any:
        """What stands in for the result of *item*; calls a function of the user."""
        fallback = self.policies.fallback
        return fallback(item, error) if callable(fallback) else fallback


def _tries(retry: Retry, made: int, refused: int, error: BaseException) -> int:
    """What counts as attempts after *error*, if so many were made and so many refused.

    A breaker's refusal is no attempt: whoever asks to wait for it waits for as long as
    there is an attempt left.
    """
    if not isinstance(retry.max_attempts, int):
        return max(made + refused, 1)
    if isinstance(error, CircuitOpen):
        return max(made, min(made + refused, retry.max_attempts - 1), 1)
    return max(made, 1)
