"""Index the definitions of a folder of Python source for full-text search, in SQLite.

    python examples/code_index.py                         the standard library
    python examples/code_index.py src --query "retry"     another folder, another question
    python examples/code_index.py src --watch             and keep the index fresh
    python examples/code_index.py --trace trace.json      and see in Perfetto who did what

Files are found lazily, parsed on a `WorkerPool`, gathered into batches, and written one
batch a transaction.  What cannot be parsed is listed with its reason and stops nothing.
Ctrl-C ends it at any time and leaves a valid index of what was done so far.
"""

import os
import signal
import sys

if __name__ == "__main__":  # the imports below take a moment; Ctrl-C may come meanwhile
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import sqlite3
import sysconfig
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import strftime

from indexing.database import Index, Tally
from indexing.source import Tree, ignore_warnings, parse
from indexing.terminal import Progress, measurements, report
from reactivex import Observable, Subject
from reactivex import operators as rx_ops

from rxpool import PerformanceMonitor, TimerScheduler, WorkerPool
from rxpool import operators as ops


def index_all(pool: WorkerPool, tree: Tree, index: Index) -> Observable[Tally]:
    """Save every file of the tree.

    `pull` looks for the next file only while the pool has room, so a slow disk or a slow
    database holds the walk back.  `outcomes` gives a `Success` or a `Failure` for each file.
    """
    return pool.pull(tree.files()).pipe(
        pool.outcomes(partial(parse, tree.folder)),
        ops.progress(description="files", keep=False),
        ops.batch(max_size=100, max_delay=0.25),
        rx_ops.map(index.save),
    )


def index_changes(
    pool: WorkerPool, changes: Observable[Path], tree: Tree, index: Index
) -> Observable[Tally]:
    """Save changed files, each once it has been quiet for a moment.

    An older result of a file must not overtake a newer one, hence ``order="input"``.
    """
    return changes.pipe(
        ops.debounce(0.2, max_wait=2.0, key=lambda path: path),
        pool.outcomes(partial(parse, tree.folder), order="input"),
        ops.batch(max_size=100, max_delay=0.1),
        rx_ops.map(index.save),
    )


def run(stream: Observable[Tally], take: Callable[[Tally], None]) -> None:
    """Wait for the end of *stream*.

    The scheduler gives it threads: the main thread only waits, and Ctrl-C meets no work.
    """
    ended = threading.Event()
    errors: list[Exception] = []

    def fail(error: Exception) -> None:
        errors.append(error)
        ended.set()

    scheduler = TimerScheduler.singleton()
    subscription = stream.subscribe(take, fail, ended.set, scheduler=scheduler)
    try:
        while not ended.wait(0.2):
            pass
    finally:
        subscription.dispose()  # the progress is not left on the screen
    if errors:
        raise errors[0]


def watch(pool: WorkerPool, tree: Tree, index: Index, total: Tally) -> None:
    """Follow the changes of the tree until Ctrl-C."""
    changes: Subject[Path] = Subject()
    stop = threading.Event()

    def push() -> None:
        for path in tree.watch(stop):
            changes.on_next(path)  # waits while the pool is behind

    def tell(saved: Tally) -> None:
        total.add(saved)
        for note in saved.notes:
            print(strftime("%H:%M:%S"), note, flush=True)

    print(f"watching {tree.folder}, Ctrl-C ends", flush=True)
    watcher = threading.Thread(target=push, name="watcher", daemon=True)
    watcher.start()
    try:
        run(index_changes(pool, changes, tree, index), tell)
    finally:
        stop.set()
        watcher.join(1.0)


def open_pool(on: str, workers: int | None, monitor: PerformanceMonitor) -> WorkerPool:
    """Parsing is work for the CPU, so processes are faster; a crash costs one file."""
    if on == "threads":
        ignore_warnings()
        return WorkerPool(workers, name="index", monitor=monitor)
    return WorkerPool(
        workers, on="processes", name="index", monitor=monitor, initializer=ignore_warnings
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; answers the exit code."""
    parser = argparse.ArgumentParser(description="Index Python source in SQLite.")
    stdlib = Path(sysconfig.get_path("stdlib"))
    add = parser.add_argument
    add("folder", nargs="?", type=Path, default=stdlib, metavar="FOLDER")
    add("--database", type=Path, default=Path("code_index.sqlite"), metavar="PATH")
    add("--workers", type=int, metavar="N", help="how many parse at once")
    add("--on", choices=("processes", "threads"), default="processes", help="what parses")
    add("--query", default="parse", metavar="TEXT", help="what to look up at the end")
    add("--trace", type=Path, metavar="PATH", help="write a trace for Perfetto")
    add("--watch", action="store_true", help="go on and follow changes")
    options = parser.parse_args(arguments)
    tree, progress = Tree(options.folder.absolute()), Progress()
    monitor = PerformanceMonitor()
    if not tree.folder.is_dir():
        parser.error(f"no such folder: {tree.folder}")
    try:
        pool = open_pool(options.on, options.workers, monitor)
        index = Index(options.database)
    except (ValueError, sqlite3.Error) as error:
        parser.error(str(error))
    with closing(index):
        try:
            signal.signal(signal.SIGINT, interrupt)
            with pool:
                with pool.profile(trace=options.trace) as profile:
                    run(index_all(pool, tree, index), progress.take)
                index.forget_the_rest()
                report("indexed", progress, index, options.query)
                measurements(profile.bottleneck(), monitor)
                if options.watch:
                    watch(pool, tree, index, progress.total)
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is over anyway
        except KeyboardInterrupt:
            report("interrupted after", progress, index)
            return 130
    return 0


def interrupt(*_: object) -> None:
    """End by `KeyboardInterrupt`, once: the end itself is not interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
