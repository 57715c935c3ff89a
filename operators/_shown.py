"""`Shown`: binds the counts of a stream to a clock and to a display that may fail."""

from collections.abc import Callable
from contextlib import suppress
from threading import Condition, RLock, get_ident
from typing import Any

from reactivex.disposable import SingleAssignmentDisposable

from rxpool._forks import afresh, bury, heed
from rxpool._log import log
from rxpool.operators._bars import Display, End
from rxpool.operators._progress_state import ProgressState, Standing
from rxpool.outcomes import Failure
from rxpool.timing import Clock

__all__ = ("Shown",)

_PATIENCE = 1.0  #: seconds that an end waits for a display that is just being written


class Shown:
    """The progress of one subscription.

    ``_lock`` guards the state and the fields; it is not held while the display is called.
    ``_drawer`` is the thread that calls the display at present.  Whoever finds it set leaves
    the rest to it, so the display never sees two calls at once.

    Args:
        state: The counts.
        open_display: Opens the display; the first standing is its argument.
        clock: Tells when.
        is_closed: Whether the file of the display is closed, so that nobody needs to know.
    """

    def __init__(
        self,
        state: ProgressState,
        open_display: Callable[[Standing], Display],
        clock: Clock,
        is_closed: Callable[[], bool],
    ) -> None:
        self._lock = RLock()
        self._drawn = afresh(Condition(self._lock))
        self._state = state
        self._clock = clock
        self._is_closed = is_closed
        self._display: Display | None = None
        self._timer: SingleAssignmentDisposable | None = None
        self._drawer: int | None = None
        self._end: End | None = None
        self._over = False
        self._timed = True
        standing = state.standing(clock.now())
        try:
            self._display = open_display(standing)
        except Exception as error:
            self._drop(error, standing)
        heed(self)

    def forked(self) -> None:
        """A child has neither the timer nor who draws; the display is the parent's."""
        bury(self._timer, self._display)
        self._timer = self._drawer = self._display = None
        self._over = True

    def count(self, item: Any) -> bool:
        """Count *item*; whether to call `look` when it was delivered."""
        failed = isinstance(item, Failure)
        with self._lock:
            self._state.add(failed)
            return self._timer is None and not self._over

    def look(self) -> None:
        """Show where things stand if that is due, else see that it is shown when it is."""
        with self._lock:
            due = self._state.due
            if due is None or self._timer is not None or self._over or self._end is not None:
                return
            if due > self._clock.now():
                if not self._timed:
                    return
                timer = self._timer = SingleAssignmentDisposable()
            elif self._drawer is not None:
                return  # it looks again
            else:
                timer = None
                self._drawer = get_ident()
        if timer is None:
            self._draw()
            return
        try:
            timer.disposable = self._clock.alarm(due, lambda _: self._ring(timer))
        except Exception as error:
            # From now on it is items alone that show where things stand.
            with self._lock:
                self._timed, self._timer = False, None
            _tell("progress cannot set timers", error)

    def _ring(self, timer: object) -> None:
        with self._lock:
            if self._timer is not timer:
                return
            self._timer = None
            if self._over or self._end is not None or self._drawer is not None:
                return
            self._drawer = get_ident()
        self._draw()

    def close(self, end: End) -> None:
        """The stream ended: show that and let go.  Only the first call counts."""
        with self._lock:
            if self._end is not None:
                return
            self._end = end
            timer, self._timer = self._timer, None
            mine = self._drawer is None
            if mine:
                self._drawer = get_ident()
        if timer is not None:
            timer.dispose()
        if mine:
            self._draw()
        elif self._drawer != get_ident():
            # What the program prints next should stand below the last line.
            with self._lock:
                self._drawn.wait_for(lambda: self._drawer is None, _PATIENCE)

    def _draw(self) -> None:
        """As the drawer: show where things stand, and the end if that came meanwhile."""
        try:
            while True:
                with self._lock:
                    end, display = self._end, self._display
                    now = self._clock.now()
                    standing = self._state.tell(now)
                    if end is not None:
                        self._display, self._over = None, True
                if display is not None:
                    try:
                        if end is None:
                            display.show(standing)
                        else:
                            display.close(standing, end)
                    except Exception as error:
                        self._drop(error, standing)
                with self._lock:
                    self._state.shown(self._clock.now())
                    if end is not None or self._end is None:
                        self._release()
                        break
        except BaseException:  # Ctrl-C in the midst of writing
            with self._lock:
                self._release()
            raise
        if end is None:
            self.look()  # sets the timer for what came while it was drawing

    def _release(self) -> None:
        self._drawer = None
        self._drawn.notify_all()

    def _drop(self, error: Exception, standing: Standing) -> None:
        """The display failed: there is none any more, and the stream goes on."""
        with self._lock:
            display, self._display = self._display, None
            timer, self._timer = self._timer, None
            self._over = True
        if timer is not None:
            timer.dispose()
        if display is not None:
            with suppress(Exception):  # it failed already, and is told of below
                display.close(standing, None)
        if not (isinstance(error, BrokenPipeError) or self._is_closed()):
            _tell("the progress display raised", error)
        # Else nobody reads it, and the log would go the same way.


def _tell(event: str, error: Exception) -> None:
    with suppress(Exception):  # nor may a log that fails harm the stream
        log.error(event, exc_info=error)
