"""Two million items through two processes: memory, and what is read ahead."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.harness import failures, installed
from benchmarks.peers import PEERS, warm
from benchmarks.trial import answer_by, trial
from benchmarks.work import increment, nap

WORKERS, ITEMS, LIMIT = 2, 2_000_000, 15.0

#: title, peer, size of its chunks
ROWS = (
    ("floor: pipe, chunks of 64", "floor", 64),
    ("rxpool map", "rxpool map", 1),
    ("rxpool imap", "rxpool imap", 1),
    ("ProcessPoolExecutor.map(64)", "ProcessPoolExecutor", 64),
    ("Pool.imap_unordered(64)", "multiprocessing.Pool", 64),
    ("pebble map(64)", "pebble", 64),
    ("loky map(64)", "loky", 64),
    ("joblib generator, batch auto", "joblib generator", 1),
    ("mpire imap_unordered(64)", "mpire", 64),
)


def resident() -> float:
    """The resident set now, in MB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import psutil

        return float(psutil.Process().memory_info().rss) / 2**20
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """What went in and what came out so far, and the largest resident set."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.pulled = self.results = self.most = 0
        self._state = state
        self._base = resident()
        self._began = time.monotonic()
        Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self.note()
            time.sleep(0.02)

    def note(self) -> None:
        """Write it down."""
        grown = max(self._state.get("grown", 0.0), resident() - self._base)
        self._state.update(
            pulled=self.pulled,
            results=self.results,
            most=self.most,
            grown=grown,
            seconds=time.monotonic() - self._began,
        )

    def source(self, items: int) -> Iterator[int]:
        """The numbers, counted as they are pulled."""
        for number in range(items):
            self.pulled = number + 1
            if self.pulled - self.results > self.most:
                self.most = self.pulled - self.results
            yield number


def streaming(name: str, chunk: int, items: int, limit: float) -> None:
    """In a process of its own: all items, as fast as it can."""
    state: dict[str, Any] = {}
    end = answer_by(limit + 30, state)
    peer = PEERS[name]
    with peer.open(WORKERS) as pool:
        warm(peer, pool, WORKERS)
        answer_by(limit, state)
        watch = Watch(state)

        def sink(_: int) -> None:
            watch.results += 1

        peer.feed(pool, increment, watch.source(items), chunk, sink)
        watch.note()
        end()


def stalled(name: str, chunk: int, pause: float, limit: float) -> None:
    """In a process of its own: 200 results are taken, then none for some time."""
    state: dict[str, Any] = {}
    end = answer_by(limit + 30, state)
    peer = PEERS[name]
    with peer.open(WORKERS) as pool:
        warm(peer, pool, WORKERS)
        answer_by(limit, state)
        watch = Watch(state)
        done = Event()

        def sink(_: int) -> None:
            watch.results += 1
            if watch.results == 200 and not done.is_set():
                done.set()
                state["before"] = watch.pulled - 200
                time.sleep(pause)
                state["after"] = watch.pulled - 200
                watch.note()
                end()

        peer.feed(pool, nap, watch.source(100_000), chunk, sink)


def child(kind: str, name: str, chunk: str, amount: str, limit: str) -> None:
    """What a process of its own does."""
    if kind == "streaming":
        streaming(name, int(chunk), int(amount), float(limit))
    else:
        stalled(name, int(chunk), float(amount), float(limit))


def rows(run: Callable[[str, int], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row and what its process answered."""
    for title, name, chunk in ROWS:
        if not installed(PEERS[name].needs):
            continue
        state = run(name, chunk)
        print(".", end="", file=sys.stderr, flush=True)
        if "failed" in state:
            failures.append(f"memory: {title}: {state['failed']}")
        yield title, state
    print(file=sys.stderr)


def main(rounds: int, quick: bool) -> None:
    """Print the tables; one run of each."""
    items = ITEMS // 50 if quick else ITEMS
    limit = 3.0 if quick else LIMIT
    pause = 0.3 if quick else 2.0
    width = max(len(title) for title, *_ in ROWS)
    target = {"rxpool map": "grown by under 10", "rxpool imap": "grown by under 10"}
    lines = []
    for title, state in rows(
        lambda name, chunk: trial(
            "benchmarks.memory", "streaming", name, chunk, items, limit, limit=limit + 30
        ),
    ):
        if "failed" in state:
            lines.append(f"| {title:<{width}} | | | | | | {state['failed']} |")
            continue
        seconds = f"{state['seconds']:.1f}" + (" (cut)" if state["hung"] else "")
        lines.append(
            f"| {title:<{width}} | {state['pulled']:>9,} | {state['results']:>9,} "
            f"| {seconds:>10} | {state['most']:>9,} | {state['grown']:>6.1f} "
            f"| {target.get(title, '')} |"
        )
    print(f"\n### {items:,} items lazily through 2 processes, cut at {limit:.0f} s\n")
    print(
        f"| {'case':<{width}} |    pulled |   results |  seconds   | most ahead "
        "| grown by MB | target |"
    )
    print(f"| {'-' * width} | ----: | ----: | ----: | ----: | ----: | ------ |")
    print("\n".join(lines))
    target = dict.fromkeys(target, "≤ 1,024 + running")
    lines = []
    for title, state in rows(
        lambda name, chunk: trial(
            "benchmarks.memory", "stalled", name, chunk, pause, limit, limit=limit + 30
        ),
    ):
        if "failed" in state:
            lines.append(f"| {title:<{width}} | | | {state['failed']} |")
            continue
        before, after = (
            f"{state[key]:,}" if key in state else f"no 200 results in {limit:.0f} s"
            for key in ("before", "after")
        )
        lines.append(f"| {title:<{width}} | {before} | {after} | {target.get(title, '')} |")
    print(f"\n### 1 ms tasks on 2 processes; 200 results are taken, then none for {pause} s\n")
    print(f"| {'case':<{width}} | ahead at the 200th | ahead after the pause | target |")
    print(f"| {'-' * width} | ----: | ----: | ------ |")
    print("\n".join(lines))
