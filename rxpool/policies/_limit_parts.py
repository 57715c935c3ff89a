"""What a `Limit` is made of: rates, by key, and a number of calls at once."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from itertools import count
from math import inf
from numbers import Real
from typing import Any

from rxpool import _checks as checks
from rxpool._core.rate_limiters import TIE, Meter, SlidingLog, TokenBucket
from rxpool.errors import InvalidItem

__all__ = ("CapacityPart", "LimitPart", "RatePart", "spent")

_INSTANT = 1e-6  #: seconds; less is rounding
_LATENESS = 0.05  #: seconds; so late somebody may be woken without costing rate


class LimitPart(ABC):
    """One of the limits that are taken together.  No clock, no lock, no thread."""

    uniform = False  #: whether all items are the same to it, and `take_now` is to be asked
    shares = True  #: whether several calls may be granted what they need before they begin
    stored = False  #: whether it has what it grants from a store, and `check` is to be asked
    keyed = False  #: whether those of other keys may pass

    def __init__(self) -> None:
        self.lines: dict[Any, None] = {}  #: with somebody who waits for this part among others
        self.waits: dict[Hashable, int] = {}  #: by key, how many wait

    @abstractmethod
    def ask(self, item: Any) -> tuple[Hashable, float]:
        """The key and the cost of *item*; calls functions of the user."""

    @abstractmethod
    def due(self, key: Hashable, cost: float, now: float, fresh: bool = False) -> float:
        """When there is enough, as things are; infinity: not before somebody is `done`.

        *fresh*: the item has not been waiting.
        """

    @abstractmethod
    def take(self, key: Hashable, cost: float, now: float, waited: bool) -> None:
        """Take that."""

    @abstractmethod
    def pause(self, seconds: float, now: float) -> None:
        """Let nobody through for so long."""

    def take_now(self, now: float) -> bool:
        """Take what any item needs, if that is there; only if all are the same to it."""
        return False

    def check(self) -> None:  # noqa: B027 - most have no store
        """Raise what its store failed with, if whoever is due now is due for that."""

    def done(self, error: BaseException | None, took: float, now: float) -> bool:
        """What was taken was used; whether there may be room for others now."""
        return False

    def give_back(self) -> None:  # noqa: B027 - tokens stay taken
        """A call that had taken of this was cancelled: it says nothing."""

    def refund(self, key: Hashable, cost: float) -> None:
        """A call that had taken *cost* has not begun: as if it had not come."""
        self.give_back()

    def forked(self) -> None:
        """In a forked child: who waits, and what is under way, is the parent's."""
        self.lines.clear()
        self.waits.clear()


def spent(cost: Callable[[Any], float] | float, item: Any) -> float:
    """What *item* costs; calls a function of the user."""
    given = cost(item) if callable(cost) else cost
    # The usual types first: to ask an abstract class takes long, and this is per item.
    a_number = isinstance(given, (int, float, Real)) and not isinstance(given, bool)
    if not a_number or not 0 <= given < inf:
        raise InvalidItem(f"the cost of an item must be 0 or more, got {checks.shown(given)}")
    return float(given)


class RatePart(LimitPart):
    """So much in a time, for each key.

    Every key has its meter since the limit was first used, with *initial* tokens then, be it
    that the key was not seen yet or is forgotten.  A pause empties the buckets, and while it
    lasts no more than one token comes in: so at its end there is no burst, but who was told
    to come back then may.
    """

    def __init__(
        self,
        rate: float,
        per: float,
        burst: float,
        strict: bool,
        cost: Callable[[Any], float] | float,
        key: Callable[[Any], Hashable] | None,
        jitter: float,
        initial: float | None = None,
    ) -> None:
        super().__init__()
        self.initial = initial
        self._first: float | None = None  # when this was first used
        self.cost = cost
        self.key = key
        self.keyed = key is not None
        self.jitter = jitter
        self.random: Callable[[], float] = random.random
        self._paused = self._latest = -inf
        self._emptied = -inf  # no bucket was empty before, as far as pauses are concerned
        self._meters: dict[Hashable, Meter] = {}
        self._resting: list[tuple[float, int, Hashable]] = []
        self._order = count()
        self.change(rate, per, burst, strict)

    def change(self, rate: float, per: float, burst: float, strict: bool) -> None:
        """Use other figures from now on; what was taken stays taken."""
        self.rate, self.per, self.burst, self.strict = rate, per, burst, strict
        self.uniform = not (strict or self.keyed or callable(self.cost))
        self.shares = not strict
        for meter in self._meters.values():
            if isinstance(meter, TokenBucket):
                meter.interval, meter.burst = per / rate, burst
            elif isinstance(meter, SlidingLog):
                meter.rate, meter.per = rate, per

    def ask(self, item: Any) -> tuple[Hashable, float]:
        """See `LimitPart`."""
        cost = spent(self.cost, item)
        if self.strict and cost > self.rate:
            raise InvalidItem(
                f"an item of cost {cost!r} can never pass a strict rate of {self.rate:g}"
            )
        key = None if self.key is None else self.key(item)
        hash(key)
        return key, cost

    def _new_meter(self, key: Hashable, now: float) -> Meter:
        """A new one."""
        if self._first is None:
            self._first = now
        meter = self._sliding_log(now) if self.strict else self._bucket(now)
        self._meters[key] = meter
        if key is not None:
            self._forget(now)
            heappush(self._resting, (now, next(self._order), key))
        return meter

    def _sliding_log(self, now: float) -> SlidingLog:
        """As if it had been there from the beginning."""
        first = now if self._first is None else self._first
        log = SlidingLog(self.rate, self.per, 0.0, now)
        if self.initial is not None and self.initial < self.rate and now < first + self.per:
            log.take(self.rate - self.initial, first, first)
        return log

    def _bucket(self, now: float) -> TokenBucket:
        """As if it had been there from the beginning."""
        first = now if self._first is None else self._first
        bucket = TokenBucket(self.per / self.rate, self.burst, 0.0, now)
        if self.initial is not None:
            bucket.empty = max(bucket.empty, first - self.initial * bucket.interval)
        bucket.empty = max(bucket.empty, self._emptied)
        return bucket

    def due(self, key: Hashable, cost: float, now: float, fresh: bool = False) -> float:
        """See `LimitPart`."""
        meter = self._meters.get(key) or self._new_meter(key, now)
        if fresh and key not in self.waits:
            meter.settle(now)
        due = max(meter.due(cost), self._paused)
        return now if due <= now + (TIE if self.strict else _INSTANT) else due

    def take_now(self, now: float) -> bool:
        """See `LimitPart`."""
        now = self._latest = max(now, self._latest)
        if self._paused > now + _INSTANT:
            return False
        bucket: Any = self._meters.get(None) or self._new_meter(None, now)
        return bool(bucket.take_now(self.cost, now, _INSTANT))

    def take(self, key: Hashable, cost: float, now: float, waited: bool) -> None:
        """See `LimitPart`."""
        meter = self._meters.get(key) or self._new_meter(key, now)
        at = now = self._latest = max(now, self._latest)  # threads come with what they saw
        if waited:  # what a late timer costs is given back
            due = max(meter.due(cost), self._paused)
            if now - due <= _LATENESS:
                at = min(due, now)
        meter.take(cost, at, now)

    def refund(self, key: Hashable, cost: float) -> None:
        """See `LimitPart`; a strict window forgets nothing that it has let through."""
        meter = self._meters.get(key)
        if isinstance(meter, TokenBucket):
            meter.give_back(cost)
            meter.empty = max(meter.empty, self._emptied)

    def pause(self, seconds: float, now: float) -> None:
        """See `LimitPart`."""
        seconds *= 1 + self.jitter * self.random()
        self._paused = max(self._paused, now + seconds)
        self._emptied = max(self._emptied, now, now + seconds - self.per / self.rate)
        for meter in self._meters.values():
            if isinstance(meter, TokenBucket):
                meter.empty = max(meter.empty, self._emptied)

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


class CapacityPart(LimitPart):
    """So many at once: additive increase, multiplicative decrease.

    It grows by one after as many good calls as it is large, and only while it is what holds
    calls back: at a time when it is not used up, that all goes well says nothing of more.
    A bad call shrinks it, once for all calls that were under way when it did.
    """

    shares = False

    def __init__(
        self,
        initial: float,
        least: int,
        most: int,
        decrease: float,
        is_bad: Callable[[BaseException | None, float], bool],
    ) -> None:
        super().__init__()
        self.limit = float(initial)
        self.least = least
        self.most = most
        self.running = 0
        self._decrease = decrease
        self._is_bad = is_bad
        self._shrunk = -inf
        self._paused = -inf

    def ask(self, item: Any) -> tuple[Hashable, float]:
        """See `LimitPart`."""
        return None, 1.0

    def due(self, key: Hashable, cost: float, now: float, fresh: bool = False) -> float:
        """See `LimitPart`."""
        if self.running >= int(self.limit):
            return inf
        return max(now, self._paused)

    def take(self, key: Hashable, cost: float, now: float, waited: bool) -> None:
        """See `LimitPart`."""
        self.running += 1

    def done(self, error: BaseException | None, took: float, now: float) -> bool:
        """See `LimitPart`."""
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
        """See `LimitPart`."""
        self.running -= 1

    def forked(self) -> None:
        """See `LimitPart`."""
        super().forked()
        self.running = 0

    def pause(self, seconds: float, now: float) -> None:
        """See `LimitPart`."""
        self._paused = max(self._paused, now + seconds)
