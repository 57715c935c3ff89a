"""`LimitState`: who may pass a limit, and who is next.  No clock, no lock, no alarms."""

from bisect import insort
from collections.abc import Hashable, Sequence
from itertools import count
from math import inf
from typing import Any, Final, Generic, Protocol, TypeVar

from rxpool.errors import RxPoolError
from rxpool.policies._limit_parts import LimitPart

__all__ = ("Alarm", "LimitState", "Line", "Place")

_numbers: Final = count()  # of all limits, as those of parts that are shared are compared


class Place:
    """Somebody's place in the line of a limit."""

    __slots__ = ("costs", "keys", "line", "number")

    def __init__(self, keys: tuple[Hashable, ...], costs: tuple[float, ...]) -> None:
        self.keys = keys
        self.costs = costs
        self.number = -1  # order of the first refusal
        self.line: Line[Any] | None = None  # where it waits

    def __lt__(self, other: "Place") -> bool:
        return self.number < other.number


_P = TypeVar("_P", bound=Place)


class Alarm(Protocol):
    """What rings, unless it is disposed of before."""

    def dispose(self) -> None:
        """It does not ring."""
        ...


class Line(Generic[_P]):
    """Who waits for the same keys, whoever was refused first in front.

    Attributes:
        state: The limit that they wait for.
        places: They; a line that is left empty is let go of.
        armed: Whom an alarm is wanted for, and when.
        alarm: That alarm, for whoever sets it.
    """

    __slots__ = ("alarm", "armed", "places", "state")

    def __init__(self, state: "LimitState[_P]") -> None:
        self.state = state
        self.places: list[_P] = []
        self.armed: tuple[_P, float] | None = None
        self.alarm: Alarm | None = None

    def rearm(self, now: float) -> bool:
        """Look when the first may pass; whether `armed` is another than it was."""
        head = self.places[0] if self.places else None
        due = inf if head is None else self.state.due(head, now)
        goal = None if head is None or due == inf else (head, due)
        if goal == self.armed:
            return False
        self.armed = goal
        return True

    def rung(self, place: _P) -> bool:
        """An alarm for *place* rang; False: it is not the one that is wanted."""
        if self.armed is None or self.armed[0] is not place:
            return False
        self.armed = self.alarm = None
        return True


class LimitState(Generic[_P]):
    """Lets through whom all of its parts let through, first come, first served.

    A part may be one of several limits: so those who use them need one lock for all.

    Attributes:
        parts: What is taken together or not at all.
        uniform: Whether all items are the same to it.
        shares: Whether several items may be granted what they need before they begin.
        stored: Those that have a store.
        keyed: Whether some who wait may be passed by others.
        lines: Who waits, by what they wait for.
        changed: Lines, also of other limits that share a part, of which `rearm` is to be
            asked; whoever does so takes them out.
    """

    __slots__ = ("changed", "keyed", "lines", "parts", "shares", "stored", "uniform")

    def __init__(self, parts: Sequence[LimitPart]) -> None:
        self.parts = tuple(parts)
        self.keyed = any(part.keyed for part in self.parts)
        self.uniform = all(part.uniform for part in self.parts)
        self.shares = all(part.shares for part in self.parts)
        self.lines: dict[tuple[Hashable, ...], Line[_P]] = {}
        self.changed: dict[Line[_P], None] = {}
        self.stored = tuple(part for part in self.parts if part.stored)

    def enter(self, place: _P, now: float) -> bool:
        """Take what *place* is for, or False: it waits in line now.

        Raises:
            RxPoolError: If the store of a part cannot be used; it is out of the line then.
        """
        line = place.line
        if line is None:
            line = self.lines.get(place.keys)
            first = (
                line is None
                or not line.places
                or (place.number >= 0 and place < line.places[0])
            )
        else:
            first = line.places[0] is place
        if first and self.due(place, now) <= now:
            if self.stored:
                self._check(place)
            for part, key, cost in zip(self.parts, place.keys, place.costs, strict=True):
                part.take(key, cost, now, place.number >= 0)
            place.number = -1
            if place.line is not None:
                self._remove(place)
            for part in self.parts:  # `touch`, without a call: this is per item
                self.changed.update(part.lines)
            return True
        self.changed[place.line or self._stand(place)] = None
        return False

    def enter_now(self, now: float) -> bool:
        """Take what any item needs, if that is there and nobody waits; only if `uniform`."""
        taken = 0
        for part in self.parts:
            if part.lines or not part.take_now(now):
                break
            taken += 1
        else:
            return True
        for part in self.parts[:taken]:
            part.refund(*part.ask(None))
        return False

    def _check(self, place: _P) -> None:
        """Raise what a store failed with, if whoever is due now is due for that."""
        try:
            for part in self.stored:
                part.check()
        except RxPoolError:
            self._remove(place)
            self.touch()
            raise

    def leave(self, place: _P) -> None:
        """Give the place in line up; one that asks again gets it back."""
        if place.line is not None:
            self._remove(place)
            self.touch()

    def done(self, error: BaseException | None, took: float, now: float) -> None:
        """What was let through has ended."""
        room = False
        for part in self.parts:
            room = part.done(error, took, now) or room
        if room:
            self.touch()

    def give_back(self) -> None:
        """What was let through was cancelled: it says nothing; tokens stay taken."""
        for part in self.parts:
            part.give_back()
        self.touch()

    def refund(self, place: _P | None) -> None:
        """What *place*, or `enter_now`, was granted was not used: it is there for others."""
        for number, part in enumerate(self.parts):
            if place is None:
                part.refund(*part.ask(None))
            else:
                part.refund(place.keys[number], place.costs[number])
        self.touch()

    def pause(self, seconds: float, now: float) -> None:
        """Let nobody through for so long; a later end wins."""
        for part in self.parts:
            part.pause(seconds, now)
        self.touch()

    def touch(self) -> None:
        """Whoever waits for one of the parts may have to wait for longer, or less long."""
        for part in self.parts:
            self.changed.update(part.lines)

    def forget(self) -> None:
        """In a forked child: who is in line, and what is under way, is the parent's."""
        for line in self.lines.values():
            for place in line.places:
                place.line = None
        self.lines.clear()
        self.changed.clear()
        for part in self.parts:
            part.forked()

    def due(self, place: _P, now: float) -> float:
        """When *place* may pass; infinity: when something else has happened."""
        due = now
        for part, key, cost in zip(self.parts, place.keys, place.costs, strict=True):
            due = max(due, part.due(key, cost, now, place.number < 0))
        if due > now:
            return due
        for part in self.parts:
            for line in part.lines:
                head = line.places[0]
                if head is place or line is place.line:
                    continue
                older = place.number < 0 or head < place
                if older and line.state.passable(head, now) and self._share_a_key(place, line):
                    return inf  # that one first
        return now

    def passable(self, place: _P, now: float) -> bool:
        """Whether there is enough for *place*, whoever else waits."""
        return all(
            part.due(key, cost, now) <= now
            for part, key, cost in zip(self.parts, place.keys, place.costs, strict=True)
        )

    def _share_a_key(self, place: _P, line: Line[Any]) -> bool:
        """Whether *place* and those in *line* take from the same tokens."""
        theirs = dict(zip(line.state.parts, line.places[0].keys, strict=True))
        return any(
            part in theirs and theirs[part] == key
            for part, key in zip(self.parts, place.keys, strict=True)
        )

    def _stand(self, place: _P) -> Line[_P]:
        """Put *place* into its line."""
        if place.number < 0:
            place.number = next(_numbers)
        line = self.lines.setdefault(place.keys, Line(self))
        insort(line.places, place)
        place.line = line
        for part, key in zip(self.parts, place.keys, strict=True):
            part.lines[line] = None
            part.waits[key] = part.waits.get(key, 0) + 1
        return line

    def _remove(self, place: _P) -> None:
        """Take *place* out of its line."""
        line, place.line = place.line, None
        if line is None:
            return
        line.places.remove(place)
        self.changed[line] = None
        for part, key in zip(self.parts, place.keys, strict=True):
            part.waits[key] -= 1
            if not part.waits[key]:
                del part.waits[key]
        if not line.places:
            self.lines.pop(place.keys, None)
            for part in self.parts:
                part.lines.pop(line, None)
