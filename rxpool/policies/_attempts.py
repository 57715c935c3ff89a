"""`AttemptPolicies`: what retry, breaker, limit and fallback say, whoever makes attempts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from enum import Enum, auto
from random import random
from typing import Any, Final, TypeAlias

from rxpool.errors import CircuitOpen, RxPoolError
from rxpool.policies._arguments import asked_pause, flaw, looks_at_results, uses_budget
from rxpool.policies._breaker import breaker_door
from rxpool.policies._budget import BudgetAccount
from rxpool.policies._http import BadResponse
from rxpool.policies._limit import limit_door
from rxpool.policies._limit_door import Ticket
from rxpool.policies._options import MISSING, AttemptOptions
from rxpool.policies._retry import Retry

__all__ = ("NOT_NOW", "NO_BREAKER", "AttemptPolicies", "Place", "Verdict")

NOT_NOW: Final = -2  #: in the place of a permit: somebody, or something, has to be waited for
NO_BREAKER: Final = -1  #: the permit of an attempt that no breaker was asked for

#: of an item in the line of a limit: its ticket, or why it can have none; or a function that
#: makes the ticket, where functions of the user may be called when an attempt is to start
Place: TypeAlias = Ticket | BaseException | Callable[[], Ticket] | None


class Verdict(Enum):
    """Why an attempt may not start."""

    REFUSED = auto()  #: by the breaker; `refusal` has the error
    WAIT = auto()  #: it stands in the line of the limit; ask again when it was woken


#: those that are asked before each attempt, of all that there are
_ASKED_FIRST = [
    field.name for field in fields(AttemptOptions) if field.name not in ("fallback", "retry")
]


class AttemptPolicies:
    """Asks the policies around a function, or a stream, in their fixed order.

    The order is ``fallback(retry(breaker(limit(work))))``.  The caller keeps the permit and
    the place of each item, knows the time, and waits.  `ask`, `refusal`, `leave`, `succeeded`
    and `cancelled` call nothing foreign, so they may be called under the caller's lock; the
    others call functions of the user.  After each of those five, and after `failed`, also
    when it raises, there may be `effects`, which are to be called with no lock held.

    A permit is that of the attempt that runs; None: none does.

    Args:
        options: The policies.
        lock: Of the retry budget; nothing else is done under it.
        refusals_count: A refusal of the breaker is an attempt, as it is where the caller
            waits for the outcome.  Else the item waits for the breaker for as long as it
            has attempts.
        draw: Random numbers of ``[0, 1)``, for the jitter.

    Attributes:
        breaker: As a caller's fast path needs it.
        limit: As the caller needs it to make tickets.
        asks: Whether `ask` is to be called before each attempt.
        lock_free: `ask_now`, `unused` and `good` are enough, which need no lock of the caller.
        keyed: Whether some who wait for the limit may be passed by others.
        on_result: Whether `flaw` is to be asked about good results.
        counts: Whether first attempts are counted, for a budget.
        fallback: As it was given, or `MISSING`.
    """

    __slots__ = (
        "_account",
        "_draw",
        "_lock",
        "_now",
        "_refusals_count",
        "_retry",
        "asks",
        "breaker",
        "counts",
        "fallback",
        "keyed",
        "limit",
        "lock_free",
        "on_result",
    )

    def __init__(
        self,
        options: AttemptOptions,
        lock: AbstractContextManager[Any],
        *,
        refusals_count: bool,
        draw: Callable[[], float] = random,
    ) -> None:
        retry, breaker, limit = options.retry, options.breaker, options.limit
        self.fallback = options.fallback
        self._retry = retry
        self.breaker = None if breaker is None else breaker_door(breaker)
        self.limit = None if limit is None else limit_door(limit)
        self._lock = lock
        self._refusals_count = refusals_count
        self._draw = draw
        self._now: Callable[[], float] | None = None  # as `follow` was told
        self._account = BudgetAccount.of(None if retry is None else retry.open_budget())
        asked = [name for name in _ASKED_FIRST if getattr(options, name) is not None]
        self.asks = bool(asked)
        quick = self.limit is None or self.limit.uniform
        self.lock_free = quick and self.asks and set(asked) <= {"breaker", "limit"}
        self.keyed = self.limit is not None and self.limit.keyed
        self.on_result = looks_at_results(retry)
        self.counts = self._account is not None

    def follow(self, clock: Any) -> None:
        """Take the time from *clock*, a `Clock`; that of the breaker, unless it has one.

        Raises:
            InvalidArgument: If one of the two is virtual and the other is not.
        """
        self._now = clock.now
        if self.breaker is not None:
            self.breaker.follow(clock)

    def effects(self) -> list[Callable[[], object]]:
        """What follows from the last call: events of the breaker, alarms of the limit."""
        breaker, limit = self.breaker, self.limit
        found: list[Callable[[], object]] = []
        if breaker is not None and breaker.publisher.heard:
            found.append(breaker.publish)
        if limit is not None and (limit.stored or limit.state.changed):
            found.append(limit.arm)
        return found

    def carry_out(self) -> None:
        """Do what follows from the last call; no lock is held."""
        for effect in self.effects():
            effect()

    # -- before and after an attempt --------------------------------------------------------

    def ask(self, place: Place, now: float) -> int | Verdict | BaseException:
        """A permit, if an attempt may start now; else why not, or what it fails with.

        Whoever waits for the limit holds no permit of the breaker, and whom the breaker
        refuses takes nothing from the limit.  What *place* raises comes out, if that is a
        function.
        """
        breaker, limit = self.breaker, self.limit
        permit = NO_BREAKER
        if breaker is not None:
            permit = breaker.admit(now)
            if permit < 0:
                return Verdict.REFUSED
        granted = False
        try:
            if limit is not None:
                if isinstance(place, BaseException):
                    return place
                assert place is not None
                ticket = place if isinstance(place, Ticket) else place()
                if not limit.enter(ticket, now):
                    return Verdict.WAIT
            granted = True
            return permit
        except RxPoolError as error:  # the file of a shared limit cannot be used
            return error
        finally:
            if not granted and breaker is not None:
                breaker.release(permit)

    def ask_now(self, now: float) -> int:
        """A permit of 0 or more, if an attempt may start now, and nobody waits before it.

        -1: the breaker refuses it, see `refusal`.  NOT_NOW: it has to wait for the limit, and
        `ask` gives it its place.  Only if this is `lock_free`; no place is needed.
        """
        breaker, limit = self.breaker, self.limit
        permit = 0 if breaker is None else breaker.admit(now)
        if permit < 0 or limit is None or limit.enter_now(now, self._now):
            return permit
        if breaker is not None:
            breaker.release(permit)
        return NOT_NOW

    def share(self) -> bool:
        """Whether several attempts may be asked for before they begin, as things are.

        What a breaker is to learn from one call decides over the next ones, unless all were
        good lately.
        """
        if self.limit is not None and not self.limit.shares:
            return False
        return self.breaker is None or self.breaker.clean

    def unused(self, permit: int) -> None:
        """What `ask_now` has granted was not needed; no lock is held."""
        if self.breaker is not None:
            self.breaker.release(permit)
        if self.limit is not None:
            self.limit.refund(None)
            self.limit.arm()  # somebody else may wait for just that

    def good(self, permit: int, now: float, took: float) -> None:
        """An attempt that `ask_now` has let start ended well."""
        if self.breaker is not None:
            self.breaker.succeeded(permit, now, took)
            self.breaker.publish()

    def refusal(self, now: float) -> CircuitOpen:
        """What an attempt fails with that the breaker has refused."""
        assert self.breaker is not None
        return self.breaker.error(now)

    def leave(self, place: Place) -> None:
        """Whoever stood in line does so no longer."""
        if self.limit is not None and isinstance(place, Ticket):
            self.limit.leave(place)

    def succeeded(self, permit: int | None, now: float, took: float, calls: int = 1) -> None:
        """An attempt ended well; a batch counts as so many *calls*."""
        if permit is None:
            return
        if self.breaker is not None:
            for _ in range(calls):
                self.breaker.succeeded(permit, now, took)
        if self.limit is not None:
            self.limit.done(None, took, now)

    def cancelled(self, permit: int | None, place: Place) -> None:
        """An attempt is not wanted any more, be it that it waits or runs: it says nothing."""
        if permit is None:
            self.leave(place)
            return
        if self.breaker is not None:
            self.breaker.release(permit)
        if self.limit is not None:
            self.limit.give_back()

    def returned(self, permit: int | None, place: Place) -> None:
        """An attempt has not begun, and what it was granted is to be had by others."""
        if permit is None:
            self.leave(place)
            return
        if self.breaker is not None:
            self.breaker.release(permit)
        if self.limit is not None and not isinstance(place, BaseException):
            self.limit.refund(place)  # type: ignore[arg-type]

    def failed(
        self,
        permit: int | None,
        error: BaseException | None,
        results: Sequence[Any],
        now: float,
        took: float,
        place: Place = None,
    ) -> None:
        """An attempt failed, or might not start.

        Args:
            permit: The one that it had.
            error: What it ended with, as a whole; None: well, for the most part.
            results: Of each call that it stands for; exceptions are failures.
            now: The present.
            took: How long it ran.
            place: The one that it has in line, if it might not start.
        """
        if permit is None:
            self.leave(place)
            return
        limit = self.limit
        if limit is not None:
            # An error that stands for many calls is asked once: that may be code of users.
            ended = {id(result): result for result in (*results, error)}.values()
            asked = [asked_pause(self._retry, result) for result in ended if result is not None]
            pauses = [pause for pause in asked if pause is not None]
            if pauses:
                limit.pause(max(pauses), now)
            limit.done(error, took, now)
        if self.breaker is None:
            return
        bad = [result for result in results if isinstance(result, BaseException)]
        # Of a probe the first result counts: that is what most of them are.
        for failing in (error is not None, error is None):
            for result in bad if failing else ():
                self.breaker.failed(permit, now, took, result)
            for _ in range(0 if failing else len(results) - len(bad)):
                self.breaker.succeeded(permit, now, took)

    # -- the next attempt, or what stands in for it -------------------------------------------

    def flaw(self, value: Any) -> Exception | None:
        """What an attempt has failed with that returned *value*, if it has."""
        return flaw(self._retry, value)

    def deposit(self, now: float) -> None:
        """An item is tried for the first time, where nobody counts those."""
        if self._account is not None:
            with self._lock:
                self._account.deposit(now)

    def wait(
        self,
        error: BaseException,
        made: int,
        elapsed: float,
        now: float,
        *,
        refused: int = 0,
        firsts: int | None = None,
    ) -> float | None:
        """Seconds until the next attempt, or None.

        Args:
            error: What the last one failed with.
            made: How many there were, those not counted that the breaker refused.
            elapsed: Seconds since the item was accepted.
            now: The present.
            refused: How many attempts the breaker has refused.
            firsts: How many items were tried so far, where nobody calls `deposit`.
        """
        retry = self._retry
        if retry is None:
            return None
        if refused:
            made = self._attempts(retry, made, refused, error)
        wait = retry.wait_before_next(made or 1, error, elapsed, self._draw())
        if wait is None or self._account is None or not uses_budget(retry, error):
            return wait
        return wait if self._spend(now, firsts) else None

    def waits(
        self, results: Sequence[Any], made: int, elapsed: float, now: float, firsts: int
    ) -> list[tuple[int, float | BaseException]]:
        """For those results of a batch that are to be tried again: where, and the wait.

        Or what a function of the user raised.  A budget is asked once for all of them.
        """
        found: list[tuple[int, float | BaseException]] = []
        retry = self._retry
        granted: bool | None = None
        for number, error in enumerate(results):
            if retry is None or not isinstance(error, Exception):
                continue
            try:
                wait = retry.wait_before_next(made or 1, error, elapsed, self._draw())
                if wait is None:
                    continue
                costs = self._account is not None and uses_budget(retry, error)
            except BaseException as raised:
                found.append((number, raised))
                continue
            if costs and granted is None:
                granted = self._spend(now, firsts)
            if granted or not costs:
                found.append((number, wait))
        return found

    def replaces(self, error: BaseException) -> bool:
        """Whether something stands in for a result that is *error*."""
        return self.fallback is not MISSING or isinstance(error, BadResponse)

    def replacement(self, error: BaseException, *item: Any) -> Any:
        """What stands in; calls the fallback with *item*, if it is told, and *error*."""
        if isinstance(error, BadResponse):
            return error.response
        fallback = self.fallback
        return fallback(*item, error) if callable(fallback) else fallback

    def _attempts(self, retry: Retry, made: int, refused: int, error: BaseException) -> int:
        """What counts as attempts after *error*."""
        most = retry.max_attempts
        if self._refusals_count or not isinstance(most, int):
            return made + refused
        if isinstance(error, CircuitOpen):
            return max(made, min(made + refused, most - 1))
        return made

    def _spend(self, now: float, firsts: int | None) -> bool:
        """Whether the budget has room for one more retry; it is used then."""
        assert self._account is not None
        with self._lock:
            return self._account.spend(now, firsts)
