"""`Flow`: one subscription of `pool.map` or `pool.outcomes`."""

import threading
from collections.abc import Callable, Collection
from contextvars import copy_context
from typing import Any, Final

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool._core.inlet import Inlet, Node
from rxpool.errors import TaskCancelled
from rxpool.outcomes import Failure, Outcome, Success
from rxpool.pool._binding import NO_VALUE
from rxpool.pool._engine import Engine
from rxpool.pool._ledger import DROPPED, FULL, STARTED, WAITING, FlowLedger, Task

__all__ = ("Flow", "outcome_of")

_END: Final[Any] = object()  #: instead of an entry: the end of the stream is to be delivered


def outcome_of(task: Task, now: float) -> Outcome[Any, Any]:
    """The record of a settled task."""
    waited = (task.started if task.attempts else now) - task.accepted
    if task.error is None:
        value = task.collected if task.value is NO_VALUE else task.value
        return Success(task.item, value, task.attempts, waited, task.took)
    return Failure(task.item, task.error, task.attempts, waited, task.took)


class Flow:
    """Takes items from the source and gives results to the observer, one at a time.

    Whoever holds the `_token` delivers until there is nothing more; others leave their
    results in the ledger.  Nobody waits for the token.  The engine's lock guards the other
    fields.  If an inlet further down has no room the flow is `_paused`: its results stay in
    the ledger, which holds back its own source, and the inlet resumes it.
    """

    __slots__ = (
        "_accept",
        "_acquire",
        "_engine",
        "_failure",
        "_inlet",
        "_lock_release",
        "_now",
        "_observer",
        "_on_failure",
        "_on_next",
        "_outcomes",
        "_over",
        "_paused",
        "_token",
        "collects",
        "fn",
        "ledger",
        "name",
        "sources",
        "swift",
        "upstream",
    )

    fn: Any

    def __init__(
        self,
        engine: Engine,
        fn: Callable[[Any], Any],
        ledger: FlowLedger,
        observer: abc.ObserverBase[Any],
        on_failure: Any,
        outcomes: bool,
        name: str,
        inlet: Inlet | None,
    ) -> None:
        self.fn = fn
        self.ledger = ledger
        self.name = name
        self.collects = outcomes
        self.sources: list[Node] = []
        self.upstream = SingleAssignmentDisposable()
        self._engine = engine
        self._observer = observer
        self._on_next = observer.on_next
        self._on_failure = on_failure
        self._outcomes = outcomes
        self._inlet = inlet
        self._failure: Exception | None = None
        self._over = False  # nothing comes out any more
        self._token = threading.Lock()
        self._paused = False
        self._now = engine.now
        self._accept = engine.ledger.accept
        self._acquire, self._lock_release = engine.lock.acquire, engine.lock.release
        # Where an inlet, the order of items or a bound of the flow's own has to be looked
        # at, that needs the lock.
        plain = inlet is None and ledger.order is None and ledger.concurrency is None
        plain = plain and ledger.sorted is None
        self.swift: Callable[[Task], bool] | None = self._swift if plain else None
        ledger.binding = self

    def job(self, task: Task) -> tuple[Callable[[Any], Any], Any]:
        """See `Binding`."""
        return self.fn, task.item

    # -- the source ---------------------------------------------------------------------

    def on_next(self, item: Any) -> None:
        """Take an item, or hold its producer back."""
        ledger = self.ledger
        task = Task(ledger, item, self._now())
        context = copy_context()
        if len(context):
            task.context = context
        while True:
            entry = chores = None
            try:
                self._acquire()
                if self._over or ledger.ended:
                    return
                verdict = self._accept(ledger, task)
                if verdict == WAITING and not (
                    ledger.deadline is not None or (ledger.keeps_drops and ledger.done)
                ):
                    return
                if verdict != FULL:
                    entry = self.claim()
                chores = self._engine.chores()
            except Exception as error:  # Overflow
                ledger.ended, self._failure = True, error
                entry, chores = self.claim(), self._engine.chores()
                verdict = DROPPED
            finally:
                self._lock_release()
            if verdict == STARTED:
                self._engine.start((task,))
            self._engine.carry_out(chores)
            if ledger.deadline is not None and not ledger.armed:
                self._engine.watch(ledger)
            self._engine.deliver(self, entry)
            if verdict != FULL:
                if self._failure is not None:
                    self.upstream.dispose()
                return
            try:
                if self._engine.wait_for_room(ledger, task, self.name):
                    return
                task.accepted = self._now()
            except Exception as error:  # WouldBlock
                self.on_error(error)
                self.upstream.dispose()
                return

    def on_error(self, error: Exception) -> None:
        """The source failed: what was accepted comes out first."""
        self._end(error)

    def on_completed(self) -> None:
        """The source completed."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        with self._engine.lock:
            if self._over or self.ledger.ended:
                return
            self.ledger.ended = True
            self._failure = error
            entry, chores = self.claim(), self._engine.chores()
        self._engine.carry_out(chores)
        self._engine.deliver(self, entry)

    # -- the inlet for what is upstream ---------------------------------------------------

    def room(self) -> bool:
        """Whether an item would be taken now."""
        return self.ledger.has_room()

    @property
    def holds_back(self) -> bool:
        """Whether a full inbox makes producers wait."""
        return self.ledger.overflow == "block"

    def on_room(self, resume: Callable[[], object]) -> bool:
        """See `Inlet`."""
        return self._engine.on_room(self.ledger, resume)

    @property
    def ended(self) -> bool:
        """See `Node`."""
        return self._over

    def leads_to(self, flows: Collection[FlowLedger]) -> bool:
        """Whether this is one of *flows*, or its results go into one of them."""
        if self.ledger in flows:
            return True
        return isinstance(self._inlet, Flow) and self._inlet.leads_to(flows)

    def blocker(self) -> FlowLedger | None:
        """The flow of this pool that keeps this one's results from going on."""
        inlet = self._inlet
        if self._paused and isinstance(inlet, Flow) and inlet._engine is self._engine:
            return inlet.ledger
        return None

    # -- delivery -----------------------------------------------------------------------

    def claim(self) -> Any:
        """What to deliver now, or None.  The engine's lock is held.

        With an entry goes the token; `again` gives it back.
        """
        if self._paused or self._over:
            return None
        ledger, token = self.ledger, self._token
        while ledger.undelivered:
            inlet = self._inlet
            full = inlet is not None and inlet.holds_back and not inlet.room()
            if full and not self._engine.terminated:
                self._paused = True
                self._engine.errand(self._pause)
                return None
            if not token.acquire(False):
                return None
            entry = ledger.fetch()
            if entry is not None:
                return entry
            token.release()
            if ledger.order is not None:
                break  # the head of the line is not done
        if ledger.finished and token.acquire(False):
            return _END
        return None

    def again(self) -> Any:
        """What to deliver after the last, or None.  The engine's lock is held."""
        self._token.release()
        return self.claim()

    def _swift(self, task: Task) -> bool:
        """Deliver *task* without the engine's lock, or leave it to who delivers already."""
        done, token = self.ledger.done, self._token
        if token.acquire(False):
            if done or self._over:
                done.append(task)
            else:
                self.send(task)
        else:
            done.append(task)
            if not token.acquire(False):
                return False
        while True:
            while done and not self._over:
                try:
                    entry = done.popleft()
                except IndexError:  # disposed on another thread
                    break
                self._engine.see_to_parked(self.ledger)
                self.send(entry)
            token.release()
            # Look again: what came in meanwhile was left by one who found the token taken.
            if not done or self._over or not token.acquire(False):
                return True

    def send(self, entry: Any) -> None:
        """Deliver an entry to the observer."""
        try:
            if type(entry) is Task:
                if self._outcomes:
                    self._on_next(outcome_of(entry, self._now()))
                elif entry.error is not None:
                    self._failed(entry)
                elif entry.value is not NO_VALUE:
                    self._on_next(entry.value)
            elif entry is _END:
                self._finish()
            else:
                self._on_next(entry.value)
        except BaseException as error:
            self.dispose()
            if isinstance(error, TaskCancelled) and self._engine.terminated:
                return  # a subscriber without on_error, told that the pool was terminated
            self._engine.fault(f"a subscriber of {self.name}", error)
            in_main = threading.current_thread() is threading.main_thread()
            if in_main and not isinstance(error, Exception):
                raise  # KeyboardInterrupt belongs to the program

    def _failed(self, task: Task) -> None:
        assert task.error is not None
        if self._on_failure == "skip":
            return
        if self._on_failure != "raise":
            self._on_failure.on_next(outcome_of(task, self._now()))
            return
        error: Any = task.error
        self._leave()
        self._observer.on_error(error)

    def _finish(self) -> None:
        try:
            if self._failure is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(self._failure)
        finally:
            self._over = True
            self._engine.forget(self)

    def _pause(self) -> None:
        inlet = self._inlet
        if inlet is None or not inlet.on_room(self._resume):
            self._resume()

    def _resume(self) -> None:
        with self._engine.lock:
            self._paused = False
            entry, chores = self.claim(), self._engine.chores()
        self._engine.carry_out(chores)
        self._engine.deliver(self, entry)

    # -- the end ------------------------------------------------------------------------

    def cut(self) -> None:
        """Take nothing more from the source; finish what was accepted."""
        self.upstream.dispose()
        self._end(None)

    def dispose(self) -> None:
        """The subscriber left: cancel everything."""
        self._leave()

    def _leave(self) -> None:
        engine = self._engine
        with engine.lock:
            if self._over:
                return
            self._over = True
            self.ledger.ended = True
            reason = f"{self.name}: the subscription was disposed"
            tasks = engine.ledger.cancel_running(self.ledger, reason, False, self._now())
            engine.ledger.cancel_waiting(self.ledger, reason, False)
            engine.ledger.discard_done(self.ledger)
        engine.forget(self)
        self.upstream.dispose()
        engine.cut_off(tasks)

    def terminate(self, reason: str) -> None:
        """Settle everything now, as cancelled, and deliver that."""
        engine = self._engine
        with engine.lock:
            if self._over:
                return
            self.ledger.ended = True
            tasks = engine.ledger.cancel_running(self.ledger, reason, True, self._now())
            engine.ledger.cancel_waiting(self.ledger, reason, True)
            self._paused = False
            entry, chores = self.claim(), engine.chores()
        engine.carry_out(chores)
        self.upstream.dispose()
        engine.cut_off(tasks)
        engine.deliver(self, entry)
