"""The pool on processes against its peers and hand-written pipes."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from itertools import cycle, islice, repeat
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from benchmarks.harness import Case, installed, table
from benchmarks.peers import PEERS, context, warm
from benchmarks.work import increment, spin, total

WORKERS = 2
FLOATS = 131_072  # 1 MB of them

Source = Callable[[int], Iterable[Any]]


def timed(name: str, work: Callable[[Any], Any], source: Source, chunk: int = 1) -> Any:
    """Seconds from the first item to the last result; the processes run already."""
    peer = PEERS[name]

    def run(items: int) -> float:
        results: list[Any] = []
        with peer.open(WORKERS) as pool:
            warm(peer, pool, WORKERS)
            peer.feed(pool, work, source(32), 1, results.append)  # what work imports
            results.clear()
            began = time.perf_counter()
            peer.feed(pool, work, source(items), chunk, results.append)
            took = time.perf_counter() - began
        if len(results) != items:
            raise AssertionError(f"{len(results)} of {items}")
        return took

    return run


def rows(
    work: Callable[[Any], Any], source: Source, cases: list[tuple[Any, ...]]
) -> list[Case]:
    """Cases from (title, peer, items, chunk, target)."""
    return [
        Case(title, items, timed(name, work, source, chunk), target, PEERS[name].needs)
        for title, name, items, chunk, target in cases
    ]


# -- numpy arrays through shared memory ----------------------------------------------------


def sum_shared(connection: Connection, name: str, slots: int) -> None:
    """The floor's process: sums of the slots that it is told."""
    import numpy as np

    memory = SharedMemory(name)
    arrays = np.ndarray((slots, FLOATS), dtype=np.float64, buffer=memory.buf)
    try:
        while (slot := connection.recv()) is not None:
            connection.send(float(arrays[slot].sum()))
    except (EOFError, OSError, KeyboardInterrupt):
        pass
    del arrays
    memory.close()


def shared_memory(items: int) -> float:
    """The floor: each array is copied once, into memory that the process sees too."""
    import numpy as np

    slots = 4
    with ExitStack() as stack:
        workers = []
        for _ in range(WORKERS):
            memory = SharedMemory(create=True, size=slots * FLOATS * 8)
            stack.callback(memory.unlink)
            stack.callback(memory.close)
            here, there = context().Pipe()
            process = context().Process(
                target=sum_shared, args=(there, memory.name, slots), daemon=True
            )
            process.start()
            there.close()
            stack.callback(process.join)
            stack.callback(here.close)
            stack.callback(here.send, None)
            workers.append(
                (here, np.ndarray((slots, FLOATS), dtype=np.float64, buffer=memory.buf))
            )
        share(workers, slots, arrays(32))
        took, count = share(workers, slots, arrays(items))
        workers.clear()
    if count != items:
        raise AssertionError(f"{count} of {items}")
    return took


def share(workers: list[Any], slots: int, source: Iterator[Any]) -> tuple[float, int]:
    """Seconds and results."""
    began = time.perf_counter()
    results, busy = [], []
    for slot in range(slots):
        for connection, views in workers:
            for array in islice(source, 1):
                views[slot] = array
                connection.send(slot)
                busy.append((connection, views, slot))
    while busy:
        again = []
        for connection, views, slot in busy:
            results.append(connection.recv())
            for array in islice(source, 1):
                views[slot] = array
                connection.send(slot)
                again.append((connection, views, slot))
        busy = again
    return time.perf_counter() - began, len(results)


@cache
def eight_arrays() -> list[Any]:
    """Made once, and not while the time runs."""
    import numpy as np

    return [np.full(FLOATS, float(number)) for number in range(8)]


def arrays(items: int) -> Iterator[Any]:
    """Eight arrays over and over, each time as another object.

    The same object would be pickled once for all of a chunk.
    """
    return (array.view() for array in islice(cycle(eight_arrays()), items))


# -- the tables ----------------------------------------------------------------------------


def turns_for(seconds: float) -> int:
    """How many turns of `spin` take that long."""
    turns, best = 100_000, float("inf")
    for _ in range(10):
        began = time.perf_counter()
        spin(turns)
        best = min(best, time.perf_counter() - began)
    return int(turns * seconds / best)


def main(rounds: int, quick: bool) -> None:
    """Print the tables."""
    n = 200_000
    table(
        "Processes, x + 1 on 2 workers (base: a pipe, singly)",
        rows(
            increment,
            range,
            [
                ("floor: pipe, singly", "floor", n // 4, 1, ""),
                ("floor: pipe, chunks of 64", "floor", n, 64, ""),
                ("floor: pipe, chunks of 1000", "floor", n, 1000, ""),
                ("rxpool map", "rxpool map", n, 1, "≤ 0.14 (2.5 µs)"),
                ("rxpool imap", "rxpool imap", n, 1, "≤ 0.06 (1 µs)"),
                ("ProcessPoolExecutor.map", "ProcessPoolExecutor", n // 40, 1, ""),
                ("Pool.imap_unordered(1)", "multiprocessing.Pool", n // 8, 1, ""),
                ("Pool.imap_unordered(64)", "multiprocessing.Pool", n, 64, ""),
                ("Pool.imap_unordered(1000)", "multiprocessing.Pool", n, 1000, ""),
                ("pebble map", "pebble", n // 20, 1, ""),
                ("pebble schedule", "pebble schedule", n // 20, 1, ""),
                ("loky map", "loky", n // 40, 1, ""),
                ("joblib, batch auto", "joblib", n, 1, ""),
                ("mpire imap_unordered(1)", "mpire", n // 40, 1, ""),
                ("rxpool map, on an executor", "rxpool on an executor", n // 40, 1, ""),
            ],
        ),
        rounds,
        quick,
    )
    if installed("numpy"):
        table(
            "Processes, 1 MB numpy array to its sum (base: a pipe)",
            [
                *rows(total, arrays, [("floor: pipe", "floor", 500, 1, "")]),
                Case("floor: shared memory", 500, shared_memory),
                *rows(
                    total,
                    arrays,
                    [
                        ("rxpool map", "rxpool map", 500, 1, "≤ 0.6"),
                        ("rxpool imap", "rxpool imap", 500, 1, "≤ 0.6"),
                        ("ProcessPoolExecutor.map", "ProcessPoolExecutor", 500, 1, ""),
                        ("Pool.imap_unordered(1)", "multiprocessing.Pool", 500, 1, ""),
                        ("joblib, batch auto", "joblib", 500, 1, ""),
                    ],
                ),
            ],
            rounds,
            quick,
        )
    turns = turns_for(0.005)
    table(
        "Processes, 5 ms of CPU (base: a pipe; ideal 2,500 µs)",
        rows(
            spin,
            lambda items: repeat(turns, items),
            [
                ("floor: pipe, whoever is ready", "floor, whoever is ready", 500, 1, ""),
                ("rxpool map", "rxpool map", 500, 1, "≤ 1.03"),
                ("rxpool imap", "rxpool imap", 500, 1, "≤ 1.03"),
                ("ProcessPoolExecutor.map", "ProcessPoolExecutor", 500, 1, ""),
                ("joblib, batch auto", "joblib", 500, 1, ""),
            ],
        ),
        rounds,
        quick,
    )
