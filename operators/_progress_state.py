"""How far a stream is: counts, a rate, and when to say so.  Nothing but decisions."""

from dataclasses import dataclass

__all__ = ("ProgressState", "Standing")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a stream stands at one instant."""

    count: int  #: items so far, the failed ones included
    failed: int  #: those that were a `Failure`
    total: int | None  #: how many are expected, if anybody knows
    elapsed: float  #: seconds since the subscription

    @property
    def rate(self) -> float:
        """Items per second since the subscription; 0 while no time has passed."""
        return self.count / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def share(self) -> float | None:
        """What part is done, from 0 to 1; None without a total, 1 with more than it."""
        if self.total is None:
            return None
        return min(1.0, self.count / self.total) if self.total else 1.0


class ProgressState:
    """Counts items, and decides when the next standing is due.

    Args:
        total: How many items are expected, or None.
        every: Seconds between two standings, above 0.
        now: When the stream began.
    """

    __slots__ = ("_began", "_count", "_every", "_failed", "_told", "_told_count", "_total")

    def __init__(self, total: int | None, every: float, now: float) -> None:
        self._total = total
        self._every = every
        self._began = self._told = now
        self._count = self._failed = self._told_count = 0

    @property
    def due(self) -> float | None:
        """When to show the next standing; None while there is nothing new."""
        return None if self._count == self._told_count else self._told + self._every

    def add(self, failed: bool) -> None:
        """Count an item."""
        self._count += 1
        self._failed += failed

    def standing(self, now: float) -> Standing:
        """Where things stand at *now*."""
        elapsed = max(0.0, now - self._began)
        return Standing(self._count, self._failed, self._total, elapsed)

    def tell(self, now: float) -> Standing:
        """The standing to show at *now*; the next is due `every` later, not before."""
        self._told, self._told_count = max(now, self._told), self._count
        return self.standing(now)

    def shown(self, now: float) -> None:
        """The display took until *now*: one that is slow does not get more to do for it."""
        self._told = max(now, self._told)
