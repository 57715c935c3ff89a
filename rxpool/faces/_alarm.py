"""`Alarm`: one timer for the earliest of all that is due."""

from collections.abc import Callable
from threading import RLock

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool.timing import Clock

__all__ = ("Alarm",)


class Alarm:
    """Rings at the instant set or before it, and then has to be set again."""

    __slots__ = ("_armed", "_clock", "_lock", "_ring", "_timer")

    def __init__(self, clock: Clock, ring: Callable[[float], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._lock = RLock()
        self._timer: abc.DisposableBase | None = None
        self._armed = 0.0

    def set(self, due: float | None) -> None:
        """Ring at *due*, at the latest."""
        if due is None:
            return
        timer = SingleAssignmentDisposable()
        with self._lock:
            stale = self._timer
            if stale is not None and self._armed <= due:
                return
            self._timer, self._armed = timer, due
        if stale is not None:
            stale.dispose()

        def ring(now: float) -> None:
            with self._lock:
                if self._timer is not timer:
                    return
                self._timer = None
            self._ring(now)

        timer.disposable = self._clock.alarm(due, ring)

    def cancel(self) -> None:
        """Do not ring."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.dispose()
