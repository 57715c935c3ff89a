"""`ChunkSize`: how many items to hand to a worker at once."""

from typing import Final

__all__ = ("ChunkSize",)

_CHUNK: Final = 0.004  #: seconds of work handed over at once
_SHORT: Final = 0.010  #: seconds: shorter items have another one waiting at the worker
_MOST: Final = 2000  #: items
_GROWTH: Final = 8  #: times as many as the last time
_BYTES: Final = 32 * 1024  #: of a message to a worker that is busy: it must not have to wait
_WEIGHT: Final = 0.3  #: of the newest measurement


class ChunkSize:
    """What is known of the items of one flow: how long they take, and how large they are.

    Not the number of items in a chunk is bounded but the time, by what was measured; so
    short items travel in large chunks, long ones singly.
    """

    __slots__ = ("_bytes", "_last", "_seconds")

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._bytes = 0.0
        self._last = 1

    def ran(self, items: int, seconds: float) -> None:
        """So many items took so long together."""
        mean = max(seconds / items, 1e-7)
        if self._seconds is None:
            self._seconds = mean
        else:
            weight = _WEIGHT if mean < self._seconds else 1.0  # slower: at once
            self._seconds += weight * (mean - self._seconds)

    def weighed(self, items: int, size: int) -> None:
        """So many items made a message of *size* bytes."""
        self._bytes += _WEIGHT * (size / items - self._bytes)

    @property
    def short(self) -> bool:
        """Whether items are known to be short."""
        return self._seconds is not None and self._seconds < _SHORT

    @property
    def slow_after(self) -> float:
        """Seconds after which an item is longer than others are."""
        return max(_SHORT, 3 * (self._seconds or 0.0))

    def chunk(self) -> int:
        """How many items to hand to a worker that has none."""
        if self._seconds is None:
            return 1
        most = min(_MOST, self._last * _GROWTH)
        if self._bytes:
            most = min(most, int(_BYTES / self._bytes))
        self._last = max(1, min(most, int(_CHUNK / self._seconds)))
        return self._last

    def more(self, left: int) -> int:
        """How many to hand to a worker that has *left* still to do."""
        if not self.short or self._bytes > _BYTES:
            return 0
        assert self._seconds is not None
        if left > 1 and left * self._seconds > _CHUNK:
            return 0
        return self.chunk()
