"""`ObserverDelivery`: how the results of a flow reach its observer."""

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from reactivex import abc

from rxpool._core.inlet import Inlet, tell_watchers
from rxpool._core.reach import leave_behind
from rxpool.errors import PoolClosed, TaskCancelled
from rxpool.pool._engine.binding import NO_VALUE
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.on_failure import OnFailure
from rxpool.pool._flows.outcome import outcome_of
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("ObserverDelivery",)

_END: Final[Any] = object()  #: instead of an entry: the end of the stream is to be delivered


class ObserverDelivery:
    """Gives results to the observer, one at a time.

    Whoever holds the `_token` delivers until there is nothing more; others leave their
    results in the state.  Nobody waits for the token.  The engine's lock guards the other
    fields.  If an inlet further down has no room the flow is `_paused`: its results stay in
    the state, which holds back its own source, and the inlet resumes it.
    """

    __slots__ = (
        "__weakref__",
        "_engine",
        "_failure",
        "_foreign",
        "_inlet",
        "_now",
        "_observer",
        "_on_failure",
        "_on_next",
        "_outcomes",
        "_over",
        "_paused",
        "_token",
        "collects",
        "emit_lock_free",
        "engine",
        "name",
        "state",
        "watchers",
    )

    rxpool_node: Final = True

    def __init__(
        self,
        engine: Engine,
        state: FlowState,
        observer: abc.ObserverBase[Any],
        on_failure: OnFailure,
        outcomes: bool,
        name: str,
        inlet: Inlet | None,
    ) -> None:
        self.state = state
        self.name = name
        self.collects = outcomes
        self.engine = self._engine = engine
        self._observer = observer
        self._on_next = observer.on_next
        self._on_failure = on_failure
        self._outcomes = outcomes
        self._inlet: Any = inlet
        self._failure: BaseException | None = None
        self._over = False  # nothing comes out any more
        self.watchers: list[Callable[[], object]] = []
        self._foreign: str | None = None  # in a forked child: what is still to be said
        self._token = threading.Lock()
        self._paused = False
        self._now = engine.now
        # Where an inlet or a bound of the flow's own has to be looked at, that needs the lock.
        plain = inlet is None and state.capacity.concurrency is None and state.lock_free
        self.emit_lock_free: Callable[[Task], bool] | None = (
            self._emit_lock_free if plain else None
        )

    @property
    def ended(self) -> bool:
        """See `Node`."""
        return self._over

    @property
    def ending(self) -> bool:
        """See `Node`."""
        return self.state.ended and not self._over

    @property
    def busy(self) -> bool:
        """See `Node`."""
        state = self.state
        return bool(state.counts.in_flight or state.undelivered) or self.delivering()

    @property
    def feeds(self) -> Any:
        """See `Node`."""
        return self._observer

    def delivering(self) -> bool:
        """Whether the observer is busy with a result."""
        return self._token.locked()

    def leads_to(self, flows: Collection[FlowState]) -> bool:
        """Whether this is one of *flows*, or its results go into one of them."""
        if self.state in flows:
            return True
        return isinstance(self._inlet, ObserverDelivery) and self._inlet.leads_to(flows)

    def learn(self, fed: Any) -> bool:
        """A result goes into *fed*, which has no room: from now on look before the next.

        Not every chain shows how it hangs together when it is subscribed, as `merge` does
        that later.  False if this is known to feed another one.  The engine's lock is held.
        """
        if self._over or self._engine is not getattr(fed, "engine", None):
            return False
        if self._inlet is None and isinstance(fed, ObserverDelivery):
            self._inlet = fed
            self.emit_lock_free = None
        return self._inlet is fed

    def blocker(self) -> FlowState | None:
        """The flow of this pool that keeps this one's results from going on."""
        inlet = self._inlet
        if (
            self._paused
            and isinstance(inlet, ObserverDelivery)
            and inlet._engine is self._engine
        ):
            return inlet.state
        return None

    def begin_delivery(self) -> Any:
        """What to deliver now, or None.  The engine's lock is held.

        With an entry goes the token; `next_delivery` gives it back.
        """
        if self._paused or self._over:
            return None
        state, token = self.state, self._token
        results = state.results
        while results.done or results.reordered:
            inlet = self._inlet
            full = inlet is not None and inlet.holds_back and not inlet.room()
            if full and not self._engine.registry.terminated:
                self._paused = True
                self._engine.effects.calls.append(self._pause)
                return None
            if not token.acquire(False):
                return None
            entry = results.fetch(state.parked)
            if entry is not None:
                if state.waiting and not state.runnable:
                    state.were_fetched()
                return entry
            token.release()
            if results.ordered:
                break  # the head of the line is not done
        if state.ended and state.finished and token.acquire(False):
            return _END
        return None

    def next_delivery(self) -> Any:
        """What to deliver after the last, or None.  The engine's lock is held."""
        self._token.release()
        return self.begin_delivery()

    def _emit_lock_free(self, task: Task) -> bool:
        """Deliver *task* without the engine's lock, or leave it to who delivers already."""
        done, token = self.state.done, self._token
        if (
            self.emit_lock_free is None
        ):  # an inlet was learnt: `begin_delivery` looks whether it has room
            done.append(task)
            return False
        if token.acquire(False):
            if done or self._over:
                done.append(task)
            else:
                self.send(task)
                if not done:
                    token.release()
                    # Look again: what came in meanwhile was left by one who found it taken.
                    if not done or not token.acquire(False):
                        return True
        else:
            done.append(task)
            if not token.acquire(False):
                return False
        self._deliver_rest()
        return True

    def emit_many(self, tasks: Sequence[Task], cell: list[int]) -> None:
        """The same for several that ended well; *cell* counts each before it is delivered."""
        if self.state.done or not self._token.acquire(False):
            for task in tasks:
                cell[0] += 1
                self._emit_lock_free(task)
            return
        counted = cell[0] + len(tasks)
        if self._outcomes or type(self)._give is not ObserverDelivery._give:
            for task in tasks:
                cell[0] += 1
                if not self._over:
                    self.send(task)
        else:
            on_next = self._on_next
            try:
                for task in tasks:
                    cell[0] += 1
                    if not self._over:
                        on_next(task.value)
            except BaseException as error:
                cell[0] = counted
                self._subscriber_failed(error)
        self._deliver_rest()

    def _deliver_rest(self) -> None:
        """Deliver what others left, and give the token back."""
        done, token = self.state.done, self._token
        while True:
            while done and not self._over and self.emit_lock_free is not None:
                try:
                    entry = done.popleft()
                except IndexError:  # disposed on another thread
                    break
                self._engine.dispatcher.wake_producers(self.state)
                self.send(entry)
            token.release()
            # Look again: what came in meanwhile was left by one who found the token taken.
            # Once there is an inlet the rest is for `begin_delivery`.
            if (
                not done
                or self._over
                or self.emit_lock_free is None
                or not token.acquire(False)
            ):
                return

    def send(self, entry: Any) -> None:
        """Deliver an entry to the observer."""
        try:
            if type(entry) is Task:
                if self.state.results.ordered and self._engine.telemetry.heard:
                    self._engine.telemetry.reordered(entry)
                self._give(entry)
            elif entry is _END:
                self._finish()
            else:
                self._on_next(entry.value)
        except BaseException as error:
            self._subscriber_failed(error)

    def _subscriber_failed(self, error: BaseException) -> None:
        self.dispose()
        if isinstance(error, (TaskCancelled, PoolClosed)) and self._engine.registry.terminated:
            return  # a subscriber without on_error, told that the pool was terminated
        self._engine.telemetry.fault(f"a subscriber of {self.name}", error)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and not isinstance(error, Exception):
            raise error  # KeyboardInterrupt belongs to the program

    def _give(self, task: Task) -> None:
        if self._outcomes:
            if task.error is None and task.value is NO_VALUE and task.extra.collected is None:
                return  # it was finished in a run before this one
            self._on_next(outcome_of(task, self._now()))
        elif task.error is not None:
            self._failed(task.error, lambda: outcome_of(task, self._now()))
        elif task.value is not NO_VALUE:
            self._on_next(task.value)
        if self._on_failure.tally is not None and not task.cancelled:
            self._count(task.error)

    def _count(self, error: BaseException | None) -> None:
        """One more is settled, and with *error*, if that is not None, it has failed."""
        if (failure := self._on_failure.too_many(error)) is not None:
            self._too_many(failure)

    def _too_many(self, error: Exception) -> None:
        """More have failed than may; `MapFlow` has how all is cancelled then."""
        raise NotImplementedError

    def _failed(self, error: Any, outcome: Callable[[], Any]) -> None:
        if (end := self._on_failure.ends(error, outcome)) is not None:
            self._fail(end)

    def _fail(self, error: BaseException) -> None:
        """Cancel what is inside; the end is *error*."""
        if self._cancel():
            self._deliver_end(error)

    def _finish(self) -> None:
        self._deliver_end(self._failure)

    def _deliver_end(self, error: Any) -> None:
        """Tell the observer; only then has the flow ended for who waits for that."""
        node: Any = self  # a `Node`, by what `Flow` adds
        way = self._engine.look_below(node)
        try:
            if error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(error)
        finally:
            leave_behind(way)
            self._over = True
            self._engine.forget(self)
            tell_watchers(node)

    def _pause(self) -> None:
        inlet = self._inlet
        if inlet is None or not inlet.on_room(self._resume):
            self._resume()

    def _resume(self) -> None:
        with self._engine.lock:
            self._paused = False
            entry = self.begin_delivery()
            pending = self._engine.dispatcher.pending()
        self._engine.dispatcher.carry_out(pending)
        self._engine.dispatcher.deliver(self, entry)  # type: ignore[arg-type]

    def forked(self, why: str) -> None:
        """See `Binding`."""
        if not self._over:
            self._over, self._foreign = True, why

    def say_why(self) -> bool:
        """In a forked child: tell the subscriber, once, and only if something comes here."""
        with self._engine.lock:
            why, self._foreign = self._foreign, None
        if why is None:
            return False
        self._observer.on_error(PoolClosed(why))
        return True

    def dispose(self) -> None:
        """The subscriber left: cancel everything, which is `MapFlow`'s."""
        raise NotImplementedError

    def _cancel(self) -> bool:
        """Cancel everything, nothing comes out any more; False if that was so already."""
        raise NotImplementedError
