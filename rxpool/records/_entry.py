"""The form of a result in a journal: its pickle, and a checksum behind it. Pure."""

from typing import Final
from zlib import crc32

__all__ = ("Damaged", "sealed", "unsealed")

_SEAL: Final = b"\0crc"  #: no pickle ends with this: the last byte of one is its full stop
_SIZE: Final = len(_SEAL) + 4
_STOP: Final = b"."


class Damaged(Exception):
    """What is there is not what was written."""


def sealed(id: str, data: bytes) -> bytes:
    """*data*, which is the pickle of the result of *id*, with its checksum."""
    return data + _SEAL + _sum(id, data)


def unsealed(id: str, kept: object) -> bytes:
    """The pickle in *kept*.

    Entries of the first journals have no checksum, and end as a pickle does.

    Raises:
        Damaged: If it is not what was kept for *id*.
    """
    if not isinstance(kept, bytes):
        raise Damaged("it is no sequence of bytes")
    data, seal = kept[:-_SIZE], kept[-_SIZE:]
    if not seal.startswith(_SEAL):
        if kept.endswith(_STOP):
            return kept
        raise Damaged("its end is missing")
    if seal[len(_SEAL) :] != _sum(id, data):
        raise Damaged("its checksum is wrong")
    return data


def _sum(id: str, data: bytes) -> bytes:
    return crc32(data, crc32(id.encode("utf-8", "surrogatepass"))).to_bytes(4, "big")
