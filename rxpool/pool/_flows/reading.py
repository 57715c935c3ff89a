"""How input is read ahead: several items between two looks at anything else."""

from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import Any, Final

__all__ = ("READ_MOST", "read_ahead")

READ_MOST: Final = 512  #: items read between two looks at anything else
_READ_FOR: Final = 0.0005  #: seconds that input is read for before results are looked at again


def read_ahead(items: Iterator[Any], room: int, ahead: list[Any]) -> bool:
    """Read *room* items into *ahead*, or fewer if that takes long; False: that was all.

    The clock is asked for each item, as any of them may have been waited for, and those
    before it are to be handed over first.  What *items* raises comes out; *ahead* has what was
    read before.
    """
    until = perf_counter() + _READ_FOR
    left = room
    for item in islice(items, room):
        ahead.append(item)
        left -= 1
        if perf_counter() > until:
            return True
    return left == 0
