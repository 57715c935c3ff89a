"""`iterate`: any Observable as an iterator and async iterator, with back-pressure."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from threading import get_ident
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import CurrentThreadScheduler

from rxpool import _checks as checks
from rxpool import _forks
from rxpool._core.causes import as_failure
from rxpool._core.inlet import Node, feeding
from rxpool._core.sleeper import Sleeper
from rxpool._core.waits import LOOK, can_wait
from rxpool._threads import DaemonThread
from rxpool.errors import InvalidArgumentType, PoolClosed, WouldBlock
from rxpool.pool._engine.binding import busy_here, here
from rxpool.pool._engine.graph import closure
from rxpool.pool._state.task import Task

__all__ = ("Items", "iterate")

_T = TypeVar("_T")

_OFTEN: Final = 0.02  #: seconds between two looks whether an event loop may be kept waiting


def iterate(source: Observable[_T], *, max_pending: int = 1024) -> "Items[_T]":
    """The items of *source*, for ``for`` and ``async for``, however slow the loop is.

    ::

        async for page in rxpool.iterate(pool.pull(urls).pipe(pool.map(fetch))):
            ...

    - Subscribes when the iteration begins: on a thread of its own for ``for``, so that
      sources that emit while they are subscribed can wait there; on the loop for
      ``async for``.  A ``for`` on a running event loop keeps that waiting, as `imap` does,
      where flows of pools are fed by `WorkerPool.pull` or by a source that emits while it is
      subscribed; else, and if their work runs on that loop, it raises `WouldBlock`.
    - **Gives** each item in order, and at the end raises the error of the source, if it
      has one, after what came before it.
    - **Holds back** the source while *max_pending* items wait here: flows of pools and
      `WorkerPool.pull` stop without occupying a thread, other producers wait.  One that
      must not wait, on a running event loop or on the thread that iterates, ends the
      iteration with `WouldBlock`, after what was buffered.

    Leaving the ``with`` block, `close`, or dropping the iterator disposes the subscription.

    Args:
        source: Any Observable.
        max_pending: How many items may wait for the loop; 1 or more.
    """
    if not isinstance(source, Observable):
        raise InvalidArgumentType(f"source must be an Observable, got {checks.shown(source)}")
    return Items(_Inbox(source, checks.count("max_pending", max_pending, least=1)))


def _goes_on(node: Any) -> bool:
    """Whether a node needs nobody who is not known to come to its end."""
    if node.sources or node.ended or getattr(node, "ending", False):
        return True
    state = getattr(node, "state", None)
    return hasattr(node, "has_an_end") if state is None else state.ended


class Items(Generic[_T]):
    """An iterator, async iterator and context manager; see `iterate`."""

    def __init__(self, inbox: "_Inbox") -> None:
        self._inbox = inbox  # which the source knows, and not this: so this can be dropped

    def __iter__(self) -> Self:
        self._inbox.subscribe_on_thread()
        return self

    def __next__(self) -> _T:
        inbox = self._inbox
        inbox.subscribe_on_thread()
        inbox.consumer = get_ident()
        while not inbox.look():
            inbox.wait()
        return inbox.take(StopIteration)  # type: ignore[no-any-return]

    def __aiter__(self) -> Self:
        self._inbox.subscribe_here()
        return self

    async def __anext__(self) -> _T:
        inbox = self._inbox
        inbox.subscribe_here()
        while not inbox.look():
            await inbox.sleep()
        return inbox.take(StopAsyncIteration)  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_inbox"):
            self._inbox.close()

    def close(self) -> None:
        """Dispose the subscription; what is buffered is dropped, the iteration ends."""
        self._inbox.close()


class _Closed(Exception):
    """Nobody iterates any more: gets a source out of its loop."""


class _Inbox:
    """Items between a source and a loop; an `Inlet` for flows and `pull`.

    ``_lock`` guards the fields, and is not held while anything foreign runs.
    """

    holds_back = True
    rxpool_node: Final = True

    def __init__(self, source: Observable[Any], max_pending: int) -> None:
        self.sources: list[Node] = []
        self.watchers: list[Callable[[], object]] = []
        self.consumer: int | None = None  # the thread that iterates
        self._source = source
        self._max_pending = max_pending
        self._lock = threading.RLock()  # re-entrant for finalisers only
        self._changed = _forks.afresh(threading.Condition(self._lock))
        self._items: deque[Any] = deque()
        self._end: tuple[BaseException | None] | None = None
        self._over = False
        self._parked: list[Callable[[], object]] = []
        self._begun = False
        self._emitter: int | None = None  # the thread that subscribes
        self._subscribed = False  # or so far that an item came
        self._subscription = SingleAssignmentDisposable()
        self._sleeper: Sleeper | None = None
        self._process = os.getpid()
        _forks.heed(self)

    def forked(self) -> None:
        """A child gets nothing of what its parent has begun to iterate over."""
        if not self._begun or self._over:
            return
        _forks.bury(self._items, self._parked, self._subscription)
        self._items.clear()
        self._parked.clear()
        self._sleeper = None
        self._subscription = SingleAssignmentDisposable()  # the other is the parent's
        error = PoolClosed(
            f"iterate: this iteration belongs to process {self._process} and was inherited "
            "through a fork: begin another one in this process"
        )
        self._end = (error,)

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
            engine.step_aside()
        run = copy_context().run
        DaemonThread(run, "rxpool-iterate", (self._subscribe_for, tasks)).start()
        with self._changed:
            while not (self._subscribed or self._over):
                self._wait_a_little()

    def _begin(self) -> bool:
        with self._lock:
            begins = not self._begun and not self._over
            self._begun = True
            return begins

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
        with self._changed:
            while not self._over and len(self._items) >= self._max_pending:
                if not can_wait() or get_ident() == self.consumer:
                    # Flows look for room before each item: one too many is of two that
                    # looked at once.
                    if len(self._items) >= self._max_pending + len(self.sources):
                        self._end = self._end or (WouldBlock(self._why()),)
                    break
                self._subscribed = True
                self._changed.notify_all()
                self._changed.wait(LOOK)
            refused = self.closed
            if not refused:
                self._items.append(item)
            self._subscribed = True
            self._changed.notify_all()
            sleeper = self._sleeper
        if sleeper is not None:
            sleeper.wake()
        if refused:
            self._subscription.dispose()
            if self._emitter == get_ident() and not self.sources:
                raise _Closed

    def _why(self) -> str:
        return (
            f"iterate: {self._max_pending} items wait already (max_pending), and this thread "
            "cannot wait (a running event loop, or the thread that iterates); read the source "
            "with pool.pull, or raise max_pending"
        )

    def _finish(self, error: BaseException | None) -> None:
        with self._changed:
            if self._end is None:
                self._end = (None if error is None else as_failure(error),)
            self._subscribed = True
            self._changed.notify_all()
            sleeper = self._sleeper
        if sleeper is not None:
            sleeper.wake()

    # -- the inlet ------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """See `Node`."""
        return self._over

    @property
    def ending(self) -> bool:
        """See `Node`."""
        return self._end is not None and not self._over

    @property
    def busy(self) -> bool:
        """See `Node`."""
        return bool(self._items)

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
            self._max_pending = sys.maxsize
            self._changed.notify_all()
            resume, self._parked = self._parked, []
        for call in resume:
            call()

    def abort(self, error: Exception) -> None:
        """See `Node`."""
        self._subscription.dispose()
        self._finish(error)

    @property
    def closed(self) -> bool:
        """See `Inlet`."""
        return self._over or self._end is not None

    def cut(self) -> None:
        """Take nothing more from the source."""
        self._subscription.dispose()
        self._finish(None)

    def is_pulled(self) -> None:
        """See `Inlet`."""

    def room(self) -> bool:
        """Whether an item would be taken now."""
        return len(self._items) < self._max_pending or self.closed

    def on_room(self, resume: Callable[[], object]) -> bool:
        """See `Inlet`."""
        with self._lock:
            if self.room():
                return False
            self._parked.append(resume)
            return True

    # -- the loop -------------------------------------------------------------------------

    def look(self) -> bool:
        """Whether there is something to `take`."""
        return bool(self._items) or self.closed

    def take(self, stop: type[Exception]) -> Any:
        """The next item; else raise the error of the source, or *stop*."""
        item = error = None
        resume: list[Callable[[], object]] = []
        with self._changed:
            ended = not self._items
            if not ended:
                item = self._items.popleft()
                self._changed.notify_all()
                # Woken for several items at once: for each would cost more than the items.
                if len(self._items) <= self._max_pending // 2:
                    resume, self._parked = self._parked, []
            else:
                error = None if self._end is None else self._end[0]
                self._end = (None,)
                self._over = True
                resume, self._parked = self._parked, []
        for call in resume:
            call()
        if not ended:
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
            if self._over:
                return
            self._over = True
            self._items.clear()
            resume, self._parked = self._parked, []
            self._changed.notify_all()
            sleeper = self._sleeper
        self._subscription.dispose()
        for call in resume:
            call()
        if sleeper is not None:
            sleeper.wake()
