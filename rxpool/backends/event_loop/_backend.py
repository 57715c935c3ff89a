"""`AsyncioBackend`: coroutines on one event loop."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, Final
from weakref import ref

from rxpool import _forks
from rxpool.backends._awaiting import as_coroutine
from rxpool.backends._base import Backend, Done, Traits
from rxpool.backends._runner import ChunkRunner
from rxpool.backends._threads import ThreadBackend
from rxpool.backends.event_loop._loop import LoopClock, PoolLoop
from rxpool.backends.event_loop._slot import Slot
from rxpool.backends.event_loop._work import Threads
from rxpool.errors import WouldBlock

__all__ = ("AsyncioBackend",)

_SLOTS: Final = 100  #: waiting costs no thread: as many as HTTP clients have connections


def _dismiss(crew: ThreadBackend, loop: PoolLoop, then: Callable[[], object]) -> None:
    """Nobody needs these any more; *then* is called by the loop.

    For finalisers: it takes no lock, waits for nothing, and does not know the backend.
    """
    crew.dismiss(lambda: None)
    loop.dismiss(then)


class AsyncioBackend(Backend):
    """N coroutines at once, on the event loop that runs, else on one of its own.

    The loop that runs when the pool is made is used, and never blocked.  Else a thread with
    a loop starts with the first job, and ends with the pool.

    ``async def`` functions run on the loop, as do those that are bound, partial, wrapped
    (``__wrapped__``) or objects with an ``async def __call__``.  All others are called on
    threads, at most N at once; if one returns an awaitable, that is awaited on the loop,
    and if it returns an Observable, it is subscribed on the thread.

    Subscribers are called on the loop, except with the items of such an Observable, which
    come on whichever thread emits them.

    Each job runs in its own context of variables, and each job that waits in an
    `asyncio.Task` that runs no other meanwhile.  A cancelled one is cancelled as a task is.
    If it goes on regardless, nobody waits for it, and its slot is free.
    """

    traits = Traits(in_this_process=True, keeps_slot=True, helps=True)

    runner: ChunkRunner
    threads: Threads

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = PoolLoop(name)
        self.clock = LoopClock(self.loop)
        self.now = self.clock.now
        self.mail: deque[Any] = deque()
        self.leader: Slot | None = None
        self.most = 0
        self.coroutine: Any = None
        self._slots: set[Slot] = set()
        self._others: set[asyncio.Task[Any]] = set()  # of `run_awaitable`
        self._called = False  # `_answer` is going to be called
        self.foreign = False
        _forks.heed(_forks.kept(self))

    def forked(self) -> None:
        """The coroutines are the parent's: a child takes no further step of them."""
        self.foreign = True
        _forks.bury(self.mail)
        self.mail.clear()
        self.leader = None
        for slot in self._slots:
            slot.forsake()

    @property
    def default_slots(self) -> int:
        """100: coroutines wait most of the time."""
        return _SLOTS

    def bind(self, runner: ChunkRunner, slots: int) -> None:
        """Run jobs with *runner*."""
        self.runner = runner
        self.threads = Threads(self.name, runner, slots)
        reason = f"the event loop of pool {self.name!r} ended"
        known = ref(runner)  # the thread of the loop does not keep it

        def lost() -> None:
            if (pool := known()) is not None:
                pool.lost(reason)

        self.loop.lost = lost
        self.dismiss = partial(_dismiss, self.threads.crew, self.loop)

    def start(self, jobs: Sequence[Any]) -> None:
        """Have the loop take the jobs."""
        loop = self.loop.ensure()
        self.mail.extend(jobs)
        if self.loop.is_here:
            self.wake()
        # In this order: a leader first resigns, then looks for mail.
        elif self.leader is None and not self._called:
            self._called = True
            try:
                loop.call_soon_threadsafe(self._answer, context=Context())
            except RuntimeError:  # the loop is closed
                self._called = False
                for job in jobs:
                    self.mail.remove(job)
                raise

    def _answer(self) -> None:
        self._called = False
        self.loop.ensure()
        self.wake()

    def wake(self) -> None:
        """Have a leader if there is mail; on the loop's thread."""
        if self.mail and self.leader is None:
            assert self.loop.loop is not None
            self.leader = slot = Slot(self, self.loop.loop)
            self._slots.add(slot)

    def spread(self) -> None:
        """Have a slot for each job in the mail; on the loop's thread."""
        assert self.loop.loop is not None
        while self.mail:
            self._slots.add(Slot(self, self.loop.loop, self.mail.popleft()))

    def left(self, slot: Slot) -> None:
        """*slot* has ended."""
        if self.foreign:
            return  # it stays, so that its coroutine is not finalised
        self._slots.discard(slot)
        self.wake()

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """Run it as a task of the loop."""
        loop = self.loop.ensure()
        tasks: list[asyncio.Task[Any]] = []

        def begin() -> None:
            task = asyncio.Task(as_coroutine(awaitable), loop=loop, context=context)
            tasks.append(task)
            self._others.add(task)
            task.add_done_callback(finished)

        def finished(ended: "asyncio.Future[Any]") -> None:
            self._others.discard(tasks[0])
            if ended.cancelled():
                done(None, asyncio.CancelledError())
            else:
                error = ended.exception()
                done(None if error is not None else ended.result(), error)

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        loop.call_soon_threadsafe(begin)
        return lambda: loop.call_soon_threadsafe(cancel)

    def abandon(self, jobs: Sequence[Any]) -> None:
        """Cancel the coroutines of *jobs*."""
        if any(isinstance(job.note, Slot) for job in jobs):
            with suppress(RuntimeError):  # the loop is closed: nothing runs
                self.loop.call(self._cancel, jobs)

    def _cancel(self, jobs: Sequence[Any]) -> None:
        for job in jobs:
            slot = job.note
            if isinstance(slot, Slot) and slot.job is job:
                slot.cancel()

    def lend(self, jobs: Sequence[Any]) -> None:
        """A coroutine that waits is in nobody's way; a thread may need another beside it."""
        for job in jobs:
            slot = job.note
            if isinstance(slot, Slot) and slot.job is job:
                slot.lends = True
            self.threads.lend(job)

    def help(self, job: Any) -> None:
        """Start *job* beyond the slots."""
        self.start((job,))

    def waits(self) -> None:
        """Refuse to block the loop's thread."""
        if self.loop.dead:
            self.loop.lost()  # so that nothing is left to be waited for
            return
        if self.loop.is_here:
            raise WouldBlock(
                f"pool {self.name!r} runs its work on this thread's event loop, so waiting "
                "here would never end: await the future, use 'async for' and 'async with'"
            )
        self.threads.waits()

    def resize(self, slots: int) -> None:
        """The pool counts the slots; threads are for as many plain functions."""
        self.threads.crew.resize(slots)

    def stop(self, wait: float | None) -> None:
        """End threads and the loop of its own; a loop of the program is not waited for."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call(self._cancel_all)
        if self.loop.is_here:
            wait = 0.0
        self.threads.crew.stop(wait)
        self.loop.stop(wait)

    async def ended(self, wait: float) -> None:
        """Wait on the loop until what was cancelled has cleaned up, *wait* seconds at most."""
        tasks: set[Any] = {slot.task for slot in self._slots}
        tasks |= self._others | {self.loop.keeper}
        tasks -= {asyncio.current_task(), None}
        if tasks:
            await asyncio.wait(tasks, timeout=wait)

    def _cancel_all(self) -> None:
        for slot in list(self._slots):
            if slot.job is not None:
                slot.cancel()
        for task in list(self._others):
            task.cancel()
