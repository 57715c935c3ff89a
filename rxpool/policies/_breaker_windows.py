"""The recent calls of a breaker, summed up: the last N, or those of the last N seconds."""

from collections import deque

__all__ = ("FAILED", "SLOW", "CountWindow", "TimeWindow", "Window")

FAILED, SLOW = 1, 2  #: how a call ended: the sum of what is true of it


class CountWindow:
    """The last `size` calls: what is overwritten in the ring is taken off the sums."""

    __slots__ = ("_next", "_ring", "_size", "calls", "failed", "full", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring = bytearray()
        self._next = 0
        self.full = False  # one more call pushes one out
        self.calls = self.failed = self.slow = 0

    def add(self, now: float, how: int) -> None:
        """One more call ended."""
        if self.full:
            place = self._next
            gone = self._ring[place]
            if gone:
                self.failed -= gone & FAILED
                self.slow -= gone >> 1
            self._ring[place] = how
            place += 1
            self._next = place if place < self._size else 0
        else:
            self._ring.append(how)
            self.calls += 1
            self.full = self.calls == self._size
        if how:
            self.failed += how & FAILED
            self.slow += how >> 1

    def forget(self, now: float) -> None:
        """Time alone changes nothing here."""


class TimeWindow:
    """The calls of this second of the clock and of the `size` - 1 before it."""

    __slots__ = ("_last", "_next", "_parts", "_size", "calls", "failed", "full", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        # Second, calls, failed, slow; only of the seconds that had calls, so at most `size`.
        self._parts: deque[list[int]] = deque()
        self._last: list[int] = []
        self._next = 0.0  # when the last part ends; with no parts it is not looked at
        self.full = False  # by itself a call pushes none out
        self.calls = self.failed = self.slow = 0

    def add(self, now: float, how: int) -> None:
        """One more call ended.  One that comes with an older time counts as the newest."""
        if now >= self._next or not self._parts:
            self.forget(now)
            second = int(now // 1)
            self._last = [second, 0, 0, 0]
            self._next = second + 1
            self._parts.append(self._last)
        last = self._last
        last[1] += 1
        self.calls += 1
        if how:
            last[2] += how & FAILED
            last[3] += how >> 1
            self.failed += how & FAILED
            self.slow += how >> 1

    def forget(self, now: float) -> None:
        """Drop the seconds that have left the window."""
        parts, newest_gone = self._parts, int(now // 1) - self._size
        while parts and parts[0][0] <= newest_gone:
            _, calls, failed, slow = parts.popleft()
            self.calls -= calls
            self.failed -= failed
            self.slow -= slow


Window = CountWindow | TimeWindow
