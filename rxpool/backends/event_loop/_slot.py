"""`Slot`: an asyncio task that runs the coroutines of jobs, one after another."""

import asyncio
import types
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from types import CoroutineType
from typing import Any, Final, Protocol

from reactivex import abc

from rxpool import _forks
from rxpool._core.functions import is_async
from rxpool.backends._awaiting import as_coroutine
from rxpool.backends._runner import ChunkRunner
from rxpool.backends.event_loop._work import Threads, observe
from rxpool.tasks import held

__all__ = ("Crew", "Slot")

_TURN: Final = 0.001  #: seconds of work between two turns of everybody else on the loop
_MOST: Final = 64  #: jobs of a lot
_FIRST: Final = 8  #: jobs of the first lot, after one job that ended at once


class Crew(Protocol):
    """What the slots of a backend share.  Only the loop's thread changes it."""

    name: str
    runner: ChunkRunner
    threads: Threads
    now: Callable[[], float]
    mail: deque[Any]  #: jobs that wait for a slot
    leader: Any  #: the slot that takes jobs from the mail
    most: int  #: jobs to ask for with the next one, as so many ended at once lately
    coroutine: Any  #: the last function that was seen to be async, to be known at a glance
    foreign: bool  #: this is a forked child, and all here is the parent's

    def left(self, slot: "Slot") -> None:
        """*slot* has ended."""

    def spread(self) -> None:
        """Have a slot for each job in the mail, as one that was begun waits."""


class Slot:
    """Runs jobs in one asyncio task, each in a context of its own.

    The leader of the slots runs the first steps of one job after another.  Those that end
    there cost little: their results are collected, for a millisecond at most.  When one is
    about to wait for something, this slot stays with it, and another becomes the leader.
    """

    def __init__(self, crew: Crew, loop: asyncio.AbstractEventLoop, first: Any = None) -> None:
        self.job: Any = None  # the one that runs
        self.work: Any = None  # its coroutine
        self.lends = False  # it asked to give up the slot before it had it
        self._crew = crew
        self._context = Context()
        self._next = first  # a job that is to be run here, and not by way of the mail
        self._awaited: Any = None  # what the coroutine waits for
        self._spoilt = False  # somebody cancelled the asyncio task
        self._last: tuple[Any, BaseException | None] = None, None  # of a job cut short
        self.task = asyncio.Task(
            self._serve(), loop=loop, name=f"{crew.name}-slot", context=Context()
        )

    def cancel(self) -> None:
        """Cancel the coroutine that runs."""
        self._spoilt = True
        self.task.cancel()

    def forsake(self) -> None:
        """In a forked child: begin nothing more."""
        self._spoilt = True
        _forks.bury(self._next)
        self._next = None

    async def _serve(self) -> None:
        crew = self._crew
        try:
            await self._run_all()
        except GeneratorExit:
            stepped = asyncio._get_running_loop() and asyncio.current_task() is self.task
            if self.job is None or not stepped:
                raise  # the loop is gone
            self._end(*self._last)
            self._last = None, None
        except Exception as error:  # ours: those of users do not come out
            crew.runner.fault("a slot", error)
        finally:
            if self._next is not None:
                crew.mail.appendleft(self._next)
            # Resign first, then look for mail: threads that see a leader do not call.
            if crew.leader is self:
                crew.leader = None
            crew.left(self)

    @types.coroutine
    def _run_all(self) -> Generator[Any, Any, None]:
        crew = self._crew
        mail, now = crew.mail, crew.now
        until = now() + _TURN
        while not self._spoilt:
            if crew.leader is None:
                crew.leader = self
            if self._next is not None:
                job, self._next = self._next, None
            elif mail and crew.leader is self:
                job = mail.popleft()
            else:
                if not mail:
                    crew.coroutine = None  # keep no function alive
                return
            if not self._begin(job):
                if crew.leader is not self:
                    return
                if now() > until and not self._spoilt:
                    try:
                        yield
                    except asyncio.CancelledError:
                        return  # another goes on, unless the loop ends
                    until = now() + _TURN
                continue
            if crew.leader is self:
                crew.leader = None
                crew.spread()
            value, error = yield from self._see_through()
            self._end(value, error)
            until = now() + _TURN

    def _begin(self, job: Any) -> bool:
        """Run the first steps of *job* and of others; whether the last one waits."""
        runner = self._crew.runner
        self.job = job
        job.handed(self, self._crew.now())
        stack = runner.stack()
        stack.append(job)
        ended: list[Any] = []
        rest: deque[Any] = deque()
        waits = False
        try:
            begun = runner.begin(job)
            if begun is not None:  # else it was cancelled, and its slot is free
                function, item = self._prepare(job, *begun)
                if self._crew.most and function is self._crew.coroutine:
                    rest.extend(runner.more(job, self._crew.most, False))
                waits = self._run_lot(job, function, item, rest, ended, stack)
        except BaseException as error:
            runner.failed(job, error)
            ended.append(job)
        finally:
            stack.pop()
            job = self.job
            if not waits:
                self.job = self.work = None
        if self._crew.foreign:
            _forks.end_child(RuntimeError(_forks.NO_LOOP) if waits else None)
        self._conclude(job, ended, rest, waits)
        return waits

    def _run_lot(  # noqa: C901 - the steps of one lot, in their order
        self,
        job: Any,
        function: Callable[[Any], Any],
        item: Any,
        rest: deque[Any],
        ended: list[Any],
        stack: list[Any],
    ) -> bool:
        """Run *job* and *rest* until one waits; those that end go to *ended*."""
        crew = self._crew
        now, handle, cancelling = crew.now, crew.runner.handle, self.task.cancelling
        at = job.started
        until = at + _TURN
        value: Any = None
        failure: BaseException | None = None
        while True:
            context = job.context or Context()
            try:
                self._awaited = context.run(_first_step, self, handle(job), function, item)
            except StopIteration as stop:
                value = stop.value
            except BaseException as error:
                if crew.foreign:
                    _forks.end_child(error)
                failure = error
            else:
                self._context = context
                return True
            before, at = at, now()
            if not job.settled:
                job.ended(value, failure, at - before)
                ended.append(job)
            value = failure = None  # which would keep this frame alive
            if not ended:
                return False  # it was cancelled, and with it the slot is free
            if cancelling():
                self._spoilt = True
                return False
            if at > until:
                return False
            while True:
                if not rest:
                    return False
                job = rest.popleft()
                if not job.settled:
                    break
            self.job = stack[-1] = job
            job.handed(self, at)
            item = job.item

    def _conclude(self, job: Any, ended: list[Any], rest: deque[Any], waits: bool) -> None:
        """Let the results of a lot go, and what was not begun."""
        crew = self._crew
        runner = crew.runner
        following = None
        if waits:
            crew.most = 0
            runner.started(job, job.started)
            following = job
        else:
            crew.most = min(_MOST, crew.most * 2 or _FIRST)
            if rest and ended:
                following = self._next = rest.popleft()
        if rest:
            runner.give_back(rest)
        if ended:
            runner.finish(ended, () if following is None else (following,), self._post)
        if waits and self.lends:
            self.lends = False
            runner.lend(job)

    def _see_through(self) -> Generator[Any, Any, tuple[Any, BaseException | None]]:
        """Drive the coroutine of the job that waits to its end."""
        run, work, job, crew = self._context.run, self.work, self.job, self._crew
        stack = crew.runner.stack()
        awaited = self._awaited
        while True:
            step: Callable[[Any], Any]
            given: Any
            try:
                given = yield awaited
                step = work.send
            except GeneratorExit as error:
                # The loop is gone; or what the coroutine awaits failed with that, see `_serve`.
                if not crew.foreign:
                    self._last = self._cut_short(error)
                raise
            except BaseException as error:
                step, given = work.throw, error
            if crew.foreign:
                return None, None  # a child, which goes on with the program's loop
            stack.append(job)
            try:
                awaited = run(step, given)
            except StopIteration as stop:
                if crew.foreign:
                    _forks.end_child()
                return stop.value, None
            except BaseException as error:
                if crew.foreign:
                    _forks.end_child(error)
                return None, error
            finally:
                stack.pop()
            if crew.foreign:
                _forks.end_child(RuntimeError(_forks.NO_LOOP))

    def _cut_short(self, error: GeneratorExit) -> tuple[Any, BaseException | None]:
        """Throw into the coroutine what leaves it no more waiting; its value and its error."""
        run, work, stack = self._context.run, self.work, self._crew.runner.stack()
        stack.append(self.job)
        try:
            run(work.throw, error)
            run(work.close)
        except StopIteration as stop:
            return stop.value, None
        except BaseException as raised:
            return None, raised
        finally:
            stack.pop()
        return None, error

    def _end(self, value: Any, error: BaseException | None) -> None:
        """The job that waited has ended."""
        job, crew = self.job, self._crew
        self.job = self.work = self._awaited = None
        self.lends = False
        # Whoever cancelled it, the next job must not be told.
        if self.task.cancelling() or getattr(self.task, "_must_cancel", False):
            self._spoilt = True
        if job.settled:
            return  # cancelled: its slot is free
        job.ended(value, error, crew.now() - job.started)
        crew.runner.finish((job,), (), self._go_on)

    def _post(self, job: Any) -> None:
        if job is not None:
            self._crew.mail.append(job)

    def _go_on(self, job: Any) -> None:
        """Run *job* next."""
        if job is None:
            return
        if self._spoilt:
            self._post(job)
        else:
            self._next = job

    def _prepare(
        self, job: Any, function: Callable[[Any], Any], item: Any
    ) -> tuple[Callable[[Any], Any], Any]:
        """A function that returns a coroutine, and its argument."""
        crew = self._crew
        if function is crew.coroutine:
            return function, item
        inner = crew.runner.function(job)
        if is_async(inner, wrapped=True):
            if inner is function:
                crew.coroutine = function
            return function, item
        return lambda call: crew.threads.run(job, *call), (function, item)

    async def adapt(self, work: Any) -> Any:
        """See to what an async function returned that is no coroutine."""
        if isinstance(work, abc.ObservableBase):
            return await observe(self._crew.runner, self.job, work)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(work, Awaitable):
            return await as_coroutine(work)  # pyright: ignore[reportUnknownArgumentType]
        return work


def _first_step(slot: Slot, handle: Any, function: Callable[[Any], Any], item: Any) -> Any:
    """Call *function*, in the context of its job, and begin with what it returns."""
    held.set(handle)
    try:
        work = function(item)
    except StopIteration as stop:
        raise RuntimeError(f"the function raised {stop!r}") from stop
    is_one = type(work) is CoroutineType  # pyright: ignore[reportUnknownVariableType]
    slot.work = work if is_one else slot.adapt(work)
    return slot.work.send(None)
