"""`ImapFlow`: the flow of one `pool.imap`, which reads its input as far ahead as it may."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from rxpool._core.inlet import Node
from rxpool._core.waits import pass_gate
from rxpool._forks import bury
from rxpool._forks import gate as new_gate
from rxpool.errors import PoolClosed, WouldBlock
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.fetched import Fetched
from rxpool.pool._flows.imap_input import ImapInput
from rxpool.pool._flows.on_failure import OnFailure
from rxpool.pool._flows.options import FlowOptions
from rxpool.pool._flows.outcome import outcome_of
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("ImapFlow",)


class ImapFlow:
    """The flow of one `imap`: takes its `ImapInput`, and keeps results to be fetched.

    With *outcomes* the results are the outcomes of all items, as for `collect`.

    The engine knows this and not the iterator, so that an iterator which is dropped can
    close it.
    """

    ended = False

    def __init__(
        self,
        engine: Engine,
        options: FlowOptions,
        items: Iterable[Any],
        outcomes: bool = False,
    ) -> None:
        state = options.open(engine.slots, outcomes)
        self.collects = self._outcomes = outcomes
        self.name = "collect" if outcomes else "imap"
        self.fn: Any = options.fn
        self.state = state
        self.engine = self._engine = engine
        engine.failures.guard(state, options.policies, options.fn)
        self._on_failure = OnFailure(options.on_failure, self.name, options.max_failures)
        self._input = ImapInput(engine, state, options, items)
        self._fetched = Fetched()
        self.values = self._fetched.values  # for the iterator
        self._gate: Callable[[], object] | None = None  # opens it for the waiting consumer
        self._fetching = False  # the consumer is here, for the next results
        self._over = False
        self._foreign: str | None = None  # in a forked child: why nothing comes
        self.sources: list[Node] = []
        self.emit_lock_free = self._emit_lock_free if state.lock_free else None
        state.bind(self)
        # Where the consumer cannot run tasks itself, they need the slot of the task it is.
        engine.open(self, lend=not engine.backend.traits.runs_here)

    # -- what the engine asks ---------------------------------------------------------

    def function(self, task: Task) -> Callable[..., Any]:
        """See `Binding`."""
        return self.fn  # type: ignore[no-any-return]

    def subject(self, task: Task) -> Any:
        """See `Binding`."""
        return task.item

    def job(self, task: Task) -> tuple[Callable[[Any], Any], Any]:
        """See `Binding`."""
        return self.fn, task.item

    def begin_delivery(self) -> Any:
        """Nothing: the consumer fetches.  If it waits, it is woken.  Locked."""
        state = self.state
        inside = state.waiting or state.running or state.parked or state.uncommitted
        if state.ended and not inside:
            # What is left is up to the consumer; a closing pool need not wait for that.
            self._engine.effects.calls.append(self._done)
        if self._gate is not None:
            self._engine.effects.calls.append(self._gate)
            self._gate = None
        return None

    next_delivery = begin_delivery

    def _done(self) -> None:
        self._engine.forget(self)

    def _emit_lock_free(self, task: Task) -> bool:
        """Leave the result for the consumer; wake it if it waits."""
        results = self.state.results
        results.put(task)
        if self._gate is None or not results.ready:
            return False
        with self._engine.lock:
            self.begin_delivery()
            pending = self._engine.dispatcher.pending()
        self._engine.dispatcher.carry_out(pending)
        return True

    def emit_many(self, tasks: Sequence[Task], cell: list[int]) -> None:
        """The same for several that ended well; *cell* counts them."""
        cell[0] += len(tasks)
        results = self.state.results
        if results.ordered:
            for task in tasks:
                results.put(task)
        else:
            results.done.extend(tasks)
        if self._gate is not None and results.ready:
            with self._engine.lock:
                self.begin_delivery()
                pending = self._engine.dispatcher.pending()
            self._engine.dispatcher.carry_out(pending)

    def send(self, entry: Any) -> None:
        """Never called: `begin_delivery` gives nothing."""
        raise AssertionError(entry)

    def delivering(self) -> bool:
        """Whether whoever iterates is busy elsewhere while results wait."""
        return self.state.undelivered > 0 and not self._fetching

    def leads_to(self, flows: Collection[FlowState]) -> bool:
        """The results go to whoever iterates."""
        return False

    def blocker(self) -> FlowState | None:
        """The consumer holds this back, no flow does."""
        return None

    def cut(self) -> None:
        """Read no more input; nobody may come to fetch results, so none waits for that."""
        with self._engine.lock:
            self._input.cut()
            self.state.end()
            self.state.capacity.unfetched = True
            self.state.mark_runnable()
            self.begin_delivery()
            pending = self._engine.dispatcher.pending()
        self._engine.dispatcher.carry_out(pending)

    def condemn(self, error: Exception, fed: bool) -> None:
        """Read no more input.  Locked."""
        state = self.state
        if not state.ended or state.counts.in_flight:
            self._input.condemn(error)
        state.end()

    def terminate(self, reason: str) -> None:
        """Settle everything now, as cancelled."""
        engine = self._engine
        with engine.lock:
            self._input.drop()
            self.state.end()
            tasks = self.state.cancellation.running(reason, True, engine.now())
            self.state.cancellation.waiting(reason, True)
            self.begin_delivery()
            pending = engine.dispatcher.pending()
        engine.dispatcher.carry_out(pending)
        engine.forget(self)
        engine.dispatcher.abandon(tasks)

    def forked(self, why: str) -> None:
        """See `Binding`."""
        if not self._over:
            self._over, self._foreign = True, why
        self._input.forsake()
        bury(self._gate, self._fetched.values, self._fetched.rest)
        self._gate = None
        self._fetched.clear()

    def close(self) -> None:
        """Cancel what is not done; the iterator ends."""
        engine = self._engine
        with engine.lock:
            if self._over:
                return
            self._over = True
            self._input.drop()
            self.state.end()
            reason = f"{self.name}: the iterator was closed"
            tasks = self.state.cancellation.running(reason, False, engine.now())
            self.state.cancellation.waiting(reason, False)
            self.state.results.discard()
            self.begin_delivery()
        self._fetched.clear()
        engine.forget(self)
        engine.dispatcher.abandon(tasks)

    # -- fetching and waiting ------------------------------------------------------------

    def _count(self, settled: int, error: BaseException | None = None) -> None:
        """So many more are settled; if too many have failed, what is done is the rest."""
        for _ in range(settled if self._on_failure.tally is not None else 0):
            failure = self._on_failure.too_many(error)
            if failure is not None:
                self._input.fail(failure)
                self.terminate(str(failure))

    def _keep(self, entries: Sequence[Any]) -> None:
        """Put entries where the iterator looks."""
        if self._outcomes:
            now = self._engine.now()
            self.values.extend([outcome_of(entry, now) for entry in entries])
        else:
            self._fetched.add(entries)

    def next_values(self, wake: Callable[[], object] | None = None) -> bool | None:
        """The values are used up: get more, or see to the failure behind them; False: end.

        With *wake* this does not wait: None says that *wake* will be called, on any thread,
        when it is time to look again.
        """
        self._fetching = True
        try:
            return self._next_values(wake)
        finally:
            self._fetching = False

    def _next_values(self, wake: Callable[[], object] | None) -> bool | None:
        fetched = self._fetched
        good, fetched.good = fetched.good, 0
        self._count(good)
        task = fetched.next_failure()
        if task is None:
            return self._more(wake)
        now = self._engine.now()
        end = self._on_failure.ends(task.error, lambda: outcome_of(task, now))
        if end is not None:
            self.close()
            raise end
        if not task.cancelled:
            self._count(1, task.error)
        return True

    def _more(self, wake: Callable[[], object] | None) -> bool | None:  # noqa: C901 - one loop: fetch, else read, else wait
        """Fetch what is done; else read on; else wait; False at the end."""
        engine, state = self._engine, self.state
        while True:
            gate = None
            with engine.lock:
                if self._foreign is not None:
                    raise PoolClosed(self._foreign)
                if self._over:
                    return False
                # What was fetched last time counted until now, when it has been returned.
                entries = state.fetch_all()
                self._keep(entries)
                if not entries:
                    if state.ended and state.finished:
                        self._over = True
                    elif self._input.all_read or not state.capacity.has_room():
                        gate = new_gate()
                        self._gate = gate.release if wake is None else wake
                        if state.results.ready:  # from a worker that saw no gate
                            self._gate = gate = None
                            continue
                pending = engine.dispatcher.pending()
            engine.dispatcher.carry_out(pending)
            if entries:
                return True
            if self._over:
                engine.forget(self)
                error = self._input.failure()
                if error is not None:
                    raise error
                return False
            if gate is None:
                self._input.read()
            elif wake is not None:
                return None
            elif not engine.back_pressure.run_one(state):
                if engine.clock.virtual:
                    raise WouldBlock(
                        f"{self.name} cannot wait in virtual time; use pool.pull and pool.map"
                    )
                engine.back_pressure.step_aside()
                pass_gate(gate)
