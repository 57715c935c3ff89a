"""What the journal of results holds that a worker has not sent home."""

import pickle
import struct
from collections.abc import Iterator
from typing import Any, Final

__all__ = ("FLOAT", "INT", "NOTHING", "RECORD", "SHORT_FLOAT", "SHORT_INT", "records")

# A record of the journal: the length of a pickle, when the item began and ended; then the
# pickle.  Common numbers have records of their own, which are quicker to write.
RECORD: Final = struct.Struct("<qdd")
SHORT_INT: Final = struct.Struct("<qddq")
SHORT_FLOAT: Final = struct.Struct("<qddd")
INT: Final = -1  #: instead of a length
FLOAT: Final = -2
NOTHING: Final = -3


def records(journal: bytes) -> Iterator[tuple[Any, float, float]]:
    """The results in a journal: what stands for each, when the item began and ended."""
    position = 0
    while position + RECORD.size <= len(journal):
        length, begun, ended = RECORD.unpack_from(journal, position)
        if length == INT:
            yield SHORT_INT.unpack_from(journal, position)[3], begun, ended
            position += SHORT_INT.size
        elif length == FLOAT:
            yield SHORT_FLOAT.unpack_from(journal, position)[3], begun, ended
            position += SHORT_FLOAT.size
        elif length == NOTHING:
            yield None, begun, ended
            position += SHORT_INT.size
        else:
            position += RECORD.size
            yield pickle.loads(journal[position : position + length]), begun, ended
            position += length
