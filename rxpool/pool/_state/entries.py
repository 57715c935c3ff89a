"""`Entries`: how tasks begin and end in the books of a pool.

No clock, no thread, no Rx and no user code; see `_ledger`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rxpool._core.causes import as_failure
from rxpool._forks import bury
from rxpool.errors import DeadlineExceeded, ItemDropped, TaskCancelled
from rxpool.pool._state.flow_ledger import FlowLedger
from rxpool.pool._state.notes import ATTEMPT, SETTLED, Note
from rxpool.pool._state.task import NOT_YET, Task, Withdrawn, start_of

__all__ = ("Entries", "halves")


def halves(task: Task) -> list[Task]:
    """Two tasks for the two halves of a batch."""
    middle = len(task.item) // 2
    halves = task.item[:middle], task.item[middle:]
    parts = [Task(task.flow, half, task.accepted) for half in halves]
    for part in parts:
        part.context = None if task.context is None else task.context.copy()
        if task.flow.gate is not None:
            task.flow.gate.inherit(task, part)
    return parts


def _since_start(task: Task, now: float) -> float:
    """How long it has run."""
    return max(0.0, now - start_of(task, now))


class Entries:
    """Slots, and what becomes of the tasks in them and of those that wait."""

    __slots__ = (
        "failing",
        "free",
        "later",
        "losers",
        "max_bytes",
        "notes",
        "noting",
        "resolved",
        "ring",
        "slots",
    )

    def __init__(self, slots: int) -> None:
        self.slots = slots
        #: of the items of one flow and of their results, where they are pickled
        self.max_bytes: int | None = None
        self.free: int = slots  #: below 0 while more runs than a reduced number of slots
        self.ring: deque[FlowLedger] = deque()  # flows that may have something to start
        #: parked tasks that failed, with their permits: what becomes of them is to be found out
        self.failing: list[tuple[Task, int | None]] = []
        self.resolved: list[FlowLedger] = []  # something came out of these by the way
        self.losers: list[Task] = []  # runs that are not needed, as another of the item ended
        self.noting = False  #: whether somebody wants to know
        self.notes: list[Note] = []  # of what happened since somebody was told
        self.later: list[Callable[[], object]] = []  # to be called once nothing is locked

    def enlist(self, flow: FlowLedger) -> None:
        """Remember that *flow* may have something to start."""
        if not flow.listed and flow.waiting:
            flow.listed = True
            self.ring.append(flow)

    def release(self, task: Task) -> None:
        """Give back the slot of *task*, if it holds one."""
        if task.slot:
            task.slot = False
            self.free += 1

    def lend(self, task: Task) -> None:
        """*task* runs on without a slot; unless the user set a bound, another may beside it."""
        if task.running and task.slot:
            self.release(task)
            task.flow.lent.add(task)
            self.enlist(task.flow)

    def settle(self, task: Task, value: Any, error: BaseException | None, now: float) -> bool:  # noqa: C901 - the life of a task ends here, in whichever way
        """Note how a running task ended; False if it was settled before (cancelled)."""
        flow = task.flow
        try:
            flow.tasks.remove(task)
        except KeyError:
            return False
        if error is not None:
            error = as_failure(error)
        if self.noting and not isinstance(error, Withdrawn):
            self._note_attempt(task, "success" if error is None else "failure", error, now)
        if flow.times.hedge is not None and self._was_one_of_two(flow, task, error, now):
            return True
        if error is not None and flow.policies is not None and not isinstance(error, Withdrawn):
            if task.running is False:
                task.attempts += 1
            task.took = _since_start(task, now)
            self._stop(flow, task)
            self._suspend(flow, task, error)
            return True
        if error is not None and self._can_be_halved(task, error):
            self._replace(task, halves(task))
            return True
        if task.running is False:
            task.attempts += 1  # it ran behind another in the same lot
        if flow.gate is not None and error is None:
            flow.gate.succeeded(task, now)
        self._stop(flow, task)
        if flow.sorted is not None:
            self._release_key(flow, task)
        task.settled = True
        started = task.started  # as `_since_start`, without two calls for each item
        task.took = 0.0 if started is NOT_YET else max(0.0, now - started)
        if error is None:
            task.value = value
            flow.counted += 1
        else:
            task.error = error
            if isinstance(error, Withdrawn):
                task.cancelled = True
                flow.cancelled += 1
            else:
                flow.failed += 1
        if self.noting:
            self._note_end(task)
        flow.results.put(task)
        if flow.waiting and not flow.listed:
            self.enlist(flow)
        return True

    def _was_one_of_two(
        self, flow: FlowLedger, task: Task, error: BaseException | None, now: float
    ) -> bool:
        """A run of a hedged item ended; whether the other is left to give the outcome."""
        rival = task.extra.rival
        if rival is None:
            return False
        task.extra.rival = rival.extra.rival = None
        if error is None:
            self._beat(flow, rival, task)
            return False
        task.settled = True
        task.error = error
        self._stop(flow, task)
        if flow.gate is not None:
            permit, task.permit = task.permit, None
            took = _since_start(task, now)
            self.later.append(partial(flow.gate.failed, permit, error, took))
        self._stand_in(flow, task, rival)
        return True

    def _beat(self, flow: FlowLedger, loser: Task, winner: Task) -> None:
        """The run *loser* of a hedged item is not needed any more."""
        try:
            flow.tasks.remove(loser)
        except KeyError:
            return
        loser.settled = True
        loser.error = TaskCancelled("the other run of the item was faster")
        if self.noting:
            self._note_attempt(loser, "cancelled", None)
        self._stop(flow, loser)
        self.release(loser)
        if flow.gate is not None:
            flow.gate.cancelled(loser)
        self.losers.append(loser)
        self._stand_in(flow, loser, winner)

    def _stand_in(self, flow: FlowLedger, gone: Task, task: Task) -> None:
        """*task* takes the place of the other run of its item."""
        flow.results.replace(gone, (task,))
        self.enlist(flow)

    def add_part(self, task: Task, value: Any) -> bool:
        """Note one result of a running task that gives several; False if it was cancelled."""
        if task.settled:
            return False
        flow = task.flow
        if flow.times.hedge is not None and (rival := task.extra.rival) is not None:
            task.extra.rival = rival.extra.rival = None
            self._beat(flow, rival, task)
        flow.results.put_part(task, value)
        return True

    def close_cell(self, flow: FlowLedger, cell: list[int]) -> None:
        """A worker that went from task to task without the lock stops doing so."""
        for index, open_cell in enumerate(flow.cells):
            if open_cell is cell:
                del flow.cells[index]
                flow.counted += cell[0]
                return

    def disown(self, task: Task) -> None:
        """Cancel a task that such a worker took while its flow was being cancelled."""
        flow = task.flow
        assert flow.cut_off is not None
        reason, keep = flow.cut_off
        self.release(task)
        task.took = 0.0
        self._cancel(flow, task, reason, keep)

    def fail_waiting(self, task: Task, error: BaseException) -> bool:
        """A task that waits has failed; False if it does not wait any more."""
        flow = task.flow
        if task.settled or not (task in flow.waiting or task in flow.parked):
            return False
        if task in flow.parked:
            self._unpark(flow, task)
            self._release_key(flow, task)
        else:
            flow.waiting.remove(task)
        self._let_go(flow, task)
        if flow.policies is not None:
            task.own().unclaimed = True
            self._suspend(flow, task, error)
        else:
            self._fail(flow, task, error)
        return True

    def refuse(self, flow: FlowLedger, task: Task, error: BaseException) -> None:
        """An item failed before it could wait for anything; not in input order."""
        flow.accepted += 1
        self._fail(flow, task, error)

    def withdraw(self, task: Task, reason: str) -> None:
        """Take a task that waits out of the books."""
        task.flow.waiting.remove(task)
        self._cancel(task.flow, task, reason, keep=False)

    def cancel_waiting(self, flow: FlowLedger, reason: str, keep: bool) -> None:
        """Cancel what waits; *keep* the outcomes to be fetched, else only count them."""
        while (task := flow.pop_oldest()) is not None:
            self._cancel(flow, task, reason, keep)
        for task in list(flow.parked):
            self._unpark(flow, task)
            self._release_key(flow, task)
            self._cancel(flow, task, reason, keep)

    def cancel_running(
        self, flow: FlowLedger, reason: str, keep: bool, now: float
    ) -> list[Task]:
        """Cancel what runs; answers the tasks whose work should be cut off."""
        flow.cut_off = reason, keep
        tasks: list[Task] = []
        while flow.tasks:
            try:
                tasks.append(flow.tasks.pop())
            except KeyError:  # a worker settled the last one
                break
        tasks.sort(key=lambda task: task.accepted)
        for task in tasks:
            if self.noting:
                self._note_attempt(task, "cancelled", None, now)
            if (rival := task.extra.rival) is not None:  # one outcome for both
                rival.extra.rival = None
                task.settled = True
                self._stop(flow, task)
                self.release(task)
                self._let_go(flow, task)
                self._stand_in(flow, task, rival)
                continue
            self._leave(flow, task)
            task.took = _since_start(task, now)
            self.release(task)
            self._cancel(flow, task, reason, keep)
        return tasks

    def discard_done(self, flow: FlowLedger) -> None:
        """Forget what was not fetched."""
        flow.results.discard()

    def _can_be_halved(self, task: Task, error: BaseException) -> bool:
        """Whether it takes a smaller batch to know what is wrong, and there is time for it."""
        if not task.flow.bisects or isinstance(error, DeadlineExceeded):
            return False
        return isinstance(task.item, list) and len(task.item) > 1  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]

    def _replace(self, task: Task, parts: Sequence[Task]) -> None:
        """A task that ran is given up for others, which are to start next, in its place."""
        self._stop(task.flow, task)
        task.settled = True
        self._exchange(task, parts)

    def _exchange(self, task: Task, parts: Sequence[Task]) -> None:
        flow = task.flow
        flow.accepted += len(parts) - 1
        if flow.sorted is not None:
            flow.sorted.split(task, parts)
        else:
            flow.waiting.extendleft(reversed(parts))
        flow.results.replace(task, parts)
        self.enlist(flow)

    def _start(self, flow: FlowLedger, task: Task) -> Task:
        flow.running += 1
        if flow.results.ordered:
            flow.results.place(task)
        task.running = True
        task.attempts += 1
        flow.tasks.add(task)
        return task

    def _leave(self, flow: FlowLedger, task: Task) -> None:
        """A task that was removed from `tasks` does not run any more."""
        self._stop(flow, task)
        self._release_key(flow, task)

    def _release_key(self, flow: FlowLedger, task: Task) -> None:
        if flow.sorted is not None and not task.extra.unclaimed:
            flow.sorted.release(task)

    def _suspend(self, flow: FlowLedger, task: Task, error: BaseException) -> None:
        """A task has failed: out of the lock it is found out whether that is its end."""
        task.settled = True
        task.error = error
        flow.parked[task] = None
        permit, task.permit = task.permit, None
        self.failing.append((task, permit))
        flow.results.place(task)
        self.enlist(flow)

    def _unpark(self, flow: FlowLedger, task: Task) -> None:
        """A task waits for nothing special any more."""
        alarm = flow.parked.pop(task)
        if alarm is not None:
            self.later.append(alarm.dispose)

    def _let_go(self, flow: FlowLedger, task: Task) -> None:
        """The gate need not think of a task any more."""
        if flow.gate is not None:
            flow.gate.cancelled(task)
            if flow.holding is task:
                flow.holding = None
                self.enlist(flow)

    def _stop(self, flow: FlowLedger, task: Task) -> None:
        if task.running is False:
            flow.allotted -= 1
        else:
            flow.running -= 1
            task.running = False
            flow.lent.discard(task)

    def _fail(self, flow: FlowLedger, task: Task, error: BaseException) -> None:
        """The end of a task that does not run."""
        task.settled = True
        task.error = as_failure(error)
        if task.took is NOT_YET:
            task.took = 0.0
        flow.failed += 1
        if self.noting:
            self._note_end(task)
        flow.results.put_unplaced(task)

    def _cancel(self, flow: FlowLedger, task: Task, reason: str, keep: bool) -> None:
        task.settled = task.cancelled = True
        task.error = TaskCancelled(reason)
        self._let_go(flow, task)
        if task.took is NOT_YET:
            task.took = 0.0
        flow.cancelled += 1
        if self.noting:
            self._note_end(task)
        if not keep:
            return
        flow.results.put_unplaced(task)

    def _drop(self, flow: FlowLedger, task: Task) -> None:
        task.settled = True
        self._let_go(flow, task)
        if flow.most is not None:
            task.error = ItemDropped("another item waited or ran")
        else:
            task.error = ItemDropped(
                f"dropped by overflow={flow.overflow!r}: "
                f"max_pending={flow.max_pending} items waited"
            )
        task.took = 0.0
        flow.dropped += 1
        if self.noting:
            self._note_end(task, "dropped")
        flow.results.remove(task)  # a part of a batch has a place
        if flow.keeps_drops:
            # Out of turn in input order too: it waited for nobody before it.
            flow.done.append(task)

    def forsake(self) -> None:
        """In a forked child: nothing is going to start or to be told."""
        bury(self.ring, self.failing, self.later, self.losers, self.resolved, self.notes)
        for inside in (self.ring, self.failing, self.later, self.losers, self.resolved):
            inside.clear()
        self.noting = False
        self.notes = []

    # -- what is noted for whoever listens -------------------------------------------------

    def _note_attempt(
        self, task: Task, outcome: str, error: BaseException | None, ended: float | None = None
    ) -> None:
        self.notes.append((ATTEMPT, task, outcome, error, ended))

    def _note_end(self, task: Task, outcome: str = "") -> None:
        if not outcome:
            outcome = "success" if task.error is None else "failure"
            if task.cancelled:
                outcome = "cancelled"
        error = task.error if outcome == "failure" else None
        self.notes.append((SETTLED, task, outcome, error, None))
