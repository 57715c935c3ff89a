"""`Dispatcher`: starts tasks, and sees to those that ended and to their slots."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from rxpool._core.inlet import Node, watch
from rxpool.pool._engine.binding import Binding, here
from rxpool.pool._engine.books import Books, Chores
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.overdue import why_late
from rxpool.pool._state.task import Task

__all__ = ("Dispatcher",)


class Dispatcher(Books):
    """Starts tasks, notes how they end, delivers what can be, gives their slots to others."""

    def chores(self) -> Chores | None:
        """What the change just made asks for, to be given to `carry_out`.  Locked."""
        slots, effects = self.slots, self.effects
        started = slots.fill() if slots.free > 0 and slots.ring else ()
        if self.waiting_producers:
            drained = [flow for flow in self.waiting_producers if flow.capacity.has_drained()]
            for flow in drained:
                self.release_producers(flow)
        if effects.recording or effects.notes:
            self._note_down()
        if effects.failed or effects.later or effects.deliverable or effects.abandoned:
            self._collect()
        if not started and not self._errands:
            return None
        errands, self._errands = self._errands, []
        return started, errands

    def _collect(self) -> None:
        """What the state cannot do itself."""
        effects = self.effects
        failing, effects.failed = effects.failed, []
        resolved, effects.deliverable = effects.deliverable, []
        losers, effects.abandoned = effects.abandoned, []
        if losers:
            self._errands.append(partial(self.cut_off, losers))
        self._errands.extend(partial(self.see_to, flow) for flow in dict.fromkeys(resolved))
        self._errands.extend(dict.fromkeys(effects.later))
        effects.later.clear()
        for task, permit in failing:
            self._errands.append(partial(task.flow.policies.judge, task, permit))

    def see_to(self, flow: FlowState) -> None:
        """Something came out of *flow*: deliver it."""
        with self.lock:
            entry, chores = flow.binding.claim(), self.chores()
        self.carry_out(chores)
        self.deliver(flow.binding, entry)

    def start(self, tasks: Sequence[Task]) -> None:
        """Run tasks that hold slots."""
        try:
            self.backend.start(tasks)
        except Exception as error:
            for task in tasks:
                self.end_later(task, None, error)

    def carry_out(self, chores: Chores | None) -> None:
        """Do what `chores` answered; the lock is not held."""
        if chores is None:
            return
        started, errands = chores
        if started:
            self.start(started)
        for call in errands:
            if self.foreign is not None:
                return  # one of them has forked: the others are the parent's
            call()

    def forget(self, binding: Any) -> None:
        """A flow ended."""
        with self.lock:
            if self.remove(binding):
                self._ending.append(binding.state)
            alarm = binding.state.times.alarm
            self.count_past()
            self.release_producers(binding.state)
            self.tell_changed()
            chores = self.chores()
        if alarm is not None:
            alarm.dispose()
        policies = binding.state.policies
        if policies is not None and policies.policies.breaker is not None:
            self.meter.unfollow(policies.policies.breaker)
        self.carry_out(chores)

    def wait_for(self, tail: Node) -> None:
        """A closing pool is to wait for a stage that its results go through."""
        with self.lock:
            if tail in self.tails:
                return
            self.tails[tail] = None
        if not watch(tail, partial(self._tail_ended, tail)):
            self._tail_ended(tail)

    def _tail_ended(self, tail: Node) -> None:
        with self.lock:
            self.tails.pop(tail, None)
        self.note_change()

    def note_change(self) -> None:
        """Something ended that a closing pool may wait for."""
        with self.lock:
            self.tell_changed()
            chores = self.chores()
        self.carry_out(chores)

    def see_to_parked(self, flow: FlowState) -> bool:
        """Wake the producers of *flow* if there is room: without the lock, some was made."""
        capacity = flow.capacity
        held = capacity.bytes is not None and bool(flow.waiting) and not flow.runnable
        if not held and (
            flow not in self.waiting_producers or capacity.occupied() > capacity.low_water
        ):
            return False
        with self.lock:
            flow.mark_runnable()
            chores = self.chores()
        self.carry_out(chores)
        return True

    def settle(self, task: Task, value: Any, error: BaseException | None) -> Task | None:
        """A task ended: note it, deliver what can be, answer the next one for its slot."""
        binding = task.flow.binding
        entry = following = None
        if self.waits_out and not task.settled:
            error = why_late(task, self.now()) or error
        if task.flow.policies is not None and error is None and not task.settled:
            error = task.flow.policies.keep(task, value)
        try:
            self._acquire()
            if task.flow.settle(task, value, error, self.now()):
                entry = binding.claim()
            if entry is None:
                following = self.slots.pass_on(task)
            chores = self.chores()
        finally:
            self._release()
        return self.conclude(task, entry, following, chores)

    def conclude(
        self, task: Task, entry: Any, following: Task | None, chores: Chores | None
    ) -> Task | None:
        """Deliver *entry* and what follows it; answer the next task for the slot."""
        binding = task.flow.binding
        while True:
            if chores is not None:
                if following is None:
                    self.carry_out(chores)
                else:
                    following = self._carry_out_first(chores, following)
            if self.foreign is not None:
                return None  # a function of the user has forked
            if entry is None:
                return following
            binding.send(entry)
            try:
                self._acquire()
                entry = binding.again()
                if entry is None:
                    following = self.slots.pass_on(task)
                chores = self.chores()
            finally:
                self._release()

    def _carry_out_first(self, chores: Chores, following: Task) -> Task | None:
        """Carry them out before *following*, unless that is run elsewhere meanwhile."""
        cell = [following]
        here.held.append(cell)
        try:
            self.carry_out(chores)
        finally:
            here.held.pop()
        return cell.pop() if cell else None

    def step_aside(self) -> None:
        """The caller's thread is going to wait: what it was to do for the pool, others do.

        That is what follows the result that it delivers, or the failure that it judges, and
        the slot of that.  A task that runs keeps its slot; `lend` is for those.

        Raises:
            WouldBlock: If others cannot.
        """
        self.backend.waits()
        if not here.stack:
            return  # it has nothing to do for a pool
        with self.lock:
            for task in here.stack:
                if task.slot and not task.running and task.flow.slots is self.slots:
                    task.slot = False
                    self.slots.free += 1
            chores = self.chores()
        held = [cell.pop() for cell in here.held if cell and cell[0].flow.slots is self.slots]
        if held:
            self.start(held)
        self.carry_out(chores)

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
                    entry = binding.again()
                    chores = self.chores()
                self.carry_out(chores)
        finally:
            flows.pop()
            depths.pop()

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
            for _ in range(self.backend.abandon(tasks) or 0):
                self.replaced("abandoned")
