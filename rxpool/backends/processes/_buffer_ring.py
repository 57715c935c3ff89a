"""`BufferRing`: large buffers on their way between two processes."""

from collections import deque
from typing import Final, TypeAlias

__all__ = ("LARGE", "BufferRing", "Span")

#: bytes from which on a buffer travels through shared memory
LARGE: Final = 16 * 1024

_ALIGN: Final = 64

#: where a buffer lies in its ring: offset and length; and the how many-th it is
Span: TypeAlias = tuple[int, int, int]


class BufferRing:
    """A ring of bytes: one side puts buffers in, the other frees them in that order.

    It is only as long as it has to be, so that the same, warm memory is used again.  The
    side that puts knows what is in use: `_live` has where each buffer lies and its number.
    """

    def __init__(self, memory: memoryview, numbers: "memoryview[float]", freed: int) -> None:
        self._memory = memory
        self._numbers = numbers
        self._freed = freed
        self._length = 0
        self.count = 0  #: how many buffers there were; see `take_back`
        self._live: deque[tuple[int, int, int]] = deque()
        self.touched = 0  #: bytes, from the start, that may take memory

    def is_free(self) -> bool:
        """Whether the other side needs nothing any more of what was put here."""
        live, freed = self._live, self._numbers[self._freed]
        while live and live[0][2] <= freed:
            live.popleft()
        return not live

    def release(self) -> None:
        """See `SharedBlock.release`."""
        self._memory.release()

    def take_back(self, mark: int) -> None:
        """Forget what was put since *mark*, which was the `count` then, and never sent."""
        while self._live and self._live[-1][2] > mark:
            self._live.pop()
        self.count = mark

    def put(self, data: memoryview) -> Span | None:
        """Copy a buffer in; None if there is no room."""
        length = data.nbytes
        start = self._place(length + -length % _ALIGN)
        if start is None:
            return None
        self.touched = max(self.touched, start + length)
        self._memory[start : start + length] = data if data.format == "B" else data.cast("B")
        self.count += 1
        self._live.append((start, start + length + -length % _ALIGN, self.count))
        return start, length, self.count

    def _place(self, length: int) -> int | None:
        """Where so many bytes are free."""
        live = self._live
        self.is_free()
        oldest, newest = (live[0][0], live[-1][1]) if live else (0, 0)
        if live and newest <= oldest:  # the newest lie before the oldest
            return newest if newest + length <= oldest else None
        if newest + length <= self._length:
            return newest
        if length <= oldest:
            return 0
        if newest + length > len(self._memory):
            return None
        self._length = newest + length
        return newest

    def view(self, span: Span) -> memoryview:
        """The bytes of a buffer, where they are."""
        self.touched = max(self.touched, span[0] + span[1])
        return self._memory[span[0] : span[0] + span[1]]

    def free(self, number: int) -> None:
        """All buffers up to this one may be used again."""
        self._numbers[self._freed] = number
