"""Calls of rxpool's own functions that an item takes: ``python -m benchmarks.calls``.

Time depends on the machine, calls do not: they tell what a change costs before it can be
measured.  What the interpreter, the standard library, reactivex and the user's function call
is not counted; nor what worker processes do.  Rows on threads vary by some percent, as it
depends on who comes first; the others are the same in each run, but for a hundredth where
there are timers.
"""

import argparse
import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import sleep
from types import FrameType
from typing import Any

import reactivex as rx
from reactivex import Subject
from reactivex.testing import TestScheduler

from rxpool import Limit, Retry, WorkerPool
from rxpool import operators as ops

OURS = tuple(
    str(folder.resolve())
    for package in (ops, sys.modules["rxpool"])
    for folder in map(Path, package.__path__)
)


@dataclass(frozen=True)
class Calls:
    """What an item takes."""

    calls: float  #: of own functions
    files: int  #: in which these are
    exact: bool  #: the same in each run


class Counting:
    """Counts calls of own functions, while it is on."""

    def __init__(self) -> None:
        self.found: Counter[tuple[str, str]] = Counter()
        self._ours: dict[str, bool] = {}

    def _seen(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        ours = self._ours.get(code.co_filename)
        if ours is None:
            ours = str(Path(code.co_filename).resolve()).startswith(OURS)
            self._ours[code.co_filename] = ours
        if ours:
            self.found[code.co_filename, code.co_qualname] += 1

    def on(self, threads: bool) -> None:
        """This thread counts; and those that are started from now on, if *threads* do."""
        gc.collect()
        gc.disable()  # finalisers come when they like
        if threads:
            threading.setprofile(self._seen)
        sys.setprofile(self._seen)

    def off(self) -> None:
        """No more."""
        threading.setprofile(None)
        sys.setprofile(None)
        gc.enable()


def of_an_item(run: Callable[[int], Any], few: int, many: int, exact: bool) -> Calls:
    """What each of *many* items takes beyond what *few* of them do."""
    tries: list[float] = []
    files: set[str] = set()
    for _ in range(1 if exact else 5):
        numbers: list[int] = []
        for count in (few, many):
            counting = Counting()
            counting.on(threads=not exact)
            try:
                run(count)
            finally:
                counting.off()
            numbers.append(sum(counting.found.values()))
            files = {file for (file, _), calls in counting.found.items() if calls >= count // 2}
        tries.append((numbers[1] - numbers[0]) / (many - few))
    return Calls(median(tries), len(files), exact)


def _same(value: Any) -> Any:
    return value


def _batches(size: int) -> Callable[[int], None]:
    def run(count: int) -> None:
        time = TestScheduler()
        source: Subject[int] = Subject()
        source.pipe(ops.batch(size, 10.0, scheduler=time)).subscribe(_same)
        for number in range(count):
            source.on_next(number)
        source.on_completed()

    return run


def _by_time(count: int) -> None:
    time = TestScheduler()
    source: Subject[int] = Subject()
    source.pipe(ops.batch(100, 1.0, scheduler=time)).subscribe(_same)
    for number in range(count):
        source.on_next(number)
        if number % 2:
            time.advance_by(2.0)
    source.on_completed()


def _storm(**options: Any) -> Callable[[int], None]:
    def run(count: int) -> None:
        with WorkerPool(2, max_pending=1 << 20) as pool:
            done = threading.Event()
            items = rx.from_iterable(range(count))
            items.pipe(pool.map(_same, **options)).subscribe(on_completed=done.set)
            done.wait()

    return run


def _idle(on: str, **options: Any) -> Callable[[int], None]:
    """One item after the other, each when the worker has nothing to do."""

    def run(count: int) -> None:
        with WorkerPool(1, on=on) as pool:
            engine = pool._engine  # noqa: SLF001 - it is asked without a call
            slots = engine.slots
            waiting = engine.backend._idle if on == "threads" else [pool]  # type: ignore[attr-defined]  # noqa: SLF001 - the same
            source: Subject[int] = Subject()
            told = threading.Semaphore(0)
            flow = pool.map(_same, **options)
            source.pipe(flow).subscribe(lambda _: told.release())
            for number in range(count):
                source.on_next(number)
                told.acquire()
                while slots.free < 1 or not waiting:
                    sleep(0)
            source.on_completed()

    return run


def _failing(count: int) -> None:
    """Each item fails once, inline: the second attempt is at once."""
    seen: set[int] = set()

    def work(number: int) -> int:
        if number in seen:
            return number
        seen.add(number)
        raise ValueError(number)

    with WorkerPool(on="inline") as pool:
        items = rx.from_iterable(range(count))
        items.pipe(pool.map(work, retry=Retry(2, delay=0, jitter=0))).subscribe(_same)


ROWS: dict[str, tuple[Callable[[int], Any], bool]] = {
    "ops.batch(100), a storm": (_batches(100), True),
    "ops.batch by time, two items each": (_by_time, True),
    "inline, plain": (_idle("inline"), True),
    "inline, input order": (_idle("inline", order="input"), True),
    "inline, retry and timeout": (_idle("inline", retry=3, timeout=60), True),
    "inline, one failure and one retry": (_failing, True),
    "threads, plain, a storm": (_storm(), False),
    "threads, input order, a storm": (_storm(order="input"), False),
    "threads, retry and limit, a storm": (_storm(retry=3, limit=Limit(10**9)), False),
    "threads, plain, one item to an idle pool": (_idle("threads"), False),
    "processes, one item to an idle pool": (_idle("processes"), False),
}


def measured(name: str, quick: bool = False) -> Calls:
    """A row."""
    run, exact = ROWS[name]
    few, many = (10, 60) if quick or "idle" in name else (100, 1100)
    return of_an_item(run, few, many, exact)


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls")
    parser.add_argument("--functions", metavar="ROW", help="each function of a row")
    options = parser.parse_args()
    if options.functions:
        counting = Counting()
        counting.on(threads=True)
        ROWS[options.functions][0](100)
        counting.off()
        for (file, name), calls in counting.found.most_common(60):
            print(f"{calls / 100:6.2f}  {Path(file).name}:{name}")
        return
    print(f"{'an item through':45} {'calls':>7} {'files':>6}")
    for name in ROWS:
        found = measured(name)
        print(f"{name:45} {found.calls:7.1f} {found.files:6}{'' if found.exact else '  about'}")


if __name__ == "__main__":
    main()
