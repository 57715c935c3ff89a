"""`Limit`: rates and numbers of calls that several flows share."""

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from time import monotonic, time
from typing import Any

from rxpool import _checks as checks
from rxpool import _forks
from rxpool._core.waits import at_most
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.policies._headers import Headers, pause_of
from rxpool.policies._limit_door import LIMITS_LOCK, LimitDoor
from rxpool.policies._limit_parts import LimitPart, RatePart
from rxpool.policies._shared import SharedRate
from rxpool.policies._shared_state import Figures
from rxpool.policies._store import Store
from rxpool.timing import Clock, TimerScheduler

__all__ = ("Limit", "limit_door")


class Limit:
    """At most `rate` in `per` seconds, for all who share this object.

    ::

        requests = Limit(500, per=60)
        tokens = Limit(30_000, per=60, burst=3_000, cost=lambda job: job.tokens)
        pool.map(call, limit=Limit.all(requests, tokens))

    An item starts when the limit grants it: at once if there are enough tokens and nobody
    waits before it, else first come, first served.  It waits without a worker; items of
    other flows, and of other keys, pass it.  Tokens are taken when the item starts, so what
    is dropped or cancelled before took none, and a strict limit counts starts.  Where short
    items are handed over together (processes, coroutines), they take theirs then, some
    milliseconds early; not with `strict` or `store`.

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
        initial: The tokens that there are when the limit is first used, from 0 to `burst`
            (with `strict`, to `rate`), for each key; by default all.  A program that is
            started again and again does not spend a burst each time then.
        store: ``"sqlite:///"`` and an absolute path: the processes of this machine that name
            this file and the same `name` share the rate, pauses included.  The file is made
            if there is none; its folder must be local, and processes must be allowed to
            write there.  Tokens come in leases, of what 50 ms bring, of 5 % of the burst at
            most, of a token at least; a transaction each.  A process that dies loses its
            lease; one that still has tokens of a lease may use them for about a second
            after others have paused the limit, or have used up the burst.  It goes
            by the wall clock, which may be put back, so not on a virtual scheduler, and with
            neither `strict` nor `key`.  If the file cannot be used, items fail with an
            `RxPoolError`.  A forked process shares as any other.
        name: What the limit is called there.

    Raises:
        InvalidArgument: If an option is out of its range, or the file holds other figures
            under this name (both are told), or something else than limits.

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
        initial: float | None = None,
        store: str | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(cost):
            cost = checks.number("cost", cost)
        if key is not None:
            checks.call("key", key)
        figures = self._figures(rate, per, burst, strict)
        first = None if initial is None else checks.number("initial", initial)
        most = figures[0] if strict else figures[2]
        if first is not None and first > most:
            bound = "rate" if strict else "burst"
            raise InvalidArgument(
                f"initial must be {bound}={most:g} at most, got {checks.shown(initial)}"
            )
        share = _share("jitter", jitter)
        if store is None and name is None:
            self._be_made_of([RatePart(*figures, cost, key, share, first)])
            return
        if strict:
            raise InvalidArgument("strict=True is not to be had with store=, only a bucket is")
        if key is not None:
            raise InvalidArgument(
                f"key= is not to be had with store=, got {checks.shown(key)}: "
                "make a limit of another name for each"
            )
        tokens = most if first is None else first
        shared = Store(store, name, Figures(*figures[:3]), tokens)
        self._be_made_of([SharedRate(shared, cost, share)])

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

    def _be_made_of(self, parts: Sequence[LimitPart]) -> None:
        self._door = LimitDoor(parts)
        self.unreadable = 0  #: headers that `observe` could not read

    @staticmethod
    def all(*limits: "Limit") -> "Limit":
        """Several limits, taken together or not at all; each may be used elsewhere too."""
        if not limits:
            raise InvalidArgument("Limit.all needs a limit")
        for limit in limits:
            if not isinstance(limit, Limit):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidArgumentType(f"Limit.all takes limits, got {checks.shown(limit)}")
        both = Limit.__new__(Limit)
        parts = [part for limit in limits for part in limit._door.state.parts]
        both._be_made_of(list(dict.fromkeys(parts)))
        return both

    # -- changing it while it is used ---------------------------------------------------

    def update(
        self,
        rate: float | None = None,
        *,
        per: checks.Seconds | None = None,
        burst: float | None = None,
    ) -> None:
        """Use other figures from now on; what was taken stays taken.

        Those of a limit with a `store` stay: others have them too.
        """
        parts = self._door.state.parts
        (part,) = parts if len(parts) == 1 else (None,)
        if isinstance(part, SharedRate):
            raise InvalidArgument(
                f"the figures of {part.store.name!r} are in {part.store.path}: "
                "make a limit of another name"
            )
        if not isinstance(part, RatePart):
            raise InvalidArgument("update the limits that this one is made of")
        *figures, _ = self._figures(
            part.rate if rate is None else rate,
            part.per if per is None else per,
            part.burst if burst is None else burst,
            part.strict,
        )
        self._door.change(part, *figures)

    def pause(self, seconds: checks.Seconds, now: float | None = None) -> None:
        """Let nobody who shares this through for so long; a later end wins.

        It empties the bucket, and until its end no more than one token comes in: then what
        waited comes at the rate, and not in one burst.  A strict window has no bucket, and
        goes on counting what it let through.
        """
        length = checks.duration("seconds", seconds)
        self._door.pause(length, self._door.now() if now is None else now)

    def observe(self, headers: Any) -> None:
        """Learn from the headers of a response when there is something left again.

        ``RateLimit`` with ``RateLimit-Policy``, ``RateLimit-Remaining`` and its like (with
        ``X-``, for requests and for tokens), ``Retry-After`` and ``retry-after-ms``.  If
        nothing is left the limit pauses until the reset, as `pause` does; of several the
        longest holds.  Nothing left without a reset says nothing.

        Args:
            headers: A mapping, or anything that has `items`; names in any case.  What cannot
                be read is ignored, and counted in `unreadable`; nothing is raised.
        """
        given = Headers(headers)
        pause = pause_of(given, time())
        if given.unreadable:
            with LIMITS_LOCK:
                self.unreadable += given.unreadable
        if pause:
            self.pause(pause)

    # -- for code without a pool ----------------------------------------------------------

    def acquire(self, item: Any = None, timeout: checks.Seconds | None = None) -> bool:
        """Wait on this thread until *item* may pass; False if that takes too long."""
        seconds = checks.patience("timeout", timeout)
        gate = threading.Event()
        door = self._door
        ticket = door.ticket(item, gate.set, Clock(TimerScheduler.singleton()))
        until = None if seconds is None else monotonic() + seconds
        try:
            while not door.enter(ticket, monotonic()):
                door.arm()
                left = None if until is None else until - monotonic()
                if left is not None and left <= 0:
                    return False
                _forks.afresh(gate).wait(at_most(left))
                gate.clear()
        finally:
            door.leave(ticket)
            door.arm()
        return True

    async def acquire_async(self, item: Any = None) -> None:
        """Wait on the running event loop until *item* may pass."""
        loop = asyncio.get_running_loop()
        gate = asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(gate.set)

        door = self._door
        ticket = door.ticket(item, wake, Clock(TimerScheduler.singleton()))
        try:
            while not door.enter(ticket, monotonic()):
                door.arm()
                await gate.wait()
                gate.clear()
        finally:
            door.leave(ticket)
            door.arm()


def _share(name: str, value: Any) -> float:
    share = checks.number(name, value)
    if share > 1:
        raise InvalidArgument(f"{name} must be 1 at most, got {checks.shown(value)}")
    return share


def limit_door(limit: Limit) -> LimitDoor:
    """What the engine calls."""
    return limit._door  # pyright: ignore[reportPrivateUsage]
