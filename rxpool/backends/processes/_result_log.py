"""The log of results, which holds those that a worker has not sent home."""

import pickle
import struct
from collections.abc import Iterator
from typing import Any, Final

from rxpool.backends.processes._shared_block import (
    RESULT_LOG_FIRST,
    RESULT_LOG_USED,
    RUNNING,
    SharedBlock,
)

__all__ = (
    "FLOAT",
    "INT",
    "NOTHING",
    "RECORD",
    "SHORT_FLOAT",
    "SHORT_INT",
    "records",
    "unsent",
)

# A record of the log: the length of a pickle, when the item began and ended; then the
# pickle.  Common numbers have records of their own, which are quicker to write.
RECORD: Final = struct.Struct("<qdd")
SHORT_INT: Final = struct.Struct("<qddq")
SHORT_FLOAT: Final = struct.Struct("<qddd")
INT: Final = -1  #: instead of a length
FLOAT: Final = -2
NOTHING: Final = -3


def records(log: bytes) -> Iterator[tuple[Any, float, float]]:
    """The results in a log: what stands for each, when the item began and ended."""
    position = 0
    while position + RECORD.size <= len(log):
        length, begun, ended = RECORD.unpack_from(log, position)
        if length == INT:
            yield SHORT_INT.unpack_from(log, position)[3], begun, ended
            position += SHORT_INT.size
        elif length == FLOAT:
            yield SHORT_FLOAT.unpack_from(log, position)[3], begun, ended
            position += SHORT_FLOAT.size
        elif length == NOTHING:
            yield None, begun, ended
            position += SHORT_INT.size
        else:
            position += RECORD.size
            yield pickle.loads(log[position : position + length]), begun, ended
            position += length


def unsent(block: SharedBlock, known: int) -> tuple[int, list[tuple[Any, float, float]]] | None:
    """The results in the result log of *block*: the number of the first item, and the results.

    None if there are none, or not to be read now; *known*: so many are at home.
    """
    numbers = block.numbers
    running = numbers[RUNNING]
    used, first = int(numbers[RESULT_LOG_USED]), int(numbers[RESULT_LOG_FIRST])
    log = bytes(block.result_log[:used])
    if (numbers[RUNNING], numbers[RESULT_LOG_USED], numbers[RESULT_LOG_FIRST]) != (
        running,
        used,
        first,
    ):
        return None  # the worker goes on, and may be writing there
    if first > known:
        return None  # it has just sent what comes before that
    found = list(records(log))
    return (first, found) if found else None
