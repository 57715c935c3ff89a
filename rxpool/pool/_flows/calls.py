"""`pool.submit`: single calls and their futures."""

# A future and the flow of calls know each other.
# pyright: reportPrivateUsage=false

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import InvalidStateError
from contextvars import copy_context
from typing import Any, TypeVar

from rxpool._core.causes import ends_program
from rxpool._core.inlet import Node
from rxpool._core.sleeper import Sleeper
from rxpool.backends import apply
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.future import PoolFuture
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import FULL, STARTED
from rxpool.pool._state.task import Task, Withdrawn

__all__ = ("SubmitFlow",)

_R = TypeVar("_R")


class SubmitFlow:
    """The flow of all calls of `submit`; each result goes to its own future."""

    collects = True
    chunkable = False  # a call can be cancelled until its worker takes it
    name = "submit"
    ended = False

    def __init__(self, engine: Engine, state: FlowState) -> None:
        self.state = state
        self.fn: Any = self._call
        self.emit_lock_free: Callable[[Task], bool] | None = None
        self.sources: list[Node] = []
        self.engine = self._engine = engine
        self._opened = False
        self._line: dict[Sleeper, None] = {}  # coroutines that wait for room, in order
        self._unsettled: set[PoolFuture[Any]] = set()  # for a child that is forked meanwhile
        state.bind(self, self.chunkable)
        engine.registry.standing.append(state)

    def _call(self, call: tuple[Callable[..., Any], Any, Any, "PoolFuture[Any]"]) -> Any:
        function, args, kwargs, future = call
        if not future.set_running_or_notify_cancel():
            raise Withdrawn("the future was cancelled")
        return function(*args, **kwargs)

    def function(self, task: Task) -> Callable[..., Any]:
        """See `Binding`."""
        return task.item[0]  # type: ignore[no-any-return]

    def subject(self, task: Task) -> Any:
        """See `Binding`."""
        return task.item[3]

    def job(self, task: Task) -> tuple[Callable[[Any], Any], Any]:
        """See `Binding`."""
        function, args, kwargs, future = task.item
        # It may be running already: its first worker ended before it began.
        if not future.running() and not future.set_running_or_notify_cancel():
            raise Withdrawn("the future was cancelled")
        return apply, (function, args, kwargs)

    def submit(
        self, function: Callable[..., Any], args: Any, kwargs: Any, admitted: bool = False
    ) -> PoolFuture[Any]:
        """Accept a call; waits for room.  One that is *admitted* may come to a closing pool."""
        task, future = self._prepare(function, args, kwargs)
        self._enter(task, future, admitted=admitted)
        return future

    async def submit_async(
        self, function: Callable[..., Any], args: Any, kwargs: Any
    ) -> PoolFuture[Any]:
        """Accept a call when there is room; those that wait for it come in, one by one."""
        task, future = self._prepare(function, args, kwargs)
        line, sleeper = self._line, Sleeper()
        line[sleeper] = None
        try:
            while next(iter(line)) is not sleeper or not self._enter(task, future, False):
                if next(iter(line)) is sleeper and not self._engine.back_pressure.on_room(
                    self.state, sleeper.wake
                ):
                    continue
                self._engine.back_pressure.give_way()
                await sleeper.sleep()
                task.accepted_at(self._engine.now())
        finally:
            with self._engine.lock:
                line.pop(sleeper, None)
                first = next(iter(line), None)
            if first is not None:
                first.wake()
        return future

    def _prepare(
        self, function: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[Task, PoolFuture[Any]]:
        future: PoolFuture[Any] = PoolFuture(self)
        call = (function, args, kwargs, future)
        task = Task(self.state, call, self._engine.now(), copy_context() or None)
        future._task = task
        return task, future

    def _enter(
        self, task: Task, future: PoolFuture[Any], waits: bool = True, admitted: bool = False
    ) -> bool:
        """Accept a task; False if there is no room for it and the caller does not wait."""
        entered = False
        self._unsettled.add(future)
        try:
            entered = self._accept(task, waits, admitted)
        finally:
            if not entered:
                self._unsettled.discard(future)
        return entered

    def _accept(self, task: Task, waits: bool, admitted: bool) -> bool:
        engine, state = self._engine, self.state
        if not self._opened:
            engine.telemetry.look()
        while True:
            entry = None
            with engine.lock:
                self._check_open(admitted)
                verdict = engine.slots.accept(state, task)
                if verdict != FULL:
                    self._open()
                    entry = self.begin_delivery()  # it may have been dropped
                pending = engine.dispatcher.pending()
            engine.taken(state, (task,) if verdict == STARTED else (), pending)
            engine.dispatcher.deliver(self, entry)
            if verdict != FULL:
                return True
            if not waits:
                return False
            if engine.back_pressure.wait_for_room(state, task, self.name):
                return True
            task.accepted_at(engine.now())

    def _check_open(self, admitted: bool) -> None:
        self._engine.registry.check_open(admitted)

    def _open(self) -> None:
        """This is a flow now that a closing pool waits for.  Locked."""
        if not self._opened:
            self._opened = True
            self._engine.registry.enter(self, False)

    def emit_many(self, tasks: Sequence[Task], cell: list[int]) -> None:
        """Never called: there is no `emit_lock_free`."""
        raise AssertionError(tasks)

    def withdraw(self, future: PoolFuture[Any]) -> bool:
        """Take a call that waits out of the state; whether it did."""
        engine = self._engine
        task = future._task
        with engine.lock:
            if task is None or not self._waits(task):
                return False
            task.flow.cancellation.withdraw(task, "the future was cancelled")
            self._unsettled.discard(future)
            self.note_quiet()
            pending = engine.dispatcher.pending()
        engine.dispatcher.carry_out(pending)
        return True

    def _waits(self, task: Task) -> bool:
        """Whether *task* can be taken back.  Locked."""
        return not (task.running or task.settled)

    def help(self, future: PoolFuture[Any]) -> None:
        """If a task of this pool is about to wait for a call that waits, run that here."""
        task = future._task
        if task is not None and not future.done():
            self._engine.back_pressure.run_waiting(task)
        elif not future.done():  # several calls
            self._engine.back_pressure.make_way(self.state)

    def waits(self) -> None:
        """This thread is going to wait for a call."""
        self._engine.back_pressure.step_aside()

    def begin_delivery(self) -> Any:
        """A call that ended; calls are independent, so there is no turn to wait for."""
        return self.state.fetch()

    next_delivery = begin_delivery

    def delivering(self) -> bool:
        """Futures take their results at once."""
        return False

    def leads_to(self, flows: Collection[FlowState]) -> bool:
        """The results go to futures."""
        return False

    def blocker(self) -> FlowState | None:
        """Futures hold nothing back."""
        return None

    def send(self, entry: Task) -> None:
        """Settle the future of a call."""
        future = self._future(entry)
        # A result keeps neither the arguments nor the state alive.
        future._task = None
        try:
            if entry.error is not None:
                future.set_exception(entry.error)
            else:
                future.set_result(entry.value)
        except InvalidStateError:
            pass  # cancelled meanwhile
        except BaseException as error:  # of a callback; futures see to an Exception
            self._engine.telemetry.fault("a callback of a future", error)
            if ends_program(error):
                raise
        self._unsettled.discard(future)
        with self._engine.lock:
            self.note_quiet()

    def _future(self, entry: Task) -> PoolFuture[Any]:
        return entry.item[3]  # type: ignore[no-any-return]

    def cut(self) -> None:
        """Calls come in one by one: there is no source to cut."""

    def condemn(self, error: Exception, fed: bool) -> None:
        """Each future says for itself what became of it."""

    def terminate(self, reason: str) -> None:
        """Settle every future now; those that did not run are cancelled."""
        engine = self._engine
        with engine.lock:
            tasks = self.state.cancellation.running(reason, True, engine.now())
            self.state.cancellation.waiting(reason, True)
            entry = self.begin_delivery()
            pending = engine.dispatcher.pending()
        engine.dispatcher.carry_out(pending)
        engine.dispatcher.abandon(tasks)
        engine.dispatcher.deliver(self, entry)

    def forked(self, why: str) -> None:
        """See `Binding`."""
        self._opened = False
        for future in self._unsettled:
            future.forked(why)
        self._unsettled.clear()
        self._line.clear()

    @property
    def quiet(self) -> bool:
        """Whether nothing is in flight."""
        return not self._opened

    def _is_quiet(self) -> bool:
        return not self.state.counts.in_flight and not self.state.undelivered

    def note_quiet(self) -> None:
        """With nothing in flight this is no flow that a closing pool waits for.  Locked."""
        if self._opened and self._is_quiet():
            self._opened = False
            self._engine.registry.remove(self)
            self._engine.registry.tell_changed()
