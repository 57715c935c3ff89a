"""The pool on threads against the standard library, RxPY and the floor."""

import resource
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from multiprocessing.pool import ThreadPool
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.scheduler import ThreadPoolScheduler

from benchmarks.harness import Case, table
from rxpool import WorkerPool

Work = Callable[[int], int]


def increment(number: int) -> int:
    """The least work."""
    return number + 1


def sleep(number: int) -> int:
    """A millisecond of waiting."""
    time.sleep(0.001)
    return number


def iterate(make: Callable[[int], Any], use: Callable[[Any, int], Iterable[int]]) -> Any:
    """Time the iteration over the results of a pool that exists already."""

    def case(workers: int, items: int) -> float:
        with make(workers) as pool:
            list(use(pool, 4 * workers))  # threads are started
            began = time.perf_counter()
            count = sum(1 for _ in use(pool, items))
            took = time.perf_counter() - began
        if count != items:
            raise AssertionError(f"{count} of {items}")
        return took

    return case


def streamed(operator: Callable[[WorkerPool], Any]) -> Any:
    """Time an observable source through a pool to a subscriber."""

    def case(workers: int, items: int) -> float:
        with WorkerPool(workers) as pool:
            list(pool.imap(sleep, range(4 * workers)))  # threads are started
            return subscribe(operator(pool), items)

    return case


def subscribe(operator: Any, items: int) -> float:
    """Seconds from the subscription to the completion."""
    count = 0
    done = Event()

    def sink(_: int) -> None:
        nonlocal count
        count += 1

    began = time.perf_counter()
    rx.from_iterable(range(items)).pipe(operator).subscribe(sink, print, done.set)
    done.wait(120)
    took = time.perf_counter() - began
    if count != items:
        raise AssertionError(f"{count} of {items}")
    return took


def hand_off(work: Work, chunk: int) -> Any:
    """The floor: threads, two queues, a window of four times the workers."""

    def case(workers: int, items: int) -> float:
        todo: SimpleQueue[list[int] | None] = SimpleQueue()
        done: SimpleQueue[list[int]] = SimpleQueue()

        def loop() -> None:
            while (numbers := todo.get()) is not None:
                done.put([work(number) for number in numbers])

        threads = [Thread(target=loop) for _ in range(workers)]
        for thread in threads:
            thread.start()
        began = time.perf_counter()
        numbers: Iterator[int] = iter(range(items))
        out, count = 0, 0
        while True:
            while out < 4 * workers and (some := list(islice(numbers, chunk))):
                todo.put(some)
                out += 1
            if not out:
                break
            count += len(done.get())
            out -= 1
        took = time.perf_counter() - began
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.join()
        if count != items:
            raise AssertionError(f"{count} of {items}")
        return took

    return case


def rxpy(operator: Callable[[ThreadPoolScheduler, Work, int], Any], work: Work) -> Any:
    """RxPY's ways, on its own thread pool."""

    def case(workers: int, items: int) -> float:
        scheduler = ThreadPoolScheduler(workers)
        try:
            return subscribe(operator(scheduler, work, workers), items)
        finally:
            scheduler.executor.shutdown()

    return case


def flat_map(scheduler: ThreadPoolScheduler, work: Work, workers: int) -> Any:
    """`flat_map` has no limit: all inner observables are subscribed at once."""
    return rx_ops.flat_map(
        lambda number: rx.from_callable(lambda: work(number), scheduler=scheduler)
    )


def merge(scheduler: ThreadPoolScheduler, work: Work, workers: int) -> Any:
    """`merge(max_concurrent)` reads its whole source ahead."""
    return rx.compose(
        rx_ops.map(lambda number: rx.from_callable(lambda: work(number), scheduler=scheduler)),
        rx_ops.merge(max_concurrent=workers),
    )


def cases(work: Work, workers: int, items: int, targets: dict[str, str]) -> list[Case]:
    """The same rows for one kind of work."""
    fewer = min(items, 10_000)
    rows: list[tuple[str, int, Any]] = [
        (
            "ThreadPoolExecutor.map",
            items,
            iterate(ThreadPoolExecutor, lambda pool, n: pool.map(work, range(n))),
        ),
        ("floor: two queues, singly", items, hand_off(work, 1)),
        ("floor: two queues, chunks of 64", items, hand_off(work, 64)),
        ("rxpool map, completion order", items, streamed(lambda pool: pool.map(work))),
        (
            "rxpool map, input order",
            items,
            streamed(lambda pool: pool.map(work, order="input")),
        ),
        (
            "rxpool imap",
            items,
            iterate(WorkerPool, lambda pool, n: pool.imap(work, range(n))),
        ),
        (
            "ThreadPool.imap_unordered(1)",
            items,
            iterate(ThreadPool, lambda pool, n: pool.imap_unordered(work, range(n))),
        ),
        (
            "ThreadPool.imap_unordered(64)",
            items,
            iterate(ThreadPool, lambda pool, n: pool.imap_unordered(work, range(n), 64)),
        ),
        ("RxPY flat_map(from_callable)", fewer, rxpy(flat_map, work)),
        ("RxPY merge(max_concurrent)", fewer, rxpy(merge, work)),
    ]
    return [
        Case(name, n, lambda items, run=run: run(workers, items), targets.get(name, ""))
        for name, n, run in rows
    ]


def memory(quick: bool) -> None:
    """What a million items leave behind, with a subscriber that is slow at times."""
    items = 20_000 if quick else 1_000_000
    with WorkerPool(2) as pool:
        subscribe(pool.map(increment), 1000)
        before = resident()
        recent: deque[int] = deque(maxlen=1)
        done = Event()
        rx.from_iterable(range(items)).pipe(pool.map(increment)).subscribe(
            recent.append, print, done.set
        )
        done.wait(120)
        after = resident()
    print(f"\n### {items:,} items through 2 threads: memory\n")
    print(f"Growth of the resident set: {(after - before) / 1024:.1f} MB (target: under 10).")


def resident() -> float:
    """The largest resident set so far, in KB."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main(rounds: int, quick: bool) -> None:
    """Print the tables."""
    memory(quick)
    table(
        "Threads, x + 1 on 4 workers (base: ThreadPoolExecutor.map)",
        cases(
            increment,
            4,
            200_000,
            {"rxpool map, completion order": "≤ 0.16", "rxpool imap": "≤ 0.05"},
        ),
        rounds,
        quick,
    )
    table(
        "Threads, 1 ms of sleep on 32 workers (base: ThreadPoolExecutor.map; ideal 31.25 µs)",
        cases(
            sleep,
            32,
            10_000,
            {"rxpool map, completion order": "≤ 1.1 × floor", "rxpool imap": "≤ 1.1 × floor"},
        ),
        rounds,
        quick,
    )
