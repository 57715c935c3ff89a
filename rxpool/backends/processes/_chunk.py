"""`PackedChunk`: tasks and their function, packed for a worker process."""

import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from rxpool.backends._chunk_size import ChunkSize
from rxpool.backends.processes._buffer_ring import BufferRing
from rxpool.backends.processes._codec import FIXED, dumps, encode, spans_of

__all__ = ("CachedFunction", "PackedChunk", "pass_on_interrupt")

_FUNCTIONS: Final = 64  #: of so many a worker keeps its copies

_numbers = count()


class CachedFunction:
    """The function of a flow, pickled once, and what is known of the items that it is for."""

    __slots__ = ("chunk_size", "function", "number", "wire")

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.number = next(_numbers)
        self.chunk_size = ChunkSize()
        self.wire: Any = None

    def pickled(self) -> Any:
        """The function as part of a message."""
        if self.wire is None:
            self.wire = "p", dumps(self.function, "the function")
        return self.wire


class PackedChunk:
    """Tasks, packed for a worker; those that cannot be are `refused`.

    *known* are the functions that the worker has.  There is no `body` if no task is left.
    """

    def __init__(
        self,
        function: CachedFunction,
        ring: BufferRing,
        known: OrderedDict[int, None],
        tasks: list[Any],
        items: list[Any],
        failed: Callable[[Any, BaseException], None],
    ) -> None:
        self.tasks = tasks
        self.refused: list[Any] = []
        self.size = 0  #: bytes of the items, those in the ring included
        self.body = b""
        self._ring, self._mark = ring, ring.count
        self._known, self._number = known, function.number
        self._taught = False
        wires = items
        if not FIXED.issuperset(map(type, items)):
            wires = self._encode(items, failed)
            if not wires:
                return
        wire, forget = None, None
        if function.number in known:
            known.move_to_end(function.number)
        else:
            wire = function.pickled()
            self._taught = True
            known[function.number] = None
            if len(known) > _FUNCTIONS:
                forget = known.popitem(last=False)[0]
        self.body = pickle.dumps((function.number, wire, forget, wires), 5)
        function.chunk_size.weighed(len(wires), len(self.body))
        self.size += len(self.body)

    def _encode(
        self, items: list[Any], failed: Callable[[Any, BaseException], None]
    ) -> list[Any]:
        """Message parts of the items that can be pickled."""
        tasks: list[Any] = []
        wires: list[Any] = []
        for task, item in zip(self.tasks, items, strict=True):
            try:
                what = "the item" if item is task.item else "the call"
                wire = encode(item, self._ring, what)
                wires.append(wire)
                tasks.append(task)
                for span in spans_of(wire):
                    self.size += span[1]
            except BaseException as error:
                pass_on_interrupt(error)
                self.refused.append(task)
                failed(task, error)
        self.tasks = tasks
        return wires

    def open_again(self) -> None:
        """The message is not sent after all."""
        self._ring.take_back(self._mark)
        if self._taught:
            del self._known[self._number]


def pass_on_interrupt(error: BaseException) -> None:
    """Raise a Ctrl-C; whatever else a pickle raises is no more than an item's failure."""
    if isinstance(error, KeyboardInterrupt) and (
        threading.current_thread() is threading.main_thread()
    ):
        raise error
