"""`Chunk`: tasks and their function, packed for a worker process."""

import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final

from rxpool.backends.processes._buffer_ring import BufferRing
from rxpool.backends.processes._chunk_size import ChunkSize
from rxpool.backends.processes._codec import FIXED, dumps, encode, spans_of

__all__ = ("CachedFunction", "Chunk", "pass_on_interrupt")

_FUNCTIONS: Final = 64  #: of so many a worker keeps its copies
_NONE: Final[Any] = object()

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


class Chunk:
    """Tasks, packed for a worker; those that cannot be are `refused`."""

    def __init__(
        self,
        function: CachedFunction,
        ring: BufferRing,
        tasks: Sequence[Any],
        failed: Callable[[Any, BaseException], None],
        argument: Any = _NONE,
    ) -> None:
        self.tasks: list[Any] = []
        self.refused: list[Any] = []
        self._function = function
        self._ring = ring
        self._mark = ring.mark()
        self._wires: list[Any] = []
        self._taught = False
        self.size = 0  #: bytes of the items, those in the ring included
        items = [task.item for task in tasks]
        if argument is not _NONE:
            items[0] = argument
        if FIXED.issuperset(map(type, items)):
            self.tasks, self._wires = list(tasks), items
            return
        for task, item in zip(tasks, items, strict=True):
            try:
                what = "the item" if item is task.item else "the call"
                wire = encode(item, ring, what)
                self._wires.append(wire)
                self.tasks.append(task)
                for span in spans_of(wire):
                    self.size += span[1]
            except BaseException as error:
                pass_on_interrupt(error)
                self.refused.append(task)
                failed(task, error)

    def seal(self, known: OrderedDict[int, None]) -> bytes:
        """The message; *known* are the functions that the worker has."""
        number, wire, forget = self._function.number, None, None
        if number in known:
            known.move_to_end(number)
        else:
            wire = self._function.pickled()
            self._taught = True
            known[number] = None
            if len(known) > _FUNCTIONS:
                forget = known.popitem(last=False)[0]
        body = pickle.dumps((number, wire, forget, self._wires), 5)
        self._function.chunk_size.weighed(len(self.tasks), len(body))
        self.size += len(body)
        return body

    def open_again(self, known: OrderedDict[int, None]) -> None:
        """The message is not sent after all."""
        self._ring.take_back(self._mark)
        if self._taught:
            del known[self._function.number]


def pass_on_interrupt(error: BaseException) -> None:
    """Raise a Ctrl-C; whatever else a pickle raises is no more than an item's failure."""
    if isinstance(error, KeyboardInterrupt) and (
        threading.current_thread() is threading.main_thread()
    ):
        raise error
