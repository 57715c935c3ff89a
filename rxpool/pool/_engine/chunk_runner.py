"""`ChunkRunner`: what backends call that run tasks elsewhere, several in one go."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

from rxpool.backends import SEVERAL, Chunk
from rxpool.pool._engine.awaitables import Awaitables
from rxpool.pool._engine.binding import NO_VALUE, TaskHandle, here
from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._engine.timeouts import Timeouts
from rxpool.pool._state.task import NOT_YET, Task

__all__ = ("ChunkRunner",)

_SMALL: Final = 16  #: an item is small if so many times its bytes were not too many


class ChunkRunner:
    """Tasks that run where the state is not, be it another process or an event loop.

    The first task of a chunk holds the slot.  As tasks of it end, the slot goes on to the
    next one; when all have ended, to another task.
    """

    #: what `current_task` needs of a task
    handle = TaskHandle

    def __init__(
        self, dispatcher: Dispatcher, timeouts: Timeouts, awaitables: Awaitables
    ) -> None:
        self._dispatcher = dispatcher
        self._timeouts = timeouts
        #: takes one of several results of a task
        self.part = awaitables.part

    def begin(self, task: Task) -> tuple[Callable[[Any], Any], Any] | None:
        """A slot is about to run *task*: the function and its argument.

        None if the task was cancelled; its slot is free then.
        """
        if task.settled:
            return None
        if self._dispatcher.telemetry.logs_starts:
            self._dispatcher.telemetry.starting(task)
        job: tuple[Callable[[Any], Any], Any] = task.flow.binding.job(task)
        return job

    def started(self, task: Task, at: float) -> None:
        """*task* runs since *at*."""
        task.started = at
        flow = task.flow
        if flow.times.watched and not flow.times.armed:
            self._timeouts.watch(flow)

    def next_chunk(self, task: Task, most: int) -> Chunk | None:
        """A slot is about to run *task*, and others of its flow after it, *most* in all.

        None if *task* was cancelled; its slot is free then.
        """
        if task.settled:
            return None
        telemetry, flow = self._dispatcher.telemetry, task.flow
        if telemetry.logs_starts:
            telemetry.starting(task)
        function, item = flow.binding.job(task)
        jobs, items = [task], [item]
        timed = flow.times.watched or flow.times.deadline is not None
        if timed and self._dispatcher.backend.traits.begins_together:
            most = 1
        if most > 1 and flow.waiting:
            jobs += self.more(task, most - 1)
            items += [behind.item for behind in jobs[1:]]
        if flow.times.watched and not flow.times.armed:
            self._timeouts.watch(flow)
        weighs_from, bound = inf, flow.capacity.bytes
        if bound is not None:
            # As long as all are so small that their number alone is bounded, no news are good.
            weighed = not flow.capacity.unweighed and flow.capacity.max_pending == bound.limit
            weighs_from = bound.most / bound.limit / _SMALL if weighed else 0.0
        return Chunk(function, jobs, items, weighs_from)

    def ran(
        self,
        tasks: Sequence[Task | None],
        values: Sequence[Any],
        begun: float,
        ends: Sequence[float],
    ) -> list[Task]:
        """Tasks ran one after another since *begun*, and had ended with *values* by *ends*.

        Those that are None are left out, all others answered.
        """
        done: list[Task] = []
        for task, value, ended in zip(tasks, values, ends, strict=True):
            if task is not None:
                task.started, task.took, task.value = begun, ended - begun, value
                done.append(task)
            begun = ended
        return done

    def function(self, task: Task) -> Callable[..., Any]:
        """The user's function that *task* calls."""
        function: Callable[..., Any] = task.flow.binding.function(task)
        return function

    def stack(self) -> list[Task]:
        """The tasks that this thread is busy with, innermost last."""
        return here.stack

    def failed(self, task: Task, error: BaseException) -> None:
        """Note why *task* is going to fail, unless it was cancelled meanwhile."""
        with self._dispatcher.lock:
            if not task.settled:
                task.error = error

    def weighed(self, task: Task, items: int, size: int, results: bool = False) -> None:
        """So many items of the flow of *task*, or results of them, had *size* bytes."""
        task.flow.capacity.weigh(items, size, results)

    def more(self, task: Task, most: int, fairly: bool = True) -> list[Task]:
        """More tasks for the slot of *task*, to be run after it."""
        dispatcher = self._dispatcher
        with dispatcher.lock:
            chunk = dispatcher.slots.reserve(task, most, fairly)
            pending = dispatcher.pending()
        dispatcher.carry_out(pending)
        return chunk

    def give_back(self, chunk: Sequence[Task]) -> None:
        """These were not run, and are not going to be in this slot."""
        dispatcher = self._dispatcher
        with dispatcher.lock:
            dispatcher.slots.give_back(chunk)
            pending = dispatcher.pending()
        dispatcher.carry_out(pending)

    def finish(
        self,
        tasks: Sequence[Task],
        rest: Sequence[Task],
        go_on: Callable[[Task | None], object],
    ) -> None:
        """The first tasks of a chunk ended, well or not; *rest* follow in the slot.

        If none does, *go_on* is given another task for the slot, or None; then the results
        are delivered.
        """
        flow = tasks[0].flow
        if flow.policies is not None and flow.policies.keeps:
            self._keep(tasks)
        lock_free = flow.binding.emit_lock_free is not None
        if lock_free:
            for task in tasks:
                several = task.value is SEVERAL or task.extra.hedged  # results, or runs
                if task.error is not None or several:
                    lock_free = False
                    break
        stack = here.stack
        stack.append(tasks[0])
        try:
            if lock_free:
                self._finish_lock_free(tasks, rest, go_on, stack)
            else:
                self._finish_locked(tasks, rest, go_on)
        finally:
            stack.pop()

    def _finish_locked(
        self,
        tasks: Sequence[Task],
        rest: Sequence[Task],
        go_on: Callable[[Task | None], object],
    ) -> None:
        """Settle the tasks one by one, and deliver what can be."""
        dispatcher = self._dispatcher
        slots = dispatcher.slots
        flow = tasks[0].flow
        binding = flow.binding
        now = dispatcher.now()
        with dispatcher.lock:
            for task in tasks:
                value = task.value if task.error is None else None
                if value is SEVERAL:
                    value = self._several(task)
                # One that was cancelled before it began has taken no time.
                known = NOT_YET not in (task.started, task.took)
                ended = task.started + task.took if known else now
                task.flow.settle(task, value, task.error, ended)
            following = None
            for task in tasks:
                if task.slot:
                    following = slots.pass_on(task, rest)
                    break
            entry = binding.begin_delivery()
            pending = dispatcher.pending()
        go_on(following)
        dispatcher.carry_out(pending)
        while entry is not None:
            binding.send(entry)
            with dispatcher.lock:
                entry = binding.next_delivery()
                pending = dispatcher.pending()
            dispatcher.carry_out(pending)

    def _finish_lock_free(  # noqa: C901 - the hot path of results, in one piece
        self,
        tasks: Sequence[Task],
        rest: Sequence[Task],
        go_on: Callable[[Task | None], object],
        stack: list[Task],
    ) -> None:
        """Deliver good results without the lock, as `ThreadRunner` does."""
        dispatcher = self._dispatcher
        slots, telemetry = dispatcher.slots, dispatcher.telemetry
        flow = tasks[0].flow
        binding = flow.binding
        cell = [0]
        ran = 0
        with dispatcher.lock:
            out = flow.tasks
            # The others were cancelled.
            good = tasks if out.issuperset(tasks) else [task for task in tasks if task in out]
            out.difference_update(good)
            for task in good:
                if task.running:
                    ran += 1
                    task.running = None
                else:
                    task.attempts += 1
                task.settled = True
            if flow.times.hedge is not None:
                for task in good:
                    flow.hedging.lost_a_run(task, None, task.started + task.took)
            if flow.gate is not None:
                for task in good:
                    flow.gate.succeeded(task, task.started + task.took)
            flow.counts.local.append(cell)
            flow.running -= ran
            flow.without_slot.difference_update(good)
            flow.reserved += ran  # all of them count until they are delivered
            if flow.waiting:
                flow.mark_runnable()  # another may run, also where these had no slot
            following = None
            for task in tasks:
                if task.slot:
                    following = slots.pass_on(task, rest)
                    break
            pending = dispatcher.pending()
        go_on(following)
        if pending is not None:
            dispatcher.carry_out(pending)
        if telemetry.measuring:
            telemetry.succeeded_all(good)
        if good:
            stack[-1] = good[0]
            binding.emit_many(good, cell)
        with dispatcher.lock:
            flow.counts.close(cell)
            flow.reserved -= len(good)
            if flow.sorted is not None:
                for task in good:  # only now, for the order of results of one key
                    flow.sorted.release(task)
                flow.mark_runnable()
            if flow.waiting and (flow.capacity.bytes is not None or flow.results.ordered):
                flow.mark_runnable()
            entry = binding.begin_delivery()
            pending = dispatcher.pending()
        if pending is not None:
            dispatcher.carry_out(pending)
        if entry is not None:
            dispatcher.deliver(binding, entry)

    def _keep(self, tasks: Sequence[Task]) -> None:
        """Have good results looked at, and a journal keep them, all in one transaction."""
        good = [task for task in tasks if task.error is None and not task.settled]
        values = [self._several(task) if task.value is SEVERAL else task.value for task in good]
        if good:
            for task, error in good[0].flow.policies.keep(good, values):
                task.error = error

    def _several(self, task: Task) -> Any:
        if task.flow.binding.collects:
            return [] if task.extra.collected is None else task.extra.collected
        return NO_VALUE
