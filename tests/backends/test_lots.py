"""Lots of items at workers elsewhere: what becomes of those that are not begun, and of others.

Whatever a lot is broken off for, its items are begun once each, in their order, and what they
had been granted is there again.
"""

from functools import partial

import pytest
from reactivex import operators as ro

from rxpool import Limit, Retry, TaskTimeout, WorkerCrashed, WorkerPool
from rxpool.backends._chunk_size import ChunkSize
from rxpool.policies._limit import limit_door
from tests import jobs
from tests.backends import lot_jobs
from tests.pool.crew import collect
from tests.waiting import eventually

ITEMS = 120
ORDERS = [
    {"order": "input"},
    {"order": "key", "key": lambda item: item % 7},
    {"priority": lambda item: item},
    {"order": "input", "max_reorder": 5},
]


@pytest.fixture
def lots(monkeypatch):
    """Seven at once, from the first lot on."""
    monkeypatch.setattr(ChunkSize, "chunk", lambda chunk: 7)
    monkeypatch.setattr(ChunkSize, "more", lambda chunk, left: 7)


def in_order(values, options):
    """Whether they came as their order promises."""
    if options.get("order") == "input":
        return values == sorted(values)
    if options.get("order") == "key":
        lines = [[v for v in values if v % 7 == key] for key in range(7)]
        return all(line == sorted(line) for line in lines)
    return True


@pytest.mark.parametrize("options", ORDERS)
def test_a_worker_that_dies_in_the_midst_of_a_lot(lots, tmp_path, options):
    """One item is tried again; the others of its lot are begun once, at another worker."""
    limit = Limit(1, per=10_000, burst=ITEMS + 1)
    with WorkerPool(2, on="processes") as pool:
        work = partial(lot_jobs.die_once, str(tmp_path))
        through = pool.map(
            work, retry=Retry(2, delay=0, on=WorkerCrashed), limit=limit, **options
        )
        values = collect(pool.pull(range(ITEMS)).pipe(through))
    assert sorted(values) == [*range(ITEMS)]
    assert in_order(values, options)
    begun = [int(item) for _, item, _ in jobs.notes(str(tmp_path))]
    assert sorted(begun) == sorted([*range(ITEMS), 40])
    assert not limit_door(limit).state.lines


@pytest.mark.parametrize("options", ORDERS)
def test_items_of_a_lot_that_are_tried_again(lots, tmp_path, options):
    """Twelve attempts more, each with a token of its own."""
    limit = Limit(1, per=10_000, burst=ITEMS + 12)
    with WorkerPool(2, on="processes") as pool:
        work = partial(lot_jobs.fail_once, str(tmp_path))
        retry = Retry(2, delay=0, on=jobs.Oops)
        through = pool.map(work, retry=retry, limit=limit, **options)
        values = collect(pool.pull(range(ITEMS)).pipe(through))
    assert sorted(values) == [*range(ITEMS)]
    assert in_order(values, options)
    assert len(jobs.notes(str(tmp_path))) == ITEMS + 12


@pytest.mark.parametrize("options", ORDERS)
def test_an_item_in_a_lot_that_takes_too_long(lots, options):
    """It alone: those behind it go to another worker."""
    late = []
    with WorkerPool(2, on="processes") as pool:
        through = pool.outcomes(partial(lot_jobs.nap_at, 60), timeout=0.3, **options)
        found = collect(pool.pull(range(ITEMS)).pipe(through))
    for outcome in found:
        if hasattr(outcome, "error"):
            late.append(outcome.item)
            assert isinstance(outcome.error, TaskTimeout)
    assert late == [60]
    assert in_order([outcome.item for outcome in found], options)


@pytest.mark.parametrize("options", ORDERS)
def test_cancelled_in_the_midst_of_lots(lots, options):
    """No slot, no place in line and no key is lost: another flow has them."""
    limit = Limit(1e6, burst=1000)
    with WorkerPool(2, on="processes") as pool:
        for after in (1, 30):
            through = pool.map(jobs.same, limit=limit, **options)
            values = collect(pool.pull(range(10_000)).pipe(through, ro.take(after)))
            assert len(values) == after
            assert in_order(values, options)
            eventually(lambda: not pool.report().flows)
        eventually(lambda: pool._engine.slots.free == 2)
        assert not limit_door(limit).state.lines
        stream = pool.pull(range(9)).pipe(pool.map(jobs.same, limit=limit, order="input"))
        assert collect(stream) == [*range(9)]


@pytest.mark.parametrize("options", ORDERS)
@pytest.mark.parametrize("workers", [1, 4])
def test_coroutines_that_wait_in_the_midst_of_a_lot(options, workers):
    """The rest is given back with what it was granted; every item is begun with one token."""
    limit = Limit(1, per=10_000, burst=10 * ITEMS)
    with WorkerPool(workers, on="asyncio") as pool:
        through = pool.map(partial(lot_jobs.wait_at, 13), limit=limit, **options)
        values = collect(pool.pull(range(10 * ITEMS)).pipe(through))
    assert sorted(values) == [*range(10 * ITEMS)]
    assert in_order(values, options)
    (part,) = limit_door(limit).state.parts
    bucket = part._meters[None]
    spent = (bucket.empty - part._first) / bucket.interval + part.burst
    assert spent == pytest.approx(10 * ITEMS, abs=0.5)
