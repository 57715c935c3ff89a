"""Opens a journal when a line comes, together with other processes, and fills it.

Run as ``python sharing.py PATH NAME``.
"""

import sys

from rxpool.records import Journal


def work(n):
    """What the journal is about."""


if __name__ == "__main__":
    path, name = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    with Journal(path, fingerprint="1") as journal:
        run = journal.open(work, {})
        for n in range(100):
            run.record(str(n), (name, n))
            run.record(f"{name} {n}", None)
