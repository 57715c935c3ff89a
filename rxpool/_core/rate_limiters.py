"""What meters a throttle: a token bucket, or a log of a sliding window."""

from collections import deque
from math import inf
from typing import Protocol

__all__ = ("TIE", "Meter", "SlidingLog", "TokenBucket")

TIE = 1e-9  #: seconds; as little as that is rounding of the arithmetic


class Meter(Protocol):
    """Says when an item may pass."""

    def settle(self, now: float) -> None:
        """An item arrives at *now* and none waits."""
        ...

    def due(self, cost: float) -> float:
        """The earliest instant at which an item of *cost* may pass."""
        ...

    def take(self, cost: float, at: float, now: float) -> None:
        """An item of *cost* passes at *now*; *at* is when it was due."""
        ...

    def rested(self) -> float:
        """From when on this is as good as new."""
        ...


class TokenBucket:
    """A bucket, kept as the instant at which it was empty, or would have been.

    It holds ``(now - empty) * rate`` tokens, so refill is continuous and exact: taking
    tokens moves the instant by what they take to refill.  The cap of `burst` tokens applies
    when an item finds nothing waiting and when tokens are taken, not while items wait: one
    that costs more than `burst` gets what it waits for.
    """

    __slots__ = ("blocked", "burst", "cooldown", "empty", "interval")

    def __init__(self, interval: float, burst: float, cooldown: float, now: float) -> None:
        self.interval = interval
        self.burst = burst
        self.cooldown = cooldown
        self.empty = now - burst * interval
        self.blocked = now

    def settle(self, now: float) -> None:
        """What came above the cap while nothing waited is lost."""
        full = now - self.burst * self.interval
        if self.empty < full:
            self.empty = full

    def due(self, cost: float) -> float:
        """The earliest instant at which the bucket holds *cost*."""
        return max(self.empty + cost * self.interval, self.blocked)

    def take(self, cost: float, at: float, now: float) -> None:
        """Take *cost* tokens at *at*; a cooldown counts from *now*."""
        empty = max(self.empty, at - max(self.burst, cost) * self.interval)
        self.empty = empty + cost * self.interval
        if self.cooldown and at - self.empty < self.interval * (1 - 1e-9):
            self.blocked = now + self.cooldown

    def take_now(self, cost: float, now: float, late: float) -> bool:
        """`settle`, `due` and `take` in one, if an item that comes now need not wait.

        It may be due so many seconds *late*, for rounding.
        """
        interval = self.interval
        full = now - self.burst * interval
        empty = self.empty if self.empty > full else full
        if empty + cost * interval > now + late or self.blocked > now + late or self.cooldown:
            return False
        self.empty = empty + cost * interval
        return True

    def give_back(self, cost: float) -> None:
        """*cost* tokens that were taken were not used."""
        self.empty -= cost * self.interval

    def rested(self) -> float:
        """When the bucket is full again."""
        return max(self.empty + self.burst * self.interval, self.blocked)


class SlidingLog:
    """The admissions of the last `per` seconds; never more than `rate` of them.

    What takes time from its admission until it has passed is let `out` and counts, until
    `passed` says when that was: so the window holds where items come out, whatever comes
    between the two.
    """

    __slots__ = ("_closer", "blocked", "cooldown", "log", "per", "rate", "total")

    def __init__(self, rate: float, per: float, cooldown: float, now: float) -> None:
        self.rate = rate
        self.per = per
        self.cooldown = cooldown
        self.blocked = now
        self.log: deque[list[float]] = deque()  # when and what; infinity: not yet
        self.total = 0.0
        self._closer: list[float] | None = None  # the cooldown counts from this one

    def settle(self, now: float) -> None:
        """Forget what is older than the window."""
        log = self.log
        while log and log[0][0] + self.per <= now + TIE:
            self.total -= log.popleft()[1]
        if not log:
            self.total = 0.0  # no sum of rounding errors

    def due(self, cost: float) -> float:
        """When the window has room for *cost*; infinity: not before something has passed."""
        excess = self.total + cost - self.rate
        due = self.blocked
        for at, spent in self.log:
            if excess <= 1e-9:
                break
            excess -= spent
            due = max(due, at + self.per)
        return due

    def take(self, cost: float, at: float, now: float) -> None:
        """Note an admission at *now*: lateness is never given back here."""
        self.passed(self.out(cost, now), now)

    def out(self, cost: float, now: float) -> list[float]:
        """Let an item of *cost* out at *now*."""
        self.settle(now)
        entry = [inf, cost]
        if cost:
            self.log.append(entry)
            self.total += cost
        if self.cooldown and self.rate - self.total < 1 - 1e-9:
            self.blocked = now + self.cooldown
            self._closer = entry
        return entry

    def passed(self, entry: list[float], now: float) -> None:
        """An item that was let out has passed, the first of those that had not."""
        entry[0] = now
        if entry is self._closer:
            self.blocked = now + self.cooldown

    def rested(self) -> float:
        """When the window is empty again; infinity: something has not passed."""
        return max(self.log[-1][0] + self.per if self.log else self.blocked, self.blocked)
