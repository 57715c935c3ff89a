"""`Lots`: how many items of a function go to an executor in one call."""

from collections import OrderedDict
from collections.abc import Callable
from sys import maxsize
from typing import Any, Final

from rxpool.backends._chunk_size import ChunkSize

__all__ = ("Lots",)

_SINGLY: Final = 64  #: items of a function are a call each, before there are lots of it
_FUNCTIONS: Final = 64  #: of so many it is remembered how long their items take


class Lots:
    """Remembers how long the items of each function take.

    The results of a lot come home together, and a worker that dies takes them along.  So it
    is kept to some milliseconds of work by `ChunkSize`: an item that takes long keeps those
    before it for as long, and the next lot is small.  Where there are few items each is a
    call of its own.  A pure state; its owner's lock guards it.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[Callable[..., Any], _Items] = OrderedDict()

    def most(self, function: Callable[..., Any]) -> int:
        """How many items of *function* to hand over together."""
        try:
            items = self._known.get(function)
        except TypeError:  # it has no hash
            return 1
        return 1 if items is None or items.singly > 0 else items.size.chunk()

    def ran(self, function: Callable[..., Any], number: int, seconds: float) -> None:
        """So many items took so long together."""
        try:
            items = self._known.setdefault(function, _Items())
        except TypeError:
            return
        items.singly -= number
        items.size.ran(number, seconds)
        if len(self._known) > _FUNCTIONS:
            self._known.popitem(last=False)

    def one_by_one(self, function: Callable[..., Any]) -> None:
        """A lot could not be handed over as a whole: no more of *function*."""
        self._known[function].singly = maxsize


class _Items:
    """What is known of the items of one function."""

    __slots__ = ("singly", "size")

    def __init__(self) -> None:
        self.singly = _SINGLY  #: so many more are a call each
        self.size = ChunkSize()
