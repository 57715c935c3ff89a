"""`Retry`: whether a failed attempt is made again, and after which wait."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from typing import Any, Literal, TypeAlias

from rxpool import _checks as checks
from rxpool.errors import (
    CircuitOpen,
    DeadlineExceeded,
    InvalidArgument,
    InvalidArgumentType,
    ItemDropped,
    NotPicklable,
    PoisonItem,
    PoolClosed,
    TaskCancelled,
)
from rxpool.policies import _tenacity
from rxpool.policies._budget import RetryBudget
from rxpool.policies._http import STATUSES, Http, statuses_of
from rxpool.policies._predicates import Errors, chosen, matches, names

__all__ = ("Backoff", "Retry")

#: ``"exponential"``, ``"linear"``, ``"constant"``, or seconds as a function of the attempts
Backoff: TypeAlias = (
    Literal["exponential", "linear", "constant"] | Callable[[int], checks.Seconds]
)

_FINAL = (TaskCancelled, ItemDropped, PoisonItem, DeadlineExceeded, PoolClosed, NotPicklable)
_LONGEST = 1e9  #: seconds; no wait is longer, so that every scheduler can count it


@dataclass(frozen=True, slots=True)
class Retry:
    """Makes a failed attempt again, after a wait in which the item holds no worker.

    An error with a number of 0 or more as its `retry_after` attribute sets the wait in
    seconds, exactly, also above `max_delay`.  Whatever `on` says, an item is not tried again
    after `TaskCancelled`, `ItemDropped`, `PoisonItem`, `DeadlineExceeded`, `PoolClosed` and
    `NotPicklable`; after `CircuitOpen` only if `on` names that very type or is a predicate
    that says so.  There is no wait after the last attempt: the last error is the item's.

    What `on` or `backoff` raise is the item's failure.

    Args:
        max_attempts: The most attempts, the first one included; 1 or more.  Or a
            ``stop_*`` object of tenacity.  None: as many as there is time for; a flow of a
            pool needs a `deadline` then, `ops.retry` goes on until its subscriber leaves, and
            what knows neither (`guarded`, `BatchProcessor`) refuses it.
        delay: The wait before the second attempt, in seconds or as a timedelta.
        backoff: How the wait grows: ``"exponential"`` doubles it each time, ``"linear"``
            adds `delay` each time, ``"constant"`` keeps it.  Or a function of the attempts
            already made (1, 2, …) that returns seconds, or a ``wait_*`` object of tenacity;
            `delay` has no effect with these.
        max_delay: No wait that is computed is longer; None leaves it at 1e9 seconds.
        jitter: From 0 to 1: waits are drawn evenly from ``[(1 - jitter) * wait, wait]``, so
            that what failed together is not tried again together.  0 is exact.
        on: The errors after which the item is tried again: an exception type, a tuple of
            them, or a predicate.
        budget: The most retries per first attempt over a sliding minute (`RetryBudget`),
            0 or more; None sets no such bound.  Those that wait for as long as the error asks,
            or for a breaker, are not counted.

    Raises:
        InvalidArgument: If an argument is out of range.

    Attempts are counted as in resilience4j, and `retry_after` is that of stamina's hooks.
    A tenacity object sees `attempt_number`, `outcome`, `seconds_since_start` (from the
    acceptance of the item) and `upcoming_sleep`; one that is random draws from `random`.
    """

    max_attempts: int | Any | None = 3
    delay: checks.Seconds = 0.1
    backoff: Backoff | Any = "exponential"
    max_delay: checks.Seconds | None = None
    jitter: float = 0.5
    on: Errors = Exception
    budget: float | None = None
    #: what `http` sets: it tells of errors and responses whether they are worth an attempt
    answers: Http | None = field(default=None, kw_only=True, repr=False)

    @classmethod
    def http(
        cls,
        max_attempts: int | Any | None = 5,
        statuses: Collection[int] = STATUSES,
        *,
        on_result: bool = False,
        delay: checks.Seconds = 0.5,
        backoff: Backoff | Any = "exponential",
        max_delay: checks.Seconds | None = 60.0,
        jitter: float = 0.5,
        budget: float | None = None,
    ) -> "Retry":
        """For calls over HTTP, with httpx, requests, aiohttp or urllib.

        An attempt is made again after an error of transport (no connection, no answer in
        time, an answer that breaks off), and after an error with one of *statuses*.  These
        are told by their looks: no client is imported.  The wait is what the response asks
        for in ``retry-after-ms`` or ``Retry-After`` (seconds, or a date), which also pauses
        the `limit` of the flow; without that it is computed.

        Args:
            max_attempts: As for `Retry`.
            statuses: Those that are worth another attempt.
            on_result: For functions that return the response whatever its status: a response
                with one of *statuses* is a failed attempt.  The last one is the result, not
                a failure, also where a `deadline` allows no other.  For functions of single
                items.
            delay: As for `Retry`, as are the others.
            backoff: The same.
            max_delay: The same; what a response asks for may be more.
            jitter: The same.
            budget: The same.

        Raises:
            InvalidArgument: If an argument is out of range.
        """
        answers = Http(statuses_of(statuses), checks.flag("on_result", on_result))
        return cls(
            max_attempts, delay, backoff, max_delay, jitter, answers, budget, answers=answers
        )

    def __post_init__(self) -> None:
        if self.max_attempts is not None and not _tenacity.stops(self.max_attempts):
            most = checks.count("max_attempts", self.max_attempts, least=1)
            object.__setattr__(self, "max_attempts", most)
        if _tenacity.stops(self.backoff) or not callable(self.backoff):
            if not isinstance(self.backoff, str):
                raise InvalidArgumentType(
                    "backoff must be a str or a function of seconds, "
                    f"got {checks.shown(self.backoff)}"
                )
            checks.one_of("backoff", self.backoff, ("exponential", "linear", "constant"))
        # The class is frozen: durations are kept as seconds.
        object.__setattr__(self, "delay", checks.duration("delay", self.delay))
        if self.max_delay is not None:
            longest = checks.duration("max_delay", self.max_delay)
            object.__setattr__(self, "max_delay", longest)
        if checks.number("jitter", self.jitter) > 1:
            raise InvalidArgument(f"jitter must be 1 or less, got {checks.shown(self.jitter)}")
        chosen("on", self.on)
        if self.budget is not None:
            checks.number("budget", self.budget)

    def wait_before_next(
        self, attempts: int, error: BaseException, elapsed: float, random: float
    ) -> float | None:
        """Seconds until the next attempt, or None to give up.

        Args:
            attempts: How many were made, 1 or more.
            error: What the last one failed with.
            elapsed: Seconds since the item was accepted.
            random: Evenly drawn from ``[0, 1)``.
        """
        most = self.max_attempts
        if isinstance(most, int) and attempts >= most:
            return None
        if isinstance(error, _FINAL):
            return None
        if isinstance(error, CircuitOpen) and not names(self.on, CircuitOpen):
            return None
        if not matches(self.on, error):
            return None
        wait = self.asked(error)
        if wait is None:
            wait = self._computed(attempts, error, elapsed) * (1 - self.jitter * random)
        if most is not None and not isinstance(most, int):
            state = _tenacity.call_state(attempts, error, elapsed, wait)
            if most(state):
                return None
        return wait

    def asked(self, error: BaseException) -> float | None:
        """The seconds that *error* itself, or the response in it, asks to wait."""
        asked = getattr(error, "retry_after", None)
        wait = None if asked is None else _seconds(asked)
        if wait is None and self.answers is not None:
            return self.answers.asked(error)
        return wait

    def open_budget(self) -> RetryBudget | None:
        """A new account of `budget`, if there is one."""
        return None if self.budget is None else RetryBudget(self.budget)

    def _computed(self, attempts: int, error: BaseException, elapsed: float) -> float:
        delay: Any = self.delay
        if self.backoff == "exponential":
            # A double holds 2 ** 1023, times a delay it may still be infinite: min cuts that.
            wait = delay * 2.0 ** min(attempts - 1, 1023)
        elif self.backoff == "linear":
            wait = delay * min(attempts, _LONGEST / delay) if delay else 0.0
        elif self.backoff == "constant":
            wait = delay
        elif _tenacity.waits(self.backoff):
            state = _tenacity.call_state(attempts, error, elapsed)
            wait = checks.duration("backoff", self.backoff(state))
        else:
            wait = checks.duration("backoff", self.backoff(attempts))
        longest: Any = _LONGEST if self.max_delay is None else self.max_delay
        return float(min(wait, longest, _LONGEST))


def _seconds(asked: Any) -> float | None:
    """The seconds to wait, if that is what an error's ``retry_after`` says."""
    if isinstance(asked, bool) or not isinstance(asked, Real):
        return None
    try:
        wait = float(asked)
    except OverflowError:
        return None
    return min(wait, _LONGEST) if isfinite(wait) and wait >= 0 else None
