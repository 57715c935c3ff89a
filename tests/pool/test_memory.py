"""However many items go through a pool, its memory does not grow."""

import threading
import tracemalloc
from collections import Counter

import pytest
import reactivex as rx

from rxpool import WorkerPool
from tests.pool.crew import open_gate

ITEMS = 150_000  # a million were seen to grow by as little; this many fit in a test


@pytest.mark.parametrize("kind", ["completion", "input", "imap"])
def test_memory_does_not_grow_with_the_number_of_items(kind):
    """However many items go through two workers, 10 MB are enough."""
    seen = Counter()
    with WorkerPool(2) as pool:
        tracemalloc.start()
        try:
            if kind == "imap":
                for value in pool.imap(lambda n: n + 1, range(ITEMS)):
                    seen["count"] += 1
                    seen["sum"] += value
            else:

                def add(value):
                    seen["count"] += 1
                    seen["sum"] += value

                source = rx.from_iterable(range(ITEMS))
                ended = threading.Event()
                source.pipe(pool.map(lambda n: n + 1, order=kind)).subscribe(
                    add, on_completed=ended.set
                )
                open_gate(ended)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert seen == {"count": ITEMS, "sum": ITEMS * (ITEMS + 1) // 2}
    assert peak < 10e6
