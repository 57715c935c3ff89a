"""`Intake`: numbers on their way into a monitor, taken row by row and counted in lots."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from rxpool.metrics._series import Series, slots_of

__all__ = ("Counted", "Intake", "SeriesOf")

_LOT: Final = 256  #: rows that wait, at most, until they are counted
_CROWD: Final = 4 * _LOT  #: the same while others have the lock; who brings more waits for it

#: name, unit and attributes
Counted = tuple[str, str, Mapping[str, str]]


class SeriesOf(Protocol):
    """Gives the series in which so many events with this name and these attributes count."""

    def __call__(
        self, name: str, unit: str, attributes: Mapping[str, str], times: int
    ) -> Series:
        """The monitor's lock is held."""
        ...


class Intake:
    """What is measured of each of many things: a row has a number for each of *measured*.

    Putting a row in takes one operation of a list, which is atomic, so threads neither wait
    for a lock nor make an event for each number.  Rows are counted under the monitor's lock:
    when there are many of them, and before anybody reads, who therefore sees them all.

    *measured* are histograms of what cannot be below 0, and counts as 0 if it is; *counter*,
    if there is one, counts the rows themselves.  The clock is the monitor's, and says when a
    row came in.
    """

    __slots__ = ("_counter", "_end", "_make_room", "_measured", "_rows", "_width", "now")

    def __init__(
        self,
        measured: Sequence[Counted],
        counter: Counted | None,
        now: Callable[[], float],
        make_room: "Callable[[Intake, bool], object]",
        end: "Callable[[Intake], object]",
    ) -> None:
        self.now = now
        self._measured = tuple(measured)
        self._counter = counter
        self._width = len(self._measured) + 1
        self._rows: list[float] = []  # one behind the other
        self._make_room = make_room
        self._end = end

    def put(self, rows: tuple[float, ...] | list[float]) -> None:
        """Take rows, one behind the other, each with the time by `now` as its last number.

        A tuple or a list, as with another iterable it would not be one operation.
        """
        waiting = self._rows
        waiting.extend(rows)
        if len(waiting) >= _LOT * self._width:
            self._make_room(self, len(waiting) >= _CROWD * self._width)

    def close(self) -> None:
        """No more come: what is here is counted."""
        self._end(self)

    def count(self, series_of: SeriesOf, step: float) -> None:
        """Count what is here; windows have slots of *step* seconds.

        The monitor's lock is held, or else two would count the same rows.
        """
        rows = self._rows[:]
        del self._rows[: len(rows)]  # others may have put more behind them
        if not rows:
            return
        width = self._width
        slots = slots_of(rows[width - 1 :: width], step)
        times = len(rows) // width
        for place, (name, unit, attributes) in enumerate(self._measured):
            values = rows[place::width]
            if min(values) < 0.0:
                values = [max(0.0, value) for value in values]
            series_of(name, unit, attributes, times).take_all(values, slots)
        if self._counter is not None:
            series_of(*self._counter, times).take_things(times, slots)
