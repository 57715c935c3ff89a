"""`Parcel`: tasks, packed for a worker process."""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final

from rxpool.backends.processes._memory import Lane
from rxpool.backends.processes._pace import Pace
from rxpool.backends.processes._wire import FIXED, dumps, encode

__all__ = ("Note", "Parcel")

_FUNCTIONS: Final = 64  #: of so many a worker keeps its copies
_NONE: Final[Any] = object()

_numbers = count()


class Note:
    """What is remembered of a flow: its pace, and its function, pickled once."""

    __slots__ = ("function", "number", "pace", "wire")

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.number = next(_numbers)
        self.pace = Pace()
        self.wire: Any = None

    def pickled(self) -> Any:
        """The function as part of a message."""
        if self.wire is None:
            self.wire = "p", dumps(self.function, "the function")
        return self.wire


class Parcel:
    """Tasks, packed for a worker; those that cannot be are `refused`."""

    def __init__(
        self,
        note: Note,
        lane: Lane,
        lot: Sequence[Any],
        failed: Callable[[Any, BaseException], None],
        argument: Any = _NONE,
    ) -> None:
        self.tasks: list[Any] = []
        self.refused: list[Any] = []
        self._note = note
        self._lane = lane
        self._mark = lane.mark()
        self._wires: list[Any] = []
        self._taught = False
        items = [task.item for task in lot]
        if argument is not _NONE:
            items[0] = argument
        if FIXED.issuperset(map(type, items)):
            self.tasks, self._wires = list(lot), items
            return
        for task, item in zip(lot, items, strict=True):
            try:
                what = "the item" if item is task.item else "the call"
                self._wires.append(encode(item, lane, what))
                self.tasks.append(task)
            except Exception as error:
                self.refused.append(task)
                failed(task, error)

    def seal(self, known: OrderedDict[int, None]) -> bytes:
        """The message; *known* are the functions that the worker has."""
        number, wire, forget = self._note.number, None, None
        if number in known:
            known.move_to_end(number)
        else:
            wire = self._note.pickled()
            self._taught = True
            known[number] = None
            if len(known) > _FUNCTIONS:
                forget = known.popitem(last=False)[0]
        body = pickle.dumps((number, wire, forget, self._wires), 5)
        self._note.pace.weighed(len(self.tasks), len(body))
        return body

    def open_again(self, known: OrderedDict[int, None]) -> None:
        """The message is not sent after all."""
        self._lane.take_back(self._mark)
        if self._taught:
            del known[self._note.number]
