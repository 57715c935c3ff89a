"""`ByteBound`: how many items a flow may have inside, so that they are not too many bytes."""

from contextlib import suppress
from numbers import Integral
from typing import Any, Final

__all__ = ("ByteBound", "size_of")

_WEIGHT: Final = 0.2  #: of the newest measurement, if that is less than was known


class ByteBound:
    """Counts items in bytes, by what they and their results had when they were pickled.

    Of those that wait the size is not known, so what is bounded is their number: to as many
    as have `most` bytes if they are like those before them.  Larger ones count at once.

    A pure state, changed by whoever measures; to read it late does no harm.
    """

    __slots__ = ("_items", "_results", "limit", "most")

    def __init__(self, most: int, limit: int) -> None:
        self.most = most
        self.limit = limit  #: items, however small
        self._items = 0.0
        self._results = 0.0

    def weighed(self, items: int, size: int, results: bool = False) -> int:
        """So many items, or results, had *size* bytes: how many may be inside; 1 or more."""
        mean = size / items
        if results:
            self._results = _mean(self._results, mean)
        else:
            self._items = _mean(self._items, mean)
        return self.of_size(self._items + self._results)

    def of_size(self, each: float) -> int:
        """How many of so many bytes each may be inside; 1 or more."""
        return max(1, min(self.limit, int(self.most / each))) if each else self.limit


def _mean(known: float, newest: float) -> float:
    return max(newest, known + _WEIGHT * (newest - known))


def size_of(item: Any) -> int:
    """What can be told of the bytes of *item* as it is: 0 if nothing."""
    if isinstance(item, (bytes, bytearray, str)):
        return len(item)
    size: Any = 0
    if hasattr(type(item), "nbytes"):  # pyright: ignore[reportUnknownArgumentType]
        with suppress(Exception):  # of some it is computed
            size = item.nbytes
    return max(0, int(size)) if isinstance(size, Integral) else 0
