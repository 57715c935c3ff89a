"""`exposed`: memory that does not offer itself as a buffer."""

from ctypes import c_char
from pickle import PickleBuffer
from typing import Any

__all__ = ("exposed",)


def exposed(address: int, size: int, owner: Any) -> PickleBuffer:
    """So many bytes from *address* on, which are *owner*'s.

    Nobody writes to them here.  They are shown as writable so that what arrives is.
    """
    memory: Any = (c_char * size).from_address(address)
    memory.owner = owner  # lives as long
    return PickleBuffer(memory)
