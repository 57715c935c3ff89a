"""`Dispatcher`: starts tasks, and sees to those that ended and to their slots."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from rxpool.backends import Backend
from rxpool.pool._engine.binding import Binding, here
from rxpool.pool._engine.registry import Registry
from rxpool.pool._engine.telemetry import Telemetry
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.overdue import why_late
from rxpool.pool._state.producers import Producers
from rxpool.pool._state.slots import Slots
from rxpool.pool._state.task import Task

__all__ = ("Dispatcher", "Pending")

#: What is to be done once the lock is released: tasks to start, and calls to make.
Pending: TypeAlias = tuple[Sequence[Task], Sequence[Callable[[], object]]]


class Dispatcher:
    """Starts tasks, notes how they end, delivers what can be, gives their slots to others.

    `lock` guards the state and the bindings' own fields.  It is re-entrant for finalisers
    only.  It is not held while anything foreign runs: functions, subscribers, sources,
    schedulers; nor while the backend takes its own.  What changes of the state ask for is in
    `Effects`: whoever made one asks for it by `pending`, under the lock, and does it by
    `carry_out` when the lock is released.  Both are written out each time: a context manager
    of our own would keep the lock if Ctrl-C came in its first or last line.
    """

    def __init__(
        self,
        lock: Any,
        slots: Slots,
        registry: Registry,
        telemetry: Telemetry,
        backend: Backend,
    ) -> None:
        self.lock = lock
        self.slots = slots
        self.effects = slots.effects
        self.registry = registry
        self.telemetry = telemetry
        self.producers = Producers(slots.effects)
        self.backend = backend
        #: whether limits in time wait until a function has returned
        self.waits_out: bool = backend.traits.waits_out
        self.clock = backend.clock
        self.now = backend.clock.now
        self._acquire, self._release = lock.acquire, lock.release

    # -- what is done when the lock is released ------------------------------------------

    def pending(self) -> Pending | None:
        """What the changes just made ask for, to be given to `carry_out`.  Locked."""
        slots, effects, producers = self.slots, self.effects, self.producers
        if slots.reading and slots.free > 0:
            slots.take_ahead()
        started = slots.fill() if slots.free > 0 and slots.ring else ()
        if producers.waiting:
            producers.release_drained()
        if effects.recording or effects.notes:
            self._record()
        if effects.failed or effects.later or effects.deliverable or effects.abandoned:
            self._collect()
        if not started and not effects.calls:
            return None
        calls, effects.calls = effects.calls, []
        return started, calls

    def _collect(self) -> None:
        """What the state cannot do itself."""
        effects = self.effects
        failed, effects.failed = effects.failed, []
        deliverable, effects.deliverable = effects.deliverable, []
        abandoned, effects.abandoned = effects.abandoned, []
        calls = effects.calls
        if abandoned:
            calls.append(partial(self.abandon, abandoned))
        calls.extend(partial(self.deliver_ready, flow) for flow in dict.fromkeys(deliverable))
        calls.extend(dict.fromkeys(effects.later))
        effects.later.clear()
        for task, permit in failed:
            calls.append(partial(task.flow.policies.judge, task, permit))

    def _record(self) -> None:
        """Have the telemetry tell what was noted."""
        slots, telemetry, effects = self.slots, self.telemetry, self.effects
        notes, effects.notes = effects.notes, []
        if notes:
            effects.calls.append(partial(telemetry.tell, notes))
        now = self.now()
        if slots.ring and not telemetry.due(now):
            return  # a look at levels now and then is enough while there is work
        active = slots.total - slots.free  # also while a result is being delivered
        waiting = sum(
            len(flow.waiting) + len(flow.parked) + flow.reserved
            for flow in self.registry.states()
        )
        if telemetry.metrics.heard and telemetry.levels.note(active, waiting, now):
            effects.calls.append(telemetry.levels.tell)

    def carry_out(self, pending: Pending | None) -> None:
        """Do what `pending` answered; the lock is not held."""
        if pending is None:
            return
        started, calls = pending
        if started:
            self.start(started)
        for call in calls:
            if self.registry.foreign is not None:
                return  # one of them has forked: the others are the parent's
            call()

    def passed(self, task: Task) -> None:
        """A worker has *task*, which had begun to wait for a limit, and a permit for it."""
        with self.lock:
            task.flow.parking.passed(task)
            pending = self.pending()
        self.carry_out(pending)

    # -- tasks ------------------------------------------------------------------------

    def start(self, tasks: Sequence[Task]) -> None:
        """Run tasks that hold slots."""
        try:
            self.backend.start(tasks)
        except Exception as error:
            for task in tasks:
                self.end_later(task, None, error)

    def settle(self, task: Task, value: Any, error: BaseException | None) -> Task | None:
        """A task ended: note it, deliver what can be, answer the next one for its slot."""
        binding = task.flow.binding
        if self.waits_out and not task.settled:
            error = why_late(task, self.now()) or error
        policies = task.flow.policies
        if policies is not None and policies.keeps and error is None and not task.settled:
            row = policies.row(task, value)
            if row is None or isinstance(row, BaseException):
                error = row
            else:
                settled: Task | None = policies.commit(task, value, row)
                return settled
        entry = following = None
        try:
            self._acquire()
            if task.flow.settle(task, value, error, self.now()):
                entry = binding.begin_delivery()
            if entry is None:
                following = self.slots.pass_on(task)
            pending = self.pending()
        finally:
            self._release()
        return self.conclude(task, entry, following, pending)

    def conclude(
        self, task: Task, entry: Any, following: Task | None, pending: Pending | None
    ) -> Task | None:
        """Deliver *entry* and what follows it; answer the next task for the slot."""
        binding = task.flow.binding
        while True:
            if pending is not None:
                if following is None:
                    self.carry_out(pending)
                else:
                    following = self._carry_out_first(pending, following)
            if self.registry.foreign is not None:
                return None  # a function of the user has forked
            if entry is None:
                return following
            binding.send(entry)
            try:
                self._acquire()
                entry = binding.next_delivery()
                if entry is None:
                    following = self.slots.pass_on(task)
                pending = self.pending()
            finally:
                self._release()

    def _carry_out_first(self, pending: Pending, following: Task) -> Task | None:
        """Carry them out before *following*, unless that is run elsewhere meanwhile."""
        cell = [following]
        here.held.append(cell)
        try:
            self.carry_out(pending)
        finally:
            here.held.pop()
        return cell.pop() if cell else None

    def end_later(self, task: Task, value: Any, error: BaseException | None) -> None:
        """Like `settle`, from wherever the end of a task is learnt."""
        stack = here.stack
        stack.append(task)
        try:
            following = self.settle(task, value, error)
        finally:
            stack.pop()
        if following is not None:
            self.start((following,))

    def abandon(self, tasks: Sequence[Task]) -> None:
        """The work of cancelled tasks is not wanted any more."""
        for task in tasks:
            inner = task.take_inner()
            if inner is not None:
                try:
                    inner()
                except Exception as error:
                    self.telemetry.fault("cancelling a task", error)
        if tasks:
            for _ in range(self.backend.abandon(tasks) or 0):
                self.telemetry.replaced("abandoned")

    # -- results ----------------------------------------------------------------------

    def deliver_ready(self, flow: FlowState) -> None:
        """Something came out of *flow*: deliver it."""
        with self.lock:
            entry = flow.binding.begin_delivery()
            pending = self.pending()
        self.carry_out(pending)
        self.deliver(flow.binding, entry)

    def deliver(self, binding: Binding, entry: Any) -> None:
        """Deliver *entry*, if it is one, and what follows."""
        if entry is None:
            return
        flows, depths = here.flows, here.depths
        flows.append(binding.state)
        depths.append(len(here.stack))
        try:
            while entry is not None:
                binding.send(entry)
                with self.lock:
                    entry = binding.next_delivery()
                    pending = self.pending()
                self.carry_out(pending)
        finally:
            flows.pop()
            depths.pop()

    def wake_producers(self, flow: FlowState) -> bool:
        """Wake those of *flow* if there is room: without the lock, some was made."""
        capacity = flow.capacity
        held = bool(flow.waiting) and not flow.runnable
        held = held and (capacity.bytes is not None or flow.results.ordered)
        if not held and (
            flow not in self.producers.waiting or capacity.occupied() > capacity.low_water
        ):
            return False
        with self.lock:
            flow.mark_runnable()
            pending = self.pending()
        self.carry_out(pending)
        return True
