"""`RetryBudget`: retries as a share of the traffic, so that an outage is not multiplied."""

from collections import deque

from rxpool import _checks as checks

__all__ = ("BudgetAccount", "RetryBudget")

_BUCKETS = 60  #: parts of a window


class _Bucket:
    """What happened in one part of the window."""

    __slots__ = ("firsts", "number", "retries")

    def __init__(self, number: int) -> None:
        self.number = number
        self.firsts = 0
        self.retries = 0


class RetryBudget:
    """Grants retries while they are few beside the first attempts.

    Whenever a retry is granted, the `window` seconds that end there hold, with it, at most
    ``max(floor, share * first attempts in them)`` retries.  Time is counted in sixtieths of
    the window, one second by default.  Where the edge of the window cuts through such a
    part, its retries count and its first attempts do not: the bound is exact, and what was
    granted comes free up to one part late.

    It has no lock; `now` must come from one clock, and one that goes back stands still here.

    Args:
        share: Retries per first attempt, 0 or more; 0.2 means one retry to five.
        floor: So many retries in a window are granted with little or no traffic too.
        window: Its length in seconds or as a timedelta; above 0.

    Raises:
        InvalidArgument: If an argument is out of range.

    Retry budgets are known from Finagle and Envoy.
    """

    __slots__ = ("_buckets", "_firsts", "_floor", "_retries", "_share", "_width")

    def __init__(self, share: float, *, floor: int = 3, window: checks.Seconds = 60.0) -> None:
        self._share = checks.number("share", share)
        self._floor = checks.count("floor", floor)
        self._width = checks.duration("window", window, above=True) / _BUCKETS
        self._buckets: deque[_Bucket] = deque()
        self._firsts = 0
        self._retries = 0

    def deposit(self, now: float, first_attempts: int = 1) -> None:
        """So many items were tried for the first time."""
        self._at(now).firsts += first_attempts
        self._firsts += first_attempts

    def withdraw(self, now: float) -> bool:
        """Take one retry, if there is one left."""
        bucket = self._at(now)
        # As little as 1e-9 is rounding: 0.29 * 100 is less than 29.
        if self._retries + 1 > max(self._floor, self._share * self._firsts + 1e-9):
            return False
        bucket.retries += 1
        self._retries += 1
        return True

    def _at(self, now: float) -> _Bucket:
        """The part of the window that *now* is in; what left the window is forgotten."""
        number = int(now // self._width)
        buckets = self._buckets
        if buckets:
            last = buckets[-1]
            if number <= last.number:
                return last
        buckets.append(_Bucket(number))
        while buckets[0].number < number - _BUCKETS:
            gone = buckets.popleft()
            self._firsts -= gone.firsts
            self._retries -= gone.retries
        if buckets[0].number == number - _BUCKETS:  # the edge cuts through this one
            self._firsts -= buckets[0].firsts
            buckets[0].firsts = 0
        return buckets[-1]


class BudgetAccount:
    """A budget, also for those who know how many first attempts there have been in all."""

    __slots__ = ("_budget", "_told")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._told = 0  # first attempts that the budget knows of

    @classmethod
    def of(cls, budget: RetryBudget | None) -> "BudgetAccount | None":
        """One of *budget*, if there is one."""
        return None if budget is None else cls(budget)

    def deposit(self, now: float) -> None:
        """An item is tried for the first time."""
        self._budget.deposit(now)

    def spend(self, now: float, firsts: int | None) -> bool:
        """Take one retry, if there is one left; *firsts* were tried so far, if not None."""
        if firsts is not None and firsts > self._told:
            self._budget.deposit(now, firsts - self._told)
            self._told = firsts
        return self._budget.withdraw(now)
