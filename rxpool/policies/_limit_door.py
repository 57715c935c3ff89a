"""`LimitDoor`: what the engine, and all that calls through a `Limit`, does with it."""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final

from rxpool import _forks
from rxpool.errors import InvalidArgument, RxPoolError
from rxpool.policies._limit_parts import LimitPart, RatePart
from rxpool.policies._limit_state import Alarm, LimitState, Line, Place
from rxpool.policies._shared import SharedRate
from rxpool.timing import Clock

__all__ = ("LIMITS_LOCK", "LimitDoor", "Ticket")

#: guards all limits: one may be part of several, and those are taken all or nothing
LIMITS_LOCK: Final = _forks.held(threading.RLock())


class Ticket(Place):
    """Somebody's place in the line of a limit, and how to wake whoever it is."""

    __slots__ = ("clock", "rung", "wake")

    def __init__(
        self,
        keys: tuple[Hashable, ...],
        costs: tuple[float, ...],
        wake: Callable[[], object],
        clock: Clock,
    ) -> None:
        super().__init__(keys, costs)
        self.wake = wake  #: called when it is time to ask again, on any thread
        self.clock = clock
        self.rung = -inf  #: until when it has waited

    def copy(self) -> "Ticket":
        """A ticket for the same."""
        return Ticket(self.keys, self.costs, self.wake, self.clock)


class LimitDoor:
    """The state of a limit with the lock, the alarms and the stores around it.

    Whoever calls `enter`, `leave`, `done` or `give_back` is to call `arm` afterwards,
    without any lock held: those call nothing foreign, `arm` does.

    Attributes:
        state: Under the lock of all limits.
        keyed: Whether some who wait may be passed by others.
        uniform: Whether all items are the same to it: `enter_now` is to be asked first, and
            needs no ticket.
        shares: Whether several items may be granted what they need before they begin.
        now: The clock of whoever came last.
        stored: The parts that have a store.
    """

    __slots__ = ("__weakref__", "keyed", "now", "shares", "state", "stored", "uniform")

    def __init__(self, parts: Sequence[LimitPart]) -> None:
        self.state: LimitState[Ticket] = LimitState(parts)
        self.keyed = self.state.keyed
        self.uniform = self.state.uniform
        self.shares = self.state.shares
        self.now: Callable[[], float] = monotonic
        self.stored = _shared(self.state)
        _forks.heed(self)

    def forked(self) -> None:
        """Those in line, and the calls under way, are the parent's."""
        _forks.bury(self.state.lines, self.state.changed)
        self.state.forget()

    def ticket(self, item: Any, wake: Callable[[], object], clock: Clock) -> Ticket:
        """What *item* needs; calls functions of the user."""
        if self.stored and clock.virtual:
            raise InvalidArgument(
                "a limit with store= goes by the wall clock, not on a virtual scheduler"
            )
        parts = self.state.parts
        if len(parts) == 1:  # without a call for that: this is per item
            key, cost = parts[0].ask(item)
            return Ticket((key,), (cost,), wake, clock)
        keys, costs = zip(*[part.ask(item) for part in parts], strict=True)
        return Ticket(keys, costs, wake, clock)

    def enter_now(self, now: float, clock: Callable[[], float] | None = None) -> bool:
        """Take what any item needs, if that is there and nobody waits; only if `uniform`."""
        with LIMITS_LOCK:
            if clock is not None:
                self.now = clock
            return self.state.enter_now(now)

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Take what *ticket* needs, or False: it waits in line now, and is going to be woken.

        Raises:
            RxPoolError: If its store cannot be used; the ticket is out of the line then.
        """
        with LIMITS_LOCK:
            self.now = ticket.clock.now
            # A virtual clock of microseconds may read a trifle less than what it has rung for.
            return self.state.enter(ticket, max(now, ticket.rung))

    def leave(self, ticket: Ticket) -> None:
        """Give the place in line up; a ticket that asks again gets it back."""
        with LIMITS_LOCK:
            self.state.leave(ticket)

    def done(self, error: BaseException | None, took: float, now: float) -> None:
        """A call that was granted has ended."""
        with LIMITS_LOCK:
            self.state.done(error, took, now)

    def give_back(self) -> None:
        """A call that was granted was cancelled: it says nothing; tokens stay taken."""
        with LIMITS_LOCK:
            self.state.give_back()

    def refund(self, ticket: Ticket | None) -> None:
        """What *ticket*, or `enter_now`, was granted was not used: it is there again."""
        with LIMITS_LOCK:
            self.state.refund(ticket)

    def pause(self, seconds: float, now: float) -> None:
        """Let nobody through for so long, from now on; this calls `arm`."""
        with LIMITS_LOCK:
            self.state.pause(seconds, now)
        self.arm()

    def change(self, part: RatePart, rate: float, per: float, burst: float) -> None:
        """Use other figures from now on; this calls `arm`."""
        with LIMITS_LOCK:
            part.change(rate, per, burst, part.strict)
            self.state.touch()
        self.arm()

    def arm(self) -> None:
        """See that whoever comes next is woken in time.  No lock is held."""
        if self.stored:
            self._ask_stores(self.stored)
        while self.state.changed:
            stored = self._set_alarms()
            if not stored:
                return
            self._ask_stores(stored)

    def _ask_stores(self, parts: Iterable[SharedRate]) -> None:
        """Fetch the leases that somebody waits for, and tell of pauses."""
        for part in parts:
            while True:
                now = self.now()
                with LIMITS_LOCK:
                    request = part.request(now)
                if request is None:
                    break
                try:
                    lease = part.store.ask(request, now)
                except BaseException as error:
                    with LIMITS_LOCK:
                        part.fail(error, request, now, self.now())
                        self.state.changed.update(part.lines)
                    if not isinstance(error, RxPoolError):
                        raise
                else:
                    with LIMITS_LOCK:
                        part.answer(lease)
                        self.state.changed.update(part.lines)

    def _set_alarms(self) -> list[SharedRate]:
        """Set those of the lines that changed; the parts of these that have a store.

        They are no `Alarm`: whoever is in front brings the clock that it is to be woken by.
        """
        todo: list[tuple[Line[Ticket], Ticket, float]] = []
        stop: list[Alarm] = []
        stored: list[SharedRate] = []
        with LIMITS_LOCK:
            changed, self.state.changed = self.state.changed, {}
            for line in changed:
                if line.state.stored:
                    stored += _shared(line.state)
                if not line.rearm(line.places[0].clock.now() if line.places else 0.0):
                    continue
                if line.alarm is not None:
                    stop.append(line.alarm)
                    line.alarm = None
                if line.armed is not None:
                    todo.append((line, *line.armed))
        for alarm in stop:
            alarm.dispose()
        for line, ticket, due in todo:
            alarm = ticket.clock.alarm(due, partial(self._ring, line, ticket))
            with LIMITS_LOCK:
                if line.armed == (ticket, due):
                    line.alarm = alarm
                    continue
            alarm.dispose()
        return list(dict.fromkeys(stored))

    def _ring(self, line: Line[Ticket], ticket: Ticket, now: float) -> None:
        with LIMITS_LOCK:
            if not line.rung(ticket):
                return
            ticket.rung = now
        ticket.wake()


def _shared(state: LimitState[Ticket]) -> list[SharedRate]:
    """The parts that have a store."""
    return [part for part in state.stored if isinstance(part, SharedRate)]
