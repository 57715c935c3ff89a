"""How arrays are reduced that numpy copies into the pickle.

Those are arrays with gaps, of dates, and of records with dates in them, and maps of files.
"""

# What is reduced is of a library that need not be there.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Final

from rxpool.backends.processes._buffer_ring import LARGE
from rxpool.backends.processes._raw_memory import exposed

__all__ = ("reducers",)

#: the kinds whose arrays offer themselves as buffers, and those that may not
_BUFFERS: Final = frozenset("biufcSU")
_OTHERS: Final = frozenset("mMV")


def reducers(numpy: ModuleType) -> dict[type, Callable[[Any], Any]]:
    """For plain arrays and for maps of files."""
    array: type = numpy.ndarray
    return {
        array: partial(_reduce, array),
        numpy.memmap: partial(_reduce_map, array),
    }


def _reduce(kind: Any, array: Any) -> Any:
    if array.nbytes < LARGE:
        return array.__reduce_ex__(5)
    dtype, flags = array.dtype, array.flags
    if dtype.kind in _BUFFERS:
        if not flags.forc:
            array = array.copy()
        return array.__reduce_ex__(5)
    if dtype.kind not in _OTHERS or dtype.hasobject:
        return array.__reduce_ex__(5)
    if not flags.forc:
        array = array.copy()
    if _is_buffer(array):
        return array.__reduce_ex__(5)
    return _in_parts(kind, array)


def _reduce_map(kind: Any, array: Any) -> Any:
    dtype = array.dtype
    if (
        array.nbytes < LARGE
        or dtype.hasobject
        or (dtype.kind not in _BUFFERS and dtype.kind not in _OTHERS)
    ):
        return array.__reduce_ex__(5)
    return _map, (type(array), *_in_parts(kind, array if array.flags.forc else array.copy()))


def _map(kind: Any, made: Callable[..., Any], parts: tuple[Any, ...]) -> Any:
    """What a map of a file is elsewhere: of its type, and without a file."""
    return made(*parts).view(kind)


def _in_parts(kind: Any, array: Any) -> Any:
    """What makes an array without gaps again."""
    order = "C" if array.flags.c_contiguous else "F"
    address = array.__array_interface__["data"][0]
    memory = exposed(address, array.nbytes, array)
    return kind, (array.shape, array.dtype, memory, 0, None, order)


def _is_buffer(array: Any) -> bool:
    try:
        memoryview(array)
    except (BufferError, TypeError, ValueError):
        return False
    return True
