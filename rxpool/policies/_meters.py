"""What a `Limit` is made of: rates, by key, and a number of calls at once."""

import random
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any, Protocol

from rxpool._core.meters import TIE, Meter, SlidingLog, TokenBucket
from rxpool.errors import InvalidItem

__all__ = ("Capacity", "Part", "Rate")

_INSTANT = 1e-6  #: seconds; less is rounding
_LATENESS = 0.05  #: seconds; so late somebody may be woken without costing rate


class Part(Protocol):
    """One of the limits that are taken together.  No clock, no lock, no thread."""

    lines: "dict[Any, None]"  #: lanes with somebody who waits for this part among others
    waits: dict[Hashable, int]  #: by key, how many wait

    def ask(self, item: Any) -> tuple[Hashable, float]:
        """The key and the cost of *item*; calls functions of the user."""
        ...

    def due(self, key: Hashable, cost: float, now: float, fresh: bool = False) -> float:
        """When there is enough, as things are; infinity: not before somebody is `done`.

        *fresh*: the item has not been waiting.
        """
        ...

    def take(self, key: Hashable, cost: float, now: float, waited: bool) -> None:
        """Take that."""
        ...

    def done(self, error: BaseException | None, took: float, now: float) -> bool:
        """What was taken was used; whether there may be room for others now."""
        ...

    def pause(self, seconds: float, now: float) -> None:
        """Let nobody through for so long."""
        ...


class Rate:
    """So much in a time, for each key."""

    def __init__(
        self,
        rate: float,
        per: float,
        burst: float,
        strict: bool,
        cost: Callable[[Any], float] | float,
        key: Callable[[Any], Hashable] | None,
        jitter: float,
    ) -> None:
        self.lines: dict[Any, None] = {}
        self.waits: dict[Hashable, int] = {}
        self.cost = cost
        self.key = key
        self.jitter = jitter
        self.random: Callable[[], float] = random.random
        self._paused = self._latest = -inf
        self._meters: dict[Hashable, Meter] = {}
        self._resting: list[tuple[float, int, Hashable]] = []
        self._order = count()
        self.change(rate, per, burst, strict)

    def change(self, rate: float, per: float, burst: float, strict: bool) -> None:
        """Use other figures from now on; what was taken stays taken."""
        self.rate, self.per, self.burst, self.strict = rate, per, burst, strict
        for meter in self._meters.values():
            if isinstance(meter, TokenBucket):
                meter.interval, meter.burst = per / rate, burst
            elif isinstance(meter, SlidingLog):
                meter.rate, meter.per = rate, per

    def ask(self, item: Any) -> tuple[Hashable, float]:
        """See `Part`."""
        cost = self.cost
        spent = cost(item) if callable(cost) else cost
        if (
            isinstance(spent, bool)
            or not isinstance(spent, (int, float))
            or not 0 <= spent < inf
        ):
            raise InvalidItem(f"the cost of an item must be 0 or more, got {spent!r}")
        if self.strict and spent > self.rate:
            raise InvalidItem(
                f"an item of cost {spent!r} can never pass a strict rate of {self.rate:g}"
            )
        key = None if self.key is None else self.key(item)
        hash(key)
        return key, spent

    def _meter(self, key: Hashable, now: float) -> Meter:
        meter = self._meters.get(key)
        if meter is None:
            if self.strict:
                meter = SlidingLog(self.rate, self.per, 0.0, now)
            else:
                meter = TokenBucket(self.per / self.rate, self.burst, 0.0, now)
            self._meters[key] = meter
            if key is not None:
                self._forget(now)
                heappush(self._resting, (now, next(self._order), key))
        return meter

    def due(self, key: Hashable, cost: float, now: float, fresh: bool = False) -> float:
        """See `Part`."""
        meter = self._meter(key, now)
        if fresh and key not in self.waits:
            meter.settle(now)
        due = max(meter.due(cost), self._paused)
        return now if due <= now + (TIE if self.strict else _INSTANT) else due

    def take(self, key: Hashable, cost: float, now: float, waited: bool) -> None:
        """See `Part`."""
        meter = self._meter(key, now)
        at = now = self._latest = max(now, self._latest)  # threads come with what they saw
        if waited:  # what a late timer costs is given back
            due = max(meter.due(cost), self._paused)
            if now - due <= _LATENESS:
                at = min(due, now)
        meter.take(cost, at, now)

    def done(self, error: BaseException | None, took: float, now: float) -> bool:
        """See `Part`."""
        return False

    def pause(self, seconds: float, now: float) -> None:
        """See `Part`."""
        seconds *= 1 + self.jitter * self.random()
        self._paused = max(self._paused, now + seconds)

    def _forget(self, now: float) -> None:
        """Drop meters that are as good as new."""
        resting = self._resting
        while resting and resting[0][0] <= now:
            key = heappop(resting)[2]
            rested = self._meters[key].rested()
            if rested <= now and key not in self.waits:
                del self._meters[key]
            else:
                heappush(resting, (max(rested, now + 1e-3), next(self._order), key))


class Capacity:
    """So many at once: additive increase, multiplicative decrease.

    It grows by one after as many good calls as it is large, and only while it is what holds
    calls back: at a time when it is not used up, that all goes well says nothing of more.
    A bad call shrinks it, once for all calls that were under way when it did.
    """

    def __init__(
        self,
        initial: float,
        least: int,
        most: int,
        decrease: float,
        is_bad: Callable[[BaseException | None, float], bool],
    ) -> None:
        self.lines: dict[Any, None] = {}
        self.waits: dict[Hashable, int] = {}
        self.limit = float(initial)
        self.least = least
        self.most = most
        self.running = 0
        self._decrease = decrease
        self._is_bad = is_bad
        self._shrunk = -inf
        self._paused = -inf

    def ask(self, item: Any) -> tuple[Hashable, float]:
        """See `Part`."""
        return None, 1.0

    def due(self, key: Hashable, cost: float, now: float, fresh: bool = False) -> float:
        """See `Part`."""
        if self.running >= int(self.limit):
            return inf
        return max(now, self._paused)

    def take(self, key: Hashable, cost: float, now: float, waited: bool) -> None:
        """See `Part`."""
        self.running += 1

    def done(self, error: BaseException | None, took: float, now: float) -> bool:
        """See `Part`."""
        full = self.running >= int(self.limit)
        self.running -= 1
        if self._is_bad(error, took):
            if now - took >= self._shrunk:
                self.limit = max(float(self.least), self.limit * self._decrease)
                self._shrunk = now
        elif full and error is None:
            self.limit = min(float(self.most), self.limit + 1 / self.limit)
        return True

    def give_back(self) -> None:
        """A call was taken back: it says nothing."""
        self.running -= 1

    def pause(self, seconds: float, now: float) -> None:
        """See `Part`."""
        self._paused = max(self._paused, now + seconds)
