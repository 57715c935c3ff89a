"""How frames and series of polars are reduced: as they write themselves, in large pieces.

The pieces are never put together on this side.  A series is a frame of one column.
"""

# What is reduced is of a library that need not be there.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from io import BytesIO
from types import ModuleType
from typing import Any

from rxpool.backends.processes._pieces import Pieces, joined

__all__ = ("reducers",)


def reducers(polars: ModuleType) -> dict[type, Callable[[Any], Any]]:
    """For frames and series; before polars 1 there were other formats."""
    if int(polars.__version__.partition(".")[0]) < 1:
        return {}
    return {
        polars.DataFrame: _reduce_frame,
        polars.LazyFrame: _reduce_lazy,
        polars.Series: _reduce_series,
    }


class _Written(list[bytes]):
    """A file of which nothing is read."""

    def write(self, data: bytes) -> int:
        self.append(data)
        return len(data)

    def flush(self) -> None:
        """It is all there."""


def _reduce_frame(frame: Any) -> Any:
    written = _written(frame)
    if written is None:
        return frame.__reduce_ex__(5)
    return _frame, (type(frame), Pieces(written))


def _reduce_series(series: Any) -> Any:
    frame = series.to_frame()
    written = _written(frame)
    if written is None:
        return series.__reduce_ex__(5)
    return _series, (type(frame), Pieces(written))


def _reduce_lazy(lazy: Any) -> Any:
    return _lazy, (type(lazy), Pieces([lazy.__getstate__()]))


def _written(frame: Any) -> _Written | None:
    """What a frame writes of itself; None if pickle has to say why it cannot."""
    written = _Written()
    try:
        frame.serialize(written)
    except Exception:
        return None
    return written


def _frame(kind: Any, parts: list[Any]) -> Any:
    return kind.deserialize(BytesIO(joined(parts)))


def _series(kind: Any, parts: list[Any]) -> Any:
    return _frame(kind, parts).to_series()


def _lazy(kind: Any, parts: list[Any]) -> Any:
    lazy = kind.__new__(kind)
    lazy.__setstate__(joined(parts))
    return lazy
