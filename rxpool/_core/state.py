"""`StageState`: what a batch, a throttle or a debounce decides, apart from what runs it."""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeAlias, TypeVar

__all__ = ("FULL", "NOTHING", "Measurement", "StageState")

_T_contra = TypeVar("_T_contra", contravariant=True)

NOTHING: Final[Any] = object()  #: the absence of a value; None is a value like any other
FULL: Final = -1  #: what `StageState.offer` answers when the item must wait outside

#: name, value, unit, attributes
Measurement: TypeAlias = tuple[str, float, str, Mapping[str, str]]


class StageState(Protocol[_T_contra]):
    """The decisions of an operator: no clock, no thread, no Rx, no call of user code."""

    ready: deque[Any]  #: values to deliver now, in order
    notes: list[Measurement] | None  #: measurements to report; None if nobody listens
    #: an optional attribute `delivered`: called, under the lock, when the subscriber is done
    #: with the first of the values that were ready

    @property
    def due(self) -> float | None:
        """When `expire` has something to do, or None; may only be too early."""
        ...

    @property
    def held(self) -> int:
        """How many items are inside, those in `ready` included."""
        ...

    def offer(self, item: _T_contra, now: float, extra: Any, force: bool = False) -> int:
        """Take an item: 0 nothing to do, 1 look at `ready` and `due`, `FULL` not taken.

        With *force* it must be taken.  An error ends the stream by the rule of the end.
        """
        ...

    def retry_at(self, extra: Any) -> float | None:
        """When an item that was answered `FULL` should be offered again, at the latest."""

    def expire(self, now: float) -> None:
        """Move what is due at *now* to `ready`."""

    def finish(self, now: float) -> None:
        """The source ended: move to `ready` whatever does not wait for its time."""

    def clear(self) -> int:
        """Drop everything; answer how many items that were."""
        ...
