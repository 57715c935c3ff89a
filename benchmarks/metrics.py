"""What it costs to be measured: events to subscribers, and a pool with and without them."""

import time
from collections.abc import Callable
from typing import Any

import reactivex as rx

from benchmarks.harness import Case, table
from rxpool import MetricEvent, PerformanceMonitor, WorkerPool
from rxpool._core.broadcast import Broadcast
from rxpool._core.measured import measured

GOOD = {"pool": "p", "outcome": "success"}


def nothing(event: MetricEvent) -> None:
    """A subscriber."""


def events(subscribe: Callable[[Broadcast[MetricEvent]], object]) -> Callable[[int], float]:
    """Make events and send them to whoever *subscribe* brings."""

    def run(items: int) -> float:
        stream: Broadcast[MetricEvent] = Broadcast("benchmark")
        subscribe(stream)
        now = time.monotonic
        began = time.perf_counter()
        for _ in range(items):
            stream.send(measured("rxpool.task.duration", 0.01, "s", now(), GOOD))
        return time.perf_counter() - began

    return run


def increments(**options: Any) -> Callable[[int], float]:
    """``x + 1`` on four threads."""

    def run(items: int) -> float:
        with WorkerPool(4, **options) as pool:
            began = time.perf_counter()
            stream = rx.from_iterable(range(items)).pipe(pool.map(increment))
            stream.run()
            return time.perf_counter() - began

    return run


def increment(number: int) -> int:
    """The work."""
    return number + 1


def main(rounds: int, quick: bool) -> None:
    """Print the tables."""
    n = 100_000
    table(
        "A metric event, made and sent (base: one subscriber that does nothing)",
        [
            Case("one subscriber", n, events(lambda s: s.subscribe(nothing)), "≤ 2 µs"),
            Case("nobody", n, events(lambda s: None)),
            Case(
                "a PerformanceMonitor",
                n,
                events(lambda s: s.subscribe(PerformanceMonitor().on_next)),
            ),
        ],
        rounds,
        quick,
    )
    table(
        "pool.map, x + 1 on 4 threads, three events an item (base: nobody listens)",
        [
            Case("nobody listens", n, increments()),
            Case("monitor= that does nothing", n, increments(monitor=nothing)),
            Case("monitor=PerformanceMonitor()", n, increments(monitor=PerformanceMonitor())),
        ],
        rounds,
        quick,
    )
