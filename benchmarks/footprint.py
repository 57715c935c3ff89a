"""What rxpool keeps in memory, by `tracemalloc`: idle pools, waiting items, keys that rest."""

import gc
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

from reactivex import Subject

from benchmarks.work import increment
from rxpool import Limit, WorkerPool
from rxpool import operators as ops

_WAIT = 30.0


def traced() -> int:
    """Bytes that are allocated now."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def idle_pool(items: int) -> float:
    """Bytes of a pool of 8 threads that has worked and has nothing to do."""
    before = traced()
    with WorkerPool(8) as pool:
        for _ in pool.imap(increment, range(items)):
            pass
        return float(traced() - before)


def waiting_item(items: int) -> float:
    """Bytes of an item that waits, without the item itself."""
    gate, source = threading.Event(), Subject[int]()
    numbers = list(range(items))
    with WorkerPool(1) as pool:
        work = pool.map(lambda _: gate.wait(_WAIT), max_pending=items + 1)
        source.pipe(work).subscribe()
        source.on_next(-1)
        before = traced()
        for number in numbers:
            source.on_next(number)
        kept = traced() - before
        gate.set()
        source.on_completed()
    return kept / items


def resting_keys(operator: Callable[[WorkerPool], Any]) -> Callable[[int], float]:
    """Bytes of a key that was seen once, when all are done and another one has come."""

    def measured(items: int) -> float:
        ended, source = threading.Event(), Subject[int]()
        seen = [0]

        def count(_: Any) -> None:
            seen[0] += 1
            if seen[0] >= items:
                ended.set()

        with WorkerPool(2) as pool:
            source.pipe(operator(pool)).subscribe(count)
            before = traced()
            for number in range(items):
                source.on_next(number)
            ended.wait(_WAIT)
            source.on_next(-1)
            kept = traced() - before
            source.on_completed()
        return kept / items

    return measured


#: what, items, how it is measured, what is wanted
ROWS: tuple[tuple[str, int, Callable[[int], float], float], ...] = (
    ("a pool of 8 idle threads", 1_000, idle_pool, 150_000),
    ("an item that waits", 50_000, waiting_item, 400),
    (
        "a key, order='key'",
        100_000,
        resting_keys(lambda pool: pool.map(increment, order="key", key=lambda n: n)),
        4,
    ),
    (
        "a key of a limit",
        100_000,
        resting_keys(lambda pool: pool.map(increment, limit=Limit(1e9, key=lambda n: n))),
        4,
    ),
    (
        "a key of ops.throttle",
        100_000,
        resting_keys(lambda _: ops.throttle(1e9, key=lambda n: n)),
        4,
    ),
)


def main(rounds: int, quick: bool) -> None:
    """Print the table."""
    print("\n## Footprint: bytes that stay, by tracemalloc\n")
    print(f"| {'what':<26} | {'bytes':>8} | {'target':>8} |")
    print(f"| {'-' * 26} | {'-' * 8} | {'-' * 8} |")
    for what, items, measured, target in ROWS:
        count = 100 if quick else items
        tracemalloc.start()
        try:
            measured(count)  # what is made once is not of this
            kept = min(measured(count) for _ in range(1 if quick else min(rounds, 3)))
        finally:
            tracemalloc.stop()
        print(f"| {what:<26} | {kept:>8,.1f} | {target:>8,} |")
