"""`pool.stop_on`: signals that end pools gracefully, then the process as they would have.

====================================  =========================================================
the first of its signals              its pools close, all at once; the rest when that is over
another one meanwhile                 its pools are terminated
all pools are closed, and before ...  ... the process is ended by the signal, unless
the program had a handler             that handler is called instead, on the main thread
the signal was ignored                it still is: nothing happens
all pools of a signal ended before    what was there before is there again
====================================  =========================================================
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from queue import SimpleQueue
from time import monotonic
from types import FrameType
from typing import Any, Final
from weakref import ref

from rxpool import _checks as checks
from rxpool import _exit
from rxpool._core.waits import LOOK
from rxpool._forks import afresh, heed
from rxpool._log import log
from rxpool._threads import DaemonThread
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.pool._shutdown import Shutdown

__all__ = ("await_stop", "checked_signals", "stop_on")

_DELIVERY: Final = 10.0  #: seconds in which the main thread should have heard the last signal


class _Stops:
    """All pools of the process that end on signals.

    Handlers run on the main thread between two steps of any code, with any lock held: so
    they take none, and leave the work to a thread by a queue that is made for that.
    """

    rank = 2  #: see `Ending`: after the pools

    def __init__(self) -> None:
        self._numbers = count()
        # For `add` and `remove`, never for handlers; re-entrant for finalisers.
        self._lock = afresh(threading.RLock())
        self._reset()
        heed(self)

    def _reset(self) -> None:
        #: what is to be closed, on which signals, within how many seconds
        self._pools: dict[int, tuple[ref[Shutdown], frozenset[int], float]] = {}
        self._previous: dict[int, Any] = {}  # handlers that ours stand in for
        self._stopping: int | None = None  # the signal that came first
        self._closed = False  # the pools are; the signal comes once more
        self._delivered = afresh(threading.Event())
        self._tell: SimpleQueue[Any] = SimpleQueue()
        self._thread: DaemonThread | None = None

    def forked(self) -> None:
        """The pools are the parent's; handlers find none here, and hand on."""
        previous = self._previous
        self._reset()
        self._previous = previous

    def add(self, shutdown: Shutdown, signals: frozenset[int], within: float) -> int:
        """Close it on these, and answer its number."""
        with self._lock:
            return self._add(shutdown, signals, within)

    def _add(self, shutdown: Shutdown, signals: frozenset[int], within: float) -> int:
        number = next(self._numbers)
        heard = {each for each in signals if signal.getsignal(each) is not signal.SIG_IGN}
        if self._thread is None:
            self._thread = DaemonThread(self._work, "rxpool-stop", (self._tell,))
            self._thread.start()
            _exit.watch(self)
        self._pools[number] = ref(shutdown), frozenset(heard), within
        for each in heard:
            if (before := signal.getsignal(each)) != self._on_signal:
                self._previous[each] = before
                signal.signal(each, self._on_signal)
        return number

    def remove(self, number: int) -> None:
        """That pool has ended."""
        with self._lock:
            self._pools.pop(number, None)
            if self._stopping is None:
                self._restore()
                if not self._pools:
                    self._thread = None
                    self._tell.put(None)
                    self._tell = SimpleQueue()

    def _restore(self) -> None:
        """Give back signals that no pool waits for; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return  # then a handler of ours hands on to the one before
        wanted = {each for _, signals, _ in self._pools.values() for each in signals}
        for each in [each for each in self._previous if each not in wanted]:
            previous = self._previous.pop(each)
            if signal.getsignal(each) == self._on_signal:
                signal.signal(each, signal.SIG_DFL if previous is None else previous)

    # -- on the main thread ---------------------------------------------------------------

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._stopping is not None:
            if self._closed:
                self._hand_on(self._stopping, frame)
            else:
                self._tell.put("terminate")
            return
        chosen = [
            (shutdown, within)
            for known, signals, within in list(self._pools.values())
            if signum in signals and (shutdown := known()) is not None and not shutdown.ended
        ]
        if not chosen:
            self._hand_on(signum, frame)
            return
        self._delivered = afresh(threading.Event())
        self._stopping = signum
        self._tell.put(chosen)

    def _hand_on(self, signum: int, frame: FrameType | None) -> None:
        """What the signal would have done without us."""
        self._stopping, self._closed = None, False
        previous = self._previous.pop(signum, None)
        signal.signal(signum, signal.SIG_DFL if previous is None else previous)
        self._restore()
        self._delivered.set()
        if callable(previous):
            previous(signum, frame)
        elif previous is not signal.SIG_IGN:
            for stream in (sys.stdout, sys.stderr):  # what flushed batches have printed
                with suppress(Exception):
                    stream.flush()
            signal.raise_signal(signum)

    # -- on a thread of its own -----------------------------------------------------------

    def _work(self, told: "SimpleQueue[Any]") -> None:
        while (chosen := told.get()) is not None:
            self._stop(told, chosen)

    def _stop(self, told: "SimpleQueue[Any]", chosen: Any) -> None:
        if chosen == "terminate":
            return  # it came when all was over
        within = max(within for _, within in chosen)
        left = len(chosen)
        for shutdown, _ in chosen:
            self._aside(partial(shutdown.close, within), partial(told.put, "closed"))
        while left:
            what = told.get()
            if what == "closed":
                left -= 1
                continue
            for shutdown, _ in chosen:
                self._aside(shutdown.terminate, None)
        self._closed = True
        until = monotonic() + _DELIVERY
        self._send()
        # One that comes in the instant before a wait of the main thread does not end that.
        while not self._delivered.wait(LOOK) and monotonic() < until:
            self._send()
        with self._lock:
            if not self._pools and self._thread is threading.current_thread():
                self._thread = None
                told.put(None)

    def _aside(self, call: Callable[[], object], then: Callable[[], object] | None) -> None:
        def run() -> None:
            try:
                call()
            except BaseException as error:
                log.error("uncaught exception", where="stop_on", exc_info=error)
            finally:
                if then is not None:
                    then()

        DaemonThread(run, "rxpool-stop-one").start()

    def _send(self) -> None:
        """Have the main thread hear the signal, wherever it waits."""
        stopping = self._stopping
        if stopping is None:
            return  # this is a forked child
        if hasattr(signal, "pthread_kill"):
            ident = threading.main_thread().ident
            assert ident is not None
            signal.pthread_kill(ident, stopping)
        else:
            signal.raise_signal(stopping)

    # -- the end of the program -----------------------------------------------------------

    def wait(self) -> None:
        """The main thread is about to go on though it is going to be ended: wait for that."""
        if threading.current_thread() is not threading.main_thread():
            return
        until: float | None = None
        while self._stopping is not None:
            self._delivered.wait(LOOK if until is None else 0.01)
            if self._closed and until is None:
                until = monotonic() + _DELIVERY
            if until is not None and monotonic() > until:
                return

    def end_at_exit(self, hard: bool) -> None:
        """See `Ending`."""
        self.wait()


_stops: Final = _Stops()
await_stop: Final = _stops.wait


def checked_signals(signals: tuple[Any, ...]) -> frozenset[int]:
    """Refuse what no handler can be set for."""
    if not signals:
        raise InvalidArgument("stop_on needs one signal or more, such as signal.SIGTERM")
    never = {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}
    for each in signals:
        if isinstance(each, bool) or not isinstance(each, int):
            raise InvalidArgumentType(
                f"signals must be those of `signal`, got {checks.shown(each)}"
            )
        if each not in signal.valid_signals() or each in never:
            raise InvalidArgument(f"no handler can be set for signal {each!r}")
    return frozenset(map(int, signals))


def stop_on(
    shutdown: Shutdown, ended: Any, signals: tuple[Any, ...], within: checks.Seconds
) -> None:
    """See `WorkerPool.stop_on`; *ended* is a stream that completes when the pool has ended."""
    chosen = checked_signals(signals)
    seconds = checks.duration("within", within)
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("stop_on has to be called on the main thread, as handlers are set")
    number = _stops.add(shutdown, chosen, seconds)
    pid = os.getpid()

    def over() -> None:
        if os.getpid() == pid:
            _stops.remove(number)

    ended.subscribe(on_completed=over)
