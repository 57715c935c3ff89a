"""`ObserverDelivery`: how the results of a flow reach its observer."""

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from reactivex import abc

from rxpool._core.inlet import Inlet
from rxpool.errors import PoolClosed, TaskCancelled
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.flow_end import FlowEnd
from rxpool.pool._flows.given import Give, give_outcome, give_value
from rxpool.pool._flows.on_failure import OnFailure
from rxpool.pool._flows.options import FlowOptions
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import READY, Task

__all__ = ("ObserverDelivery",)

_END: Final[Any] = object()  #: instead of an entry: the end of the stream is to be delivered


class ObserverDelivery:
    """Gives results to the observer, one at a time: the `Binding` of a subscription.

    Whoever holds the `_token` delivers until there is nothing more; others leave their
    results in the state.  Nobody waits for the token.  The engine's lock guards the other
    fields.  If an inlet further down has no room the flow is `_paused`: its results stay in
    the state, which holds back its own source, and the inlet resumes it.
    """

    __slots__ = (
        "_inlet",
        "_on_failure",
        "_paused",
        "_token",
        "collects",
        "counts",
        "emit_lock_free",
        "end",
        "engine",
        "fn",
        "give",
        "name",
        "now",
        "on_next",
        "state",
    )

    def __init__(
        self,
        engine: Engine,
        state: FlowState,
        options: FlowOptions,
        end: FlowEnd,
        observer: abc.ObserverBase[Any],
        give: Give,
        name: str,
        inlet: Inlet | None,
    ) -> None:
        self.state = state
        self.name = name
        self.fn: Any = options.fn
        self.collects = give is give_outcome
        self.engine = engine
        self.end = end
        self.on_next: Any = observer.on_next
        self.now: Any = engine.now
        self.give = give
        self._on_failure = OnFailure(options.on_failure, name, options.max_failures)
        self._inlet: Any = inlet
        self._token = threading.Lock()
        self._paused = False
        # An inlet or a bound of the flow's own has to be looked at, and results are counted,
        # with the lock.
        self.counts = self._on_failure.tally is not None
        bound = inlet is not None or state.capacity.concurrency is not None
        plain = not bound and state.lock_free and not self.counts
        emit = self._emit_in_order if state.results.ordered else self._emit_lock_free
        self.emit_lock_free: Callable[[Task], bool] | None = emit if plain else None

    # -- what the engine asks ---------------------------------------------------------------

    def function(self, task: Task) -> Callable[..., Any]:
        """See `Binding`."""
        return self.fn  # type: ignore[no-any-return]

    def subject(self, task: Task) -> Any:
        """See `Binding`."""
        return task.item

    def job(self, task: Task) -> tuple[Callable[[Any], Any], Any]:
        """See `Binding`."""
        return self.fn, task.item

    def delivering(self) -> bool:
        """Whether the observer is busy with a result."""
        return self._token.locked()

    def leads_to(self, flows: Collection[FlowState]) -> bool:
        """Whether this is one of *flows*, or its results go into one of them."""
        if self.state in flows:
            return True
        fed = self._feeds()
        return fed is not None and fed.leads_to(flows)

    def _feeds(self) -> "ObserverDelivery | None":
        """That of the flow that this one's results go into, if it is a pool's."""
        return getattr(self._inlet, "delivery", None)

    def learn(self, fed: Any) -> bool:
        """A result goes into *fed*, which has no room: from now on look before the next.

        Not every chain shows how it hangs together when it is subscribed, as `merge` does
        that later.  False if this is known to feed another one.  The engine's lock is held.
        """
        if self.end.over or self.engine is not getattr(fed, "engine", None):
            return False
        if self._inlet is None and isinstance(fed, ObserverDelivery):
            self._inlet = fed.end.flow
            self.emit_lock_free = None
        return self._feeds() is fed

    def blocker(self) -> FlowState | None:
        """The flow of this pool that keeps this one's results from going on."""
        fed = self._feeds() if self._paused else None
        return fed.state if fed is not None and fed.engine is self.engine else None

    def begin_delivery(self) -> Any:
        """What to deliver now, or None.  The engine's lock is held.

        With an entry goes the token; `next_delivery` gives it back.
        """
        if self._paused or self.end.over:
            return None
        state, token = self.state, self._token
        results = state.results
        while results.done or (results.line and (self._inlet is None or results.ready)):
            inlet = self._inlet
            full = inlet is not None and inlet.holds_back and not inlet.room()
            if full and not self.engine.registry.terminated:
                self._paused = True
                self.engine.effects.calls.append(self._pause)
                return None
            if not token.acquire(False):
                return None
            entry = results.fetch()
            if entry is not None:
                if state.waiting and not state.runnable:
                    state.were_fetched()
                return entry
            token.release()
            if results.ordered:
                # Look again: who has made the head of the line ready may have found it taken.
                try:
                    if not results.line[0].placed & READY:
                        break
                except IndexError:  # it was fetched meanwhile
                    break
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
        if self.emit_lock_free is None:
            # An inlet was learnt: `begin_delivery` looks whether it has room.
            done.append(task)
            return False
        if token.acquire(False):
            if done or self.end.over:
                done.append(task)
            else:
                if self.give is give_value:  # it ended well: `send`, without the calls
                    try:
                        self.on_next(task.value)
                    except BaseException as error:
                        self._subscriber_failed(error)
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

    def _emit_in_order(self, task: Task) -> bool:
        """The same in input order, where *task* has its place."""
        results: Any = self.state.results
        return results.put_next(task) and self._deliver_in_order()

    def _deliver_in_order(self) -> bool:
        """Deliver what has its turn, unless somebody does; whether that took time here."""
        state, token, slots = self.state, self._token, self.engine.slots
        results = state.results
        told = False
        # Look again each time: what came in meanwhile was left by one who found it taken.
        while results.ready and token.acquire(False):
            # Once there is an inlet the rest is for `begin_delivery`.
            while self.emit_lock_free is not None and not self.end.over:
                entry = results.fetch()
                if entry is None:
                    break
                told = True
                # There is room for one that waits, from now on.  A worker that found none looks
                # again once it has said that its slot is free.
                if slots.free > 0 and state.waiting and not state.runnable:
                    self.engine.dispatcher.wake_producers(state)
                self.send(entry)
            token.release()
            if self.emit_lock_free is None or self.end.over:
                break
        if told:
            self.engine.dispatcher.wake_producers(state)
        return told

    def emit_many(self, tasks: Sequence[Task], cell: list[int]) -> None:
        """The same for several that ended well; *cell* counts each before it is delivered."""
        if self.state.results.ordered:
            cell[0] += len(tasks)
            for task in tasks:
                self.state.results.put(task)
            self._deliver_in_order()
            return
        if self.state.done or not self._token.acquire(False):
            for task in tasks:
                cell[0] += 1
                self._emit_lock_free(task)
            return
        counted = cell[0] + len(tasks)
        if self.give is not give_value:
            for task in tasks:
                cell[0] += 1
                if not self.end.over:
                    self.send(task)
        else:
            on_next = self.on_next
            try:
                for task in tasks:
                    cell[0] += 1
                    if not self.end.over:
                        on_next(task.value)
            except BaseException as error:
                cell[0] = counted
                self._subscriber_failed(error)
        self._deliver_rest()

    def _deliver_rest(self) -> None:
        """Deliver what others left, and give the token back."""
        done, token = self.state.done, self._token
        while True:
            while done and not self.end.over and self.emit_lock_free is not None:
                try:
                    entry = done.popleft()
                except IndexError:  # disposed on another thread
                    break
                self.engine.dispatcher.wake_producers(self.state)
                self.send(entry)
            token.release()
            # Look again: what came in meanwhile was left by one who found the token taken.
            # Once there is an inlet the rest is for `begin_delivery`.
            if (
                not done
                or self.end.over
                or self.emit_lock_free is None
                or not token.acquire(False)
            ):
                return

    def send(self, entry: Any) -> None:
        """Deliver an entry to the observer."""
        try:
            if type(entry) is Task:
                if self.state.results.ordered and self.engine.telemetry.heard:
                    self.engine.telemetry.reordered(entry)
                self.give(self, entry)
            elif entry is _END:
                self.end.tell(self.end.failure)
            else:
                self.on_next(entry.value)
        except BaseException as error:
            self._subscriber_failed(error)

    def _subscriber_failed(self, error: BaseException) -> None:
        self.end.dispose()
        if isinstance(error, (TaskCancelled, PoolClosed)) and self.engine.registry.terminated:
            return  # a subscriber without on_error, told that the pool was terminated
        self.engine.telemetry.fault(f"a subscriber of {self.name}", error)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and not isinstance(error, Exception):
            raise error  # KeyboardInterrupt belongs to the program

    def failed(self, error: Any, outcome: Callable[[], Any]) -> None:
        """See `Receiver`: if that ends the stream, what is inside is cancelled."""
        end = self._on_failure.ends(error, outcome)
        if end is not None and self.end.cancel():
            self.end.tell(end)

    def count(self, error: BaseException | None) -> None:
        """See `Receiver`; if too many have failed, what is done comes out, then that error."""
        failure = self._on_failure.too_many(error)
        if failure is None:
            return
        with self.engine.lock:
            if self.end.over:
                return
            self.end.failure = failure
        self.terminate(str(failure))

    def terminate(self, reason: str) -> None:
        """Settle everything now, as cancelled, and deliver that."""
        engine, state = self.engine, self.state
        with engine.lock:
            if self.end.over:
                return
            state.end()
            tasks = state.cancellation.running(reason, True, engine.now())
            state.cancellation.waiting(reason, True)
            self._paused = False
            entry = self.begin_delivery()
            pending = engine.dispatcher.pending()
        engine.dispatcher.carry_out(pending)
        self.end.leave_source()
        engine.dispatcher.abandon(tasks)
        engine.dispatcher.deliver(self, entry)

    def _pause(self) -> None:
        inlet = self._inlet
        if inlet is None or not inlet.on_room(self._resume):
            self._resume()

    def _resume(self) -> None:
        with self.engine.lock:
            self._paused = False
            entry = self.begin_delivery()
            pending = self.engine.dispatcher.pending()
        self.engine.dispatcher.carry_out(pending)
        self.engine.dispatcher.deliver(self, entry)
