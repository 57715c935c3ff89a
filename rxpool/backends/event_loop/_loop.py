"""The event loop of a pool: the one that runs, or one on a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from threading import get_ident
from time import monotonic
from typing import Any, Final

from reactivex import abc
from reactivex.disposable import Disposable

from rxpool import _forks
from rxpool._log import log
from rxpool._threads import DaemonThread, exiting
from rxpool.backends._awaiting import part, stop_turning
from rxpool.errors import PoolClosed
from rxpool.timing import Clock, TimerScheduler

__all__ = ("LoopClock", "PoolLoop")

_GRACE: Final = 1.0  #: seconds that cancelled coroutines have to end when their loop ends


class PoolLoop:
    """The loop that runs when this is made, else one on a thread that `ensure` starts."""

    def __init__(self, name: str) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        #: called when the program ends the loop before `stop` is called
        self.lost: Callable[[], object] = lambda: None
        self.thread_id: int | None = None
        self._name = name
        self._lock = _forks.afresh(threading.Lock())
        self._thread: threading.Thread | None = None
        self.keeper: asyncio.Task[None] | None = None  # see `_keep`
        self._stopping = False
        self._then: Callable[[], object] = lambda: None  # to be called when it has ended
        try:
            self.loop = asyncio.get_running_loop()
        except RuntimeError:
            self.own = True
        else:
            self.own = False
            self.thread_id = get_ident()
        self._foreign = False
        _forks.heed(self)

    def forked(self) -> None:
        """The loop of the parent is none of a child's."""
        _forks.bury(self.loop, self.keeper)
        loop, self.loop, self.keeper = self.loop, None, None
        self._foreign = self._stopping = True
        if loop is None:
            return
        if self.own:
            for task in asyncio.all_tasks(loop):
                _forks.keep(task)
        if self.is_here:
            (stop_turning if self.own else part)(loop)

    @property
    def is_here(self) -> bool:
        """Whether this is the thread that the loop runs on."""
        return self.thread_id == get_ident()

    @property
    def dead(self) -> bool:
        """Whether nothing can run on the loop any more."""
        loop = self.loop
        if loop is None:
            return False
        return loop.is_closed() or (exiting.begun and not loop.is_running())

    def ensure(self) -> asyncio.AbstractEventLoop:
        """The loop, which may be started for this."""
        loop = self.loop
        if loop is not None and (self.own or self.keeper is not None or self._stopping):
            return loop
        with self._lock:
            if self.loop is None:
                if self._stopping:
                    raise PoolClosed(f"pool {self._name!r} is closed")
                self._start_thread()
            elif self.keeper is None and self.is_here:
                self.keeper = asyncio.Task(
                    self._keep(), loop=self.loop, name=self._name, context=Context()
                )
                # A loop that is closed without having cancelled its tasks says nothing.
                self.keeper._log_destroy_pending = False  # type: ignore[attr-defined]
        assert self.loop is not None
        return self.loop

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call *function* on the loop: now if this is its thread, else as soon as possible."""
        if self.is_here:
            function(*args)
        elif self.loop is not None:
            self.loop.call_soon_threadsafe(function, *args)

    def stop(self, wait: float | None) -> None:
        """End a loop of the pool's own, and wait for its thread unless this is it."""
        with self._lock:
            self._stopping = True
        loop, thread = self.loop, self._thread
        if loop is None:
            return
        try:
            if self.is_here and self.keeper is not None:
                self._end()
            else:
                loop.call_soon_threadsafe(self._end)
        except RuntimeError:  # closed
            return
        if thread is not None and not self.is_here:
            thread.join(wait)

    def dismiss(self, then: Callable[[], object]) -> None:
        """Nobody needs the loop any more: end it, and call *then*; for finalisers."""
        self._then = then
        self._stopping = True
        if self.loop is not None:
            with suppress(RuntimeError):  # closed
                self.loop.call_soon_threadsafe(self._end, context=Context())

    def _start_thread(self) -> None:
        loop = _forks.kept(asyncio.new_event_loop())
        self._thread = DaemonThread(self._main, f"{self._name}-loop", (loop,))
        try:
            self._thread.start()
        except BaseException:
            self._thread = None
            loop.close()
            raise
        self.thread_id = self._thread.ident
        self.loop = loop

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            if self._foreign:
                _forks.end_child()  # a subscriber forked
            try:
                loop.run_until_complete(self._wind_up())
            finally:
                asyncio.set_event_loop(None)
                loop.close()
        self._then()

    def _end(self) -> None:
        if self.keeper is not None:
            self.keeper.cancel()
        if self.own:
            asyncio.get_running_loop().stop()
        else:
            self._then()

    async def _wind_up(self) -> None:
        """Cancel what is left on the loop; what does not end then is given up."""
        loop = asyncio.get_running_loop()
        left = asyncio.all_tasks(loop) - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            done, left = await asyncio.wait(left, timeout=_GRACE)
            for task in done:
                if not task.cancelled():
                    task.exception()  # seen: cancelled work may fail
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            log.warning("a coroutine ignores its cancellation", pool=self._name, task=task)
        await loop.shutdown_asyncgens()

    async def _keep(self) -> None:
        """Stay until the loop's program cancels all tasks, as `asyncio.run` does."""
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if not self._stopping:
                self.lost()
            raise


class LoopClock(Clock):
    """The monotonic clock; its alarms ring on the loop, so results are delivered there."""

    __slots__ = ("_loop",)

    def __init__(self, loop: PoolLoop) -> None:
        super().__init__(TimerScheduler.singleton())
        self._loop = loop

    def alarm(self, due: float, ring: Callable[[float], object]) -> abc.DisposableBase:
        """Call ``ring(now)`` on the loop at *due*."""
        pool_loop = self._loop
        alarm = _Alarm(due, ring)
        try:
            pool_loop.call(alarm.set, pool_loop.ensure())
        except (RuntimeError, PoolClosed):  # closed: nothing is timed any more
            return Disposable()

        def dispose() -> None:
            alarm.disposed = True
            with suppress(RuntimeError):  # the loop is closed
                pool_loop.call(alarm.unset)

        return Disposable(dispose)


class _Alarm:
    """One timer of a loop."""

    def __init__(self, due: float, ring: Callable[[float], object]) -> None:
        self.disposed = False
        self._due = due
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start; on the loop's thread."""
        if not self.disposed:
            delay = max(0.0, self._due - monotonic())
            self._handle = loop.call_later(delay, self._rings, context=Context())

    def unset(self) -> None:
        """Forget it; on the loop's thread."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _rings(self) -> None:
        self._handle = None
        if not self.disposed:
            self._ring(max(self._due, monotonic()))
