"""`Judging`: what becomes of tasks that failed, where policies have a say in that."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rxpool._core.causes import caused
from rxpool.pool._gate import Gate, Policies
from rxpool.pool._ledger import FlowLedger, Task
from rxpool.pool._settling import Settling

__all__ = ("Judging",)


class Judging(Settling):
    """Asks the policies of flows, with no lock held, and does what they say.

    A task that waits for its next attempt, or for a limit, is parked: it holds no slot.
    """

    def guard(self, flow: FlowLedger, policies: Policies, fn: Callable[..., Any]) -> None:
        """Have *policies* decide over the tasks of a new flow."""
        if policies.any:
            if policies.breaker is not None:
                self.meter.follow(policies.breaker)
            gate = Gate(policies, fn, self.clock, self._wake, self.ledger.later.append)
            flow.policies = gate
            flow.gate = gate if gate.admits else None
            if policies.hedge is not None:
                flow.hedge = policies.hedge.after  # type: ignore[assignment]

    def judge(self, task: Task, permit: int | None) -> None:
        """A parked task failed: try again, or put something in its place, or let it fail."""
        flow = task.flow
        policies: Gate = flow.policies
        error = task.error
        assert error is not None
        wait, value = None, None
        try:
            policies.failed(permit, error, getattr(task, "took", 0.0))
            wait = policies.wait(task, error, flow.accepted - len(flow.waiting))
        except BaseException as raised:
            error = caused(raised, error)
        due = None if flow.deadline is None else task.accepted + flow.deadline
        if wait is not None and due is not None and self.now() + wait >= due:
            wait = None  # it would come too late
        if wait is not None:
            self._try_again(task, error, wait)
            return
        if policies.replaces(error):
            try:
                value, error = policies.fallback(task.item, error), None
            except BaseException as raised:
                assert error is not None
                error = caused(raised, error)
        with self.lock:
            self.ledger.conclude(task, value, error)
        self.see_to(flow)

    def _try_again(self, task: Task, error: BaseException, wait: float) -> None:
        flow = task.flow
        with self.lock:
            other = self.ledger.try_again(task)
            if other is not None and wait <= 0:
                self.ledger.restart(other)
            chores = self.chores()
        if other is not None and self.meter.heard:
            self.meter.retried(task, error, wait)
        self.carry_out(chores)
        if other is None or wait <= 0:
            return
        alarm = self.clock.alarm(self.now() + wait, partial(self._restart, other))
        with self.lock:
            if other in flow.parked:
                flow.parked[other] = alarm
                return
        alarm.dispose()

    def _restart(self, task: Task, _: Any) -> None:
        """The wait of *task* is over."""
        with self.lock:
            self.ledger.restart(task)
            chores = self.chores()
        self.carry_out(chores)

    def _wake(self, task: Task) -> None:
        """It is time for *task* to ask its limit again."""
        with self.lock:
            self.ledger.wake(task)
            chores = self.chores()
        self.carry_out(chores)

    def see_to(self, flow: FlowLedger) -> None:
        """Something came out of *flow*: deliver it."""
        with self.lock:
            entry, chores = flow.binding.claim(), self.chores()
        self.carry_out(chores)
        self.deliver(flow.binding, entry)
