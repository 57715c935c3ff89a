"""`TimerScheduler`: all timers of a process on one heap and the monotonic clock."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from typing import Any, ClassVar, TypeVar

from reactivex import abc, typing
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxpool._forks import afresh, bury, end_child, heed
from rxpool._log import report_uncaught
from rxpool._threads import DaemonThread, exiting

__all__ = ("TimerScheduler",)

_TState = TypeVar("_TState")

_LONGEST_WAIT = 10.0  #: seconds after which a cancelled timer is waited for no more
_LINGER = 1.0  #: seconds an unused thread stays
_FEW_DEAD = 32  #: so many cancelled timers may lie in the heap before it is rebuilt


class _Timer(abc.DisposableBase):
    """An entry of the heap; disposing it cancels it."""

    __slots__ = ("_owner", "action", "due", "order")

    def __init__(
        self, owner: "TimerScheduler", due: float, order: int, action: Callable[[], object]
    ) -> None:
        self._owner = owner
        self.due = due
        self.order = order
        self.action: Callable[[], object] | None = action

    def __lt__(self, other: "_Timer") -> bool:
        return (self.due, self.order) < (other.due, other.order)

    def dispose(self) -> None:
        self._owner._forget(self)  # pyright: ignore[reportPrivateUsage]


class TimerScheduler(PeriodicScheduler):
    """A reactivex scheduler whose timers cost no thread each.

    One daemon thread watches a heap of due times.  When a timer fires, the watching thread
    runs its action itself and, if further timers are set, first hands the watch over to
    another thread: an action that blocks delays no other timer, and as long as none blocks
    one or two threads serve everything.  Unused threads end after a second.

    The clock is monotonic: a step of the wall clock moves no timer.  `now` is the wall
    clock at the start of the process plus the monotonic time since.

    An exception of an action goes to the log and to `threading.excepthook`.  All methods
    can be called from any thread.  A forked child begins without timers.
    """

    _shared: ClassVar["TimerScheduler | None"] = None
    _guard: ClassVar[threading.Lock] = afresh(threading.Lock())

    def __init__(self) -> None:
        super().__init__()
        # One lock guards everything below.  It is re-entrant because a finaliser that
        # disposes a timer can run anywhere, also while this thread holds the lock.
        self._lock = lock = threading.RLock()
        self._changed = afresh(threading.Condition(lock))  # the earliest due time changed
        self._standby = afresh(threading.Condition(lock))  # somebody else must watch
        self._heap: list[_Timer] = []
        self._reset()
        heed(self)

    def _reset(self) -> None:
        for timer in self._heap:
            timer.action = None  # set before a fork: nobody will run it
        self._heap = []
        self._order = count()
        self._dead = 0
        self._threads = 0
        self._spare = 0
        # One entry for each thread that is new, or done with its action, and waits for the
        # lock to see whether to watch.  Appending and popping are atomic, lock or no lock.
        self._coming: list[None] = []
        self._watched = False
        self._summoned = False
        self._origin = datetime.now(UTC), monotonic()

    @classmethod
    def singleton(cls) -> "TimerScheduler":
        """The scheduler that rxpool uses where none is given."""
        with TimerScheduler._guard:
            if TimerScheduler._shared is None:
                TimerScheduler._shared = TimerScheduler()
            return TimerScheduler._shared

    @property
    def now(self) -> datetime:
        """The present, as an aware datetime that never goes back."""
        wall, start = self._origin
        return wall + timedelta(seconds=monotonic() - start)

    @property
    def pending(self) -> int:
        """How many timers are set."""
        with self._lock:
            return len(self._heap) - self._dead

    def at(self, due: float, action: Callable[[], object]) -> abc.DisposableBase:
        """Call *action* when `time.monotonic` reaches *due*; disposing cancels."""
        with self._lock:
            timer = _Timer(self, due, next(self._order), action)
            heappush(self._heap, timer)
            if not self._watched:
                try:
                    self._summon()
                except BaseException as error:
                    # A thread that is busy with an action watches after it, this one perhaps.
                    if not (self._threads and isinstance(error, RuntimeError)):
                        timer.dispose()
                        raise
            elif self._heap[0] is timer:
                self._changed.notify()
            return timer

    def schedule(
        self, action: typing.ScheduledAction[_TState], state: _TState | None = None
    ) -> abc.DisposableBase:
        """Run *action* as soon as possible, on a thread of the scheduler."""
        return self._schedule(monotonic(), action, state)

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[_TState],
        state: _TState | None = None,
    ) -> abc.DisposableBase:
        """Run *action* after *duetime* (seconds or a timedelta)."""
        return self._schedule(monotonic() + self.to_seconds(duetime), action, state)

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[_TState],
        state: _TState | None = None,
    ) -> abc.DisposableBase:
        """Run *action* at *duetime*, a datetime as `now` gives it."""
        delay = (self.to_datetime(duetime) - self.now).total_seconds()
        return self._schedule(monotonic() + delay, action, state)

    def _schedule(
        self, due: float, action: typing.ScheduledAction[Any], state: Any
    ) -> abc.DisposableBase:
        inner = SingleAssignmentDisposable()

        def run() -> None:
            inner.disposable = self.invoke_action(action, state)

        return CompositeDisposable(inner, self.at(due, run))

    def forked(self) -> None:
        """A child has none of the threads, and none of the parent's timers."""
        bury(*(timer.action for timer in self._heap))
        self._reset()

    def _forget(self, timer: _Timer) -> None:
        with self._lock:
            if timer.action is None:
                return
            timer.action = None
            self._dead += 1
            if self._dead > _FEW_DEAD and self._dead * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry.action is not None]
                heapify(self._heap)
                self._dead = 0

    def _summon(self) -> None:
        """See to it that a thread watches.  The lock is held."""
        if self._summoned:
            return
        self._summoned = True
        if self._spare:
            self._standby.notify()
            return
        if self._coming:
            return
        self._threads += 1
        self._coming.append(None)
        try:
            DaemonThread(self._work, "rxpool-timer").start()
        except BaseException:
            self._threads -= 1
            self._coming.pop()
            self._summoned = False
            raise

    def _work(self) -> None:
        coming = self._coming
        while True:
            with self._lock:
                coming.pop()
                action = self._next_action()
            if action is None:
                return
            try:
                action()
            except BaseException as error:
                if coming is not self._coming:
                    end_child(error)
                report_uncaught("timer", error)
            if coming is not self._coming:
                end_child()  # the action forked, and this is the child
            coming.append(None)
            del action  # an idle thread keeps nothing of the last action alive

    def _next_action(self) -> Callable[[], object] | None:
        """Wait for a timer and take it, or None to end the thread.  The lock is held."""
        while True:
            if self._watched:
                self._spare += 1
                called = self._standby.wait(_LINGER)
                self._spare -= 1
                if not called and self._watched and not exiting.frugally:
                    self._threads -= 1
                    return None
                continue
            self._watched, self._summoned = True, False
            try:
                action = self._watch()
            finally:
                self._watched = False
            if action is None:
                self._threads -= 1
            elif len(self._heap) > self._dead:
                # If no thread can be started this one goes on watching after the action.
                with suppress(RuntimeError):
                    self._summon()
            return action

    def _watch(self) -> Callable[[], object] | None:
        """Wait until a timer is due, or None when there was none for a while."""
        while True:
            while self._heap and self._heap[0].action is None:
                heappop(self._heap)
                self._dead -= 1
            if not self._heap:
                called = self._changed.wait(_LINGER)
                if not (called or self._heap or exiting.frugally):
                    return None
                continue
            delay = self._heap[0].due - monotonic()
            if delay > 0:
                self._changed.wait(min(delay, _LONGEST_WAIT))
                continue
            timer = heappop(self._heap)
            action, timer.action = timer.action, None
            return action
