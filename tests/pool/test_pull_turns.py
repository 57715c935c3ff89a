"""`pool.pull` gives way to what its scheduler has to do: items arrive, and are counted."""

import asyncio
import threading

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.scheduler import HistoricalScheduler
from reactivex.testing import TestScheduler

from rxpool import WorkerPool, iterate
from tests import jobs

MOST = 500  #: items that may be read when some ten are asked for

#: operators that give items to the scheduler, not to who is below
BETWEEN = {
    "flat_map": ro.flat_map(rx.of),
    "flat_map of lists": ro.flat_map(lambda item: [item]),
    "concat_map": ro.concat_map(rx.of),
    "two": lambda source: source.pipe(ro.flat_map(rx.of), ro.concat_map(rx.of)),
    "merge": ro.merge(rx.of(1, 2)),
    "start_with": ro.start_with(1),
}
between = pytest.mark.parametrize("stage", BETWEEN.values(), ids=BETWEEN)


class Endless:
    """An input without an end, that fails when it is read without bounds."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        while True:
            assert self.read < MOST, "read without bounds"
            self.read += 1
            yield 1


@between
@pytest.mark.parametrize("on", ["threads", "inline", "asyncio"])
@pytest.mark.parametrize("order", ["completion", "input"])
def test_an_endless_input(stage, on, order):
    """Five results, and the input is read a little further."""
    items, out, over = Endless(), [], threading.Event()
    with WorkerPool(1 if on == "inline" else 3, on=on, max_pending=10) as pool:
        flow = pool.pull(items).pipe(stage, pool.map(jobs.same, order=order), ro.take(5))
        flow.subscribe(out.append, on_error=out.append, on_completed=over.set)
        assert over.wait(20)
    assert len(out) == 5
    assert set(out) <= {1, 2}


@between
@pytest.mark.parametrize("kind", [TestScheduler, HistoricalScheduler])
def test_in_virtual_time(stage, kind):
    """The same, at the instants of the scheduler."""
    scheduler, items, out = kind(), Endless(), []
    pool = WorkerPool(2, on=scheduler, max_pending=10)
    flow = pool.pull(items).pipe(stage, pool.map(jobs.same, order="input"), ro.take(5))
    flow.subscribe(out.append, on_error=out.append, scheduler=scheduler)
    for _ in range(100):
        scheduler.advance_by(1.0)
    assert len(out) == 5
    assert set(out) <= {1, 2}
    pool.terminate()


def test_on_an_event_loop():
    """The loop is not kept for ever."""

    async def main():
        out = []
        async with WorkerPool(2, on="asyncio", max_pending=10) as pool:
            stage = BETWEEN["flat_map"]
            flow = pool.pull(Endless()).pipe(stage, pool.map(jobs.double_later), ro.take(5))
            async for value in iterate(flow):
                out.append(value)
        return out

    assert asyncio.run(main()) == [2] * 5


def test_two_readers_of_one_trampoline_take_turns():
    """None keeps the other from being read."""
    first, second, out = Endless(), Endless(), []
    with WorkerPool(2, max_pending=10) as pool:
        ones = pool.pull(first).pipe(ro.map(lambda _: "a"))
        twos = pool.pull(second).pipe(ro.map(lambda _: "b"))
        flow = ones.pipe(ro.merge(twos), pool.map(jobs.same, order="input"), ro.take(200))
        flow.subscribe(out.append, on_error=out.append)
    assert {"a", "b"} == set(out)


def test_a_long_input_is_read_to_its_end():
    """Nothing is lost at the turns, and the order stays."""
    out = []
    with WorkerPool(2) as pool:
        flow = pool.pull(range(1000)).pipe(
            ro.flat_map(rx.of), pool.map(jobs.same, order="input")
        )
        flow.subscribe(out.append, on_error=out.append)
    assert out == list(range(1000))
