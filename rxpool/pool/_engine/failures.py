"""`FailureHandler`: what becomes of tasks that failed, where policies have a say in that."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rxpool._core.causes import as_failure, caused
from rxpool.pool._engine.commits import GroupCommit
from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._engine.policies import Policies
from rxpool.pool._state.batches import PartlyFailed, groups_of
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

if TYPE_CHECKING:
    from rxpool.pool._engine.gate import Gate

__all__ = ("FailureHandler",)


class FailureHandler:
    """Asks the policies of flows, with no lock held, and does what they say.

    A task that waits for its next attempt, or for a limit, is parked: it holds no slot.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._commit = GroupCommit(dispatcher).settle

    def guard(self, flow: FlowState, policies: Policies, fn: Callable[..., Any]) -> None:
        """Have *policies* decide over the tasks of a new flow."""
        if policies.any:
            # Imported where it is used: most flows have no policies, which bring much along.
            from rxpool.pool._engine.gate import Gate

            if policies.breaker is not None:
                self._dispatcher.telemetry.follow(policies.breaker)
            later = self._dispatcher.effects.later.extend
            clock, commit = self._dispatcher.clock, self._commit
            flow.guard(Gate(policies, fn, clock, self._wake, self._judge, later, commit))
            if policies.hedge is not None:
                flow.times.hedge_after(policies.hedge.after)  # type: ignore[arg-type]

    def _judge(self, task: Task, permit: int | None) -> None:
        """A parked task failed: try again, or put something in its place, or let it fail."""
        flow = task.flow
        policies: Gate = flow.policies
        error = task.error
        assert error is not None
        if isinstance(error, PartlyFailed):
            self._judge_items(task, permit, error)
            return
        wait, value = None, None
        try:
            if flow.gate is not None:
                policies.failed(permit, error, task.took or 0.0, task)
            wait = policies.wait(task, error, flow.counts.accepted - len(flow.waiting))
        except BaseException as raised:
            error = as_failure(caused(raised, error))
        if wait is not None and (
            flow.times.deadline is None or not self._comes_too_late(task, wait)
        ):
            self._try_again(task, error, wait)
            return
        if policies.replaces(error):
            try:
                value, error = policies.replacement(error, task.item), None
            except BaseException as raised:
                assert error is not None
                error = caused(raised, error)
        with self._dispatcher.lock:
            task.flow.parking.resolve(task, value, error)
        self._dispatcher.deliver_ready(flow)

    def _comes_too_late(self, task: Task, wait: float) -> bool:
        """Whether the deadline is over after *wait*."""
        deadline = task.flow.times.deadline
        return (
            deadline is not None and self._dispatcher.now() + wait >= task.accepted + deadline
        )

    def _judge_items(self, task: Task, permit: int | None, ran: PartlyFailed) -> None:
        """Some results of a batch are exceptions: those items alone are tried again."""
        flow = task.flow
        policies: Gate = flow.policies
        results, again, longest = list(ran.results), set[int](), 0.0
        try:
            policies.failed(permit, ran, task.took or 0.0)
        except BaseException as raised:  # of the breaker: told by each item that failed
            results = [_instead(raised, result) for result in results]
        else:
            # A budget that counts batches is asked once for each.
            first_attempts = flow.counts.accepted - len(flow.waiting)
            for place, wait in policies.waits(task, results, first_attempts):
                if isinstance(wait, BaseException):
                    results[place] = wait
                elif not self._comes_too_late(task, wait):
                    again.add(place)
                    longest = max(longest, wait)
        if not again:
            with self._dispatcher.lock:
                task.flow.parking.resolve(task, results, None)
            self._dispatcher.deliver_ready(flow)
            return
        groups = groups_of(task.item, results, again, flow.results.ordered)
        with self._dispatcher.lock:
            parts = task.flow.parking.divide(task, groups)
        if parts is not None and self._dispatcher.telemetry.heard:
            self._dispatcher.telemetry.retried(task, results[min(again)], longest)
        for part in parts or ():
            self._wait_for(part, longest)
        self._dispatcher.deliver_ready(flow)

    def _try_again(self, task: Task, error: BaseException, wait: float) -> None:
        dispatcher = self._dispatcher
        heard = dispatcher.telemetry.heard
        with dispatcher.lock:
            other = task.flow.parking.next_attempt(task)
            if other is None:
                return
            # Else who listens is told of the retry before the next attempt can start.
            at_once = wait <= 0 and not heard
            if at_once:
                other.flow.parking.requeue(other)
            pending = dispatcher.pending() if at_once else None
        if at_once:
            dispatcher.carry_out(pending)
            return
        if heard:
            dispatcher.telemetry.retried(task, error, wait)
        self._wait_for(other, wait)

    def _wait_for(self, other: Task, wait: float) -> None:
        """A task that is parked starts again after *wait*."""
        flow = other.flow
        if wait <= 0:
            self._restart(other, None)
            return
        alarm = self._dispatcher.clock.alarm(
            self._dispatcher.now() + wait, partial(self._restart, other)
        )
        with self._dispatcher.lock:
            if other in flow.parked:
                flow.parked[other] = alarm
                return
        alarm.dispose()

    def _restart(self, task: Task, _: Any) -> None:
        """The wait of *task* is over."""
        with self._dispatcher.lock:
            task.flow.parking.requeue(task)
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)

    def _wake(self, task: Task) -> None:
        """It is time for *task* to ask its limit again."""
        with self._dispatcher.lock:
            task.flow.parking.wake(task)
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)


def _instead(raised: BaseException, result: Any) -> Any:
    """What stands for a result of a batch when a function of the user has raised."""
    return as_failure(caused(raised, result)) if isinstance(result, Exception) else result
