"""What type checkers infer of the public names: read by mypy and pyright, never run."""

import signal
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, assert_type

import reactivex as rx
from reactivex import Observable
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import (
    CircuitBreaker,
    CircuitOpen,
    Collected,
    CurrentTask,
    Failure,
    Limit,
    MapWorker,
    MetricEvent,
    Outcome,
    PoolReport,
    Progress,
    RemoteError,
    Retry,
    Success,
    TimerScheduler,
    TooManyFailures,
    WorkerPool,
    current_task,
    guarded,
    iterate,
)
from rxpool import operators as ops
from rxpool.backends import ThreadBackend
from rxpool.metrics import AttemptRecord, Bottleneck, Resources
from rxpool.pool import FlowReport, PoolExecutor, PoolFuture


def length(text: str) -> int:
    """A function."""
    return len(text)


async def length_later(text: str) -> int:
    """An async function."""
    return len(text)


def letters(text: str) -> Observable[bytes]:
    """A function that returns an Observable."""
    return rx.of(text.encode())


def maybe(text: str) -> str | None:
    """A function that may return None."""
    return text or None


def lengths(texts: list[str]) -> list[int]:
    """A function of a batch."""
    return [len(text) for text in texts]


async def lengths_later(texts: list[str]) -> list[int]:
    """An async function of a batch."""
    return lengths(texts)


def lengths_or_errors(texts: list[str]) -> list[int | Exception]:
    """A function of a batch whose items can fail one by one."""
    return [len(text) if text else ValueError(text) for text in texts]


async def lengths_or_errors_later(texts: list[str]) -> list[int | Exception]:
    """The same, later."""
    return lengths_or_errors(texts)


def total(numbers: list[int]) -> int:
    """A function of a list."""
    return sum(numbers)


def initial(text: str) -> str:
    """A key."""
    return text[:1]


words: Observable[str] = rx.of("a", "bc")


# -- operators -------------------------------------------------------------------------------

assert_type(words.pipe(ops.batch(10)), Observable[list[str]])
assert_type(words.pipe(ops.batch(max_delay=timedelta(seconds=1))), Observable[list[str]])
assert_type(
    words.pipe(ops.batch(10, 1.0, max_weight=5, weight=length, key=initial)),
    Observable[list[str]],
)
assert_type(words.pipe(ops.throttle(5)), Observable[str])
assert_type(words.pipe(ops.throttle(5, cost=length, overflow="drop_oldest")), Observable[str])
assert_type(words.pipe(ops.debounce(0.5)), Observable[str])
assert_type(words.pipe(ops.debounce(0.5, max_wait=2, key=length)), Observable[str])
assert_type(words.pipe(ops.throttle(5), ops.debounce(1), ops.batch(3)), Observable[list[str]])
assert_type(
    words.pipe(ops.batch(3, monitor=Subject[MetricEvent](), scheduler=TimerScheduler())),
    Observable[list[str]],
)


# -- the pool --------------------------------------------------------------------------------

pool = WorkerPool(4)
assert_type(pool, WorkerPool)
assert_type(WorkerPool(on=TestScheduler()), WorkerPool)
assert_type(WorkerPool(on=ThreadBackend("crew"), max_pending=5, name="crew"), WorkerPool)
assert_type(pool.workers, int)
assert_type(pool.report(), PoolReport)
assert_type(pool.report().abandoned, int)
assert_type(RemoteError("text", "module.Name").type_names, tuple[str, ...])
assert_type(WorkerPool(2, on="processes", max_bytes=10_000_000), WorkerPool)
assert_type(pool.faults, Observable[BaseException])
assert_type(pool.close(), bool)
assert_type(pool.close(timedelta(seconds=1)), bool)

assert_type(words.pipe(pool.map(length)), Observable[int])
assert_type(words.pipe(pool.map(length_later)), Observable[int])
assert_type(words.pipe(pool.map(letters)), Observable[bytes])
assert_type(words.pipe(pool.map(maybe)), Observable[str | None])
assert_type(
    words.pipe(pool.map(length, order="input", max_reorder=5, concurrency=2)),
    Observable[int],
)
assert_type(words.pipe(pool.map(length, on_failure=Subject[Failure[str]]())), Observable[int])
assert_type(words.pipe(pool.map(length), pool.map(str)), Observable[str])
assert_type(
    words.pipe(ops.throttle(5), pool.map(length), ops.batch(10), pool.map(total)),
    Observable[int],
)

assert_type(words.pipe(pool.outcomes(length)), Observable[Outcome[str, int]])
assert_type(words.pipe(pool.outcomes(length_later)), Observable[Outcome[str, int]])
assert_type(words.pipe(pool.outcomes(letters)), Observable[Outcome[str, list[bytes]]])


assert_type(
    words.pipe(
        pool.map(length, order="key", key=initial, priority=length, timeout=5, deadline=60.0)
    ),
    Observable[int],
)
assert_type(words.pipe(pool.map(length, timeout=timedelta(seconds=5))), Observable[int])
assert_type(
    words.pipe(pool.outcomes(length_later, key=None, timeout=None, deadline=5)),
    Observable[Outcome[str, int]],
)

assert_type(words.pipe(ops.batch(10), pool.map_batches(lengths)), Observable[int])
assert_type(words.pipe(pool.map(len, max_failures=3)), Observable[int])
assert_type(words.pipe(pool.outcomes(len, max_failures=0.1)), Observable[Outcome[str, int]])
assert_type(TooManyFailures("x").failed, int)
assert_type(words.pipe(ops.batch(10), pool.map_batches(lengths_later)), Observable[int])
assert_type(words.pipe(ops.batch(9), pool.map_batches(lengths_or_errors)), Observable[int])
assert_type(
    words.pipe(ops.batch(9), pool.map_batches(lengths_or_errors_later)), Observable[int]
)
assert_type(
    words.pipe(
        ops.batch(10),
        pool.map_batches(lengths, bisect=True, order="input", on_failure="skip", timeout=5),
        pool.map(str),
    ),
    Observable[str],
)

assert_type(words.pipe(pool.switch_map(length)), Observable[int])
assert_type(words.pipe(pool.switch_map(length_later, timeout=1.0)), Observable[int])
assert_type(words.pipe(pool.switch_map(letters, on_failure="skip")), Observable[bytes])
assert_type(words.pipe(pool.switch_map(maybe), pool.map(str)), Observable[str])
assert_type(words.pipe(pool.exhaust_map(length, queue_latest=True)), Observable[int])
assert_type(words.pipe(pool.exhaust_map(length_later, deadline=1)), Observable[int])
assert_type(
    words.pipe(ops.debounce(0.3), pool.exhaust_map(letters), ops.batch(5)),
    Observable[list[bytes]],
)

assert_type(pool.resize(8), None)
assert_type(pool.progress, Observable[Progress[Any]])
assert_type(current_task(), CurrentTask)
assert_type(current_task().cancelled, bool)
assert_type(current_task().progress(0.5), None)


def fraction(told: Progress[str]) -> float:
    """What progress has."""
    assert_type(told.item, str)
    return told.fraction


def look_at(outcome: Outcome[str, int]) -> float:
    """`match` tells the kinds of outcomes apart, and leaves no other."""
    match outcome:
        case Success(item, value, attempts):
            assert_type(item, str)
            assert_type(value, int)
            assert_type(attempts, int)
            return outcome.took
        case Failure(item=item, error=error, waited=waited):
            assert_type(item, str)
            assert_type(error, BaseException)
            return waited


def numbers() -> Iterator[int]:
    """Numbers."""
    yield 1


async def numbers_later() -> AsyncIterator[int]:
    """Numbers."""
    yield 1


assert_type(pool.pull(numbers()), Observable[int])
assert_type(pool.pull(numbers_later()), Observable[int])
assert_type(pool.pull([1, 2]).pipe(pool.map(str)), Observable[str])


# -- iterables and calls -----------------------------------------------------------------------

pool.stop_on(signal.SIGTERM, signal.SIGINT, within=timedelta(seconds=5))
assert_type(pool.as_executor(), PoolExecutor)
assert_type(pool.as_executor().submit(length, "a"), PoolFuture[int])
assert_type(pool.as_executor().map(length, ["a"]), Iterator[int])
assert_type(pool.collect(length, ["a"]), Collected[str, int])
assert_type(pool.collect(length_later, ["a"], retry=3), Collected[str, int])
assert_type(pool.collect(letters, ["a"]), Collected[str, list[bytes]])
assert_type(pool.collect(length, ["a"]).values(), list[int])
assert_type(pool.collect(length, ["a"]).failures, list[Failure[str]])
assert_type(pool.collect(length, ["a"]).outcomes, list[Outcome[str, int]])
assert_type(WorkerPool(on="inline", initializer=print), WorkerPool)
for number in pool.imap(length, ["a", "bc"]):
    assert_type(number, int)
for number in pool.imap(length_later, ["a", "bc"], order="input"):
    assert_type(number, int)
for letter in pool.imap(letters, ["a", "bc"]):
    assert_type(letter, bytes)
with pool.imap(length, ["a"]) as results:
    assert_type(next(results), int)

assert_type(pool.submit(length, "a").result(), int)
assert_type(pool.submit(divmod, 7, 2).result(), tuple[int, int])
assert_type(pool.submit(length, text="a").result(1.0), int)
assert_type(pool.submit(length_later, "a").result(), int)
assert_type(pool.submit(letters, "a").result(), list[bytes])

worker = pool.worker(length, timeout=1.0)
assert_type(worker, MapWorker[str, int])
assert_type(worker.execute("a").result(), int)
assert_type(worker.execute_batch(["a"]).result(), list[int])
assert_type(pool.worker(length_later).execute("a").result(), int)
assert_type(pool.worker(letters).execute("a").result(), list[bytes])
assert_type(worker.metrics(), FlowReport)
assert_type(pool.metrics, Observable[MetricEvent])
assert_type(pool.attempts, Observable[AttemptRecord])
assert_type(pool.profile().bottleneck(), Bottleneck)
assert_type(pool.resources(), dict[int, Resources])


async def use() -> None:
    """The async faces."""
    async with WorkerPool() as pool:
        assert_type(pool, WorkerPool)
        assert_type(await pool.submit(length, "a"), int)
        assert_type(await pool.submit(length_later, "a"), int)
        async with pool.worker(length) as items:
            assert_type(await items.execute("a"), int)
            assert_type(await items.execute_batch(["a"]), list[int])
        assert_type(await pool.submit_async(length, "a"), PoolFuture[int])
        assert_type(await pool.submit_async(length_later, "a"), PoolFuture[int])
        assert_type(await pool.submit_async(letters, "a"), PoolFuture[list[bytes]])
        assert_type(await pool.collect(length, ["a"]), Collected[str, int])
        async for number in pool.imap(length, ["a"]):
            assert_type(number, int)
        async for number in iterate(words.pipe(pool.map(length_later)), max_pending=5):
            assert_type(number, int)


with iterate(words) as items:
    assert_type(next(items), str)
    for word in items:
        assert_type(word, str)

assert_type(WorkerPool(100, on="asyncio"), WorkerPool)
assert_type(WorkerPool(on=ThreadPoolExecutor(2)), WorkerPool)

with WorkerPool() as entered:
    assert_type(entered, WorkerPool)


# -- policies of streams and of functions ------------------------------------------------------

assert_type(words.pipe(ops.progress()), Observable[str])
assert_type(
    words.pipe(ops.progress(9, bar="plain", file=sys.stdout, every=timedelta(seconds=1))),
    Observable[str],
)
assert_type(words.pipe(ops.progress(), ops.batch(5), ops.progress()), Observable[list[str]])
assert_type(Retry.http(None, {429}, on_result=True), Retry)
assert_type(words.pipe(ops.retry(3)), Observable[str])
assert_type(words.pipe(ops.retry(Retry(delay=timedelta(seconds=1)))), Observable[str])
assert_type(words.pipe(ops.circuit_breaker(CircuitBreaker())), Observable[str])
assert_type(words.pipe(ops.fallback(0)), Observable[str | int])
assert_type(words.pipe(ops.fallback(None)), Observable[str | None])
assert_type(words.pipe(ops.fallback(repr)), Observable[str])
assert_type(words.pipe(ops.fallback(rx.of(b""))), Observable[str | bytes])


def instead(error: Exception) -> Observable[int]:
    """A stream in the place of an error."""
    return rx.of(len(str(error)))


assert_type(words.pipe(ops.fallback(instead)), Observable[str | int])
assert_type(
    words.pipe(
        ops.circuit_breaker(CircuitBreaker()),
        ops.retry(Retry(5, on=(OSError, CircuitOpen))),
        ops.fallback(""),
        pool.map(length),
    ),
    Observable[int],
)


@guarded(retry=3, breaker=CircuitBreaker(), fallback=None)
def priced(article: str, *, pieces: int = 1) -> float:
    """A decorated function keeps its signature."""
    return len(article) * pieces


@guarded(limit=Limit(5), timeout=1.0)
async def priced_later(article: str) -> float:
    """So does an async one."""
    return len(article)


async def buy() -> None:
    """Calls of guarded functions."""
    assert_type(priced("apple", pieces=3), float)
    assert_type(await priced_later("apple"), float)
    assert_type(guarded(length, retry=Retry(2))("a"), int)
    assert_type(await guarded(length_later, timeout=timedelta(seconds=1))("a"), int)
    priced(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
