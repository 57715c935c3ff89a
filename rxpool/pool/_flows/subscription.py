"""`Flow`: one subscription of `pool.map` or `pool.outcomes`."""

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool._core.causes import as_failure, ends_program
from rxpool._core.inlet import Inlet, Node, flows, tell_watchers
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.delivery import ObserverDelivery
from rxpool.pool._flows.on_failure import OnFailure
from rxpool.pool._flows.options import FlowOptions
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import DROPPED, FULL, STARTED, WAITING
from rxpool.pool._state.task import Task

__all__ = ("MapFlow",)


class MapFlow(ObserverDelivery):
    """Takes items from the source, and has them run."""

    __slots__ = (
        "_accept",
        "_acquire",
        "_lock_release",
        "_meter",
        "_rank",
        "fn",
        "sources",
        "upstream",
    )

    fn: Any
    emit_lock_free: Callable[[Task], bool] | None

    def __init__(
        self,
        engine: Engine,
        options: FlowOptions,
        state: FlowState,
        observer: abc.ObserverBase[Any],
        outcomes: bool,
        name: str,
        inlet: Inlet | None,
    ) -> None:
        engine.failures.guard(state, options.policies, options.fn)
        on_failure = OnFailure(options.on_failure, name, options.max_failures)
        super().__init__(engine, state, observer, on_failure, outcomes, name, inlet)
        self.fn = options.fn
        if on_failure.tally is not None:
            self.emit_lock_free = None  # every result is counted
        self._meter = engine.telemetry
        self.sources: list[Node] = []
        self.upstream = SingleAssignmentDisposable()
        self._rank = options.rank if options.sorts else None
        self._accept = engine.slots.accept
        self._acquire, self._lock_release = engine.lock.acquire, engine.lock.release
        state.bind(self)
        flows[self] = None

    def function(self, task: Task) -> Callable[..., Any]:
        """See `Binding`."""
        return self.fn  # type: ignore[no-any-return]

    def subject(self, task: Task) -> Any:
        """See `Binding`."""
        return task.item

    def job(self, task: Task) -> tuple[Callable[[Any], Any], Any]:
        """See `Binding`."""
        return self.fn, task.item

    # -- the source ---------------------------------------------------------------------

    def on_next(self, item: Any) -> None:  # noqa: C901 - the hot path of acceptance, in one piece
        """Take an item, or hold its producer back."""
        state = self.state
        task = Task(state, item, self._now(), copy_context() or None)
        if state.capacity.unweighed:
            state.capacity.guess(item)
        if self._rank is not None:
            try:
                self._rank(state, task)
            except BaseException as error:
                if ends_program(error):
                    raise
                self._refuse(task, error)
                return
        if state.gate is not None:
            state.gate.prepare(task)
        while True:
            entry = pending = None
            try:
                self._acquire()
                if self._over or state.ended:
                    break
                verdict = self._accept(state, task)
                if verdict == WAITING and not (
                    state.times.deadline is not None
                    or (state.gate is not None and self._engine.slots.free > 0)
                    or (state.emits_drops and state.done)
                    or (self._meter.heard and self._has_to_tell(task.accepted))
                ):
                    return
                if verdict != FULL:
                    entry = self.begin_delivery()
                pending = self._engine.dispatcher.pending()
            except Exception as error:  # Overflow
                state.end()
                self._failure = error
                entry, pending = self.begin_delivery(), self._engine.dispatcher.pending()
                verdict = DROPPED
            finally:
                self._lock_release()
            if verdict == STARTED:
                self._engine.dispatcher.start((task,))
            if pending is not None:
                self._engine.dispatcher.carry_out(pending)
            if state.times.deadline is not None and not state.times.armed:
                self._engine.timeouts.watch(state)
            if entry is not None:
                self._engine.dispatcher.deliver(self, entry)
            if verdict != FULL:
                if self._failure is not None:
                    self._let_go_of_source()
                return
            try:
                if self._engine.back_pressure.wait_for_room(state, task, self.name):
                    return
                task.accepted_at(self._now())
            except Exception as error:  # WouldBlock
                self.on_error(error)
                self._let_go_of_source()
                return
        if self._foreign is not None:
            self._refuse_all()

    def _refuse_all(self) -> None:
        """This is a forked child, and the source goes on there."""
        if self.say_why():
            self.upstream.dispose()

    def _has_to_tell(self, now: float) -> bool:
        """Whether a subscriber of metrics should not have to wait for the next occasion."""
        return bool(self._engine.effects.notes) or self._meter.due(now)

    def on_error(self, error: Exception) -> None:
        """The source failed: what was accepted comes out first."""
        self._end(as_failure(error))

    def on_completed(self) -> None:
        """The source completed."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._foreign is not None:
            self._refuse_all()
            return
        with self._engine.lock:
            if self._over or self.state.ended:
                return
            self.state.end()
            self._failure = error
            entry = self.begin_delivery()
            pending = self._engine.dispatcher.pending()
        self._engine.dispatcher.carry_out(pending)
        self._engine.dispatcher.deliver(self, entry)

    # -- the inlet for what is upstream ---------------------------------------------------

    def is_pulled(self) -> None:
        """See `Inlet`."""
        self.state.capacity.pulled = True

    def room(self) -> bool:
        """Whether an item would be taken now."""
        return self.state.capacity.has_room()

    @property
    def closed(self) -> bool:
        """See `Inlet`."""
        return self._over or self.state.ended

    @property
    def holds_back(self) -> bool:
        """Whether a full inbox makes producers wait."""
        return self.state.capacity.overflow == "block"

    def on_room(self, resume: Callable[[], object]) -> bool:
        """See `Inlet`."""
        return self._engine.back_pressure.on_room(self.state, resume)

    # -- the end ------------------------------------------------------------------------

    def _let_go_of_source(self) -> None:
        """Take nothing more from it; what its subscription raises keeps nobody from the end."""
        try:
            self.upstream.dispose()
        except Exception as error:
            self._engine.telemetry.fault(f"leaving the source of {self.name}", error)

    def cut(self) -> None:
        """Take nothing more from the source; finish what was accepted."""
        self._let_go_of_source()
        self._end(None)

    def dispose(self) -> None:
        """The subscriber left: cancel everything."""
        if not self._cancel():
            return
        self._engine.forget(self)
        tell_watchers(self)

    def _cancel(self) -> bool:
        engine = self._engine
        with engine.lock:
            if self._over:
                return False
            self._over = True
            self.state.end()
            reason = f"{self.name}: the subscription was disposed"
            tasks = self.state.cancellation.running(reason, False, self._now())
            self.state.cancellation.waiting(reason, False)
            self.state.results.discard()
        self._let_go_of_source()
        engine.dispatcher.abandon(tasks)
        return True

    def stands_still(self, loop: Any) -> bool:
        """See `Node`: the pool goes on, or it is not waited for."""
        return False

    def abort(self, error: Exception) -> None:
        """See `Node`."""
        with self._engine.lock:
            self.condemn(error, True)
        self.terminate(str(error))

    def _too_many(self, error: Exception) -> None:
        """Too many have failed: what is done comes out, all else is cancelled, then *error*."""
        with self._engine.lock:
            if self._over:
                return
            self._failure = error
        self.terminate(str(error))

    def condemn(self, error: Exception, fed: bool) -> None:
        """See `Binding`."""
        state = self.state
        if self._over:
            return
        if self._failure is None:
            cut = not state.ended and (fed or not self._outcomes)
            if cut or (state.counts.in_flight and not self._outcomes):
                self._failure = error
        state.end()

    def terminate(self, reason: str) -> None:
        """Settle everything now, as cancelled, and deliver that."""
        engine = self._engine
        with engine.lock:
            if self._over:
                return
            self.state.end()
            tasks = self.state.cancellation.running(reason, True, self._now())
            self.state.cancellation.waiting(reason, True)
            self._paused = False
            entry = self.begin_delivery()
            pending = engine.dispatcher.pending()
        engine.dispatcher.carry_out(pending)
        self._let_go_of_source()
        engine.dispatcher.abandon(tasks)
        engine.dispatcher.deliver(self, entry)

    def _refuse(self, task: Task, error: BaseException) -> None:
        """An item failed before it could wait."""
        if self._foreign is not None:
            self._refuse_all()
            return
        with self._engine.lock:
            if self._over or self.state.ended:
                return
            self.state.refuse(task, error)
            entry = self.begin_delivery()
            pending = self._engine.dispatcher.pending()
        self._engine.dispatcher.carry_out(pending)
        self._engine.dispatcher.deliver(self, entry)
