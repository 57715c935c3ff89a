"""What options of `pool.map` cost while nothing goes wrong: ``x + 1`` on every backend."""

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.aio import increment as increment_later
from benchmarks.harness import Case, table
from benchmarks.metrics import nothing
from benchmarks.peers import executor, stream, until_done
from benchmarks.work import increment
from rxpool import CircuitBreaker, Hedge, Journal, Limit, PerformanceMonitor, Retry, WorkerPool

Options = dict[str, Any]

WARM = range(-256, 0)  #: items before the time runs, none of which comes again
WARM_UP = 2_000  #: items of a run that does not count: what is imported and made once
AMPLE = 1e9  #: a rate that never holds back

FILE = "journal.sqlite"


def ample(**options: Any) -> Limit:
    """A limit that is asked and always grants."""
    return Limit(AMPLE, burst=AMPLE, **options)


def hundredth(number: int) -> int:
    """One of 100 keys."""
    return number % 100


@dataclass(frozen=True)
class Row:
    """An option: *make* is called for each run, with a folder that is empty."""

    name: str
    make: Callable[[Path], Options] = lambda folder: {}
    pool: Callable[[], Options] = dict  #: options of the pool
    use: str = "map"
    share: int = 1  #: so many times fewer items


ROWS = [
    Row("plain"),
    Row('order="input"', lambda _: {"order": "input"}),
    Row('order="key", 100 keys', lambda _: {"order": "key", "key": hundredth}),
    Row("priority=", lambda _: {"priority": hundredth}),
    Row("max_failures=", lambda _: {"max_failures": 0.5}),
    Row("retry=", lambda _: {"retry": Retry(3)}),
    Row("timeout=", lambda _: {"timeout": 60.0}),
    Row("deadline=", lambda _: {"deadline": 60.0}),
    Row("fallback=", lambda _: {"fallback": 0}),
    Row("hedge=", lambda _: {"hedge": Hedge(60.0)}),
    Row("breaker=", lambda _: {"breaker": CircuitBreaker()}),
    Row("limit=", lambda _: {"limit": ample()}),
    Row("limit=, 100 keys", lambda _: {"limit": ample(key=hundredth)}),
    Row("limit=, strict", lambda _: {"limit": Limit(AMPLE, strict=True)}),
    Row("limit=, two of them", lambda _: {"limit": Limit.all(ample(), ample())}),
    Row(
        "retry=, timeout=, breaker=, limit=",
        lambda _: {
            "retry": Retry(3),
            "timeout": 60.0,
            "breaker": CircuitBreaker(),
            "limit": ample(),
        },
    ),
    Row("journal=", lambda folder: {"journal": Journal(folder / FILE)}, share=10),
    Row("monitor= that does nothing", pool=lambda: {"monitor": nothing}, share=2),
    Row(
        "monitor=PerformanceMonitor()", pool=lambda: {"monitor": PerformanceMonitor()}, share=4
    ),
    Row("pool.outcomes", use="outcomes"),
    Row("pool.pull(…).pipe(pool.map(…))", use="pull"),
    Row("pool.imap", use="imap"),
]


def feed(
    pool: WorkerPool, use: str, work: Any, items: Collection[int], options: Options
) -> None:
    """All *items* through *pool*."""
    results: list[Any] = []
    if use == "imap":
        results.extend(pool.imap(work, items, **options))
    elif use == "pull":
        until_done(pool.pull(items).pipe(pool.map(work, **options)), results.append)
    else:
        stream(getattr(pool, use)(work, **options), items, results.append)
    if len(results) != len(items):
        raise AssertionError(f"{len(results)} of {len(items)}")


@dataclass(frozen=True)
class Place:
    """A backend, and how many items a round of it takes."""

    title: str
    workers: int
    items: int
    work: Any = increment
    executor: Callable[[int], Any] | None = None

    def timed(self, on: str, row: Row) -> Callable[[int], float]:
        """Seconds from the first item to the last result; the workers run already."""

        def run(items: int) -> float:
            with ExitStack() as stack:
                where = (
                    stack.enter_context(self.executor(self.workers)) if self.executor else on
                )
                folder = Path(stack.enter_context(TemporaryDirectory()))
                pool = stack.enter_context(WorkerPool(self.workers, on=where, **row.pool()))
                options = row.make(folder)
                if journal := options.get("journal"):
                    stack.callback(journal.close)
                feed(pool, row.use, self.work, WARM, options)
                began = time.perf_counter()
                feed(pool, row.use, self.work, range(items), options)
                return time.perf_counter() - began

        return run


PLACES = {
    "threads": Place("4 threads", 4, 40_000),
    "asyncio": Place("an event loop, 32 at once", 32, 20_000, increment_later),
    "processes": Place("2 processes", 2, 20_000),
    "inline": Place("the thread that brings the items", 1, 10_000),
    "executor": Place("a ProcessPoolExecutor of 2", 2, 1_000, executor=executor),
}


def main(rounds: int, quick: bool, backend: str | None = None) -> None:
    """Print a table for each backend, or for the one that is named."""
    for on, place in PLACES.items():
        if backend is None or backend == on:
            place.timed(on, ROWS[0])(WARM_UP)
            table(
                f"Options, x + 1 on {place.title} (base: no options)",
                [
                    Case(row.name, place.items // row.share, place.timed(on, row))
                    for row in ROWS
                ],
                rounds,
                quick,
            )
