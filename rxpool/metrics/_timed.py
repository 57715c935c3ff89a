"""`Timed`: measures a block or the calls of a function."""

import functools
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from rxpool._core.functions import is_async
from rxpool.events import MetricEvent
from rxpool.metrics.names import error_type

__all__ = ("Timed",)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Timed:
    """See `PerformanceMonitor.timed`.  Blocks may be nested, but on one thread only."""

    def __init__(
        self,
        take: Callable[[MetricEvent], object],
        now: Callable[[], float],
        name: str,
        attributes: Mapping[str, str],
    ) -> None:
        self._take = take
        self._now = now
        self._name = name
        self._attributes = attributes
        self._starts: list[float] = []

    def __enter__(self) -> "Timed":
        self._starts.append(self._now())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        now = self._now()
        took = max(0.0, now - self._starts.pop())
        self._take(
            MetricEvent(self._name, took, "s", now, {**self._attributes, **_outcome(kind)})
        )

    def __call__(self, fn: Callable[_P, _R]) -> Callable[_P, _R]:
        """Measure every call of *fn*, on any thread."""

        def fresh() -> Timed:
            return Timed(self._take, self._now, self._name, self._attributes)

        if is_async(fn):
            call: Any = fn

            @functools.wraps(fn)
            async def measured_later(*args: Any, **kwargs: Any) -> Any:
                with fresh():
                    return await call(*args, **kwargs)

            return cast(Callable[_P, _R], measured_later)

        @functools.wraps(fn)
        def measured(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with fresh():
                return fn(*args, **kwargs)

        return measured


def _outcome(kind: type[BaseException] | None) -> dict[str, str]:
    if kind is None:
        return {"outcome": "success"}
    name = error_type(kind)
    if issubclass(kind, CancelledError):
        return {"outcome": "cancelled", "error.type": name}
    return {"outcome": "failure", "error.type": name}
