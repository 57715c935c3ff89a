"""`Stage`: binds a pure state to a source, a clock and one observer.

Batch, throttle and debounce differ only in their states.  What they share is here: Rx
grammar (one notification at a time, nothing after the end), the rule of the end, one timer
each, re-entry, producers that wait while a slow subscriber is busy, and letting go.
"""

from collections.abc import Callable
from threading import Condition, RLock, get_ident
from typing import Any, Final, Generic, TypeVar

from reactivex import abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from rxpool._core.causes import as_failure
from rxpool._core.inlet import Node, giving, stages, tell_watchers
from rxpool._core.measurements import Measurements
from rxpool._core.reach import leave_behind, way_at_end
from rxpool._core.state import NOTHING, StageState
from rxpool._core.waits import at_most, can_wait
from rxpool._forks import afresh, bury, heed, inside
from rxpool._log import log, report_uncaught
from rxpool.errors import WouldBlock
from rxpool.events import Monitor
from rxpool.timing import Clock

__all__ = ("Stage",)

_T = TypeVar("_T")
_R = TypeVar("_R")

_END: Final[Any] = object()  #: in the place of a value: the end is to be delivered


class Stage(Generic[_T, _R]):
    """One subscription of an operator.

    ``_lock`` guards the state and every field below.  It is never held while user code
    runs: not the subscriber, not the monitor, not the scheduler.  ``_owner`` is the thread
    that delivers at present; whoever finds it set leaves its value in the state's ``ready``
    and goes on, or waits if that is full.

    In a forked child it works, but what it held at the fork is the parent's alone.
    """

    __slots__ = (
        "__weakref__",
        "_armed",
        "_clock",
        "_closed",
        "_delivered",
        "_end",
        "_left",
        "_lock",
        "_measurements",
        "_name",
        "_now",
        "_observer",
        "_offer",
        "_owner",
        "_rang",
        "_ready",
        "_room",
        "_state",
        "_timer",
        "_upstream",
        "_waiting",
        "ended",
        "sources",
        "unsettled",
        "watchers",
    )

    rxpool_node: Final = True

    def __init__(
        self,
        name: str,
        state: StageState[_T],
        observer: abc.ObserverBase[_R],
        clock: Clock,
        monitor: Monitor | None,
    ) -> None:
        self._name = name
        self._state = state
        self._observer = observer
        self._clock = clock
        self._measurements = Measurements(name, clock.now, monitor)
        self._lock = RLock()
        self._room = afresh(Condition(self._lock))
        self._upstream = SingleAssignmentDisposable()
        self._timer: SingleAssignmentDisposable | None = None
        self._armed: float | None = None
        self._owner: int | None = None
        self._left = False  # something was left for the deliverer to look at
        self._rang = False
        self._waiting = 0
        self._end: tuple[Exception | None] | None = None
        self.sources: list[Node] = []
        self.watchers: list[Callable[[], object]] = []
        stages[self] = None
        self.ended = False  # see `Node`
        self.unsettled: Exception | None = None  # of a source that is to be tried again
        self._closed = False  # takes no more items: ended or disposed
        # Read for every item:
        self._now = clock.now
        self._offer = state.offer
        self._ready = state.ready
        self._delivered: Callable[[float], None] | None = getattr(state, "delivered", None)
        heed(self)

    # -- fast paths: functions for the source to call per item ------------------------
    #
    # Bound `acquire` and `release` cost half of a `with` statement.  `acquire` stands inside
    # the `try` so that a KeyboardInterrupt right behind it cannot leave the lock taken.

    def fast_take(self, absorb: Callable[[Any, float], bool]) -> Callable[[_T], None]:
        """Like `put`, for a state that takes most items without anything else to do."""
        acquire, release = self._lock.acquire, self._lock.release
        now, put = self._now, self.put

        def on_next(item: _T) -> None:
            try:
                acquire()
                if absorb(item, now()):
                    return
            finally:
                release()
            put(item)

        return on_next

    # `fast_pass` hands items on as they are: _R is _T there.
    def fast_pass(self, admit: Callable[[float], bool]) -> Callable[[_T], None]:
        """Like `put`, for a state that lets most items through as they come."""
        acquire, release = self._lock.acquire, self._lock.release
        now, put = self._now, self.put
        observer: abc.ObserverBase[Any] = self._observer
        deliver = observer.on_next

        def on_next(item: _T) -> None:
            try:
                acquire()
                direct = self._owner is None and admit(now())
                if direct:
                    self._owner = get_ident()
            finally:
                release()
            if not direct:
                put(item)
                return
            try:
                deliver(item)
            except BaseException:
                self.dispose()
                raise
            # Give the delivery up first, then look whether something was left for it:
            # `_claim` notes what it leaves first, then looks whether somebody delivers.
            self._owner = None
            if self._left:
                self._resume()

        return on_next

    def _resume(self) -> None:
        """Go on with what was left for a deliverer who has just gone."""
        with self._lock:
            if self._owner is not None:
                return  # another thread took over
            self._owner = get_ident()
            value, due = self._next()
        self._proceed(value, due)

    # -- what the source calls ------------------------------------------------------

    def put(self, item: _T, extra: Any = None) -> None:
        """Take one item; deliver what became ready."""
        with self._lock:
            if self._closed:
                return
            try:
                act = self._offer(item, self._now(), extra)
                if act < 0:
                    act = self._wait_for_room(item, extra)
                if not act and not self._state.notes:
                    return
            except Exception as error:
                self._set_end(error)
            value = self._claim()
            due = self._alarm_due() if value is NOTHING else None
        self._proceed(value, due)

    def fail(self, error: Exception) -> None:
        """The source failed, or a function of the user did: by the rule of the end."""
        self.act(lambda: self._set_end(error))

    def complete(self) -> None:
        """The source completed."""
        self.act(lambda: self._set_end(None))

    def act(self, change: Callable[[], object]) -> None:
        """Make *change*, a step of the state, and deliver what became ready."""
        with self._lock:
            if self._closed:
                return
            change()
            value = self._claim()
            due = self._alarm_due() if value is NOTHING else None
        self._proceed(value, due)

    def cut(self) -> None:
        """Take nothing more from the source; what is held comes out, then the completion.

        Where the source failed and is going to be tried again, the end is its error.
        """
        try:
            self._upstream.dispose()
        except Exception as error:  # it keeps nobody from the end
            log.error("leaving a source", stage=self._name, exc_info=error)
        self.act(lambda: self._set_end(self.unsettled))

    def dispose(self) -> None:
        """The subscriber left: drop what is held, leave nothing behind."""
        self.ended = True
        with self._lock:
            dropped = self._shut()
        self._release()
        if self._state.notes:
            self._report()
        self._measurements.tell_dropped(dropped)
        tell_watchers(self)

    # -- see `Node` -----------------------------------------------------------------

    @property
    def ending(self) -> bool:
        """Whether the source has ended, and what is held is on its way out."""
        return (self._closed or self.unsettled is not None) and not self.ended

    @property
    def feeds(self) -> Any:
        """The subscriber."""
        return self._observer

    @property
    def busy(self) -> bool:
        """Whether it holds something, or is giving it."""
        return self._state.held > 0 or self._owner is not None

    def flush(self) -> None:
        """Let out what does not wait for its time."""
        self.act(lambda: self._state.finish(self._now()))

    def stands_still(self, loop: Any) -> bool:
        """Whether its clock, or the subscriber on this very thread, waits for this thread."""
        return self._clock.stands_still(loop) or self._owner == get_ident()

    def abort(self, error: Exception) -> None:
        """Drop what is held, and end with *error*, or with the one of the source."""
        with self._lock:
            if self.ended:
                return
            if self._end is None or self._end[0] is None:
                self._end = (error,)
            dropped = self._drop_all()
            value = self._claim()
        self._measurements.tell_dropped(dropped)
        self._proceed(value, None)

    def forked(self) -> None:
        """A child has neither the timer nor who delivered, unless that is who forked."""
        bury(self._timer, *inside(self._state))
        self._timer = self._armed = self._end = None
        self._rang = False
        self._waiting = 0
        if self._owner != get_ident():
            self._owner = None
        self._state.clear()
        if self._state.notes:
            self._state.notes.clear()

    # -- delivery -------------------------------------------------------------------

    def _claim(self) -> Any:
        """Become the deliverer if there is something to deliver.  The lock is held."""
        self._left = True
        if self._owner is not None:
            return NOTHING
        if self._ready:
            self._owner = get_ident()
            return self._ready.popleft()
        if self._end is None or self._state.held:
            return NOTHING
        self._owner = get_ident()
        return _END

    def connect(self, upstream: abc.DisposableBase) -> abc.DisposableBase:
        """Take the subscription to the source; answer what disposes the whole."""
        self._upstream.disposable = upstream
        return Disposable(self.dispose)

    def _proceed(self, value: Any, due: float | None) -> None:
        """Outside the lock: deliver *value* and what follows, set the timer for *due*."""
        if value is not NOTHING:
            due = self._deliver(value)
        if due is not None:
            self._arm()
        if self._closed:
            self._upstream.dispose()
        if self._state.notes:
            self._report()

    def _deliver(self, value: Any) -> float | None:
        """Deliver *value* and all that is ready; answer for when to set the timer."""
        on_next = self._observer.on_next
        due = None
        giving.stages.append(self)
        try:
            while value is not NOTHING:
                if value is _END:
                    self._deliver_end()
                    return None
                on_next(value)
                with self._lock:
                    if self._delivered is not None:
                        self._delivered(self._now())
                    value, due = self._next()
            return due
        except BaseException:
            # The subscriber raised: it gets no more.  Who gets the exception depends on
            # the thread: the caller of `put`, or `_ring`.
            self.dispose()
            raise
        finally:
            giving.stages.pop()

    def _next(self) -> tuple[Any, float | None]:
        """The deliverer's next value, or NOTHING and the timer to set.  The lock is held."""
        self._left = bool(self._waiting)
        if self._rang:
            self._rang = False
            self._state.expire(self._now())
        if self._waiting:
            self._room.notify_all()
        if self._ready:
            return self._ready.popleft(), None
        if self._end is not None and not self._state.held:
            return _END, None
        self._owner = None
        return NOTHING, self._alarm_due()

    def _deliver_end(self) -> None:
        with self._lock:
            end = self._end
            self._shut()
        self._release()
        if end is None:  # disposed meanwhile
            return
        (error,) = end
        way = way_at_end(self)
        try:
            if error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(error)
        finally:
            leave_behind(way)
            self.ended = True
            tell_watchers(self)

    def _set_end(self, error: Exception | None) -> None:
        """Note the end and flush.  The lock is held."""
        self._end = (None if error is None else as_failure(error),)
        self._closed = True
        self._state.finish(self._now())
        self._room.notify_all()

    def _shut(self) -> int:
        """Nothing may come out any more.  The lock is held."""
        self._end = None
        return self._drop_all()

    def _drop_all(self) -> int:
        """Take nothing more, and hold nothing; how much that was.  The lock is held."""
        self._closed = True
        dropped = self._state.clear()
        self._room.notify_all()
        return dropped

    def _release(self) -> None:
        with self._lock:
            timer, self._timer, self._armed = self._timer, None, None
        if timer is not None:
            timer.dispose()
        self._upstream.dispose()

    # -- waiting --------------------------------------------------------------------

    def _wait_for_room(self, item: _T, extra: Any) -> int:
        """Offer *item* again until it is taken, or the stream ends.  The lock is held."""
        if self._owner == get_ident():
            # The subscriber pushes while it is being given a value: it cannot wait for
            # itself.  A state that has a bound of its own for this raises.
            return self._offer(item, self._now(), extra, True)
        if not can_wait(self._clock):
            raise WouldBlock(
                f"{self._name}: the subscriber is slower than the source, and this thread "
                "cannot wait (virtual time, or a running event loop); use overflow="
                "'drop_oldest' or 'drop_newest' where there is such an option, a larger "
                "max_pending, or a source that reads on demand such as pool.pull"
            )
        while not self._closed:
            retry = self._state.retry_at(extra)
            self._waiting += 1
            self._left = True
            try:
                left = None if retry is None else max(0.0, retry - self._now())
                self._room.wait(at_most(left))
            finally:
                self._waiting -= 1
            if self._closed:
                break
            act = self._offer(item, self._now(), extra)
            if act >= 0:
                return act
        if self._state.notes is not None:
            self._state.notes.append(("rxpool.dropped", 1, "{item}", {"policy": "closed"}))
        return 0

    # -- the timer ------------------------------------------------------------------

    def _alarm_due(self) -> float | None:
        """The instant to set the timer for, if none rings before it.  The lock is held."""
        due = self._state.due
        if due is None or self._owner is not None:
            return None
        if self._armed is not None and self._armed <= due:
            return None
        return due

    def _arm(self) -> None:
        with self._lock:
            due = self._alarm_due()
            if due is None:
                return
            stale, timer = self._timer, SingleAssignmentDisposable()
            self._timer, self._armed = timer, due
        if stale is not None:
            stale.dispose()
        try:
            timer.disposable = self._clock.alarm(due, lambda now: self._ring(timer, now))
        except Exception as error:
            # Without a timer what is held would stay for ever.
            with self._lock:
                if self._timer is not timer:
                    return
                self._end = (error,)
                dropped = self._drop_all()
                value = self._claim()
            self._measurements.tell_dropped(dropped)
            self._proceed(value, None)

    def _ring(self, timer: object, now: float) -> None:
        with self._lock:
            if self._timer is not timer:
                return
            self._timer = self._armed = None
            if self._owner is not None:
                self._rang = self._left = True
                return
            self._state.expire(now)
            if self._waiting:
                self._room.notify_all()
            value = self._claim()
            due = self._alarm_due() if value is NOTHING else None
        try:
            self._proceed(value, due)
        except BaseException as error:
            if self._clock.virtual:
                raise
            report_uncaught(self._name, error)

    def _report(self) -> None:
        with self._lock:
            notes, self._state.notes = self._state.notes, []
        self._measurements.tell(notes or ())
