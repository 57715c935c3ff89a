"""`Inbox`: between a source and the loop that iterates over it; see `iterate`."""

import os
import threading
from collections.abc import Callable
from contextvars import copy_context
from threading import get_ident
from typing import Any, Final

from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import CurrentThreadScheduler

from rxpool import _forks
from rxpool._core.causes import as_failure
from rxpool._core.inlet import Node, feeding
from rxpool._core.sleeper import Sleeper
from rxpool._core.state import NOTHING
from rxpool._core.waits import LOOK, can_wait
from rxpool._threads import DaemonThread
from rxpool.errors import PoolClosed, WouldBlock
from rxpool.pool._engine.binding import busy_here, here
from rxpool.pool._engine.graph import closure
from rxpool.pool._flows.iterate_state import IterateState
from rxpool.pool._state.task import Task

__all__ = ("Inbox",)

_OFTEN: Final = 0.02  #: seconds between two looks whether an event loop may be kept waiting


def _goes_on(node: Any) -> bool:
    """Whether a node needs nobody who is not known to come to its end."""
    if node.sources or node.ended or getattr(node, "ending", False):
        return True
    state = getattr(node, "state", None)
    return hasattr(node, "has_an_end") if state is None else state.ended


def _nobody() -> None:
    """No coroutine waits."""


class _Closed(Exception):
    """Nobody iterates any more: gets a source out of its loop."""


class Inbox:
    """Items between a source and a loop; an `Inlet` for flows and `pull`.

    ``_lock`` guards the state and the fields, and is not held while anything foreign runs.
    """

    holds_back = True
    rxpool_node: Final = True

    def __init__(self, source: Observable[Any], max_pending: int) -> None:
        self.sources: list[Node] = []
        self.watchers: list[Callable[[], object]] = []
        self.consumer: int | None = None  # the thread that iterates
        self._source = source
        self._state = IterateState(max_pending)
        self._lock = threading.RLock()  # re-entrant for finalisers only
        self._changed = _forks.afresh(threading.Condition(self._lock))
        self._emitter: int | None = None  # the thread that subscribes
        self._subscribed = False  # or so far that an item came
        self._subscription = SingleAssignmentDisposable()
        self._sleeper: Sleeper | None = None
        self._process = os.getpid()
        _forks.heed(self)

    def forked(self) -> None:
        """A child gets nothing of what its parent has begun to iterate over."""
        state = self._state
        if not state.begun or state.over:
            return
        _forks.bury(state.items, state.parked, self._subscription)
        state.items.clear()
        state.parked.clear()
        self._sleeper = None
        self._subscription = SingleAssignmentDisposable()  # the other is the parent's
        error = PoolClosed(
            f"iterate: this iteration belongs to process {self._process} and was inherited "
            "through a fork: begin another one in this process"
        )
        state.end = (error,)

    # -- subscribing ----------------------------------------------------------------------

    def subscribe_here(self) -> None:
        """Subscribe on this thread."""
        if self._begin():
            self._subscribe()

    def subscribe_on_thread(self) -> None:
        """Subscribe on another thread; wait until that is done, or the first item is here."""
        if not self._begin():
            return
        # There the caller's tasks count as they do here: they may give up their slots.
        tasks = list(busy_here())
        for engine in {task.flow.binding.engine for task in here.stack}:
            engine.back_pressure.step_aside()
        run = copy_context().run
        DaemonThread(run, "rxpool-iterate", (self._subscribe_for, tasks)).start()
        with self._changed:
            while not (self._subscribed or self._state.over):
                self._wait_a_little()

    def _begin(self) -> bool:
        with self._lock:
            return self._state.begin()

    def _subscribe_for(self, tasks: list[Task]) -> None:
        here.stack.extend(tasks)
        generation = _forks.generation
        self._subscribe()
        if _forks.generation != generation:
            _forks.end_child()  # the source forked on this thread, and this is the child

    def _subscribe(self) -> None:
        self._emitter = get_ident()
        try:
            # Queued by this, a source emits when `subscribe` has returned: so there is
            # something to dispose of by then.
            with feeding(self, self):
                CurrentThreadScheduler.singleton().schedule(self._subscribe_now)
        except _Closed:
            pass
        except Exception as error:
            self._finish(error)
        except BaseException as error:
            self._finish(error)
            raise  # KeyboardInterrupt belongs to the program
        finally:
            self._emitter = None
            with self._changed:
                self._subscribed = True
                self._changed.notify_all()

    def _subscribe_now(self, _: abc.SchedulerBase, __: Any = None) -> None:
        self._subscription.disposable = self._source.subscribe(
            self.on_next, self._finish, lambda: self._finish(None)
        )

    # -- the source -----------------------------------------------------------------------

    def on_next(self, item: Any) -> None:
        """Take an item, or hold its producer back."""
        state = self._state
        with self._changed:
            while not state.over and state.full:
                if not can_wait() or get_ident() == self.consumer:
                    # Flows look for room before each item: one too many is of two that
                    # looked at once.
                    if len(state.items) >= state.max_pending + len(self.sources):
                        state.finish(WouldBlock(self._why()))
                    break
                self._subscribed = True
                self._changed.notify_all()
                self._changed.wait(LOOK)
            taken = state.put(item)
            wake = self._notify()
        wake()
        if not taken:
            self._subscription.dispose()
            if self._emitter == get_ident() and not self.sources:
                raise _Closed

    def _why(self) -> str:
        return (
            f"iterate: {self._state.max_pending} items wait already (max_pending), and this "
            "thread cannot wait (a running event loop, or the thread that iterates); read the "
            "source with pool.pull, or raise max_pending"
        )

    def _finish(self, error: BaseException | None) -> None:
        with self._lock:
            self._state.finish(None if error is None else as_failure(error))
            wake = self._notify()
        wake()

    def _notify(self) -> Callable[[], object]:
        """Wake threads that wait here; what wakes a coroutine.  The lock is held."""
        self._subscribed = True
        self._changed.notify_all()
        sleeper = self._sleeper
        return _nobody if sleeper is None else sleeper.wake

    # -- the inlet ------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """See `Node`."""
        return self._state.over

    @property
    def ending(self) -> bool:
        """See `Node`."""
        return self._state.end is not None and not self._state.over

    @property
    def busy(self) -> bool:
        """See `Node`."""
        return bool(self._state.items)

    @property
    def feeds(self) -> Any:
        """See `Node`: whoever iterates."""
        return None

    def stands_still(self, loop: Any) -> bool:
        """See `Node`: it waits for whoever iterates."""
        return True

    def uncork(self) -> None:
        """Take what comes, though nobody may come to fetch it: a pool closes above."""
        with self._changed:
            resume = self._state.uncork()
            self._changed.notify_all()
        for call in resume:
            call()

    def abort(self, error: Exception) -> None:
        """See `Node`."""
        self._subscription.dispose()
        self._finish(error)

    @property
    def closed(self) -> bool:
        """See `Inlet`."""
        return self._state.closed

    def cut(self) -> None:
        """Take nothing more from the source."""
        self._subscription.dispose()
        self._finish(None)

    def is_pulled(self) -> None:
        """See `Inlet`."""

    def room(self) -> bool:
        """Whether an item would be taken now."""
        return not self._state.full or self._state.closed

    def on_room(self, resume: Callable[[], object]) -> bool:
        """See `Inlet`."""
        with self._lock:
            return self._state.park(resume)

    # -- the loop -------------------------------------------------------------------------

    def look(self) -> bool:
        """Whether there is something to `take`."""
        return self._state.ready

    def take(self, stop: type[Exception]) -> Any:
        """The next item; else raise the error of the source, or *stop*."""
        with self._changed:
            item, resume = self._state.take()
            error = self._state.take_error() if item is NOTHING else None
            self._changed.notify_all()
        for call in resume:
            call()
        if item is not NOTHING:
            return item
        self._subscription.dispose()
        if error is not None:
            raise error
        raise stop

    def wait(self) -> None:
        """Wait for an item or the end, on this thread."""
        with self._changed:
            while not self.look():
                self._wait_a_little()

    def _wait_a_little(self) -> None:
        """Wait until something changed, or a second; `_changed` is held.

        Raises:
            WouldBlock: If this thread's event loop runs the work that is waited for.
        """
        if can_wait():
            self._changed.wait(LOOK)
            return
        self._changed.wait(_OFTEN)
        nodes: set[Any] = closure(self.sources, lambda node: node.sources)
        for node in nodes:
            if hasattr(node, "engine"):
                node.engine.backend.waits()
        known = bool(nodes) and all(map(_goes_on, nodes))
        if self._subscribed and self._emitter is None and not (known or self.look()):
            raise WouldBlock(
                "iterate: a running event loop cannot wait for a source that may need it; use "
                "'async for', or read the input with pool.pull"
            )

    async def sleep(self) -> None:
        """Wait for an item or the end, on the running loop."""
        if self._sleeper is None:
            self._sleeper = Sleeper()
        if not self.look():
            await self._sleeper.sleep()

    def close(self) -> None:
        """The iteration ends here."""
        with self._changed:
            if self._state.over:
                return
            resume = self._state.close()
            wake = self._notify()
        self._subscription.dispose()
        for call in resume:
            call()
        wake()
