"""Ship log lines: three producers, batches, a sink that fails now and then, dead letters.

    python examples/shipper.py out/            # until Ctrl-C or SIGTERM
    python examples/shipper.py out/ --lines 300

Each producer is a thread that pushes lines as they come.  Lines travel in batches: 50 lines,
4 kB or half a second, whatever comes first.  The sink refuses one batch in five, and for a
while all of them: a batch is tried again, and of one that holds a bad line only that line goes
to the dead letters.  SIGTERM lets go of the producers, ships what is there and ends the
program: every line that a producer got rid of is in ``shipped.jsonl`` or in ``dead.jsonl``.
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import TypedDict

from reactivex.subject import Subject

from rxpool import Retry, WorkerPool
from rxpool import operators as ops
from rxpool.records import JsonLinesDeadLetters

WORDS = ("accepted", "refused", "closed", "opened", "moved", "slow")


class Line(TypedDict):
    """A line of a log."""

    producer: str
    number: int
    text: str


class Refused(Exception):
    """The sink does not take a batch just now."""


class Sink:
    """Where batches go; it writes each with one call, or none of it."""

    def __init__(self, path: Path, seed: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._chance = random.Random(seed)
        self._down = monotonic() + 0.5, monotonic() + 0.9
        self._lock = threading.Lock()

    def send(self, batch: list[Line]) -> list[int]:
        """Write a batch; the length of each line."""
        if any(line["text"] == "bad" for line in batch):
            raise ValueError(f"a bad line among {len(batch)}")
        begun, over = self._down
        with self._lock:
            refuses = self._chance.random() < 0.2
        if refuses or begun < monotonic() < over:
            raise Refused("try again")
        data = [json.dumps(line).encode() + b"\n" for line in batch]
        with self._lock:
            os.write(self._file, b"".join(data))
        return [len(line) for line in data]


class Producer(threading.Thread):
    """Pushes lines until there are enough, or nobody takes them any more."""

    def __init__(
        self, name: str, lines: "Subject[Line]", most: int, over: threading.Event
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.lines, self.most, self.over = lines, most, over
        self.pushed = 0

    def run(self) -> None:
        """Push."""
        chance = random.Random(self.name)
        while self.pushed < self.most and not self.over.wait(chance.expovariate(400)):
            text = "bad" if chance.random() < 0.002 else " ".join(chance.choices(WORDS, k=8))
            self.lines.on_next({"producer": self.name, "number": self.pushed, "text": text})
            self.pushed += 1


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", type=int, default=sys.maxsize, help="of each producer")
    return parser.parse_args()


def main() -> int:
    """Ship until there is nothing more, or somebody says that it is over."""
    options = arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    lines = Subject[Line]()
    producers = [Producer(name, lines, options.lines, over) for name in "abc"]
    sink = Sink(options.folder / "shipped.jsonl", seed=os.getpid())
    shipped: list[int] = []
    retry = Retry(12, delay=0.02, max_delay=0.2, on=Refused)
    with (
        JsonLinesDeadLetters(options.folder / "dead.jsonl") as letters,
        WorkerPool(4) as pool,
    ):
        lines.pipe(
            ops.batch(50, 0.5, max_weight=4096, weight=lambda line: len(line["text"])),
            pool.map_batches(sink.send, bisect=True, retry=retry, on_failure=letters),
        ).subscribe(shipped.append)
        print("ready", flush=True)
        for producer in producers:
            producer.start()
        for producer in producers:
            while producer.is_alive():  # in steps, so that a signal is seen
                producer.join(0.1)
    # The pool is closed: what was pushed is shipped, or a dead letter.
    for producer in producers:
        print(f"{producer.name}: {producer.pushed} lines")
    print(f"shipped {len(shipped)} lines, {sum(shipped)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
