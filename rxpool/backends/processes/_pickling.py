"""`Pickling`: one value after another is pickled, large buffers go into a ring."""

import pickle
from collections.abc import Callable, Mapping
from typing import Any, Final

from rxpool.backends.processes._buffer_ring import LARGE, BufferRing, Span

__all__ = ("Pickling", "pickling_into")

#: bytes of a pickle after which a pickler is not used again: what it remembered takes room,
#: and time to be cleared each time
_SMALL: Final = 1024

#: those that nobody uses; to append and to pop is atomic
_free: Final[list["Pickling"]] = []


class _Placed:
    """The large buffers of a pickle.

    They go into the ring as they come.  So pieces of something large can be made one after
    the other, in the same, warm memory.
    """

    __slots__ = ("mark", "missed", "ring", "spans")

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.missed = False  #: there was no room for one
        self.ring: BufferRing | None = None  #: without it all stay in the pickle
        self.mark = 0

    def stays_inside(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer is not put into the ring, but into the pickle."""
        ring = self.ring
        if ring is None:
            return True
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < LARGE or self.missed:
            return True
        span = ring.put(raw)
        if span is None:
            self.missed = True
            return True
        self.spans.append(span)
        return False

    def take_back(self) -> None:
        """Nothing of what is in the ring is needed."""
        if self.ring is not None:
            self.ring.take_back(self.mark)
        self.spans.clear()
        self.missed = False


class Pickling:
    """A pickler for whoever has it now, and where the buffers of its pickle went.

    To use a pickler again is as fast as `pickle.dumps`; to make one takes four times as long.
    """

    __slots__ = ("_pickler", "_written", "placed", "write")

    def __init__(self) -> None:
        self.placed = _Placed()
        self._written: list[Any] = []
        self.write = self._written.append  # for the pickler, which takes this for a file
        self._pickler = self._new()

    def _new(self) -> pickle.Pickler:
        return pickle.Pickler(self, 5, buffer_callback=self.placed.stays_inside)

    def dumps(self, value: Any, table: Mapping[type, Callable[[Any], Any]] | None) -> bytes:
        """As `pickle.dumps`, with a dispatch table if there is one."""
        if table is None:
            return pickle.dumps(value, 5, buffer_callback=self.placed.stays_inside)
        pickler, written = self._pickler, self._written
        pickler.dispatch_table = table
        try:
            pickler.dump(value)
            return written[0] if len(written) == 1 else b"".join(written)
        except BaseException:
            self._pickler = self._new()  # that one stopped in the middle
            raise
        finally:
            pickler.clear_memo()
            written.clear()

    def done(self, size: int) -> None:
        """The pickle, of so many bytes, is made: another value may be pickled."""
        if size <= _SMALL:
            placed = self.placed
            placed.ring = None
            if placed.spans:
                placed.spans = []
            _free.append(self)


def pickling_into(ring: BufferRing) -> Pickling:
    """One that is free, or another; its buffers go into *ring*."""
    try:
        pickling = _free.pop()
    except IndexError:
        pickling = Pickling()
    placed = pickling.placed
    placed.ring = ring
    placed.mark = ring.count
    return pickling
