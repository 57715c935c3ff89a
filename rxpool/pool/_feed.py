"""`Feed`: the flow of one `pool.imap`, which reads its input as far ahead as it may."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextvars import copy_context
from itertools import islice
from time import perf_counter
from typing import Any

from rxpool._core.inlet import Node
from rxpool.errors import WouldBlock
from rxpool.pool._binding import NO_VALUE
from rxpool.pool._engine import Engine
from rxpool.pool._ledger import FlowLedger, Task
from rxpool.pool._options import FlowOptions
from rxpool.pool._outflow import outcome_of

__all__ = ("Feed",)


_READ_FOR = 0.0005  #: seconds that input is read for before results are looked at again
_READ_MOST = 512  #: items read between two looks at the results
_READ_AT_ONCE = 32  #: items read between two looks at the clock


class Feed:
    """The flow of one `imap`: reads input, hands it over, and keeps results to be fetched.

    The engine knows this and not the iterator, so that an iterator which is dropped can
    close it.
    """

    collects = False
    name = "imap"
    ended = False

    def __init__(
        self,
        engine: Engine,
        options: FlowOptions,
        items: Iterable[Any],
    ) -> None:
        ledger = options.open(engine.ledger, False)
        self.fn: Any = options.fn
        self.ledger = ledger
        self.engine = self._engine = engine
        engine.guard(ledger, options.policies, options.fn)
        self._on_failure = options.on_failure
        self._rank = options.rank if options.sorts else None
        self._items: Iterator[Any] | None = iter(items)
        self._read_ahead: list[Any] = []  # read and not accepted yet
        self._error: BaseException | None = None  # of the input; raised after the results
        # Fetched and not returned: values, and behind them from the first failure on the rest.
        self.values: deque[Any] = deque()
        self._odd: deque[Any] = deque()
        self._gate: Callable[[], object] | None = None  # opens it for the waiting consumer
        self._over = False
        self.sources: list[Node] = []
        plain = ledger.order is None and ledger.sorted is None and ledger.deadline is None
        plain = plain and ledger.hedge is None and (ledger.gate is None or ledger.gate.quick)
        self.swift = self._swift if plain else None
        ledger.binding = self
        # Where the consumer cannot run tasks itself, they need the slot of the task it is.
        engine.open(self, lend=not engine.backend.runs_here)

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

    def claim(self) -> Any:
        """Nothing: the consumer fetches.  If it waits, it is woken.  Locked."""
        ledger = self.ledger
        if ledger.ended and not (ledger.waiting or ledger.running or ledger.parked):
            # What is left is up to the consumer; a closing pool need not wait for that.
            self._engine.errand(self._done)
        if self._gate is not None:
            self._engine.errand(self._gate)
            self._gate = None
        return None

    again = claim

    def _done(self) -> None:
        self._engine.forget(self)

    def _swift(self, task: Task) -> bool:
        """Leave the result for the consumer; wake it if it waits."""
        self.ledger.done.append(task)
        if self._gate is None:
            return False
        with self._engine.lock:
            self.claim()
            chores = self._engine.chores()
        self._engine.carry_out(chores)
        return True

    def swift_many(self, tasks: Sequence[Task], cell: list[int]) -> None:
        """The same for several that ended well; *cell* counts them."""
        cell[0] += len(tasks)
        self.ledger.done.extend(tasks)
        if self._gate is not None:
            with self._engine.lock:
                self.claim()
                chores = self._engine.chores()
            self._engine.carry_out(chores)

    def send(self, entry: Any) -> None:
        """Never called: `claim` gives nothing."""
        raise AssertionError(entry)

    def delivering(self) -> bool:
        """Whether results wait for whoever iterates."""
        return self.ledger.undelivered > 0

    def leads_to(self, flows: Collection[FlowLedger]) -> bool:
        """The results go to whoever iterates."""
        return False

    def blocker(self) -> FlowLedger | None:
        """The consumer holds this back, no flow does."""
        return None

    def cut(self) -> None:
        """Read no more input; nobody may come to fetch results, so none waits for that."""
        with self._engine.lock:
            self._items = None
            self._read_ahead.clear()
            self.ledger.ended = True
            self.ledger.max_reorder = sys.maxsize
            self._engine.ledger.enlist(self.ledger)
            self.claim()
            chores = self._engine.chores()
        self._engine.carry_out(chores)

    def terminate(self, reason: str) -> None:
        """Settle everything now, as cancelled."""
        engine = self._engine
        with engine.lock:
            self._items = None
            self.ledger.ended = True
            tasks = engine.ledger.cancel_running(self.ledger, reason, True, engine.now())
            engine.ledger.cancel_waiting(self.ledger, reason, True)
            self.claim()
            chores = engine.chores()
        engine.carry_out(chores)
        engine.forget(self)
        engine.cut_off(tasks)

    def close(self) -> None:
        """Cancel what is not done; the iterator ends."""
        engine = self._engine
        with engine.lock:
            if self._over:
                return
            self._over = True
            self._items = None
            self.ledger.ended = True
            reason = "imap: the iterator was closed"
            tasks = engine.ledger.cancel_running(self.ledger, reason, False, engine.now())
            engine.ledger.cancel_waiting(self.ledger, reason, False)
            engine.ledger.discard_done(self.ledger)
            self.claim()
        self.values.clear()
        self._odd.clear()
        engine.forget(self)
        engine.cut_off(tasks)

    # -- reading and waiting -------------------------------------------------------------

    def _sort(self, entries: Sequence[Any]) -> None:
        """Put entries where the iterator looks: values in front of the first odd one."""
        if not self._odd:
            for entry in entries:
                if type(entry) is not Task or entry.error is not None:
                    break
            else:
                self.values.extend([e.value for e in entries if e.value is not NO_VALUE])
                return
        for entry in entries:
            if self._odd:
                self._odd.append(entry)
            elif type(entry) is not Task:
                self.values.append(entry.value)
            elif entry.error is not None:
                self._odd.append(entry)
            elif entry.value is not NO_VALUE:
                self.values.append(entry.value)

    def next_values(self, wake: Callable[[], object] | None = None) -> bool | None:
        """The values are used up: get more, or see to the failure behind them; False: end.

        With *wake* this does not wait: None says that *wake* will be called, on any thread,
        when it is time to look again.
        """
        if not self._odd:
            return self._more(wake)
        task = self._odd.popleft()
        rest, self._odd = self._odd, deque()
        if self._on_failure == "raise":
            self.close()
            raise task.error
        if self._on_failure != "skip":
            self._on_failure.on_next(outcome_of(task, self._engine.now()))
        self._sort(rest)
        return True

    def _more(self, wake: Callable[[], object] | None) -> bool | None:
        """Fetch what is done; else read on; else wait; False at the end."""
        engine, ledger = self._engine, self.ledger
        while True:
            gate = None
            with engine.lock:
                if self._over:
                    return False
                # What was fetched last time counted until now, when it has been returned.
                ledger.held = 0
                if ledger.order is None:
                    done = ledger.done
                    ledger.held = len(done)
                    self._sort([done.popleft() for _ in range(ledger.held)])
                else:
                    while (entry := ledger.fetch()) is not None:
                        ledger.held += 1
                        self._sort([entry])
                if not ledger.held:
                    if ledger.finished:
                        self._over = True
                    elif self._all_read or not ledger.has_room():
                        gate = threading.Lock()
                        gate.acquire()
                        self._gate = gate.release if wake is None else wake
                        if ledger.done:  # from a worker that saw no gate
                            self._gate = gate = None
                            continue
                chores = engine.chores()
            engine.carry_out(chores)
            if ledger.held:
                return True
            if self._over:
                engine.forget(self)
                if self._error is not None:
                    raise self._error
                return False
            if gate is None:
                self._read()
            elif wake is not None:
                return None
            elif not engine.run_one(ledger):
                if engine.clock.virtual:
                    raise WouldBlock(
                        "imap cannot wait in virtual time; use pool.pull and pool.map"
                    )
                engine.backend.waits()
                gate.acquire()

    @property
    def _all_read(self) -> bool:
        return self._items is None and not self._read_ahead

    def _read(self) -> None:
        """Read input and hand it over, as much as there is room for."""
        ledger, engine, ahead = self.ledger, self._engine, self._read_ahead
        if self._items is not None and not ahead:
            # An item read is an item ahead: never more than will surely be taken.
            room = max(1, min(ledger.max_pending - ledger.inside(), _READ_MOST))
            until = perf_counter() + _READ_FOR
            try:
                while room > 0:
                    some = min(room, _READ_AT_ONCE)
                    before = len(ahead)
                    ahead.extend(islice(self._items, some))
                    if len(ahead) - before < some:
                        self._items = None
                        break
                    room -= some
                    if perf_counter() > until:
                        break
            except BaseException as error:
                self._items, self._error = None, error
        now = engine.now()
        tasks = [Task(ledger, item, now) for item in ahead]
        context = copy_context()
        if len(context):
            for task in tasks:
                task.context = context.copy()
        if ledger.gate is not None:
            for task in tasks:
                ledger.gate.prepare(task)
        refused: list[tuple[Task, BaseException]] = []
        if self._rank is not None:
            tasks = self._sort_out(tasks, refused)
        with engine.lock:
            taken, started = (len(tasks), 0)
            for task, reason in refused:
                engine.ledger.refuse(ledger, task, reason)
            if not ledger.ended:
                taken, started = engine.ledger.accept_many(ledger, tasks)
            del ahead[:taken]
            if self._all_read:
                ledger.ended = True
            chores = engine.chores()
        if started:
            engine.start(tasks[:started])
        engine.carry_out(chores)
        if ledger.deadline is not None and not ledger.armed:
            engine.watch(ledger)

    def _sort_out(
        self, tasks: list[Task], refused: list[tuple[Task, BaseException]]
    ) -> list[Task]:
        """Rank what was read; items whose functions raise go to *refused*."""
        assert self._rank is not None
        good: list[Task] = []
        for task in tasks:
            try:
                self._rank(self.ledger, task)
                good.append(task)
            except Exception as error:
                refused.append((task, error))
        ahead = self._read_ahead
        ahead[:] = [task.item for task in good]
        return good
