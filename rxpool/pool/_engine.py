"""`Engine`: the ledger of a pool bound to a lock, a backend and its flows."""

# What functions of users return is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool._core.broadcast import Broadcast
from rxpool._core.stage import can_wait
from rxpool._log import log
from rxpool.backends import Backend
from rxpool.errors import PoolClosed, WouldBlock
from rxpool.pool._ledger import FlowLedger, Ledger, Task
from rxpool.pool._report import Counts

__all__ = ("NO_VALUE", "Binding", "Engine")

NO_VALUE: Final[Any] = object()  #: the value of a task whose results went out one by one
_PENDING: Final[Any] = object()  #: the task goes on after its function has returned
_SWIFTLY: Final = 256  #: tasks that a worker runs between two looks at the books
_DEEPEST: Final = 100  #: tasks that one thread may run inside one another

#: What is to be done once the lock is released: tasks to start, producers to wake.
_Chores = tuple[Sequence[Task], Sequence[Callable[[], object]]]


class Binding(Protocol):
    """What takes the results of a flow: a subscription, calls of `submit`, an iterator."""

    ledger: FlowLedger
    fn: Any  # the user's function, of one item
    collects: bool  # whether the results of an Observable are one list
    #: delivers a task that ended, without the engine's lock, and answers whether that took
    #: time on this thread; None if only `claim` may deliver
    swift: Callable[[Task], bool] | None

    def claim(self) -> Any:
        """What to deliver now, or None.  The engine's lock is held."""

    def again(self) -> Any:
        """What to deliver after the last, or None.  The engine's lock is held."""

    def send(self, entry: Any) -> None:
        """Deliver; the lock is not held."""

    def leads_to(self, flows: Collection[FlowLedger]) -> bool:
        """Whether this is one of *flows*, or its results go into one of them."""
        ...

    def terminate(self, reason: str) -> None:
        """Settle everything now, as cancelled."""


class _Here(threading.local):
    """The tasks that this thread is busy with, innermost last.

    A settled one is being delivered.  `flows` are those of which it delivers other entries.
    """

    def __init__(self) -> None:
        self.stack: list[Task] = []
        self.flows: list[FlowLedger] = []


_here = _Here()


class Engine:
    """Runs tasks and hands their ends to the bindings.

    ``lock`` guards the ledger, the flows' ledgers and the bindings' own fields.  It is
    re-entrant for finalisers only.  It is not held while anything foreign runs: functions,
    subscribers, sources, schedulers; nor while the backend takes its own.
    """

    def __init__(self, name: str, slots: int, backend: Backend) -> None:
        self.name = name
        self.backend = backend
        self.clock = backend.clock
        self.now = backend.clock.now
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)  # a flow ended
        self.ledger = Ledger(slots)
        self.flows: dict[Any, bool] = {}  # bindings, oldest first; opened by own tasks?
        self.past = Counts()  # of flows that ended
        self._ending: list[FlowLedger] = []
        self.faults: Broadcast[BaseException] = Broadcast("faults")
        self.when_changed: Callable[[], object] | None = None  # once, after a flow ended
        self.closing = False
        self.terminated = False
        self._acquire, self._release = self.lock.acquire, self.lock.release
        self._parked: dict[FlowLedger, list[Callable[[], object]]] = {}
        self._errands: list[Callable[[], object]] = []
        self._special: dict[type, bool] = {}
        backend.bind(self, slots)

    # -- flows ------------------------------------------------------------------------

    def open(self, binding: Any, lend: bool = True) -> None:
        """Take a flow in; refused when the pool is closing.

        A flow that a task of this pool opens belongs to that task.  The task may wait for
        it in ways that cannot be seen, so unless the flow helps itself (*lend* is False)
        the task gives its slot up.
        """
        nested = self.works_here()
        with self.lock:
            self.check_open()
            self.flows[binding] = nested
        if nested and lend:
            self._lend()

    def check_open(self) -> None:
        """Refuse new work when the pool is closing, unless a task needs it to finish."""
        if self.closing and (self.terminated or not self.works_here()):
            raise PoolClosed(f"pool {self.name!r} is closed")

    def forget(self, binding: Any) -> None:
        """A flow ended."""
        with self.lock:
            if self.flows.pop(binding, None) is not None:
                self._ending.append(binding.ledger)
            self.count_past()
            self._parked_to_errands(binding.ledger)
            self.changed.notify_all()
            if self.when_changed is not None:
                self._errands.append(self.when_changed)
                self.when_changed = None
            chores = self.chores()
        self.carry_out(chores)

    def count_past(self) -> None:
        """Sum the flows that ended, once their last workers have counted.  Locked."""
        for flow in [flow for flow in self._ending if not flow.in_flight]:
            self._ending.remove(flow)
            self.past.add(flow)

    def ledgers(self) -> list[FlowLedger]:
        """Those of live flows, and of ended ones that are not in `past`.  Locked."""
        self.count_past()
        return [flow.ledger for flow in self.flows] + self._ending

    def fault(self, where: str, error: BaseException) -> None:
        """Publish an error that belongs to no item."""
        log.error("uncaught exception", pool=self.name, where=where, exc_info=error)
        self.faults.send(error)

    # -- tasks ------------------------------------------------------------------------

    def accept(self, flow: FlowLedger, task: Task) -> int:
        """See `Ledger.accept`; the caller starts a STARTED task with `start`."""
        return self.ledger.accept(flow, task)

    def start(self, tasks: Sequence[Task]) -> None:
        """Run tasks that hold slots."""
        try:
            self.backend.start(tasks)
        except Exception as error:
            for task in tasks:
                self.end_later(task, None, error)

    def perform(self, task: Task, note: Any = None) -> Task | None:
        """Run a task on this thread; answers the next one for its slot."""
        stack = _here.stack
        stack.append(task)
        try:
            return self._step(task, note)
        finally:
            stack.pop()

    def work(self, task: Task | None, note: Any) -> None:
        """Run a task on this thread, then others as long as there are any for its slot."""
        if task is None:
            return
        stack = _here.stack
        stack.append(task)
        try:
            while task is not None:
                stack[-1] = task
                if task.flow.binding.swift is None:
                    task = self._step(task, note)
                else:
                    task = self._swift(task, note, stack)
        finally:
            stack.pop()

    def _step(self, task: Task, note: Any) -> Task | None:
        """Run one task and settle it under the lock."""
        task.note = note
        task.started = self.now()
        if task.settled:  # cancelled before it started
            return self.settle(task, None, None)
        try:
            value = task.flow.binding.fn(task.item)
        except BaseException as raised:
            return self.settle(task, None, raised)
        if self._special.get(type(value)) is not False and self._is_work(value):
            return self._go_on(task, value)
        return self.settle(task, value, None)

    def _swift(self, task: Task, note: Any, stack: list[Task]) -> Task | None:
        """Run tasks of one flow in completion order, most of them without the lock.

        Under contention every lock operation costs a switch of threads, which for short
        tasks is many times the work.  So as long as more tasks of this flow wait, and there
        is nothing else to see to, a worker goes from one to the next by atomic operations
        alone: `waiting.popleft` takes a task, `tasks.remove` wins the right to settle it,
        and the binding's `swift` delivers it.  The count of running tasks stays as it is,
        and succeeded ones are counted in a cell of the worker's own.
        """
        flow = task.flow
        binding = flow.binding
        fn, swift = binding.fn, binding.swift
        pop, add, remove = flow.waiting.popleft, flow.tasks.add, flow.tasks.remove
        special, parked, now, ring = self._special, self._parked, self.now, self.ledger.ring
        cell = [0]  # successes that the books do not have yet
        value = error = None
        work = False
        known: Any = None  # a type that is known to be no work
        task.note = note
        started = now()
        while True:
            task.started = started
            if task.settled:  # cancelled before it started
                break
            try:
                value = fn(task.item)
            except BaseException as raised:
                value, error = None, raised
                break
            if type(value) is not known:
                if special.get(type(value)) is not False and self._is_work(value):
                    work = True
                    break
                known = type(value)
            if cell[0] >= _SWIFTLY or len(ring) > 1 or not task.slot:
                break
            try:
                remove(task)
            except KeyError:  # cancelled
                break
            task.running = None
            task.settled = True
            ended = now()
            task.took = ended - started
            task.value = value
            if not cell[0]:
                flow.cells.append(cell)
            cell[0] += 1
            started = now() if swift(task) else ended
            if parked:
                self.see_to_parked(flow)
            try:
                following = pop()
            except IndexError:
                return self._stop_swift(task, cell, False)
            following.attempts = 1
            following.running = following.slot = True
            following.note = note
            task.slot = False
            stack[-1] = task = following
            add(task)
            if flow.cut_off is not None:
                # The flow is being cancelled, perhaps without having seen this task.
                try:
                    remove(task)
                except KeyError:
                    break
                return self._stop_swift(task, cell, True)
        if cell[0]:
            with self.lock:
                self.ledger.close_cell(flow, cell)
        if work:
            return self._go_on(task, value)
        return self.settle(task, value, error)

    def _stop_swift(self, task: Task, cell: list[int], disown: bool) -> Task | None:
        """The worker runs no task of the flow any more: back to the books."""
        flow = task.flow
        binding = flow.binding
        with self.lock:
            self.ledger.close_cell(flow, cell)
            flow.running -= 1
            if disown:
                self.ledger.disown(task)
            self.ledger.enlist(flow)
            entry = binding.claim()
            following = self._next_for(task) if entry is None else None
            chores = self.chores()
        return self._conclude(task, entry, following, chores)

    def see_to_parked(self, flow: FlowLedger) -> None:
        """Wake the producers of *flow* if there is room: without the lock, some was made."""
        if flow in self._parked and flow.inside() <= flow.low_water:
            with self.lock:
                chores = self.chores()
            self.carry_out(chores)

    def settle(self, task: Task, value: Any, error: BaseException | None) -> Task | None:
        """A task ended: note it, deliver what can be, answer the next one for its slot."""
        binding = task.flow.binding
        entry = following = None
        try:
            self._acquire()
            if self.ledger.settle(task, value, error, self.now()):
                entry = binding.claim()
            if entry is None:
                following = self._next_for(task)
            chores = self.chores()
        finally:
            self._release()
        return self._conclude(task, entry, following, chores)

    def _conclude(
        self, task: Task, entry: Any, following: Task | None, chores: _Chores | None
    ) -> Task | None:
        """Deliver *entry* and what follows it; answer the next task for the slot."""
        binding = task.flow.binding
        while True:
            if chores is not None:
                self.carry_out(chores)
            if entry is None:
                return following
            binding.send(entry)
            try:
                self._acquire()
                entry = binding.again()
                if entry is None:
                    following = self._next_for(task)
                chores = self.chores()
            finally:
                self._release()

    def end_later(self, task: Task, value: Any, error: BaseException | None) -> None:
        """Like `settle`, from wherever the end of a task is learnt."""
        stack = _here.stack
        stack.append(task)
        try:
            following = self.settle(task, value, error)
        finally:
            stack.pop()
        if following is not None:
            self.start((following,))

    def deliver(self, binding: Binding, entry: Any) -> None:
        """Deliver *entry*, if it is one, and what follows."""
        if entry is None:
            return
        flows = _here.flows
        flows.append(binding.ledger)
        try:
            while entry is not None:
                binding.send(entry)
                with self.lock:
                    entry = binding.again()
                    chores = self.chores()
                self.carry_out(chores)
        finally:
            flows.pop()

    def cut_off(self, tasks: Sequence[Task]) -> None:
        """The work of cancelled tasks is not wanted any more."""
        for task in tasks:
            inner, task.inner = task.inner, None
            if inner is not None:
                try:
                    inner()
                except Exception as error:
                    self.fault("cancelling a task", error)
        if tasks:
            self.backend.abandon(tasks)

    def _next_for(self, task: Task) -> Task | None:
        """The next task for the slot of one that ended, or the slot is free.  Locked."""
        if not task.slot:
            return None
        following = self.ledger.next()
        task.slot = False
        if following is None:
            self.ledger.free += 1
        else:
            following.slot = True
        return following

    # -- tasks that go on after their function has returned ----------------------------

    def _is_work(self, value: Any) -> bool:
        """Whether a result is not a value but work that goes on: awaitable or Observable.

        `_special` remembers that by type.
        """
        kind = type(value)
        special = self._special.get(kind)
        if special is None:
            special = hasattr(kind, "__await__") or issubclass(kind, abc.ObservableBase)
            if len(self._special) > 500:
                self._special.clear()
            self._special[kind] = special
        return special

    def _go_on(self, task: Task, work: Any) -> Task | None:
        """The function of a task returned work; answers the next task for its slot."""
        try:
            value, error = self._follow(task, work)
        except BaseException as raised:
            value, error = None, raised
        if value is _PENDING:
            return self._leave_slot(task)
        return self.settle(task, value, error)

    def _follow(self, task: Task, work: Any) -> tuple[Any, BaseException | None]:
        """Run what the function returned: its value and error, or `_PENDING`."""
        ended: list[tuple[Any, BaseException | None]] = []
        returned = False

        def done(value: Any, error: BaseException | None) -> None:
            with self.lock:
                if not returned:
                    ended.append((value, error))
                    return
            self.end_later(task, value, error)

        if isinstance(work, abc.ObservableBase):
            cancel: Callable[[], object] | None = self._subscribe(task, work, done)
        else:
            cancel = self.backend.run_awaitable(work, done)
        with self.lock:
            returned = True
            if ended:
                return ended[0]
            task.inner = cancel
            gone = task.settled
        if gone and cancel is not None:
            cancel()
        return _PENDING, None

    def _subscribe(
        self,
        task: Task,
        work: abc.ObservableBase[Any],
        done: Callable[[Any, BaseException | None], None],
    ) -> Callable[[], object]:
        collects = task.flow.binding.collects
        if collects:
            task.collected = []
        handle = SingleAssignmentDisposable()

        def on_next(value: Any) -> None:
            if task.collected is not None:
                task.collected.append(value)
            else:
                self._add_part(task, value)

        handle.disposable = work.subscribe(
            on_next,
            lambda error: done(None, error),
            lambda: done(task.collected if collects else NO_VALUE, None),
            scheduler=self.backend.scheduler,
        )
        return handle.dispose

    def _add_part(self, task: Task, value: Any) -> None:
        binding = task.flow.binding
        with self.lock:
            entry = binding.claim() if self.ledger.add_part(task, value) else None
            chores = self.chores()
        self.carry_out(chores)
        self.deliver(binding, entry)

    def _leave_slot(self, task: Task) -> Task | None:
        """The function returned, the task goes on: the thread may serve another."""
        if self.backend.keeps_slot:
            return None
        with self.lock:
            following = self._next_for(task)
            chores = self.chores()
        self.carry_out(chores)
        return following

    def _lend(self) -> None:
        """The tasks that this thread runs need no slot any more."""
        for task in _here.stack:
            if task.flow.ledger is self.ledger and task.running and task.slot:
                with self.lock:
                    self.ledger.release(task)
                    chores = self.chores()
                self.backend.abandon((task,))
                self.carry_out(chores)

    # -- room -------------------------------------------------------------------------

    def on_room(self, flow: FlowLedger, resume: Callable[[], object]) -> bool:
        """Call *resume* once *flow* has room; False if it has."""
        with self.lock:
            # First in, then look: a worker makes room without the lock, then looks here.
            waiting = self._parked.setdefault(flow, [])
            waiting.append(resume)
            if not flow.has_room():
                return True
            waiting.remove(resume)
            if not waiting:
                del self._parked[flow]
            return False

    def wait_for_room(self, flow: FlowLedger, task: Task, what: str) -> bool:
        """Wait until *flow* has room, or has taken *task* without (True).

        A thread that works for this pool runs waiting tasks instead of waiting.  One that
        gives the subscriber a result of this flow, or of one further down, cannot wait at
        all: the results that fill the flow come out behind the one in its hands.
        """
        stack = _here.stack
        delivering = _here.flows + [busy.flow for busy in stack if busy.settled]
        if delivering and flow.binding.leads_to(delivering):
            with self.lock:
                if not flow.ended:
                    self.ledger.force(flow, task)
                chores = self.chores()
            self.carry_out(chores)
            return True
        if self.works_here():
            helped = self._help(flow, task, stack, what)
            if helped is not None:
                return helped
        if not can_wait(self.clock):
            raise WouldBlock(
                f"{what}: {flow.max_pending} items wait already (max_pending), and this thread "
                "cannot wait (virtual time, or a running event loop); read the source with "
                "pool.pull, choose overflow='drop_oldest' or 'drop_newest', "
                "or raise max_pending"
            )
        gate = threading.Lock()
        gate.acquire()
        if self.on_room(flow, gate.release):
            gate.acquire()
        return False

    def _help(
        self, flow: FlowLedger, task: Task | None, stack: list[Task], what: str
    ) -> bool | None:
        """Make room by running a task here: whether that was *task*; None: wait after all."""
        nested = any(busy.flow is flow and busy.running is not False for busy in stack)
        if len(stack) >= _DEEPEST:
            raise WouldBlock(
                f"{what}: {len(stack)} tasks of pool {self.name!r} wait for one another on one "
                "thread; raise max_pending"
            )
        with self.lock:
            if flow.has_room():
                return False
            chosen = self.ledger.take(flow, nested)
            if chosen is None and task is not None and not flow.max_pending:
                chosen = task if self.ledger.start_directly(flow, task, nested) else None
            chores = self.chores()
        self.carry_out(chores)
        if chosen is not None:
            self.perform(chosen, stack)
            return chosen is task
        blocker = flow.binding.blocker()
        if blocker is not None and blocker is not flow:
            return False if self._help(blocker, None, stack, what) is not None else None
        if nested:
            raise WouldBlock(
                f"{what}: a task waits for room in its own flow, which may run no more tasks; "
                "raise max_pending or concurrency"
            )
        return None

    def works_here(self) -> bool:
        """Whether this thread is busy with a task of this pool."""
        return any(busy.flow.ledger is self.ledger for busy in _here.stack)

    def run_waiting(self, task: Task) -> None:
        """Run *task* here if this thread works for the pool and the task still waits."""
        if not self.works_here():
            return
        with self.lock:
            mine = self.ledger.take_this(task)
            chores = self.chores()
        self.carry_out(chores)
        if mine:
            self.perform(task, _here.stack)

    def run_one(self, flow: FlowLedger) -> bool:
        """Run a waiting task of *flow* here, if this thread works for the pool."""
        if not self.works_here():
            return False
        nested = any(busy.flow is flow and busy.running is not False for busy in _here.stack)
        with self.lock:
            chosen = self.ledger.take(flow, nested)
            chores = self.chores()
        self.carry_out(chores)
        if chosen is not None:
            self.perform(chosen, _here.stack)
        return chosen is not None

    def _parked_to_errands(self, flow: FlowLedger) -> None:
        self._errands.extend(self._parked.pop(flow, ()))

    # -- chores -------------------------------------------------------------------------

    def errand(self, call: Callable[[], object]) -> None:
        """Call *call* once the lock is released.  The lock is held."""
        self._errands.append(call)

    def chores(self) -> _Chores | None:
        """What the change just made asks for, to be given to `carry_out`.  Locked."""
        ledger = self.ledger
        started = ledger.fill() if ledger.free > 0 and ledger.ring else ()
        if self._parked:
            for flow in [flow for flow in self._parked if flow.has_drained()]:
                self._parked_to_errands(flow)
        if not started and not self._errands:
            return None
        errands, self._errands = self._errands, []
        return started, errands

    def carry_out(self, chores: _Chores | None) -> None:
        """Do what `chores` answered; the lock is not held."""
        if chores is None:
            return
        started, errands = chores
        if started:
            self.start(started)
        for call in errands:
            call()

