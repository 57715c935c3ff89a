"""`Limit`: rates and numbers of calls that several flows share."""

import asyncio
import threading
from bisect import insort
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import count
from math import inf
from time import monotonic
from typing import Any, Final

from reactivex import abc

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.policies._meters import Capacity, Part, Rate
from rxpool.timing import Clock, TimerScheduler

__all__ = ("Limit", "Ticket")

#: guards all limits: one may be part of several, and those are taken all or nothing
_lock: Final = threading.Lock()
_numbers: Final = count()


class Ticket:
    """Somebody's place in the line of a limit."""

    __slots__ = ("clock", "costs", "keys", "lane", "number", "wake")

    def __init__(
        self,
        keys: tuple[Hashable, ...],
        costs: tuple[float, ...],
        wake: Callable[[], object],
        clock: Clock,
    ) -> None:
        self.keys = keys
        self.costs = costs
        self.wake = wake  #: called when it is time to ask again, on any thread
        self.clock = clock
        self.number = -1  # order of the first refusal
        self.lane: _Lane | None = None  # where it waits

    def copy(self) -> "Ticket":
        """A ticket for the same."""
        return Ticket(self.keys, self.costs, self.wake, self.clock)

    def __lt__(self, other: "Ticket") -> bool:
        return self.number < other.number


class _Lane:
    """Who waits for the same keys."""

    __slots__ = ("alarm", "armed", "limit", "line")

    def __init__(self, limit: "Limit") -> None:
        self.limit = limit
        self.line: list[Ticket] = []
        self.armed: tuple[Ticket, float] | None = None
        self.alarm: abc.DisposableBase | None = None


class Limit:
    """At most `rate` in `per` seconds, for all who share this object.

    ::

        requests = Limit(500, per=60)
        tokens = Limit(30_000, per=60, burst=3_000, cost=lambda job: job.tokens)
        pool.map(call, limit=Limit.all(requests, tokens))

    An item starts when the limit grants it: at once if there are enough tokens and nobody
    waits before it, else first come, first served.  It waits without a worker; items of
    other flows, and of other keys, pass it.  Tokens are taken when the item starts, so what
    is dropped or cancelled before took none, and a strict limit counts starts.

    An attempt that fails with an error that carries ``retry_after`` (seconds) pauses the
    limit for all who share it; see `pause`.

    Args:
        rate: Items, or units of cost, in `per`; above 0.
        per: Seconds or a timedelta; above 0.
        burst: The most tokens that are saved up; an item that costs more waits until
            enough have come.
        cost: What an item takes: a number, or a function of the item; by default 1.
        key: A function of the item; every key has tokens of its own.
        strict: Never more than `rate` in any window of `per`; `burst` has no effect then.
        jitter: A pause is longer by up to this share of itself, so that not all who were
            told the same come back at once.

    The bucket is that of `rxpool.operators.throttle`.
    """

    def __init__(
        self,
        rate: float,
        *,
        per: checks.Seconds = 1.0,
        burst: float = 1,
        cost: Callable[[Any], float] | float = 1,
        key: Callable[[Any], Hashable] | None = None,
        strict: bool = False,
        jitter: float = 0.1,
    ) -> None:
        if not callable(cost):
            cost = checks.number("cost", cost)
        if key is not None:
            checks.call("key", key)
        figures = self._figures(rate, per, burst, strict)
        self.set_parts([Rate(*figures, cost, key, _share("jitter", jitter))])

    @staticmethod
    def _figures(
        rate: Any, per: Any, burst: Any, strict: Any
    ) -> tuple[float, float, float, bool]:
        return (
            checks.number("rate", rate, above=True),
            checks.duration("per", per, above=True),
            checks.number("burst", burst),
            checks.flag("strict", strict),
        )

    def set_parts(self, parts: Sequence[Part]) -> None:
        """Be made of *parts*; for those who make limits."""
        self.parts = tuple(parts)
        self.keyed = any(getattr(part, "key", None) is not None for part in self.parts)
        self._lanes: dict[tuple[Hashable, ...], _Lane] = {}
        self._dirty: dict[_Lane, None] = {}  # lanes whose alarm may be set wrongly
        self._now: Callable[[], float] = monotonic

    @staticmethod
    def all(*limits: "Limit") -> "Limit":
        """Several limits, taken together or not at all; each may be used elsewhere too."""
        if not limits:
            raise InvalidArgument("Limit.all needs a limit")
        for limit in limits:
            if not isinstance(limit, Limit):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidArgumentType(f"Limit.all takes limits, got {limit!r}")
        both = Limit.__new__(Limit)
        both.set_parts(list(dict.fromkeys(part for limit in limits for part in limit.parts)))
        return both

    # -- changing it while it is used ---------------------------------------------------

    def update(
        self,
        rate: float | None = None,
        *,
        per: checks.Seconds | None = None,
        burst: float | None = None,
    ) -> None:
        """Use other figures from now on; what was taken stays taken."""
        (part,) = self.parts if len(self.parts) == 1 else (None,)
        if not isinstance(part, Rate):
            raise InvalidArgument("update the limits that this one is made of")
        figures = self._figures(
            part.rate if rate is None else rate,
            part.per if per is None else per,
            part.burst if burst is None else burst,
            part.strict,
        )
        with _lock:
            part.change(*figures)
            self._touch()
        self.arm()

    def pause(self, seconds: checks.Seconds, now: float | None = None) -> None:
        """Let nobody who shares this through for so long; a later end wins."""
        length = checks.duration("seconds", seconds)
        at = self._now() if now is None else now
        with _lock:
            for part in self.parts:
                part.pause(length, at)
            self._touch()
        self.arm()

    # -- what flows do --------------------------------------------------------------------

    def ticket(self, item: Any, wake: Callable[[], object], clock: Clock) -> Ticket:
        """What *item* needs; calls functions of the user."""
        asked = [part.ask(item) for part in self.parts]
        return Ticket(
            tuple(key for key, _ in asked), tuple(cost for _, cost in asked), wake, clock
        )

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Take what *ticket* needs, or False: it waits in line now, and is going to be woken.

        Calls nothing foreign; `arm` is to be called afterwards, without any lock held.
        """
        with _lock:
            self._now = ticket.clock.now
            lane = ticket.lane
            first = lane is not None and lane.line[0] is ticket
            if lane is None:
                other = self._lanes.get(ticket.keys)
                first = (
                    other is None
                    or not other.line
                    or (ticket.number >= 0 and (ticket < other.line[0]))
                )
            if first and self._due(ticket, now) <= now:
                for part, key, cost in zip(self.parts, ticket.keys, ticket.costs, strict=True):
                    part.take(key, cost, now, ticket.number >= 0)
                ticket.number = -1
                self._remove(ticket)
                self._touch()
                return True
            if lane is None:
                if ticket.number < 0:
                    ticket.number = next(_numbers)
                lane = self._lanes.setdefault(ticket.keys, _Lane(self))
                insort(lane.line, ticket)
                ticket.lane = lane
                for part, key in zip(self.parts, ticket.keys, strict=True):
                    part.lines[lane] = None
                    part.waits[key] = part.waits.get(key, 0) + 1
            self._dirty[lane] = None
            return False

    def leave(self, ticket: Ticket) -> None:
        """Give the place in line up; a ticket that asks again gets it back."""
        with _lock:
            if ticket.lane is not None:
                self._remove(ticket)
                self._touch()

    def done(self, error: BaseException | None, took: float, now: float) -> None:
        """A call that was granted has ended; call `arm` afterwards."""
        with _lock:
            room = [part.done(error, took, now) for part in self.parts]
            if any(room):
                self._touch()

    def give_back(self) -> None:
        """A call that was granted was cancelled: it says nothing; tokens stay taken."""
        with _lock:
            for part in self.parts:
                if isinstance(part, Capacity):
                    part.give_back()
            self._touch()

    def arm(self) -> None:
        """See that whoever comes next is woken in time.  No lock is held."""
        if not self._dirty:
            return
        todo: list[tuple[_Lane, Ticket, float]] = []
        stop: list[abc.DisposableBase] = []
        with _lock:
            dirty, self._dirty = self._dirty, {}
            for lane in dirty:
                head = lane.line[0] if lane.line else None
                now = 0.0 if head is None else head.clock.now()
                due = inf if head is None else lane.limit._due(head, now)
                goal = None if head is None or due == inf else (head, due)
                if goal == lane.armed:
                    continue
                lane.armed = goal
                if lane.alarm is not None:
                    stop.append(lane.alarm)
                    lane.alarm = None
                if goal is not None:
                    todo.append((lane, *goal))
        for alarm in stop:
            alarm.dispose()
        for lane, ticket, due in todo:
            alarm = ticket.clock.alarm(due, partial(self._ring, lane, ticket))
            with _lock:
                if lane.armed == (ticket, due):
                    lane.alarm = alarm
                    continue
            alarm.dispose()

    def _ring(self, lane: _Lane, ticket: Ticket, _: float) -> None:
        with _lock:
            if lane.armed is None or lane.armed[0] is not ticket:
                return
            lane.armed = lane.alarm = None
        ticket.wake()

    def _due(self, ticket: Ticket, now: float) -> float:
        """When *ticket* may pass; infinity: when something else has happened.  Locked."""
        due = now
        for part, key, cost in zip(self.parts, ticket.keys, ticket.costs, strict=True):
            due = max(due, part.due(key, cost, now, ticket.number < 0))
        if due > now:
            return due
        for part in self.parts:
            for lane in part.lines:
                head = lane.line[0]
                if head is ticket or lane is ticket.lane:
                    continue
                older = ticket.number < 0 or head < ticket
                if (
                    older
                    and lane.limit._free(head, now)
                    and self._share_a_key(ticket, head, lane)
                ):
                    return inf  # that one first
        return now

    def _share_a_key(self, ticket: Ticket, head: Ticket, lane: _Lane) -> bool:
        """Whether both take from the same tokens."""
        theirs = dict(zip(lane.limit.parts, head.keys, strict=True))
        return any(
            part in theirs and theirs[part] == key
            for part, key in zip(self.parts, ticket.keys, strict=True)
        )

    def _free(self, ticket: Ticket, now: float) -> bool:
        return all(
            part.due(key, cost, now) <= now
            for part, key, cost in zip(self.parts, ticket.keys, ticket.costs, strict=True)
        )

    def _remove(self, ticket: Ticket) -> None:
        lane, ticket.lane = ticket.lane, None
        if lane is None:
            return
        lane.line.remove(ticket)
        self._dirty[lane] = None
        for part, key in zip(self.parts, ticket.keys, strict=True):
            part.waits[key] -= 1
            if not part.waits[key]:
                del part.waits[key]
        if not lane.line:
            self._lanes.pop(ticket.keys, None)
            for part in self.parts:
                part.lines.pop(lane, None)

    def _touch(self) -> None:
        """Whoever waits for one of the parts may have to wait for longer, or less long."""
        for part in self.parts:
            self._dirty.update(part.lines)

    # -- for code without a pool ----------------------------------------------------------

    def acquire(self, item: Any = None, timeout: checks.Seconds | None = None) -> bool:
        """Wait on this thread until *item* may pass; False if that takes too long."""
        seconds = None if timeout is None else checks.duration("timeout", timeout)
        gate = threading.Event()
        ticket = self.ticket(item, gate.set, Clock(TimerScheduler.singleton()))
        until = None if seconds is None else monotonic() + seconds
        try:
            while not self.enter(ticket, monotonic()):
                self.arm()
                left = None if until is None else until - monotonic()
                if (left is not None and left <= 0) or not gate.wait(left):
                    return False
                gate.clear()
        finally:
            self.leave(ticket)
            self.arm()
        return True

    async def acquire_async(self, item: Any = None) -> None:
        """Wait on the running event loop until *item* may pass."""
        loop = asyncio.get_running_loop()
        gate = asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(gate.set)

        ticket = self.ticket(item, wake, Clock(TimerScheduler.singleton()))
        try:
            while not self.enter(ticket, monotonic()):
                self.arm()
                await gate.wait()
                gate.clear()
        finally:
            self.leave(ticket)
            self.arm()


def _share(name: str, value: Any) -> float:
    share = checks.number(name, value)
    if share > 1:
        raise InvalidArgument(f"{name} must be 1 at most, got {value!r}")
    return share
