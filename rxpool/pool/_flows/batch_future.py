"""`BatchFuture`: a list of items on their way through a `MapWorker`."""

# The batch, its items and who runs them know each other.
# pyright: reportPrivateUsage=false

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from rxpool._core.drain import Drain
from rxpool._forks import afresh, bury
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.future import PoolFuture
from rxpool.pool._state.flow_state import FlowState

__all__ = ("BatchFuture",)

_R = TypeVar("_R")


class _Calls(Protocol):
    """What a batch needs of the flow of its items."""

    state: FlowState
    batches: set[Any]
    _engine: Engine

    def prepare(self, item: Any) -> PoolFuture[Any]: ...

    def enter(self, future: Any, waits: bool) -> bool: ...

    def note_quiet(self) -> None: ...

    def expect(self, batch: Any) -> None: ...


class BatchFuture(PoolFuture[list[_R]], Generic[_R]):
    """The results of a batch, in the order of its items.

    Items go into the state as there is room.  One thread at a time brings them there, and
    only that one touches `_rest` and `_held`; one at a time tells of progress.  Nobody waits
    for either.  ``_guard`` makes one step of counting what is settled and leaving the count
    to be told; nothing foreign is called under it.
    """

    def __init__(
        self,
        calls: Any,
        items: Sequence[Any],
        on_progress: Callable[[int, int], object] | None,
    ) -> None:
        super().__init__(calls)
        self._flow: _Calls = calls
        self._on_progress = on_progress
        self._rest = deque(items)
        self._total = len(items)
        self._futures: list[PoolFuture[Any]] = []
        self._held: PoolFuture[Any] | None = None  # found no room
        self._settled = 0
        self._told: deque[int] = deque()
        self._guard = afresh(threading.Lock())
        self._feeding = Drain()
        self._telling = Drain()

    def begin(self) -> None:
        """Run the items."""
        if not self._total:
            self.set_result([])
            return
        self._flow.expect(self)
        self._feed()

    def cancel(self) -> bool:
        """Take back the items that wait; what runs goes on, and its results are dropped."""
        if not super(PoolFuture, self).cancel():
            return False
        self._feed()  # finds that there is nothing left to bring
        for future in tuple(self._futures):
            future.cancel()
        return True

    def forked(self, why: str) -> None:
        """See `PoolFuture`."""
        super().forked(why)
        bury(self._rest, self._held)
        self._rest.clear()
        self._told.clear()
        self._held = None

    def _feed(self) -> None:
        """Bring items to the state while there is room, and come back when there is."""
        self._feeding.run(self._bring)

    def _bring(self) -> None:
        flow = self._flow
        while self._rest or self._held is not None:
            if self.cancelled():
                self._give_up_rest()
                break
            future = self._held
            if future is None:
                self._held = future = flow.prepare(self._rest.popleft())
                self._futures.append(future)
            try:
                entered = flow.enter(future, False)
            except BaseException as error:  # the pool was terminated, or of overflow="error"
                future.set_exception(error)
                entered = True
            if entered:
                self._held = None
                future.add_done_callback(self._note)
            elif flow._engine.back_pressure.on_room(flow.state, self._feed):
                return
        self._all_in()

    def _give_up_rest(self) -> None:
        self._rest.clear()
        if self._held is not None:
            self._held._task = None
            self._held = None

    def _all_in(self) -> None:
        with self._flow._engine.lock:
            self._flow.batches.discard(self)
            self._flow.note_quiet()

    def _note(self, _: Future[Any]) -> None:
        """One more is settled."""
        with self._guard:
            self._settled += 1
            self._told.append(self._settled)
        self._telling.run(self._tell)

    def _tell(self) -> None:
        while self._told:
            settled = self._told.popleft()
            if self._on_progress is not None and not self.cancelled():
                try:
                    self._on_progress(settled, self._total)
                except BaseException as error:
                    self._flow._engine.telemetry.fault("on_progress", error)
            if settled == self._total:
                self._end()

    def _end(self) -> None:
        values: list[Any] = []
        with suppress(InvalidStateError):  # cancelled
            for future in self._futures:
                if future.cancelled():  # the item was taken back: so is the batch
                    super(PoolFuture, self).cancel()
                    return
                try:
                    values.append(super(PoolFuture, future).result())
                except BaseException as error:
                    self.set_exception(error)
                    return
            self.set_result(values)
