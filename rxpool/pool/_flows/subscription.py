"""`MapFlow`: one subscription of `pool.map` or `pool.outcomes`."""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, Final

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxpool._core.causes import as_failure, ends_program
from rxpool._core.inlet import Inlet, Node, feeding, flows, nodes_below
from rxpool.errors import PoolClosed
from rxpool.pool._engine.engine import Engine
from rxpool.pool._engine.graph import is_stage
from rxpool.pool._flows.delivery import ObserverDelivery
from rxpool.pool._flows.flow_end import FlowEnd
from rxpool.pool._flows.given import Give, give_outcome
from rxpool.pool._flows.options import FlowOptions
from rxpool.pool._flows.reading import tasks_of
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import DROPPED, FULL, STARTED, WAITING
from rxpool.pool._state.task import Task

__all__ = ("MapFlow",)


class MapFlow:
    """Takes items from the source, and has them run: the stream's side of a flow.

    Results go out by its `delivery`; `end` knows whether anything more does.  The engine's
    lock guards the state.
    """

    __slots__ = (
        "__weakref__",
        "_accept",
        "_acquire",
        "_lock_release",
        "_meter",
        "_now",
        "_observer",
        "_outcomes",
        "_rank",
        "delivery",
        "end",
        "engine",
        "name",
        "sources",
        "state",
        "watchers",
    )

    rxpool_node: Final = True

    def __init__(
        self,
        engine: Engine,
        options: FlowOptions,
        state: FlowState,
        observer: abc.ObserverBase[Any],
        give: Give,
        name: str,
        inlet: Inlet | None,
    ) -> None:
        engine.failures.guard(state, options.policies, options.fn)
        self.name = name
        self.state = state
        self.engine = engine
        self._observer = observer
        self._outcomes = give is give_outcome
        self._meter = engine.telemetry
        self._now = engine.now
        self._rank = options.rank if options.sorts else None
        self._accept = engine.slots.accept
        self._acquire, self._lock_release = engine.lock.acquire, engine.lock.release
        self.sources: list[Node] = []
        self.watchers: list[Callable[[], object]] = []
        self.end = FlowEnd(self, engine, state, observer, name)
        self.delivery = ObserverDelivery(
            engine, state, options, self.end, observer, give, name, inlet
        )
        state.bind(self.delivery)
        flows[self] = None

    # -- the source ---------------------------------------------------------------------

    def subscribe_to(
        self, source: Observable[Any], scheduler: abc.SchedulerBase | None, waits: bool
    ) -> abc.DisposableBase:
        """Begin, with the items of *source*; *waits*: the caller will wait for the end."""
        engine = self.engine
        try:
            engine.open(self, waits=waits)
        except PoolClosed as error:
            self._observer.on_error(error)
            return Disposable()
        for node in nodes_below():
            if is_stage(node):
                engine.wait_for(node)
        with feeding(self, self):
            self.end.upstream.disposable = source.subscribe(
                self.on_next,
                self.on_error,
                self.on_completed,
                scheduler=scheduler or engine.default_scheduler,
            )
        return Disposable(self.end.dispose)

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
                if self.end.over or state.ended:
                    break
                verdict = self._accept(state, task)
                if verdict == WAITING and not (
                    state.times.deadline is not None
                    or (state.gate is not None and self.engine.slots.free > 0)
                    or (state.emits_drops and state.done)
                    or (self._meter.heard and self._has_to_tell(task.accepted))
                ):
                    return
                if verdict != FULL:
                    entry = self.delivery.begin_delivery()
                pending = self.engine.dispatcher.pending()
            except Exception as error:  # Overflow
                state.end()
                self.end.failure = error
                entry, pending = (
                    self.delivery.begin_delivery(),
                    self.engine.dispatcher.pending(),
                )
                verdict = DROPPED
            finally:
                self._lock_release()
            if verdict == STARTED:
                self.engine.dispatcher.start((task,))
            if pending is not None:
                self.engine.dispatcher.carry_out(pending)
            if state.times.deadline is not None and not state.times.armed:
                self.engine.timeouts.watch(state)
            if entry is not None:
                self.engine.dispatcher.deliver(self.delivery, entry)
            if verdict != FULL:
                if self.end.failure is not None:
                    self.end.leave_source()
                return
            try:
                if self.engine.back_pressure.wait_for_room(state, task, self.name):
                    return
                task.accepted_at(self._now())
            except Exception as error:  # WouldBlock
                self.on_error(error)
                self.end.leave_source()
                return
        if self.end.foreign is not None:
            self.end.say_why()

    @property
    def takes_many(self) -> bool:
        """Whether `take_many` does what `on_next` would do."""
        plain = type(self) is MapFlow and self._rank is None
        return plain and self.state.capacity.overflow == "block"

    def take_many(self, items: Sequence[Any]) -> None:
        """Take items for which there was room; for those that have none now, wait as ever."""
        state, engine = self.state, self.engine
        tasks = tasks_of(state, items, self._now())
        taken, started, pending = 0, 0, None
        with engine.lock:
            if not (self.end.over or state.ended):
                taken, started = engine.slots.accept_many(state, tasks)
                pending = engine.dispatcher.pending()
        engine.taken(state, tasks[:started], pending)
        for item in items[taken:]:
            self.on_next(item)

    def _has_to_tell(self, now: float) -> bool:
        """Whether a subscriber of metrics should not have to wait for the next occasion."""
        return bool(self.engine.effects.notes) or self._meter.due(now)

    def on_error(self, error: Exception) -> None:
        """The source failed: what was accepted comes out first."""
        self._end(as_failure(error))

    def on_completed(self) -> None:
        """The source completed."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.end.foreign is not None:
            self.end.say_why()
            return
        with self.engine.lock:
            if self.end.over or self.state.ended:
                return
            self.state.end()
            self.end.failure = error
            entry = self.delivery.begin_delivery()
            pending = self.engine.dispatcher.pending()
        self.engine.dispatcher.carry_out(pending)
        self.engine.dispatcher.deliver(self.delivery, entry)

    def _refuse(self, task: Task, error: BaseException) -> None:
        """An item failed before it could wait."""
        if self.end.foreign is not None:
            self.end.say_why()
            return
        with self.engine.lock:
            if self.end.over or self.state.ended:
                return
            self.state.settlement.refuse(task, error)
            entry = self.delivery.begin_delivery()
            pending = self.engine.dispatcher.pending()
        self.engine.dispatcher.carry_out(pending)
        self.engine.dispatcher.deliver(self.delivery, entry)

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
        return self.end.over or self.state.ended

    @property
    def holds_back(self) -> bool:
        """Whether a full inbox makes producers wait."""
        return self.state.capacity.overflow == "block"

    def on_room(self, resume: Callable[[], object]) -> bool:
        """See `Inlet`."""
        return self.engine.back_pressure.on_room(self.state, resume)

    # -- the node, and what the pool has open -------------------------------------------------

    @property
    def ended(self) -> bool:
        """See `Node`."""
        return self.end.over

    @property
    def ending(self) -> bool:
        """See `Node`."""
        return self.state.ended and not self.end.over

    @property
    def busy(self) -> bool:
        """See `Node`."""
        state = self.state
        return bool(state.counts.in_flight or state.undelivered) or self.delivery.delivering()

    @property
    def feeds(self) -> Any:
        """See `Node`."""
        return self._observer

    def cut(self) -> None:
        """Take nothing more from the source; finish what was accepted."""
        self.end.leave_source()
        self._end(None)

    def stands_still(self, loop: Any) -> bool:
        """See `Node`: the pool goes on, or it is not waited for."""
        return False

    def abort(self, error: Exception) -> None:
        """See `Node`."""
        with self.engine.lock:
            self.condemn(error, True)
        self.terminate(str(error))

    def condemn(self, error: Exception, fed: bool) -> None:
        """See `OpenFlow`."""
        state, end = self.state, self.end
        if end.over:
            return
        if end.failure is None:
            cut = not state.ended and (fed or not self._outcomes)
            if cut or (state.counts.in_flight and not self._outcomes):
                end.failure = error
        state.end()

    def terminate(self, reason: str) -> None:
        """See `OpenFlow`."""
        self.delivery.terminate(reason)

    def forked(self, why: str) -> None:
        """See `OpenFlow`."""
        self.end.forked(why)
