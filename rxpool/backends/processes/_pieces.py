"""Bytes in pieces: large ones stay out of a pickle, and are put together on the other side."""

from collections.abc import Iterable
from pickle import PickleBuffer
from typing import Any

from rxpool.backends.processes._buffer_ring import LARGE

__all__ = ("Pieces", "joined")


class Pieces:
    """Is unpickled as a list of bytes and buffers.

    Each is made when it is pickled, and not kept for another.
    """

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    def __reduce__(self) -> Any:
        large = (part if len(part) < LARGE else PickleBuffer(part) for part in self._parts)
        return list, (), None, large


def joined(parts: list[Any]) -> bytes:
    """All that was in the pieces."""
    return parts[0] if len(parts) == 1 and type(parts[0]) is bytes else b"".join(parts)
