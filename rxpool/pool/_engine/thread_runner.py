"""`ThreadRunner`: workers run tasks, one after another."""

# What functions of users return is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from contextvars import Context
from typing import Any, Final

from rxpool._forks import end_child
from rxpool.pool._engine.awaitables import Awaitables
from rxpool.pool._engine.binding import here
from rxpool.pool._engine.commits import GroupCommit
from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._engine.timeouts import Timeouts
from rxpool.pool._state.task import Task

__all__ = ("ThreadRunner",)

_LOCK_FREE_RUN: Final = 256  #: tasks that a worker runs between two looks at the state


class ThreadRunner:
    """What a backend calls to run tasks; see `rxpool.backends.Runner`."""

    def __init__(
        self, dispatcher: Dispatcher, timeouts: Timeouts, awaitables: Awaitables
    ) -> None:
        self._dispatcher = dispatcher
        self._timeouts = timeouts
        self._go_on = awaitables.go_on
        self._is_work = awaitables.is_work
        self._special = awaitables.special
        self._commits = GroupCommit(dispatcher)

    def perform(self, task: Task, note: Any = None) -> Task | None:
        """Run a task on this thread; answers the next one for its slot."""
        stack = here.stack
        stack.append(task)
        try:
            return self._step(task, note)
        finally:
            stack.pop()

    def work(self, task: Task | None, note: Any) -> None:
        """Run a task on this thread, then others as long as there are any for its slot."""
        if task is None:
            return
        stack = here.stack
        stack.append(task)
        try:
            while task is not None:
                stack[-1] = task
                if task.flow.binding.emit_lock_free is None:
                    task = self._step(task, note)
                else:
                    task = self._run_lock_free(task, note, stack)
        finally:
            stack.pop()

    def _step(self, task: Task, note: Any) -> Task | None:
        """Run one task and settle it under the lock."""
        task.note = note
        if self._dispatcher.telemetry.logs_starts:
            self._dispatcher.telemetry.starting(task)
        task.started = self._dispatcher.now()
        if task.settled:  # cancelled before it started
            return self._dispatcher.settle(task, None, None)
        flow = task.flow
        if (flow.times.watched or self._dispatcher.waits_out) and not flow.times.armed:
            self._timeouts.watch(flow)
        # What a run sets is its own: the variables of the task stay as they were.
        context = Context() if task.context is None else task.context.copy()
        try:
            value = context.run(flow.binding.fn, task.item)
        except BaseException as raised:
            if self._dispatcher.registry.foreign is not None:
                end_child(raised)
            return self._dispatcher.settle(task, None, raised)
        if self._dispatcher.registry.foreign is not None:
            end_child()  # the function has forked: there is no worker in the child
        if self._special.get(type(value)) is not False and self._is_work(value):
            return self._go_on(task, value, context)
        return self._dispatcher.settle(task, value, None)

    def _run_lock_free(self, task: Task, note: Any, stack: list[Task]) -> Task | None:  # noqa: C901 - the lock-free loop: its branches are its price
        """Run tasks of one flow, most of them without the lock.

        Under contention every lock operation costs a switch of threads, which for short
        tasks is many times the work.  So as long as more tasks of this flow wait, and there
        is nothing else to see to, a worker goes from one to the next by atomic operations
        alone: `pop` takes a task, `tasks.remove` wins the right to settle it, and the
        binding's `emit` delivers it.  Where tasks are sorted, or results reordered, a lock
        of the flow's own is held for each of these steps, and for nothing else.  The count of
        running tasks stays as it is, and succeeded ones are counted in a cell of the worker's
        own.  Where a journal is to keep the result first, the task goes to `uncommitted`, and
        `GroupCommit` does the rest.
        """
        flow = task.flow
        binding = flow.binding
        fn, emit = binding.fn, binding.emit_lock_free
        pop, add, remove = flow.pop_next(), flow.tasks.add, flow.tasks.remove
        dispatcher, special = self._dispatcher, self._special
        producers, now, slots = dispatcher.producers.waiting, dispatcher.now, dispatcher.slots
        ring, telemetry = slots.ring, dispatcher.telemetry
        cell = [0]  # successes that the state do not have yet
        value = error = None
        work = in_hand = False
        timed, hedged = flow.times.watched, flow.times.hedge is not None
        blank = Context()  # for tasks that bring no variables
        context = blank
        known: Any = None  # a type that is known to be no work
        gate, permit = flow.gate, -1
        release = None if flow.sorted is None else flow.sorted.release
        journal = flow.policies if flow.policies is not None and flow.policies.keeps else None
        bring, row = self._commits.bring, None
        task.note = note
        if telemetry.logs_starts:
            telemetry.starting(task)
        started = now()
        while True:
            task.started = started
            if task.settled:  # cancelled before it started
                break
            if timed and not flow.times.armed:
                self._timeouts.watch(flow)
            try:
                given = task.context
                context = blank if given is None else given.copy()
                value = context.run(fn, task.item)
                if len(blank):  # what a task has set is its own
                    blank = Context()
            except BaseException as raised:
                value, error = None, raised
                break
            if type(value) is not known:
                if special.get(type(value)) is not False and self._is_work(value):
                    work = True
                    break
                known = type(value)
            if cell[0] >= _LOCK_FREE_RUN or len(ring) > 1 or not task.slot or slots.free < 0:
                break
            if journal is not None and isinstance(
                row := journal.row(task, value), BaseException
            ):
                error = row
                break
            if hedged and task.extra.hedged:  # what becomes of two runs needs the lock
                break
            try:
                remove(task)
            except KeyError:  # cancelled
                break
            # A second run may have begun before it was removed; it says first that it has
            # won, then that there are no two any more.
            if hedged and (task.extra.rival is not None or task.settled):
                in_hand = True
                break
            task.running = None
            ended = now()
            task.took = ended - started
            task.value = value
            if journal is not None:
                flow.uncommitted.add(task)
                bring(flow, task, row)
                started = now()
            else:
                task.settled = True
                if not cell[0]:
                    flow.counts.local.append(cell)
                cell[0] += 1
                if gate is not None:
                    gate.good(task, ended)
                if telemetry.measuring:
                    telemetry.succeeded(task, ended)
                started = now() if emit(task) else ended
                if release is not None:  # only now, for the order of results of one key
                    release(task)
            if not task.slot:  # the subscriber waited for this pool
                return self._stop_lock_free(task, cell, False)
            if gate is not None and (permit := gate.permit(started)) < 0:
                return self._stop_lock_free(task, cell, False)
            try:
                following = pop()
            except IndexError:
                if gate is not None:
                    gate.unused(permit)
                return self._stop_lock_free(task, cell, False)
            if gate is not None:
                following.permit = permit
                if following.extra.journalled[1] is not None:  # it need not run
                    return self._stop_lock_free(task, cell, False, following)
                if following.extra.asked is not None:
                    dispatcher.passed(following)
            following.attempts += 1
            following.running = following.slot = True
            following.note = note
            task.slot = False
            stack[-1] = task = following
            add(task)
            if telemetry.logs_starts:
                telemetry.starting(task)
            if flow.cancellation.reason is not None:
                # The flow is being cancelled, perhaps without having seen this task.
                try:
                    remove(task)
                except KeyError:
                    break
                return self._stop_lock_free(task, cell, True)
            # There may be room since the task was taken.
            if producers and dispatcher.wake_producers(flow):
                started = now()
        if self._dispatcher.registry.foreign is not None:
            end_child(error)
        if in_hand:
            with self._dispatcher.lock:
                flow.hedging.hand_back(task)
        if cell[0]:
            with self._dispatcher.lock:
                flow.counts.close(cell)
        if work:
            return self._go_on(task, value, context)
        return self._dispatcher.settle(task, value, error)

    def _stop_lock_free(
        self, task: Task, cell: list[int], disown: bool, known: Task | None = None
    ) -> Task | None:
        """The worker runs no task of the flow any more: back to the state.

        A *known* one, which it has taken, need not run.
        """
        flow = task.flow
        binding = flow.binding
        if flow.uncommitted:
            self._commits.lead(flow)
        with self._dispatcher.lock:
            flow.counts.close(cell)
            flow.running -= 1
            if disown:
                task.flow.cancellation.disown(task)
            if known is not None:
                flow.put_back(known)
            if flow.waiting:
                flow.mark_runnable()
            entry = binding.begin_delivery()
            following = self._dispatcher.slots.pass_on(task) if entry is None else None
            pending = self._dispatcher.pending()
        if entry is None and pending is None and self._dispatcher.registry.foreign is None:
            return following
        return self._dispatcher.conclude(task, entry, following, pending)
