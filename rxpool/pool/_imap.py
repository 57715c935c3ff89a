"""`pool.imap`: results as an iterator, input read only as far ahead as the bounds allow."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from time import perf_counter
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from rxpool.errors import WouldBlock
from rxpool.pool._engine import NO_VALUE, Engine
from rxpool.pool._flow import outcome_of
from rxpool.pool._ledger import FULL, STARTED, FlowLedger, Task

__all__ = ("Results",)

_R = TypeVar("_R")

_READ_FOR = 0.0005  #: seconds that input is read for before results are looked at again
_READ_MOST = 256  #: items read between two looks at the clock and the results


class Results(Generic[_R]):
    """An iterator of results; also an async iterator and a context manager.

    The input is read by whoever asks for the next result.  `close`, leaving the ``with``
    block or dropping the iterator cancels what is not done.
    """

    collects = False
    name = "imap"
    sources: tuple[Any, ...] = ()

    def __init__(
        self,
        engine: Engine,
        fn: Callable[[Any], Any],
        ledger: FlowLedger,
        items: Iterable[Any],
        on_failure: Any,
    ) -> None:
        self.fn = fn
        self.ledger = ledger
        self._engine = engine
        self._on_failure = on_failure
        self._items: Iterator[Any] | None = iter(items)
        self._held: list[Any] = []  # read and not accepted yet
        self._error: BaseException | None = None  # of the input; raised after the results
        self._entries: deque[Any] = deque()  # fetched and not returned
        self._fetched = 0
        self._gate: Callable[[], object] | None = None  # opens it for the waiting consumer
        self._over = False
        ledger.binding = self
        engine.open(self)

    # -- what the engine asks ---------------------------------------------------------

    def claim(self) -> Any:
        """Nothing: the consumer fetches.  If it waits, it is woken.  Locked."""
        if self._gate is not None:
            self._engine.errand(self._gate)
            self._gate = None
        return None

    again = claim

    def send(self, entry: Any) -> None:
        """Never called: `claim` gives nothing."""
        raise AssertionError(entry)

    def blocker(self) -> FlowLedger | None:
        """The consumer holds this back, no flow does."""
        return None

    def cut(self) -> None:
        """Read no more input."""
        with self._engine.lock:
            self._items = None
            self.ledger.ended = True
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

    # -- the iterator -----------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _R:
        entries = self._entries
        while True:
            while entries:
                entry = entries.popleft()
                if type(entry) is not Task:
                    return entry.value  # type: ignore[no-any-return]
                if entry.error is None:
                    if entry.value is not NO_VALUE:
                        return entry.value  # type: ignore[no-any-return]
                else:
                    self._failed(entry)
            self._more()

    def __aiter__(self) -> AsyncIterator[_R]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[_R]:
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    value = await loop.run_in_executor(None, next, self, NO_VALUE)
                except StopIteration:
                    return
                if value is NO_VALUE:
                    return
                yield value
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_over", True):
            self.close()

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
        self._entries.clear()
        engine.forget(self)
        engine.cut_off(tasks)

    # -- reading and waiting -------------------------------------------------------------

    def _failed(self, task: Task) -> None:
        assert task.error is not None
        if self._on_failure == "skip":
            return
        if self._on_failure == "raise":
            self.close()
            raise task.error
        self._on_failure.on_next(outcome_of(task, self._engine.now()))

    def _more(self) -> None:
        """Fetch what is done; else read on; else wait; or end the iteration."""
        engine, ledger = self._engine, self.ledger
        gate = None
        try:
            engine.lock.acquire()
            if self._over:
                raise StopIteration
            # What was fetched last time has been returned only now: until then it counted.
            ledger.undelivered -= self._fetched
            fetch, entries = ledger.fetch, self._entries
            while (entry := fetch()) is not None:
                entries.append(entry)
            self._fetched = len(entries)
            ledger.undelivered += self._fetched
            if not entries:
                if ledger.finished:
                    self._over = True
                elif (self._items is None and not self._held) or not ledger.has_room():
                    gate = threading.Lock()
                    gate.acquire()
                    self._gate = gate.release
            chores = engine.chores()
        finally:
            engine.lock.release()
        engine.carry_out(chores)
        if entries:
            return
        if self._over:
            engine.forget(self)
            if self._error is not None:
                raise self._error
            raise StopIteration
        if gate is None:
            self._read()
        elif not engine.run_one(ledger):
            if engine.clock.virtual:
                raise WouldBlock("imap cannot wait in virtual time; use pool.pull and pool.map")
            gate.acquire()

    def _read(self) -> None:
        """Read input and hand it over, as much as there is room for."""
        items, held = self._items, self._held
        ledger, engine = self.ledger, self._engine
        if items is not None and not held:
            # Never more than what surely is taken: an item read is an item ahead.
            most = max(1, min(ledger.max_pending - len(ledger.waiting), _READ_MOST))
            until = perf_counter() + _READ_FOR
            try:
                while len(held) < most:
                    held.append(next(items))
                    if len(held) % 16 == 0 and perf_counter() > until:
                        break
            except StopIteration:
                self._items = None
            except BaseException as error:
                self._items, self._error = None, error
        started = []
        now = engine.now()
        accept = engine.ledger.accept
        with engine.lock:
            if ledger.ended:
                held.clear()
            taken = 0
            for item in held:
                task = Task(ledger, item, now)
                verdict = accept(ledger, task)
                if verdict == FULL:
                    break
                taken += 1
                if verdict == STARTED:
                    started.append(task)
            del held[:taken]
            if self._items is None and not held:
                ledger.ended = True
            chores = engine.chores()
        if started:
            engine.start(started)
        engine.carry_out(chores)
