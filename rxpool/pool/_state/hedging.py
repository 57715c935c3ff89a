"""`Hedging`: a second run of an item that takes long; two runs, one outcome."""

from functools import partial

from rxpool.errors import TaskCancelled
from rxpool.pool._state.parts import Flow
from rxpool.pool._state.task import Task, again, start_of
from rxpool.pool._state.verdicts import START

__all__ = ("Hedging",)


class Hedging:
    """What becomes of the two runs of an item.

    - A second run needs a slot that is free, room in the flow, budget and the gate's consent.
    - The run that succeeds gives the outcome; the other is abandoned.
    - The run that fails is nobody's outcome as long as the other runs.
    - When both are cancelled there is one outcome.
    - The run that is left stands where the other stood in the order of results.
    """

    __slots__ = ("_flow",)

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def start(self, task: Task, now: float) -> Task | None:
        """Start a second run of the item of *task*, if there is a slot to spare for it."""
        flow = self._flow
        slots = flow.slots
        task.own().hedged = True
        if slots.free <= 0 or not flow.capacity.may_run():
            return None
        try:
            flow.tasks.remove(task)  # a worker that ends it needs no lock, but finds it gone
        except KeyError:
            return None
        other = self._second(task, now)
        flow.tasks.add(task)
        return other

    def _second(self, task: Task, now: float) -> Task | None:
        flow = self._flow
        if not flow.policies.hedges(now, flow.counts.accepted - len(flow.waiting)):
            return None
        other = again(task, beside=True)
        if flow.gate is not None and flow.gate.admit(other) is not START:
            flow.gate.leave(other)
            return None
        flow.start(other)
        other.leave_place()
        flow.slots.occupy(other)
        task.joined_by(other)
        other.own().hedged = True
        task.own().rival, other.own().rival = other, task
        return other

    def lost_a_run(self, task: Task, error: BaseException | None, now: float) -> bool:
        """A run ended; whether the other one is left to give the outcome."""
        flow, rival = self._flow, task.extra.rival
        if rival is None:
            return False
        if error is None:
            self._abandon(rival, task)
            task.extra.rival = rival.extra.rival = None
            return False
        task.extra.rival = rival.extra.rival = None
        permit = task.fail(error)
        flow.stop(task)
        if flow.gate is not None:
            took = max(0.0, now - start_of(task, now))
            flow.effects.later.append(partial(flow.gate.failed, permit, error, took))
        self._stand_in(task, rival)
        return True

    def won(self, task: Task) -> None:
        """A run has given a result of several: the other one is not needed."""
        rival = task.extra.rival
        if rival is not None:
            self._abandon(rival, task)
            task.extra.rival = rival.extra.rival = None

    def hand_back(self, task: Task) -> None:
        """A worker that has removed *task* finds that there are two runs of its item."""
        if not task.settled:  # else the other one was faster meanwhile
            self._flow.tasks.add(task)

    def cancelled(self, task: Task) -> bool:
        """A run is cancelled; whether the other one is left, and will be."""
        flow, rival = self._flow, task.extra.rival
        if rival is None:
            return False
        rival.extra.rival = None
        task.give_up()
        flow.stop(task)
        flow.slots.release(task)
        flow.parking.forget(task)
        self._stand_in(task, rival)
        return True

    def _abandon(self, loser: Task, winner: Task) -> None:
        flow = self._flow
        try:
            flow.tasks.remove(loser)
        except KeyError:
            if loser.settled:
                return
            # A worker has it in hand, and is going to see that it has lost.
        if flow.gate is not None:
            flow.gate.cancelled(loser)
        loser.fail(TaskCancelled("the other run of the item was faster"))
        flow.effects.attempted(loser, "cancelled", None)
        flow.stop(loser)
        flow.slots.release(loser)
        flow.effects.abandoned.append(loser)
        self._stand_in(loser, winner)

    def _stand_in(self, gone: Task, task: Task) -> None:
        """*task* takes the place of the other run of its item."""
        self._flow.results.replace(gone, (task,))
        self._flow.mark_runnable()
