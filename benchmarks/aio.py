"""The pool on an event loop against asyncio's own ways and aiostream."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from benchmarks.harness import Case, table
from benchmarks.peers import stream
from rxpool import WorkerPool

AT_ONCE = 32

Work = Callable[[int], Awaitable[int]]


async def increment(number: int) -> int:
    """The least work."""
    return number + 1


async def nap(number: int) -> int:
    """A millisecond of waiting."""
    await asyncio.sleep(0.001)
    return number


async def task_group(work: Work, items: int, sink: Callable[[int], object]) -> None:
    """A task an item, so many at once."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        try:
            sink(await work(number))
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        for number in range(items):
            await free.acquire()
            group.create_task(one(number))


async def gather(work: Work, items: int, sink: Callable[[int], object]) -> None:
    """A task an item, all made first; so many go on at once."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> int:
        async with free:
            return await work(number)

    for result in await asyncio.gather(*(one(number) for number in range(items))):
        sink(result)


async def workers(work: Work, items: int, sink: Callable[[int], object]) -> None:
    """The floor: coroutines that share an iterator."""
    numbers = iter(range(items))

    async def loop(numbers: Iterator[int]) -> None:
        for number in numbers:
            sink(await work(number))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(loop(numbers))


def aiostream(ordered: bool) -> Any:
    """Its `map` with a limit of tasks."""

    async def run(work: Work, items: int, sink: Callable[[int], object]) -> None:
        from aiostream import stream as streams

        async def numbers() -> AsyncIterator[int]:
            for number in range(items):
                yield number

        results = streams.map(numbers(), work, ordered=ordered, task_limit=AT_ONCE)
        async with results.stream() as streamer:
            async for result in streamer:
                sink(result)

    return run


async def imap_on_the_loop(work: Work, items: int, sink: Callable[[int], object]) -> None:
    """`imap` for those who are on an event loop already."""
    async with WorkerPool(AT_ONCE, on="asyncio") as pool:
        async for result in pool.imap(work, range(items)):
            sink(result)


def rxpool_map(pool: WorkerPool, work: Work, items: int, sink: Callable[[int], object]) -> None:
    """As a stream, from a thread without a loop."""
    stream(pool.map(work), range(items), sink)


def rxpool_imap(
    pool: WorkerPool, work: Work, items: int, sink: Callable[[int], object]
) -> None:
    """As an iterator, from a thread without a loop."""
    for result in pool.imap(work, range(items)):
        sink(result)


def on_a_loop(use: Any, work: Work) -> Callable[[int], float]:
    """Time what runs in a loop."""

    async def timed(items: int, results: list[int]) -> float:
        await use(work, AT_ONCE, lambda _: None)
        began = time.perf_counter()
        await use(work, items, results.append)
        return time.perf_counter() - began

    def run(items: int) -> float:
        results: list[int] = []
        took = asyncio.run(timed(items, results))
        if len(results) != items:
            raise AssertionError(f"{len(results)} of {items}")
        return took

    return run


def in_a_pool(use: Any, work: Work) -> Callable[[int], float]:
    """Time what runs in a pool with a loop of its own."""

    def run(items: int) -> float:
        results: list[int] = []
        with WorkerPool(AT_ONCE, on="asyncio") as pool:
            use(pool, work, AT_ONCE, lambda _: None)
            began = time.perf_counter()
            use(pool, work, items, results.append)
            took = time.perf_counter() - began
        if len(results) != items:
            raise AssertionError(f"{len(results)} of {items}")
        return took

    return run


def cases(work: Work, items: int, target: str) -> list[Case]:
    """The same rows for one kind of work."""
    fewer = min(items, 20_000)
    return [
        Case("TaskGroup + Semaphore", items, on_a_loop(task_group, work)),
        Case("gather + Semaphore", items, on_a_loop(gather, work)),
        Case("floor: workers on an iterator", items, on_a_loop(workers, work)),
        Case(
            "aiostream map, ordered", fewer, on_a_loop(aiostream(True), work), "", "aiostream"
        ),
        Case(
            "aiostream map, unordered",
            fewer,
            on_a_loop(aiostream(False), work),
            "",
            "aiostream",
        ),
        Case("rxpool map", items, in_a_pool(rxpool_map, work), target),
        Case("rxpool imap", items, in_a_pool(rxpool_imap, work), target),
        Case("rxpool imap, async for", items, on_a_loop(imap_on_the_loop, work), target),
    ]


def main(rounds: int, quick: bool) -> None:
    """Print the tables."""
    table(
        "asyncio, a coroutine that ends at once, 32 at once (base: TaskGroup + Semaphore)",
        cases(increment, 100_000, "≤ 0.4"),
        rounds,
        quick,
    )
    table(
        "asyncio, 1 ms of sleep, 32 at once (base: TaskGroup + Semaphore; ideal 31.25 µs)",
        cases(nap, 20_000, "≤ 1.1 × floor (47 µs)"),
        rounds,
        quick,
    )
