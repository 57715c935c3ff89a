"""`Alarm`: one timer for the earliest of all that is due."""

from collections.abc import Callable
from threading import RLock
from weakref import WeakMethod

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool._forks import afresh
from rxpool.timing import Clock

__all__ = ("Alarm",)


class Alarm:
    """Rings at the instant set or before it, and then has to be set again.

    It does not keep what *ring* is a method of.
    """

    __slots__ = ("_armed", "_clock", "_lock", "_over", "_ring", "_timer")

    def __init__(self, clock: Clock, ring: Callable[[float], object]) -> None:
        self._clock = clock
        self._ring = WeakMethod(ring)
        self._over = False
        self._lock = afresh(RLock())
        self._timer: abc.DisposableBase | None = None
        self._armed = 0.0

    def set(self, due: float | None) -> None:
        """Ring at *due*, at the latest."""
        if due is None:
            return
        timer = SingleAssignmentDisposable()
        with self._lock:
            stale = self._timer
            if self._over or (stale is not None and self._armed <= due):
                return
            self._timer, self._armed = timer, due
        if stale is not None:
            stale.dispose()

        def ring(now: float) -> None:
            with self._lock:
                if self._timer is not timer:
                    return
                self._timer = None
            if (call := self._ring()) is not None:
                call(now)

        timer.disposable = self._clock.alarm(due, ring)

    def forked(self) -> None:
        """A child has none of the parent's timers."""
        self._timer = None

    def cancel(self) -> None:
        """Do not ring any more."""
        with self._lock:
            self._over = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.dispose()
