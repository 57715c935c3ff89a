"""`Settling`: what becomes of tasks that ended, and of their slots."""

from collections.abc import Sequence
from typing import Any

from rxpool.pool._binding import Binding, here
from rxpool.pool._books import Books, Chores
from rxpool.pool._ledger import FlowLedger, Task

__all__ = ("Settling",)


class Settling(Books):
    """Notes how tasks end, delivers what can be, and gives their slots to others."""

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
            call()

    def forget(self, binding: Any) -> None:
        """A flow ended."""
        with self.lock:
            if self.flows.pop(binding, None) is not None:
                self._ending.append(binding.ledger)
            alarm = binding.ledger.alarm
            self.count_past()
            self._parked_to_errands(binding.ledger)
            self.changed.notify_all()
            self.tell_changed()
            chores = self.chores()
        if alarm is not None:
            alarm.dispose()
        policies = binding.ledger.policies
        if policies is not None and policies.policies.breaker is not None:
            self.meter.unfollow(policies.policies.breaker)
        self.carry_out(chores)

    def see_to_parked(self, flow: FlowLedger) -> bool:
        """Wake the producers of *flow* if there is room: without the lock, some was made."""
        if flow not in self._parked or flow.inside() > flow.low_water:
            return False
        with self.lock:
            chores = self.chores()
        self.carry_out(chores)
        return True

    def settle(self, task: Task, value: Any, error: BaseException | None) -> Task | None:
        """A task ended: note it, deliver what can be, answer the next one for its slot."""
        binding = task.flow.binding
        entry = following = None
        if task.flow.gate is not None and error is None and not task.settled:
            error = task.flow.gate.keep(task, value)
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
        self, task: Task, entry: Any, following: Task | None, chores: Chores | None
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
        flows.append(binding.ledger)
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
