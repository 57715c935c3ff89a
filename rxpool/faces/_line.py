"""`LineState`: calls in a line, started at a rate and so many at once."""

from collections import OrderedDict
from typing import Any

from rxpool._core.rate_limiters import TIE, Meter, SlidingLog, TokenBucket

__all__ = ("LineState",)

_INSTANT = 1e-6  #: seconds; less is rounding, as datetimes count in microseconds
_LATENESS = 0.05  #: seconds; so late a timer may be without costing rate


class LineState:
    """Decides when the next call starts.  Knows no clock and no thread.

    First in, first out.  A call starts when the meter has a token and a place is free; it
    takes both at that instant, and whoever leaves the line before has taken nothing.
    """

    __slots__ = (
        "_early",
        "_freed",
        "_line",
        "_max_pending",
        "_meter",
        "_places",
        "running",
    )

    def __init__(
        self,
        rate: float,
        now: float,
        *,
        per: float = 1.0,
        burst: float = 1.0,
        cooldown: float = 0.0,
        strict: bool = False,
        places: int = 1024,
        max_pending: int = 1024,
    ) -> None:
        self._meter: Meter
        if strict:
            self._meter = SlidingLog(rate, per, cooldown, now)
        else:
            self._meter = TokenBucket(per / rate, burst, cooldown, now)
        self._early = TIE if strict else _INSTANT
        self._places = places
        self._max_pending = max_pending
        self._line: OrderedDict[Any, float] = OrderedDict()  # with the time of arrival
        self._freed = now  # when a place became free last
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    @property
    def due(self) -> float | None:
        """When the first in line may start, unless it waits for a place."""
        if not self._line or self.running >= self._places:
            return None
        return self._meter.due(1.0)

    def join(self, call: Any, now: float) -> bool:
        """Let *call* stand in line; False if that is as long as it may be."""
        if len(self._line) >= self._max_pending:
            return False
        if not self._line:
            self._meter.settle(now)
        self._line[call] = now
        return True

    def leave(self, call: Any) -> None:
        """Take *call* out of the line."""
        del self._line[call]

    def next(self, now: float) -> Any:
        """The call that starts now, or None."""
        due = self.due
        if due is None or due > now + self._early:
            return None
        call, since = self._line.popitem(last=False)
        # Tokens count from when the call could start: what a late timer costs is given back.
        at = max(due, since, self._freed, now - _LATENESS)
        self._meter.take(1.0, at, now)
        self.running += 1
        return call

    def end(self, now: float) -> None:
        """A call that ran ended."""
        if self.running == self._places:
            self._freed = now
        self.running -= 1

    def clear(self) -> list[Any]:
        """Drop the line, and forget what runs."""
        calls = list(self._line)
        self._line.clear()
        self.running = 0
        return calls
