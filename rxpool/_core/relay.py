"""`Relay`: hands the items of one source after another on to one observer."""

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import (
    CompositeDisposable,
    Disposable,
    SerialDisposable,
    SingleAssignmentDisposable,
)

from rxpool._core.inlet import current_inlet, feeding, feeding_again
from rxpool._core.stage import Stage
from rxpool._core.state import FULL, Measurement
from rxpool.timing import Clock

__all__ = ("PassState", "Relay")

_T = TypeVar("_T")

_ROOM = 1024  #: so many items may wait for a busy subscriber before a producer waits


class PassState:
    """Items come out as they came in; one that finds the subscriber busy waits for it."""

    __slots__ = ("_closed", "notes", "ready")

    due: None = None  #: nothing here happens with time

    def __init__(self) -> None:
        self.ready: deque[Any] = deque()
        self.notes: list[Measurement] | None = None
        self._closed = False

    @property
    def held(self) -> int:
        """Items that were not fetched yet."""
        return len(self.ready)

    def admit(self, now: float) -> bool:
        """Whether an item passes as it comes."""
        return not (self.ready or self._closed)

    def offer(self, item: Any, now: float, extra: Any, force: bool = False) -> int:
        """Take an item."""
        if len(self.ready) >= _ROOM and not force:
            return FULL
        self.ready.append(item)
        return 1

    def retry_at(self, extra: Any) -> float | None:
        """Room comes with the subscriber, not with time."""
        return None

    def expire(self, now: float) -> None:
        """There is nothing that could expire."""

    def finish(self, now: float) -> None:
        """The source ended."""
        self._closed = True

    def clear(self) -> int:
        """Drop everything."""
        held = len(self.ready)
        self.ready.clear()
        self._closed = True
        return held


class Relay(Generic[_T]):
    """One subscription of an operator that may subscribe to several sources, in turn.

    Whatever ends it lets go of the present source, or of what stands in its place.

    Args:
        name: For messages.
        observer: The subscriber.
        clock: Of the operator.
        default: The subscriber's scheduler, for the sources.
        release: Called once at the end, whatever ends it; there is no lock held.
    """

    __slots__ = ("_current", "_default", "_fresh", "_inlet", "_on_next", "clock", "stage")

    def __init__(
        self,
        name: str,
        observer: abc.ObserverBase[Any],
        clock: Clock,
        default: abc.SchedulerBase | None,
        release: Callable[[], None] | None = None,
    ) -> None:
        state = PassState()
        self.clock = clock
        self.stage: Stage[Any, Any] = Stage(name, state, observer, clock, None)
        self._on_next = self.stage.fast_pass(state.admit)
        self._default = default
        self._inlet = current_inlet()
        self._fresh = True
        self._current = SerialDisposable()
        upstream: abc.DisposableBase = self._current
        if release is not None:
            upstream = CompositeDisposable(self._current, Disposable(release))
        self.stage.connect(upstream)

    @property
    def over(self) -> bool:
        """Whether nothing can come any more."""
        return self._current.is_disposed

    def hold(self) -> SingleAssignmentDisposable:
        """Let go of what there is now; answer a place for what follows."""
        place = SingleAssignmentDisposable()
        self._current.disposable = place
        return place

    def follow(
        self,
        source: Observable[_T],
        on_error: Callable[[Exception], None],
        on_completed: Callable[[], None] | None = None,
    ) -> None:
        """Hand on what comes from *source*, and nothing more of what was before."""
        place = self.hold()  # the source may end, and another follow, before this returns
        if self.over:
            return
        stage = self.stage
        stage.unsettled = None
        stage.sources.clear()
        fresh, self._fresh = self._fresh, False
        try:
            with feeding(stage) if fresh else feeding_again(stage, self._inlet):
                place.disposable = source.subscribe(
                    self._on_next,
                    on_error,
                    on_completed or stage.complete,
                    scheduler=self._default,
                )
        except BaseException:
            stage.dispose()
            raise

    def subscription(self) -> abc.DisposableBase:
        """What the subscriber gets."""
        return Disposable(self.stage.dispose)
