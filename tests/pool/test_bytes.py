"""Large items are bounded in bytes: fewer of them are read ahead than `max_pending` allows."""

import itertools
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import reactivex as rx

from rxpool import WorkerPool
from rxpool.errors import InvalidArgument
from rxpool.pool._state.byte_bound import ByteBound, size_of
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import Slots
from tests.backends import memory_jobs as jobs
from tests.ends.programs import run
from tests.waiting import WAIT

MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]


def test_as_many_as_have_the_bytes():
    """Of items and their results together; at least one, and never more than the limit."""
    bound = ByteBound(100, 20)
    assert bound.weighed(2, 20) == 10
    assert bound.weighed(1, 10, results=True) == 5
    assert bound.weighed(1, 1000) == 1
    assert ByteBound(100, 20).weighed(10, 1) == 20
    assert ByteBound(100, 20).weighed(10, 0) == 20


def test_larger_ones_count_at_once():
    """Smaller ones little by little."""
    bound = ByteBound(1000, 1000)
    assert bound.weighed(1, 10) == 100
    assert bound.weighed(1, 100) == 10
    found = [bound.weighed(1, 10) for _ in range(40)]
    assert found == sorted(found)
    assert found[0] < 15
    assert found[-1] > 95


@pytest.mark.parametrize(
    ("item", "size"),
    [
        (np.zeros(1000, np.uint8), 1000),
        (b"abc", 3),
        (bytearray(7), 7),
        (memoryview(bytes(9)), 9),
        (5, 0),
        ([b"abc"], 0),
        (np.ndarray, 0),
        (type("Odd", (), {"nbytes": property(lambda self: 1 / 0)})(), 0),
        (type("Odder", (), {"nbytes": "many"})(), 0),
    ],
)
def test_what_can_be_told_before(item, size):
    """Of what is a row of bytes."""
    assert size_of(item) == size


def flow_state(**options):
    """The books of a flow in a pool of two slots that knows bytes."""
    slots = Slots(2)
    slots.max_bytes = 1000
    return FlowState(slots, **options)


def test_little_is_read_before_anything_is_known():
    """Then as many as there may be."""
    flow = flow_state()
    assert flow.capacity.to_read() == 4
    flow.capacity.weigh(1, 100)
    assert (flow.capacity.to_read(), flow.capacity.max_pending) == (10, 10)
    flow.capacity.weigh(1, 900, results=True)
    assert flow.capacity.max_pending == 1
    for _ in range(100):
        flow.capacity.weigh(1, 0)
        flow.capacity.weigh(1, 0, results=True)
    assert flow.capacity.max_pending > 1000


@pytest.mark.parametrize("options", [{"overflow": "error"}, {"max_pending": 0}])
def test_where_nobody_waits_the_number_counts(options):
    """Nothing is dropped or refused for its size."""
    flow = flow_state(**options)
    before = flow.capacity.max_pending
    flow.capacity.weigh(1, 10_000)
    flow.capacity.guess(bytes(10_000))
    assert (flow.capacity.max_pending, flow.capacity.unweighed) == (before, 0)


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("how", ["imap", "pull", "push"])
def test_items_read_ahead(how, order):
    """Not many more than have the bytes, in any order, whoever brings them."""
    held = most = 0
    lock = threading.Lock()

    def count(step):
        nonlocal held, most
        with lock:
            held += step
            most = max(most, held)

    def source():
        for _ in range(60):
            count(1)
            yield np.ones(MIB, np.uint8)

    with WorkerPool(2, on="processes", max_bytes=8 * MIB) as pool:
        if how == "imap":
            for _ in pool.imap(jobs.total, source(), order=order):
                count(-1)
        else:
            items = pool.pull(source()) if how == "pull" else rx.from_iterable(source())
            items.pipe(pool.map(jobs.total, order=order)).subscribe(lambda _: count(-1))
            pool.close()
    assert held == 0
    assert most <= 8 + 2 + 3 + (4 if order == "input" else 0)


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("how", ["pull", "push"])
def test_results_that_nobody_takes(how, order):
    """No more are made than have the bytes, however many small items were accepted."""
    made, seen, pause = [], [], threading.Event()
    with WorkerPool(2, on="processes", max_bytes=8 * MIB) as pool:

        def take(array):
            if not seen:  # the others have time to do what they may
                for _ in range(100):
                    made.append(pool.report().succeeded)
                    pause.wait(0.005)
            seen.append(array.nbytes)
            made.append(pool.report().succeeded - len(seen))

        items = [MIB] * 60
        source = pool.pull(items) if how == "pull" else rx.from_iterable(items)
        source.pipe(pool.map(jobs.make, order=order)).subscribe(take)
        pool.close()
    assert seen == [MIB] * 60
    assert max(made) <= 8 + 2 + 2


@pytest.mark.parametrize("order", ["completion", "input"])
def test_a_pool_is_closed_and_nobody_fetches(order):
    """What was accepted is done all the same."""
    with WorkerPool(2, on="processes", max_bytes=8 * MIB) as pool:
        results = pool.imap(jobs.same, [np.ones(MIB // 2, np.uint8)] * 40, order=order)
        flow = results._feed.state
        while flow.counts.accepted < 8:
            next(results)
        assert pool.close(WAIT)
        assert pool.report().succeeded == pool.report().accepted


def test_how_many_may_be_started():
    """As many as have the bytes, beside those that run; all if nobody fetches any more."""
    flow = flow_state(max_pending=100)
    assert flow.capacity.to_start(2) == sys.maxsize
    flow.capacity.weigh(1, 250, results=True)
    assert flow.capacity.to_start(2) == 4 + 2
    flow.done.extend(range(5))
    assert (flow.capacity.to_start(2), flow.capacity.may_run()) == (1, True)
    flow.done.append(5)
    assert not flow.capacity.may_run()
    flow.capacity.unfetched = True
    assert flow.capacity.may_run()
    flow = flow_state(max_pending=100, ordered=True, max_reorder=3)
    flow.results.line.extend(range(3))
    assert not flow.capacity.may_run()
    flow.capacity.unfetched = True
    assert flow.capacity.may_run()


def test_small_items_are_not_held_back():
    """As many wait as `max_pending` says."""
    gate, read = threading.Event(), []

    def source():
        for number in itertools.count():
            read.append(number)
            yield number

    with WorkerPool(1, on="processes", max_pending=500) as pool:
        with pool.imap(abs, source()) as results:
            for _ in range(50):
                next(results)
            for _ in range(2000):
                if len(read) >= 500:
                    break
                next(results)
                gate.wait(0.0001)
        assert len(read) >= 500


@pytest.mark.parametrize("value", [0, -1, 1.5, "many"])
def test_bad_bounds(value):
    """They are refused where they are written."""
    with pytest.raises(InvalidArgument, match="max_bytes"):
        WorkerPool(on="processes", max_bytes=value)
    with pytest.raises(InvalidArgument, match="max_bytes"):
        WorkerPool(on="asyncio", max_bytes=100)


PROGRAM = """
import numpy as np
from pathlib import Path
from rxpool import WorkerPool
from tests.backends.memory_jobs import total

def source():
    for number in range(200):
        yield np.full(4 << 20, number, np.uint8)

if __name__ == "__main__":
    with WorkerPool(2, on="processes") as pool:
        for _ in pool.imap(total, source()):
            pass
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is asked of /proc")
def test_the_peak_of_200_arrays_of_4_mib(tmp_path):
    """800 MiB of items go through a parent that stays small."""
    ended = run(tmp_path, PROGRAM)
    assert ended.err == ""
    assert int(ended.out) <= 200  # about 120; 850 without a bound
