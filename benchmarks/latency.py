"""One item to an idle pool: how long until its result is back."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.harness import failures, installed
from benchmarks.peers import PEERS, Peer, executor_submit, rxpool_submit, warm
from benchmarks.work import increment
from rxpool import WorkerPool

WORKERS, BLOCKS, CALLS, PAUSE = 2, 8, 50, 0.002

Submit = Callable[[Any, Any, Any, float | None], Callable[[], Any]]


@dataclass(frozen=True)
class Row:
    """One way to make a call."""

    name: str
    open: Callable[[int], AbstractContextManager[Any]]
    submit: Submit
    target: str = ""
    peer: Peer | None = None


def of(name: str, title: str, target: str = "") -> Row:
    """A row of a pool of processes."""
    peer = PEERS[name]
    assert peer.submit is not None
    return Row(title, peer.open, peer.submit, target, peer)


def block(row: Row, calls: int) -> list[float]:
    """Microseconds of some calls to a pool that is up."""
    figures = []
    with row.open(WORKERS) as pool:
        if row.peer is not None:
            warm(row.peer, pool, WORKERS)
        for _ in range(5):
            row.submit(pool, increment, 1, None)()
        time.sleep(0.1)
        for _ in range(calls):
            time.sleep(PAUSE)
            began = time.perf_counter()
            row.submit(pool, increment, 1, None)()
            figures.append((time.perf_counter() - began) * 1e6)
    return figures


def compare(title: str, rows: list[Row], quick: bool) -> None:
    """Blocks of calls in turn, a pool at a time; the first row is the base."""
    rows = [row for row in rows if row.peer is None or installed(row.peer.needs)]
    figures: dict[str, list[float]] = {row.name: [] for row in rows}
    failed: dict[str, str] = {}
    for _ in range(1 if quick else BLOCKS):
        for row in rows:
            if row.name in failed:
                continue
            try:
                figures[row.name] += block(row, 10 if quick else CALLS)
            except Exception as error:
                failed[row.name] = f"{type(error).__name__}: {error}"[:80]
                failures.append(f"{title}: {row.name}: {failed[row.name]}")
    width = max(len(row.name) for row in rows)
    print(f"\n### {title}\n")
    print(f"| {'case':<{width}} | p50 µs | p99 µs | max µs | ratio of p50 | target |")
    print(f"| {'-' * width} | -----: | -----: | -----: | -----------: | ------ |")
    base = median(figures[rows[0].name])
    for row in rows:
        if row.name in failed:
            print(f"| {row.name:<{width}} | | | | | {failed[row.name]} |")
            continue
        values = sorted(figures[row.name])
        p99 = values[int(len(values) * 0.99)]
        print(
            f"| {row.name:<{width}} | {median(values):6.0f} | {p99:6.0f} | {values[-1]:6.0f} "
            f"| {median(values) / base:12.2f} | {row.target} |"
        )


def main(rounds: int, quick: bool) -> None:
    """Print the tables."""
    calls = f"{BLOCKS * CALLS} calls {PAUSE * 1000:.0f} ms apart"
    compare(
        f"One item to an idle pool of 2 threads, {calls} (base: ThreadPoolExecutor)",
        [
            Row("ThreadPoolExecutor", ThreadPoolExecutor, executor_submit),
            Row("rxpool", WorkerPool, rxpool_submit, "≤ 1.5"),
        ],
        quick,
    )
    compare(
        f"One item to an idle pool of 2 processes, {calls} (base: a pipe)",
        [
            of("floor", "floor: pipe"),
            of("rxpool map", "rxpool", "≤ 2.5, p99 ≤ 1,200 µs"),
            of("ProcessPoolExecutor", "ProcessPoolExecutor"),
            of("multiprocessing.Pool", "Pool.apply"),
            of("pebble", "pebble schedule"),
            of("loky", "loky submit"),
        ],
        quick,
    )
