"""`SharedBlock`: the memory that a worker process shares with its parent.

One anonymous block for each worker: nothing on the disk or in a list of names, so nothing is
left behind, whoever dies.  In it are a few numbers, a log of results that were not sent
yet, and two rings for large buffers, one each way.
"""

import mmap
import os
import sys
import tempfile
from typing import Any, Final

from rxpool.backends.processes._buffer_ring import BufferRing

if sys.platform != "win32":
    from multiprocessing import reduction

__all__ = (
    "FREED_IN",
    "FREED_OUT",
    "LIMIT",
    "NEVER",
    "RESULT_LOG_FIRST",
    "RESULT_LOG_USED",
    "RESUME",
    "RUNNING",
    "STARTED",
    "SharedBlock",
)

# The numbers, all of them floats: writing one is a single aligned store.
RUNNING: Final = 0  #: worker: the item that runs, or ran last
STARTED: Final = 1  #: worker: since when
LIMIT: Final = 2  #: parent: items from here on are not to be run ...
RESUME: Final = 3  #: ... up to here
RESULT_LOG_USED: Final = 4  #: worker: bytes
RESULT_LOG_FIRST: Final = 5  #: worker: the item of its first record
FREED_IN: Final = 6  #: worker: how far it needs the buffers of items no more
FREED_OUT: Final = 7  #: parent: the same for the buffers of results

NEVER: Final = float("inf")

_NUMBERS: Final = 64
_RESULT_LOG: Final = 64 * 1024
_RING: Final = 256 * 1024 * 1024  # of addresses; memory is taken when it is first written to
_KEPT: Final = 256 * 1024  # of each ring, when it is not used for a while ...
_LARGE: Final = 4 * 1024 * 1024  # ... and was larger than this


class SharedBlock:
    """The shared memory of one worker; can be given to a process that is being started."""

    def __init__(self, fd: int = -1, name: str = "") -> None:
        size = _NUMBERS + _RESULT_LOG + 2 * _RING
        self.name = name or f"rxpool-{os.getpid()}-{id(self)}"
        if sys.platform == "win32":
            self.fd = -1
            self._map = mmap.mmap(-1, size, tagname=self.name)
        else:
            self.fd = fd if fd >= 0 else _anonymous_file(size)
            try:
                self._map = mmap.mmap(self.fd, size)
            except BaseException:
                self.close()
                raise
        self._whole = whole = memoryview(self._map)
        self.numbers = whole[:_NUMBERS].cast("d")
        self.result_log = whole[_NUMBERS : _NUMBERS + _RESULT_LOG]
        start = _NUMBERS + _RESULT_LOG
        self.items = BufferRing(whole[start : start + _RING], self.numbers, FREED_IN)
        self.results = BufferRing(whole[start + _RING :], self.numbers, FREED_OUT)
        if fd < 0:
            self.numbers[LIMIT] = NEVER
            self.numbers[RUNNING] = -1.0

    @property
    def is_large(self) -> bool:
        """Whether `shrink` would give memory back."""
        return hasattr(mmap, "MADV_REMOVE") and (
            self.items.touched > _LARGE or self.results.touched > _LARGE
        )

    def shrink(self) -> None:
        """Give the memory of the rings back; the worker rests, and its results are here."""
        for ring, start in (self.items, 0), (self.results, _RING):
            start += _NUMBERS + _RESULT_LOG
            first = _page(start + _KEPT - 1) + mmap.PAGESIZE
            behind = min(_page(start + ring.touched - 1) + mmap.PAGESIZE, _page(start + _RING))
            if behind > first and ring.is_free():
                self._map.madvise(mmap.MADV_REMOVE, first, behind - first)
                ring.touched = _KEPT

    def close(self) -> None:
        """Give the file up; the memory goes when nobody uses it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def release(self) -> None:
        """Give all of it up, whoever still refers to this; nobody may use it any more."""
        self.close()
        for view in (self.items, self.results, self.result_log, self.numbers, self._whole):
            view.release()
        self._map.close()


def _page(position: int) -> int:
    """Where the page of *position* begins."""
    return position // mmap.PAGESIZE * mmap.PAGESIZE


def _anonymous_file(size: int) -> int:
    if sys.platform == "linux":
        fd = os.memfd_create("rxpool", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


if sys.platform != "win32":

    def _rebuild(duplicate: Any) -> SharedBlock:
        return SharedBlock(duplicate.detach())

    def _reduce(block: SharedBlock) -> tuple[Any, ...]:
        return _rebuild, (reduction.DupFd(block.fd),)

    reduction.register(SharedBlock, _reduce)
