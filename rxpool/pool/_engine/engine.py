"""`Engine`: puts the parts of a pool together, and opens and ends its flows."""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from rxpool._core.inlet import Node, stages, watch
from rxpool._core.reach import Way, not_followed, way_at_end
from rxpool._forks import afresh, bury, heed
from rxpool.backends import Backend
from rxpool.errors import PoolClosed
from rxpool.pool._engine.awaitables import Awaitables
from rxpool.pool._engine.back_pressure import BackPressure
from rxpool.pool._engine.chunk_runner import ChunkRunner
from rxpool.pool._engine.dispatcher import Dispatcher, Pending
from rxpool.pool._engine.failures import FailureHandler
from rxpool.pool._engine.foreign import ForeignBackend
from rxpool.pool._engine.graph import Graph
from rxpool.pool._engine.registry import Registry
from rxpool.pool._engine.runner import Runner
from rxpool.pool._engine.telemetry import Telemetry
from rxpool.pool._engine.thread_runner import ThreadRunner
from rxpool.pool._engine.timeouts import Timeouts
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import Slots
from rxpool.pool._state.task import Task

__all__ = ("Engine",)


class Engine:
    """All that the pool's flows, calls and iterators need of a state and a backend.

    Its parts, each in a file of its own: `slots` (the state), `registry` (what is open),
    `dispatcher` (starts, settles, delivers), `back_pressure` (who waits), `timeouts`,
    `failures`, `telemetry` (what is told), and the `runner` that the backend calls.
    """

    def __init__(self, name: str, slots: int, backend: Backend) -> None:
        self.name = name
        self.clock = backend.clock
        self.now = backend.clock.now
        self.lock = threading.RLock()
        # Re-entrant, as the lock is: a finaliser, or a signal, may end a flow anywhere.
        self.slots = Slots(slots, threading.RLock)
        self.slots.max_bytes = backend.max_bytes
        self.effects = self.slots.effects
        self.registry = Registry(name, self.slots, self.lock)
        self.telemetry = Telemetry(name, self.now, self._listen, backend.lane)
        dispatcher = self.dispatcher = Dispatcher(
            self.lock, self.slots, self.registry, self.telemetry, backend
        )
        self.graph = Graph()
        self._resizing = afresh(threading.Lock())
        # What sources are subscribed with, unless the subscriber says: virtual time.  On a
        # scheduler of threads a source that has to wait would take one away from the work.
        self.default_scheduler = backend.scheduler if backend.clock.virtual else None
        self.timeouts = Timeouts(dispatcher)
        self.failures = FailureHandler(dispatcher)
        awaitables = Awaitables(dispatcher, self.timeouts)
        threads = ThreadRunner(dispatcher, self.timeouts, awaitables)
        chunks = ChunkRunner(dispatcher, self.timeouts, awaitables)
        self.back_pressure = BackPressure(dispatcher, threads.perform)
        self.runner = Runner(
            self.telemetry, threads, chunks, self.back_pressure.lend, self.lost
        )
        backend.bind(self.runner, slots)
        heed(self)

    @property
    def backend(self) -> Backend:
        """Where tasks run."""
        return self.dispatcher.backend

    def _listen(self, heard: bool) -> None:
        """Whether somebody wants to know what happens."""
        self.effects.recording = heard

    def resize(self, slots: int) -> None:
        """Have another number of slots."""
        with self._resizing:  # the backend and the state agree on who came last
            self.backend.resize(slots)
            with self.lock:
                self.slots.resize(slots)
                for binding in self.registry.flows:
                    binding.state.mark_runnable()
                pending = self.dispatcher.pending()
        self.dispatcher.carry_out(pending)  # who hears of that may do the same

    def open(self, binding: Any, lend: bool = True, waits: bool = False) -> None:
        """Take a flow in; refused when the pool is closing.

        A flow that a task of this pool opens belongs to that task.  The task may wait for
        it in ways that cannot be seen, so unless the flow helps itself (*lend* is False)
        the task gives its slot up.  So does a subscriber that is being given a result.
        With *waits* the caller's thread is known to wait.

        Raises:
            PoolClosed: If the pool is closing.
            WouldBlock: If *waits*, and that would not come to an end.
        """
        # One that what was accepted opens while the pool closes is not cut short either.
        registry = self.registry
        nested = registry.works_here() or (registry.closing and registry.brings_here())
        self.telemetry.look()
        if waits:
            self.back_pressure.step_aside()
        with self.lock:
            registry.check_open()
            registry.enter(binding, nested)
        if nested and lend:
            self.back_pressure.lend_all()

    def taken(self, flow: FlowState, started: Sequence[Task], pending: Pending | None) -> None:
        """*flow* took tasks, of which these have *started*: run them, and what follows.

        No lock is held.
        """
        if started:
            self.dispatcher.start(started)
        self.dispatcher.carry_out(pending)
        if flow.times.deadline is not None and not flow.times.armed:
            self.timeouts.watch(flow)

    def forget(self, binding: Any) -> None:
        """A flow ended."""
        state = binding.state
        with self.lock:
            self.registry.end(binding)
            alarm = state.times.alarm
            self.dispatcher.producers.release(state)
            self.registry.tell_changed()
            pending = self.dispatcher.pending()
        self.dispatcher.carry_out(pending)
        if alarm is not None:
            alarm.dispose()
        policies = state.policies
        if policies is not None and policies.policies.breaker is not None:
            self.telemetry.unfollow(policies.policies.breaker)

    def look_below(self, flow: Node) -> Way | None:
        """*flow* is about to end: where its items went.

        A closing pool is to wait for stages there.  Most are known since they were subscribed;
        one of a second subscriber of `share` is not.
        """
        way = way_at_end(flow)
        if len(stages) > len(self.registry.tails):
            for tail in Graph().tails([flow]):
                self.wait_for(tail)
        return way

    def lost(self, reason: str) -> None:
        """No task will run any more: settle everything as cancelled."""
        with self.lock:
            self.registry.lifecycle.enter("terminated")
            flows = list(self.registry.flows)
            guests = list(self.registry.guests)
        error = PoolClosed(reason)
        self.cancel(flows, error)
        for guest in guests:
            guest.abort(error)

    def cancel(self, flows: Sequence[Any], error: Exception) -> None:
        """Settle everything in *flows* as cancelled; streams end with *error*."""
        reason = str(error)
        fed = self.graph.fed(flows)
        with self.lock:  # all at once: what one lets go of is not taken by another
            before = self.registry.sums().sums["cancelled"]
            for flow in flows:
                flow.condemn(error, flow in fed)
        for flow in flows:
            self.backend.look_at(flow.state.tasks.copy())  # outcomes say what ran
            flow.terminate(reason)
        with self.lock:
            cancelled = self.registry.sums().sums["cancelled"] - before
        if cancelled:
            self.telemetry.task_log.terminated(reason, cancelled)

    def wait_for(self, tail: Node) -> None:
        """A closing pool is to wait for a stage that its results go through."""
        with self.lock:
            if tail in self.registry.tails:
                return
            self.registry.tails[tail] = None
        if not watch(tail, partial(self._tail_ended, tail)):
            self._tail_ended(tail)

    def _tail_ended(self, tail: Node) -> None:
        with self.lock:
            self.registry.tails.pop(tail, None)
        self.note_change()

    def note_change(self) -> None:
        """Something ended that a closing pool may wait for."""
        with self.lock:
            self.registry.tell_changed()
            pending = self.dispatcher.pending()
        self.dispatcher.carry_out(pending)

    def forked(self) -> None:
        """This is a child: the pool is the parent's, and nothing here works any more.

        Nobody is told of that who does not ask.
        """
        bindings = self.registry.forked()
        why = self.registry.foreign
        assert why is not None
        bury(self.dispatcher.backend)
        self.dispatcher.backend = ForeignBackend(self.clock, why)
        self.dispatcher.producers.forsake()
        for binding in bindings:
            binding.forked(why)
            binding.state.forsake()
        self.slots.forsake()
        self.telemetry.forked()


not_followed(Engine, BackPressure)
