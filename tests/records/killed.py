"""Writes a journal and dead letters until it is killed; says what it has recorded.

Run as ``python killed.py FOLDER``.  For each line of the input, a number, a child does that,
with items from that number on.  The first line of output is its process id; each that follows
says that an item is in all three files; the last one says that the child is dead.
"""

import os
import sys

from rxpool import Failure
from rxpool.records import Journal, JsonLinesDeadLetters, SqliteDeadLetters


def work(n):
    """What the journal is about."""
    return [n] * 50


def main(folder, first):
    with (
        Journal(f"{folder}/journal", emit="stored", fingerprint="1") as journal,
        JsonLinesDeadLetters(f"{folder}/lines") as lines,
        SqliteDeadLetters(f"{folder}/table") as table,
    ):
        run = journal.open(work, {})
        n = first
        while True:
            failure = Failure({"n": n, "ballast": "x" * (n % 997)}, ValueError(n), 1, 0.5, 0.25)
            run.record(run.identify(n), work(n))
            lines.on_next(failure)
            table.on_next(failure)
            os.write(1, b"%d\n" % n)
            n += 1


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()  # quicker than to start Python and import all this again
        if not child:
            os.write(1, b"%d\n" % os.getpid())
            main(sys.argv[1], int(line))
        os.waitpid(child, 0)
        os.write(1, b"dead\n")
