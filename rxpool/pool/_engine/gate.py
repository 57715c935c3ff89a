"""`Gate`: what the policies of a flow say to each of its tasks."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import random
from typing import Any, Final

from rxpool._core.causes import as_failure, caused, ends_program
from rxpool._forks import afresh
from rxpool.errors import CircuitOpen, InvalidItem, RxPoolError
from rxpool.policies import CircuitBreaker, Hedge, Limit, Retry, Ticket
from rxpool.policies._arguments import MISSING, asked_pause, flaw, looks_at_results, uses_budget
from rxpool.policies._breaker import breaker_door
from rxpool.policies._limit import limit_door
from rxpool.pool._engine.binding import NO_VALUE
from rxpool.pool._state.batches import PartlyFailed
from rxpool.pool._state.task import Task
from rxpool.pool._state.verdicts import START, WAIT, Known
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
        "_batches",
        "_breaker",
        "_budget",
        "_clock",
        "_hedged",
        "_hedges",
        "_later",
        "_limit",
        "_lock",
        "_on_result",
        "_run",
        "_wake",
        "admits",
        "judge",
        "lock_free",
        "looks",
        "per_key",
        "policies",
    )

    def __init__(
        self,
        policies: Policies,
        fn: Callable[..., Any],
        clock: Clock,
        wake: Callable[[Task], object],
        judge: Callable[[Task, int | None], object],
        later: Callable[[Callable[[], object]], object],
    ) -> None:
        self.policies = policies
        self._breaker = None if policies.breaker is None else breaker_door(policies.breaker)
        self._limit = None if policies.limit is None else limit_door(policies.limit)
        #: whether it is asked before each attempt
        self.admits = bool(policies.breaker or policies.limit or policies.journal)
        #: whether tasks that wait for the limit may be passed by others
        self.per_key = self._limit is not None and self._limit.keyed
        #: whether it can be asked without the engine's lock, from one task to the next
        self.lock_free = bool(policies.breaker) and not (policies.limit or policies.journal)
        #: whether items are batches, so that each result of a call counts for itself
        self._batches: bool = getattr(fn, "of_batches", False)
        self._on_result = looks_at_results(policies.retry)
        #: whether good results have to be looked at
        self.looks = self._on_result or self._batches
        self._clock = clock
        self._wake = wake
        #: finds out, with no lock held, what becomes of a task that failed, and its permit
        self.judge = judge
        self._later = later
        if self._breaker is not None:
            self._breaker.follow(clock)
        self._budget = None if policies.retry is None else policies.retry.open_budget()
        self._asked = 0  # first attempts that the budget knows of
        self._lock = afresh(threading.Lock())  # of the budget
        self._run = None if policies.journal is None else policies.journal.open(fn, {})
        self._hedges = None if policies.hedge is None else policies.hedge.open_budget()
        self._hedged = 0  # items that its budget knows of

    def prepare(self, task: Task) -> None:
        """Ask the user's functions about a task before it is accepted; the lock is not held."""
        limit, run, extra = self._limit, self._run, task.own()
        if run is not None:
            try:
                name = run.identify(task.item)
                if run.emit == "stored":
                    found = run.stored(name)
                else:
                    found = (NO_VALUE,) if run.finished(name) else None
                extra.journalled = name, found
            except BaseException as error:
                if ends_program(error):
                    raise
                extra.journalled = None, as_failure(error)
        if limit is not None:
            try:
                extra.ticket = limit.ticket(task.item, partial(self._wake, task), self._clock)
            except BaseException as error:
                if ends_program(error):
                    raise
                extra.ticket = as_failure(error)

    def inherit(self, task: Task, part: Task) -> None:
        """*part* stands in for *task*."""
        ticket = task.extra.ticket
        part.own().ticket = ticket.copy() if isinstance(ticket, Ticket) else ticket

    # -- under the lock ---------------------------------------------------------------------

    def admit(self, task: Task) -> Any:
        """Whether an attempt may start now.

        START, WAIT, the error that it fails with, or `Known`: it need not.
        """
        breaker, limit = self._breaker, self._limit
        if self._run is not None:
            _, found = task.extra.journalled
            if found is not None:
                return Known(found[0]) if isinstance(found, tuple) else found
        now = self._clock.now()
        permit = -1
        if breaker is not None:
            permit = breaker.admit(now)
            self._later(breaker.publish)
            if permit < 0:
                return breaker.error(now)
        if limit is not None:
            ticket = task.extra.ticket
            if not isinstance(ticket, Ticket):
                self._release(permit)
                return ticket
            ticket.wake = partial(self._wake, task)  # it may be another attempt
            try:
                granted = limit.enter(ticket, now)
            except RxPoolError as error:  # the file of a shared limit cannot be used
                self._release(permit)
                self._later(limit.arm)
                return error
            self._later(limit.arm)
            if not granted:
                self._release(permit)
                if task.extra.asked is None:
                    task.extra.asked = now
                return WAIT
            if (asked := task.extra.asked) is not None:
                task.extra.held = now - asked
        task.permit = permit
        return START

    def _release(self, permit: int) -> None:
        if permit >= 0:
            assert self._breaker is not None
            self._breaker.release(permit)
            self._later(self._breaker.publish)

    def leave(self, task: Task) -> None:
        """A task that waited in line does so no longer."""
        limit = self._limit
        if limit is not None and isinstance(ticket := task.extra.ticket, Ticket):
            limit.leave(ticket)
            self._later(limit.arm)

    def succeeded(self, task: Task, now: float) -> None:
        """An attempt ended well."""
        permit, task.permit = task.permit, None
        if permit is None:
            return
        took = now - task.started
        if permit >= 0:
            assert self._breaker is not None
            for _ in range(self._size(task)):
                self._breaker.succeeded(permit, now, took)
            self._later(self._breaker.publish)
        if self._limit is not None:
            self._limit.done(None, took, now)
            self._later(self._limit.arm)

    def cancelled(self, task: Task) -> None:
        """A task is not wanted any more, be it that it waits or runs."""
        permit, task.permit = task.permit, None
        if permit is None:
            self.leave(task)
            return
        self._release(permit)
        if self._limit is not None:
            self._limit.give_back()
            self._later(self._limit.arm)

    def hedges(self, now: float, first_attempts: int) -> bool:
        """Whether the budget has room for one more second run."""
        if self._hedges is None:
            return True
        if first_attempts > self._hedged:
            self._hedges.deposit(now, first_attempts - self._hedged)
            self._hedged = first_attempts
        return self._hedges.withdraw(now)

    # -- under the lock or not, if it is `lock_free` ------------------------------------------

    def permit(self, now: float) -> int:
        """A permit for an attempt that is about to start, or -1."""
        assert self._breaker is not None
        return self._breaker.admit(now)

    def unused(self, permit: int) -> None:
        """A permit was not needed."""
        assert self._breaker is not None
        self._breaker.release(permit)

    def good(self, task: Task, now: float) -> None:
        """An attempt ended well, of one item; the lock is not held."""
        breaker = self._breaker
        assert breaker is not None
        permit, task.permit = task.permit, None
        if permit is not None:
            breaker.succeeded(permit, now, task.took)
            breaker.publish()

    # -- not under the lock -------------------------------------------------------------------

    def failed(
        self,
        permit: int | None,
        error: BaseException,
        took: float,
        task: Task | None = None,
    ) -> None:
        """An attempt failed, of *task* if that may be a batch; calls functions of the user."""
        limit = self._limit
        now = self._clock.now()
        results = error.results if isinstance(error, PartlyFailed) else [error]
        if limit is not None:
            if permit is not None:
                asked = [asked_pause(self.policies.retry, result) for result in results]
                pauses = [pause for pause in asked if pause is not None]
                if pauses:
                    limit.pause(max(pauses), now)
                limit.done(_bad(error), took, now)
            limit.arm()
        if self._breaker is not None and permit is not None and permit >= 0:
            if results[0] is error:
                results = [error] * (1 if task is None else self._size(task))
            self._tell_breaker(permit, results, now, took, _bad(error) is not None)

    def _tell_breaker(
        self, permit: int, results: list[Any], now: float, took: float, mostly: bool
    ) -> None:
        """Each result of a call counts; that of a probe is what most of them are."""
        breaker = self._breaker
        assert breaker is not None
        bad = [result for result in results if isinstance(result, BaseException)]
        good = len(results) - len(bad)
        try:
            for failing in (mostly, not mostly):
                for error in bad if failing else ():
                    breaker.failed(permit, now, took, error)
                for _ in range(0 if failing else good):
                    breaker.succeeded(permit, now, took)
        finally:
            breaker.publish()

    def _size(self, task: Task) -> int:
        """How many items an attempt is for."""
        return len(task.item) if self._batches and _is_list(task.item) else 1

    def keep(self, task: Task, value: Any) -> BaseException | None:
        """Have the journal remember a result; the error if it cannot, or it is partly one."""
        if self._on_result and (wrong := flaw(self.policies.retry, value)) is not None:
            return wrong
        if self._batches and self._wants_parts and _is_list(value):
            if any(isinstance(result, Exception) for result in value):
                return PartlyFailed(value)
            return None
        if self._run is None:
            return None
        if value is NO_VALUE:
            return InvalidItem("a journal keeps one result of each item, no Observable's")
        try:
            self._run.record(task.extra.journalled[0], value)
        except BaseException as error:
            return error
        return None

    @property
    def _wants_parts(self) -> bool:
        """Whether it matters which items of a batch have failed."""
        policies = self.policies
        return bool(policies.retry or policies.breaker or policies.limit)

    def wait(self, task: Task, error: BaseException, first_attempts: int) -> float | None:
        """Seconds until the next attempt, or None; calls functions of the user."""
        retry = self.policies.retry
        if retry is None or error in (task.extra.ticket, self._unkept(task)):
            return None  # what is wrong with the item itself stays wrong
        now = self._clock.now()
        attempts = _tries(retry, task.attempts, task.extra.refused, error)
        wait = retry.wait_before_next(attempts, error, now - task.accepted, random())
        if wait is None or self._budget is None or not uses_budget(retry, error):
            return wait
        return wait if self._spend(now, first_attempts) else None

    def waits(
        self, task: Task, results: list[Any], first_attempts: int
    ) -> list[tuple[int, float | BaseException]]:
        """For the results of a batch that are to be tried again: where, and the wait.

        Or what a function of the user raised.  A budget is asked once for all of them.
        """
        retry = self.policies.retry
        found: list[tuple[int, float | BaseException]] = []
        if retry is None:
            return found
        spent: bool | None = None
        now = self._clock.now()
        for place, error in enumerate(results):
            if not isinstance(error, Exception):
                continue
            try:
                wait = retry.wait_before_next(
                    max(task.attempts, 1), error, now - task.accepted, random()
                )
            except BaseException as raised:
                found.append((place, as_failure(caused(raised, error))))
                continue
            if wait is not None and self._budget is not None and uses_budget(retry, error):
                if spent is None:
                    spent = self._spend(now, first_attempts)
                wait = wait if spent else None
            if wait is not None:
                found.append((place, wait))
        return found

    def _spend(self, now: float, first_attempts: int) -> bool:
        """Whether the budget has room for one more retry; it is used then."""
        assert self._budget is not None
        with self._lock:
            if first_attempts > self._asked:
                self._budget.deposit(now, first_attempts - self._asked)
                self._asked = first_attempts
            return self._budget.withdraw(now)

    def _unkept(self, task: Task) -> Any:
        """Why the journal could not be asked about *task*."""
        return None if self._run is None else task.extra.journalled[1]

    def replaces(self, error: BaseException) -> bool:
        """Whether there is something to stand in for a result that is *error*."""
        return self.policies.fallback is not MISSING

    def fallback(self, item: Any, error: BaseException) -> Any:
        """What stands in for the result of *item*; calls a function of the user."""
        fallback = self.policies.fallback
        return fallback(item, error) if callable(fallback) else fallback


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _bad(error: BaseException) -> BaseException | None:
    """What a call ended with, as a whole."""
    if not isinstance(error, PartlyFailed):
        return error
    if not error.mostly:
        return None
    return next(result for result in error.results if isinstance(result, Exception))


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
