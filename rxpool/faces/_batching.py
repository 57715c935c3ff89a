"""`Batching`: when batches are made, and what becomes of their items."""

# The states of futures are read and set here.
# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import Callable
from functools import partial
from random import random
from typing import Any

from rxpool._core.causes import as_failure, ends_program
from rxpool._forks import bury, inside
from rxpool._log import log
from rxpool.errors import BatchSizeError
from rxpool.faces._counts import Counts
from rxpool.faces._engine import FaceEngine
from rxpool.faces._future import PENDING, RUNNING, FaceFuture, wake
from rxpool.faces._queue import Batch, QueueState
from rxpool.faces._records import BatchMetrics, BatchProgress, RetryPolicy, results_of

__all__ = ("Batching",)


class Batching:
    """See `Work`.  The engine's lock guards it, while neither *fn* nor *retry* is called."""

    def __init__(
        self,
        fn: Callable[[list[Any]], Any],
        queue: QueueState,
        retry: RetryPolicy | None,
        bisect: bool,
        on_progress: Callable[[BatchProgress], object] | None,
    ) -> None:
        self.counts = Counts()
        self._fn = fn
        self._queue = queue
        self._retry = retry
        self._bisect = bisect
        self._on_progress = on_progress
        self._loop: asyncio.AbstractEventLoop | None = None  # that of who added last
        self._batches = self._attempts = self._failed_attempts = 0
        self._attempt_seconds = self._retry_wait_seconds = 0.0

    def bury(self) -> None:
        """See `Work`; the loop is the parent's as well."""
        bury(*inside(self._queue))
        self._loop = None

    def add(
        self, future: FaceFuture[Any], now: float, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        """The first or the last item of a batch; *loop* runs where it was added."""
        self._queue.filling.offer(future, now, None, True)
        if loop is not None:
            self._loop = loop

    def flush(self) -> None:
        """Begin the open batch as soon as there is a place for it."""
        self._queue.flush()

    def metrics(self) -> BatchMetrics:
        """The figures at this instant."""
        counts = self.counts
        return BatchMetrics(
            counts.accepted,
            counts.succeeded,
            counts.failed,
            counts.cancelled,
            counts.waiting,
            counts.running,
            self._batches,
            self._attempts,
            self._failed_attempts,
            self._attempt_seconds,
            self._retry_wait_seconds,
        )

    def expire(self, now: float) -> None:
        """See `Work`: `take` does it all."""

    def take(self, now: float) -> list[Batch]:
        """The batches that have a place now, marked as running."""
        taken: list[Batch] = []
        while (batch := self._queue.take(now)) is not None:
            if not batch.begun:
                batch.begun = True
                batch.calls = [call for call in batch.calls if call._state is PENDING]
                if not batch.calls:
                    self._queue.end(batch)
                    continue
                for call in batch.calls:
                    call._state = RUNNING
                self.counts.begin(len(batch.calls))
                self._batches += 1
            elif batch.attempts > 1:
                self._retry_wait_seconds += now - batch.failed_at
            self._attempts += 1
            taken.append(batch)
        return taken

    @property
    def due(self) -> float | None:
        """When a batch is old enough, or is to be tried again."""
        return self._queue.due

    def drain(self, now: float) -> None:
        """The open batch waits for no more items."""
        self._queue.flush()

    def gone(self, future: FaceFuture[Any]) -> None:
        """It stays in its batch until that is taken, or many have gone."""
        self._queue.cancelled(self.counts.waiting)

    def cut(self) -> tuple[list[FaceFuture[Any]], list[FaceFuture[Any]]]:
        """Forget everything; the futures that waited, and those that ran."""
        fresh, ran = self._queue.clear()
        return [future for future in fresh if future._state is PENDING], ran

    def start(self, engine: FaceEngine, taken: Batch) -> None:
        """Give a batch to the function."""
        began = engine.now()
        with engine.lock:
            if taken not in self._queue.running:
                return  # terminated meanwhile
            items = [call.item for call in taken.calls]
        loop = self._loop

        def done(given: Any, error: BaseException | None) -> None:
            self._ended(engine, taken, began, given, error)

        engine.runner.run(partial(self._fn, items), loop, None, done)

    def _ended(  # noqa: C901 - one branch for each way that a batch ends
        self,
        engine: FaceEngine,
        batch: Batch,
        began: float,
        given: Any,
        error: BaseException | None,
    ) -> None:
        """An attempt ended: settle what is settled, repeat what is to be repeated."""
        now = engine.now()
        calls = batch.calls
        results: list[Any] = []
        if error is None:
            try:
                results = results_of(given, len(calls))
            except BaseException as wrong:
                error = wrong
        whole = error is not None
        if error is not None:
            results = [as_failure(error)] * len(calls)
        failed, again, wait, settled = 0, dict[int, None](), 0.0, calls
        if whole or any(isinstance(result, BaseException) for result in results):
            again, wait = self._retried(batch, results, error, now)
            failed = sum(isinstance(result, BaseException) for result in results) - len(again)
            settled = [call for at, call in enumerate(calls) if at not in again]
            results = [result for at, result in enumerate(results) if at not in again]
        halved = whole and self._bisect and not again and len(calls) > 1
        if halved and isinstance(error, Exception):
            failed, settled, results = 0, [], []
        else:
            halved = False
        with engine.lock:
            if not self._queue.end(batch):
                return  # terminated meanwhile
            self._attempt_seconds += now - began
            self._failed_attempts += whole
            self.counts.end(len(settled), failed)
            for call, result in zip(settled, results, strict=True):
                if failed and isinstance(result, BaseException):
                    call.put(None, result)
                else:
                    call.put(result, None)
            if again:
                batch.calls = [calls[at] for at in again]
                batch.failed_at = now
                self._queue.repeat(batch, now + wait)
            elif halved:
                self._queue.halve(batch)
            progress = None
            if self._on_progress is not None:
                counts = self.counts
                progress = BatchProgress(
                    counts.accepted, counts.succeeded, counts.failed, counts.cancelled
                )
        try:
            wake(settled)
        finally:
            engine.pump()
        if progress is not None and self._on_progress is not None:
            try:
                self._on_progress(progress)
            except BaseException as problem:
                log.error("on_progress raised", face=engine.name, exc_info=problem)
                if ends_program(problem):
                    raise

    def _retried(
        self, batch: Batch, results: list[Any], whole: BaseException | None, now: float
    ) -> tuple[dict[int, None], float]:
        """Which calls are made again, and after how long; the others' errors are final."""
        again: dict[int, None] = {}
        if self._retry is None or isinstance(whole, BatchSizeError):
            return again, 0.0
        longest = 0.0
        decided: dict[int, float | None] = {}  # the policy is asked once about one error
        for at, result in enumerate(results):
            if not isinstance(result, Exception):
                continue
            if id(result) not in decided:
                try:
                    decided[id(result)] = self._retry.wait_before_next(
                        batch.attempts, result, now - batch.since, random()
                    )
                except BaseException as problem:
                    results[at] = as_failure(problem)
                    if whole is not None:
                        results[:] = [results[at]] * len(results)
                        return {}, 0.0
                    continue
            wait = decided[id(result)]
            if wait is not None:
                again[at] = None
                longest = max(longest, wait)
        return again, longest
