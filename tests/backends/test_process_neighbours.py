"""A slow item in a process holds up none of those that were given along with it."""

from pathlib import Path

import reactivex as rx

from rxpool import WorkerPool
from tests.backends import process_jobs as jobs
from tests.backends.process_jobs import notes
from tests.pool.crew import Sink, balanced
from tests.waiting import eventually


def test_a_slow_item_holds_nobody_up(tmp_path):
    """Its neighbours go to the other worker; what was done before it comes out."""
    gate, record = str(tmp_path / "gate"), str(tmp_path / "record")
    with WorkerPool(2, on="processes") as pool:
        items = [(n, None, record) for n in range(4000)]
        items[2500] = (2500, gate, record)
        sink = Sink().to(rx.from_iterable(items).pipe(pool.map(jobs.slow_if)))
        eventually(lambda: len(sink.values) == 3999)
        assert 2500 not in sink.values
        Path(gate).touch()
        assert sorted(sink.wait()) == list(range(4000))
        balanced(pool)
    assert sorted(map(int, notes(record))) == list(range(4000))


def test_several_slow_items_in_a_row(tmp_path):
    """Even if all but one worker are busy with them, the rest is done."""
    gate, record = str(tmp_path / "gate"), str(tmp_path / "record")
    with WorkerPool(3, on="processes") as pool:
        items = [(n, None, record) for n in range(4000)]
        for n in (2500, 2503):
            items[n] = (n, gate, record)
        sink = Sink().to(rx.from_iterable(items).pipe(pool.map(jobs.slow_if)))
        eventually(lambda: len(sink.values) == 3998)
        Path(gate).touch()
        assert sorted(sink.wait()) == list(range(4000))
    assert sorted(map(int, notes(record))) == list(range(4000))


def test_neighbours_given_to_an_idle_worker_are_not_held_up_either(tmp_path):
    """What one worker gives back to another that was idle can hold a slow item as well."""
    gate, record = str(tmp_path / "gate"), str(tmp_path / "record")
    with WorkerPool(3, on="processes") as pool:
        items = [(n, None, record) for n in range(2000)]
        slow = (1990, 1992)
        for n in slow:
            items[n] = (n, gate, record)
        # Few items are left behind the slow ones: the other workers have nothing to do.
        for _ in range(10):
            Path(gate).unlink(missing_ok=True)
            sink = Sink().to(rx.from_iterable(items).pipe(pool.map(jobs.slow_if)))
            eventually(lambda sink=sink: len(sink.values) == 1998)
            Path(gate).touch()
            assert sorted(sink.wait()) == list(range(2000))
