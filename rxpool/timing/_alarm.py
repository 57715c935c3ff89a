"""`Alarm`: one timer for the earliest of all that is due."""

from collections.abc import Callable
from threading import RLock
from weakref import WeakMethod

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool._forks import afresh
from rxpool.timing._clock import Clock

__all__ = ("Alarm",)


class Alarm:
    """Rings once at the instant it is set to, and then has to be set again.

    It does not keep what *ring* is a method of.  Its lock guards its fields, and is not held
    while a timer is set or disposed of, or while it rings.

    Attributes:
        clock: Of the timers that are set from now on.
        due: When it rings; None: it is not set, or it has just rung.
    """

    __slots__ = ("_lock", "_over", "_ring", "_timer", "clock", "due")

    def __init__(self, clock: Clock, ring: Callable[[float], object]) -> None:
        self.clock = clock
        self._ring = WeakMethod(ring)
        self._over = False
        self._lock = afresh(RLock())
        self._timer: abc.DisposableBase | None = None
        self.due: float | None = None

    def set(self, due: float | None) -> None:
        """Ring at *due*, at the latest: it may be set to something earlier."""
        if due is not None:
            self._change(due, False)

    def move(self, due: float | None) -> None:
        """Ring at *due* and not before; None: not at all."""
        self._change(due, True)

    def _change(self, due: float | None, also_later: bool) -> None:
        timer = None if due is None else SingleAssignmentDisposable()
        with self._lock:
            if self._over or due == self.due:
                return
            if not also_later and due is not None and self.due is not None and self.due < due:
                return
            stale, self._timer, self.due = self._timer, timer, due
        if stale is not None:
            stale.dispose()
        if timer is None or due is None:
            return

        def ring(now: float) -> None:
            with self._lock:
                if self._timer is not timer:
                    return
                self._timer = self.due = None
            if (call := self._ring()) is not None:
                call(now)

        try:
            timer.disposable = self.clock.alarm(due, ring)
        except BaseException:  # there is no thread for timers: it is not set
            with self._lock:
                if self._timer is timer:
                    self._timer = self.due = None
            raise

    def forked(self) -> None:
        """A child has none of the parent's timers."""
        self._timer = self.due = None

    def cancel(self) -> None:
        """Do not ring any more, whatever it is set to."""
        with self._lock:
            self._over = True
            timer, self._timer, self.due = self._timer, None, None
        if timer is not None:
            timer.dispose()
