"""The memory that a worker process shares with its parent.

One anonymous block for each worker: nothing on the disk or in a list of names, so nothing is
left behind, whoever dies.  In it are a few numbers, a journal of results that were not sent
yet, and two lanes for large buffers, one each way.
"""

import mmap
import os
import sys
import tempfile
from collections import deque
from typing import Any, Final, TypeAlias

if sys.platform != "win32":
    from multiprocessing import reduction

__all__ = (
    "FREED_IN",
    "FREED_OUT",
    "JOURNAL_FIRST",
    "JOURNAL_USED",
    "LIMIT",
    "NEVER",
    "RESUME",
    "RUNNING",
    "STARTED",
    "Block",
    "Lane",
    "Span",
)

# The numbers, all of them floats: writing one is a single aligned store.
RUNNING: Final = 0  #: worker: the item that runs, or ran last
STARTED: Final = 1  #: worker: since when
LIMIT: Final = 2  #: parent: items from here on are not to be run ...
RESUME: Final = 3  #: ... up to here
JOURNAL_USED: Final = 4  #: worker: bytes
JOURNAL_FIRST: Final = 5  #: worker: the item of its first record
FREED_IN: Final = 6  #: worker: how far it needs the buffers of items no more
FREED_OUT: Final = 7  #: parent: the same for the buffers of results

NEVER: Final = float("inf")

_NUMBERS: Final = 64
_JOURNAL: Final = 64 * 1024
_LANE: Final = 256 * 1024 * 1024  # of addresses; memory is taken when it is first written to
_ALIGN: Final = 64

#: where a buffer lies in its lane: offset and length; and the how many-th it is
Span: TypeAlias = tuple[int, int, int]


class Block:
    """The shared memory of one worker; can be given to a process that is being started."""

    def __init__(self, fd: int = -1, name: str = "") -> None:
        size = _NUMBERS + _JOURNAL + 2 * _LANE
        self.name = name or f"rxpool-{os.getpid()}-{id(self)}"
        if sys.platform == "win32":
            self.fd = -1
            self._map = mmap.mmap(-1, size, tagname=self.name)
        else:
            self.fd = fd if fd >= 0 else _anonymous_file(size)
            self._map = mmap.mmap(self.fd, size)
        whole = memoryview(self._map)
        self.numbers = whole[:_NUMBERS].cast("d")
        self.journal = whole[_NUMBERS : _NUMBERS + _JOURNAL]
        start = _NUMBERS + _JOURNAL
        self.items = Lane(whole[start : start + _LANE], self.numbers, FREED_IN)
        self.results = Lane(whole[start + _LANE :], self.numbers, FREED_OUT)
        if fd < 0:
            self.numbers[LIMIT] = NEVER
            self.numbers[RUNNING] = -1.0

    def close(self) -> None:
        """Give the file up; the memory goes when nobody uses it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _anonymous_file(size: int) -> int:
    if sys.platform == "linux":
        fd = os.memfd_create("rxpool", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


if sys.platform != "win32":

    def _rebuild(duplicate: Any) -> Block:
        return Block(duplicate.detach())

    def _reduce(block: Block) -> tuple[Any, ...]:
        return _rebuild, (reduction.DupFd(block.fd),)

    reduction.register(Block, _reduce)


class Lane:
    """A ring of bytes: one side puts buffers in, the other frees them in that order.

    It is only as long as it has to be, so that the same, warm memory is used again.  The
    side that puts knows what is in use: `_live` has where each buffer lies and its number.
    """

    def __init__(self, memory: memoryview, numbers: "memoryview[float]", freed: int) -> None:
        self._memory = memory
        self._numbers = numbers
        self._freed = freed
        self._length = 0
        self._count = 0
        self._live: deque[tuple[int, int, int]] = deque()

    def mark(self) -> int:
        """How many buffers there were; see `take_back`."""
        return self._count

    def take_back(self, mark: int) -> None:
        """Forget what was put since *mark* and never sent."""
        while self._live and self._live[-1][2] > mark:
            self._live.pop()
        self._count = mark

    def put(self, data: memoryview) -> Span | None:
        """Copy a buffer in; None if there is no room."""
        length = data.nbytes
        start = self._place(length + -length % _ALIGN)
        if start is None:
            return None
        self._memory[start : start + length] = data if data.format == "B" else data.cast("B")
        self._count += 1
        self._live.append((start, start + length + -length % _ALIGN, self._count))
        return start, length, self._count

    def _place(self, length: int) -> int | None:
        """Where so many bytes are free."""
        live, freed = self._live, self._numbers[self._freed]
        while live and live[0][2] <= freed:
            live.popleft()
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
        return self._memory[span[0] : span[0] + span[1]]

    def free(self, number: int) -> None:
        """All buffers up to this one may be used again."""
        self._numbers[self._freed] = number
