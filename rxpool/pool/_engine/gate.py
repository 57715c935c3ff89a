"""`Gate`: what the policies of a flow say to each of its tasks."""

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from rxpool._core.causes import as_failure, caused, ends_program
from rxpool._forks import afresh
from rxpool.policies._attempts import NOT_NOW, AttemptPolicies, Verdict
from rxpool.policies._budget import BudgetAccount
from rxpool.policies._limit_door import Ticket
from rxpool.pool._engine.journalled import JournalOfFlow
from rxpool.pool._engine.policies import Policies
from rxpool.pool._state.batches import PartlyFailed
from rxpool.pool._state.commits import CommitQueue
from rxpool.pool._state.task import Task
from rxpool.pool._state.verdicts import START, WAIT
from rxpool.timing import Clock

__all__ = ("Gate",)


class Gate:
    """Asks the policies of one flow: `AttemptPolicies`, the journal, the hedge's budget.

    What the engine's lock guards is called under it, and calls no function of the user; what
    does is said to.  *later* takes what is to be done once the lock is released.
    """

    __slots__ = (
        "_attempts",
        "_batches",
        "_clock",
        "_groups",
        "_hedges",
        "_journal",
        "_later",
        "_wake",
        "_wants_parts",
        "admits",
        "commit",
        "judge",
        "keeps",
        "lock_free",
        "looks",
        "per_key",
        "permit",
        "policies",
        "queue",
        "replacement",
        "replaces",
        "row",
        "share",
        "unused",
    )

    def __init__(
        self,
        policies: Policies,
        fn: Callable[..., Any],
        clock: Clock,
        wake: Callable[[Task], object],
        judge: Callable[[Task, int | None], object],
        later: Callable[[Iterable[Callable[[], object]]], object],
        commit: Callable[[Task, Any, Any], Task | None],
    ) -> None:
        self.policies = policies
        # The lock is of the retry budget, and a leaf.
        self._attempts = attempts = AttemptPolicies(
            policies, afresh(threading.Lock()), refusals_count=False
        )
        attempts.follow(clock)
        journal = policies.journal
        self._journal = None if journal is None else JournalOfFlow(journal, fn)
        #: whether it is asked before each attempt
        self.admits = attempts.asks or journal is not None
        #: whether tasks that wait for the limit may be passed by others
        self.per_key = attempts.keyed
        #: whether `permit`, `unused` and `good` are enough, which need no lock
        self.lock_free = attempts.lock_free or not attempts.asks
        #: a permit for an attempt that is about to start now, or -1
        self.permit: Callable[[float], int] = attempts.ask_now
        #: a permit was not needed
        self.unused: Callable[[int], None] = attempts.unused
        if self.lock_free and attempts.limit is None and attempts.breaker is not None:
            self.permit, self.unused = attempts.breaker.admit, attempts.breaker.release
        if not attempts.asks:
            self.permit, self.unused = _granted, _not_needed
        #: whether several tasks may be let through before they start
        self.share = attempts.share
        #: whether items are batches, so that each result of a call counts for itself
        self._batches: bool = getattr(fn, "of_batches", False)
        #: whether it matters which items of a batch have failed
        self._wants_parts = attempts.asks or policies.retry is not None
        #: whether good results have to be looked at
        self.looks = attempts.on_result or self._batches
        #: whether `keep`, or `row`, has something to do
        self.keeps = self.looks or journal is not None
        #: results that wait to be written together
        self.queue = CommitQueue(afresh(threading.Lock()))
        #: whether results may wait there: not where of two runs of an item the first one counts
        self._groups = policies.hedge is None
        #: a good result as the journal is to keep it, for `commit`; an error if it cannot be
        #: kept, or is none; None: nothing more is to be done
        self.row: Callable[[Task, Any], Any] = self._row
        if self._journal is not None and self._groups and not self.looks:
            self.row = self._journal.row
        #: settles, with no lock held, a task whose result `row` has given
        self.commit = commit
        self._clock = clock
        self._wake = wake
        #: finds out, with no lock held, what becomes of a task that failed, and its permit
        self.judge = judge
        self.replaces = attempts.replaces
        self.replacement = attempts.replacement
        self._later = later
        self._hedges = (
            None if policies.hedge is None else BudgetAccount.of(policies.hedge.open_budget())
        )

    def prepare(self, *tasks: Task) -> None:
        """Ask the user's functions about tasks before they are accepted; no lock is held."""
        if self._journal is not None:
            self._journal.prepare(tasks)
        if self.lock_free:
            return  # a ticket is only made for who has to wait
        limit = self._attempts.limit
        for task in tasks:
            extra = task.own()
            if limit is None:
                continue
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
        attempts, extra = self._attempts, task.extra
        if self._journal is not None and (known := self._journal.answer(task)) is not None:
            return known
        if not attempts.asks:
            return START
        now = self._clock.now()
        if isinstance(extra.ticket, Ticket):
            extra.ticket.wake = partial(self._wake, task)  # it may be another attempt
        elif self.lock_free:
            permit = attempts.ask_now(now)
            if permit >= 0:
                task.admit(permit)
                return START
            if permit != NOT_NOW:
                self._later(attempts.effects())
                return attempts.refusal(now)
            if attempts.limit is not None:
                extra = task.own()
                wake = partial(self._wake, task)
                extra.ticket = attempts.limit.ticket(task.item, wake, self._clock)
        answer = attempts.ask(extra.ticket, now)
        self._later(attempts.effects())
        if isinstance(answer, int):
            if extra.asked is not None:
                extra.held = now - extra.asked
            task.admit(answer)
            return START
        if answer is Verdict.WAIT:
            if extra.asked is None:
                extra.asked = now
            return WAIT
        return attempts.refusal(now) if answer is Verdict.REFUSED else answer

    def leave(self, task: Task) -> None:
        """A task that waited in line does so no longer."""
        self._attempts.leave(task.extra.ticket)
        self._later(self._attempts.effects())

    def passed(self, task: Task) -> None:
        """A task that had begun to wait has a permit: it waits no longer."""
        extra = task.extra
        if extra.asked is not None:
            extra.held = self._clock.now() - extra.asked
        self.leave(task)

    def succeeded(self, task: Task, now: float) -> None:
        """An attempt ended well."""
        permit = task.permit
        if permit is not None:
            took = now - task.started
            size = self._size(task) if self._batches else 1
            self._attempts.succeeded(permit, now, took, size)
            self._later(self._attempts.effects())

    def cancelled(self, task: Task) -> None:
        """A task is not wanted any more, be it that it waits or runs."""
        self._attempts.cancelled(task.take_permit(), task.extra.ticket)
        self._later(self._attempts.effects())

    def returned(self, task: Task) -> None:
        """A task that was let through has not begun, and is going to ask again."""
        self._attempts.returned(task.take_permit(), task.extra.ticket)
        self._later(self._attempts.effects())

    def hedges(self, now: float, first_attempts: int) -> bool:
        """Whether the budget has room for one more second run."""
        return self._hedges is None or self._hedges.spend(now, first_attempts)

    # -- not under the lock -------------------------------------------------------------------

    def good(self, task: Task, now: float) -> None:
        """An attempt ended well, of one item; only if it is `lock_free`."""
        permit = task.permit
        if permit is not None:
            self._attempts.good(permit, now, task.took)

    def failed(
        self,
        permit: int | None,
        error: BaseException,
        took: float,
        task: Task | None = None,
    ) -> None:
        """An attempt failed, of *task* if that may be a batch; calls functions of the user."""
        attempts = self._attempts
        if not attempts.asks:
            return
        now = self._clock.now()
        place = None if task is None else task.extra.ticket
        results: list[Any] = [error]
        whole: BaseException | None = error
        if isinstance(error, PartlyFailed):
            results, whole = error.results, error.whole
        elif task is not None:
            results *= self._size(task)
        try:
            attempts.failed(permit, whole, results, now, took, place)
        finally:
            attempts.carry_out()

    def _size(self, task: Task) -> int:
        """How many items an attempt is for."""
        return len(task.item) if self._batches and _is_list(task.item) else 1

    def _flaw(self, value: Any) -> tuple[BaseException | None, bool]:
        """Why a result is none, or only partly one; and whether a journal is to keep it."""
        if self._attempts.on_result and (wrong := self._attempts.flaw(value)) is not None:
            return wrong, False
        if self._batches and self._wants_parts and _is_list(value):
            failed = any(isinstance(result, Exception) for result in value)
            return PartlyFailed(value) if failed else None, False
        return None, self._journal is not None

    def _row(self, task: Task, value: Any) -> Any:
        """See `row`: where a result has to be looked at, or is written by itself."""
        flaw, kept = self._flaw(value)
        if not kept:
            return flaw
        assert self._journal is not None
        row = self._journal.row(task, value)
        if self._groups or isinstance(row, BaseException):
            return row
        errors = self._journal.write((row,))
        return None if errors is None else errors[0]

    def keep(
        self, tasks: Sequence[Task], values: Sequence[Any]
    ) -> list[tuple[Task, BaseException]]:
        """Have the journal keep good results of several tasks; what is wrong with which."""
        wrong: list[tuple[Task, BaseException]] = []
        named: list[Task] = []
        rows: list[Any] = []
        for task, value in zip(tasks, values, strict=True):
            flaw, kept = self._flaw(value)
            row = self._journal.row(task, value) if kept and self._journal is not None else flaw
            if isinstance(row, BaseException):
                wrong.append((task, row))
            elif kept:
                named.append(task)
                rows.append(row)
        if rows and (errors := self.write(rows)) is not None:
            wrong += [(task, error) for task, error in zip(named, errors, strict=True) if error]
        return wrong

    def write(self, rows: Sequence[Any]) -> list[BaseException | None] | None:
        """Write what `row` gave; the error of each, if there is one."""
        assert self._journal is not None
        return self._journal.write(rows)

    def wait(self, task: Task, error: BaseException, first_attempts: int) -> float | None:
        """Seconds until the next attempt, or None; calls functions of the user."""
        extra = task.extra
        if self.policies.retry is None or error in (extra.ticket, extra.journalled[1]):
            return None  # what is wrong with the item itself stays wrong
        now = self._clock.now()
        elapsed = now - task.accepted
        return self._attempts.wait(
            error, task.attempts, elapsed, now, refused=extra.refused, firsts=first_attempts
        )

    def waits(
        self, task: Task, results: list[Any], first_attempts: int
    ) -> list[tuple[int, float | BaseException]]:
        """For the results of a batch that are to be tried again: where, and the wait.

        Or what a function of the user raised.
        """
        now = self._clock.now()
        elapsed = now - task.accepted
        found = self._attempts.waits(results, task.attempts, elapsed, now, first_attempts)
        return [
            (place, as_failure(caused(wait, results[place])))
            if isinstance(wait, BaseException)
            else (place, wait)
            for place, wait in found
        ]


def _granted(now: float) -> int:
    """Nothing has to be asked: a permit that nobody counts."""
    return 0


def _not_needed(permit: int) -> None:
    """Nobody counts it."""


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
