"""The memory that a worker process shares with its parent.

One anonymous block for each worker: nothing on the disk or in a list of names, so nothing is
left behind, whoever dies.  In it are a few numbers, a journal of results that were not sent
yet, and two lanes for large buffers, one each way.
"""

import mmap
import os
import sys
import tempfile
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

#: where a buffer lies in its lane: offset, length, and the lane's position behind it
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
    """A ring of bytes: one side puts buffers in, the other frees them in that order."""

    def __init__(self, memory: memoryview, numbers: memoryview, freed: int) -> None:
        self._memory = memory
        self._numbers = numbers
        self._freed = freed
        self._size = len(memory)
        self._end = 0

    def mark(self) -> int:
        """Where the next buffer goes; see `take_back`."""
        return self._end

    def take_back(self, mark: int) -> None:
        """Forget what was put since *mark* and never sent."""
        self._end = mark

    def put(self, data: memoryview) -> Span | None:
        """Copy a buffer in; None if there is no room."""
        length = data.nbytes
        size, end = self._size, self._end
        freed = int(self._numbers[self._freed])
        if freed >= end:
            end += -end % size  # empty: use the same, warm memory again
            freed = end
        offset = end % size
        if offset + length > size:
            end += size - offset
            offset = 0
        behind = end + length + -length % _ALIGN
        if behind - freed > size:
            return None
        self._memory[offset : offset + length] = data.cast("B") if data.ndim != 1 else data
        self._end = behind
        return offset, length, behind

    def view(self, span: Span) -> memoryview:
        """The bytes of a buffer, where they are."""
        return self._memory[span[0] : span[0] + span[1]]

    def free(self, position: int) -> None:
        """Everything up to *position* may be used again."""
        self._numbers[self._freed] = position
