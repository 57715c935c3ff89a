"""How slices of Arrow arrays are reduced: pickle takes along all that they are slices of.

Chunked arrays, record batches and tables are made of such arrays.
"""

# What is reduced is of a library that need not be there.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any, Final

__all__ = ("reducers",)

#: bytes around a slice that are not worth a copy of it
_LITTLE: Final = 1024

#: types of which an array has addresses of so many bytes, and texts of any array; and a type
#: that can take these in
_VIEWS: Final = {"string_view": "large_string", "binary_view": "large_binary"}
_VIEW: Final = 16


def reducers(lib: ModuleType) -> dict[type, Callable[[Any], Any]]:
    """For the arrays of all types that Arrow brings."""
    reduce = partial(_reduce, lib)
    kinds = (each for each in list(vars(lib).values()) if isinstance(each, type))
    return {kind: reduce for kind in kinds if issubclass(kind, lib.Array)}


def _reduce(lib: Any, array: Any) -> Any:
    with suppress(Exception):  # there are types for which that cannot be told or done
        array = _alone(lib, array)
    return array.__reduce__()


def _alone(lib: Any, array: Any) -> Any:
    """*array*, or a copy of it if there is much around it."""
    name = str(array.type)
    if name in _VIEWS:
        needed, whole = len(array) * _VIEW, array.buffers()[1].size
    else:
        needed, whole = array.nbytes, array.get_total_buffer_size()
    if whole - needed <= max(_LITTLE, needed // 4):
        return array
    if name in _VIEWS:  # to put these together keeps all the texts
        return array.cast(getattr(lib, _VIEWS[name])()).cast(array.type)
    return lib.concat_arrays([array])
