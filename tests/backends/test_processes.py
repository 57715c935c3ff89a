"""The pool on processes: plain work, and subscribers that wait for the pool."""

import asyncio
import os
from pathlib import Path

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import Failure, WorkerPool
from rxpool.errors import NotPicklable
from tests.backends import process_jobs as jobs
from tests.backends.process_jobs import notes
from tests.backends.process_pools import error_of, outcome, outcomes, pids, pids_of_both
from tests.pool.crew import Sink, balanced, collect
from tests.processes import is_gone
from tests.waiting import WAIT, eventually


def test_work_runs_in_processes(shared):
    """Not in this one, and in no more than there are workers."""
    found = set(collect(rx.of(*range(200)).pipe(shared.map(jobs.pid))))
    assert os.getpid() not in found
    assert found <= pids(shared)
    assert len(pids(shared)) == 2


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 10_000])
def test_every_item_has_its_result(shared, count):
    """However many there are, and in their order if that is wanted."""
    items = range(count)
    doubled = [2 * n for n in items]
    assert sorted(collect(rx.from_iterable(items).pipe(shared.map(jobs.double)))) == doubled
    ordered = shared.map(jobs.double, order="input")
    assert collect(rx.from_iterable(items).pipe(ordered)) == doubled
    assert list(shared.imap(jobs.double, items, order="input")) == doubled
    balanced(shared)


def test_both_processes_work_at_once(tmp_path, shared):
    """Two items that wait for each other come to an end."""
    gates = [str(tmp_path / name) for name in "ab"]
    futures = [shared.submit(jobs.held, gate) for gate in gates]
    for gate in gates:
        eventually(lambda gate=gate: notes(f"{gate}.began"))
    for gate in gates:
        Path(gate).touch()
    assert len({future.result(WAIT) for future in futures}) == 2


def test_submit_with_arguments(shared):
    """Positional and named ones; the errors of calls come out of their futures."""
    assert shared.submit(sorted, [3, 1, 2], reverse=True).result(WAIT) == [3, 2, 1]
    with pytest.raises(ValueError, match="invalid literal"):
        shared.submit(int, "x").result(WAIT)


def test_a_call_can_be_awaited(shared):
    """The future of `submit` in a coroutine."""

    async def main():
        return await asyncio.gather(*(shared.submit(jobs.double, n) for n in range(20)))

    assert asyncio.run(main()) == [2 * n for n in range(20)]


def test_batches(shared):
    """Lists go there as one item, their results come out one by one."""
    stream = rx.of([1, 2], [3, 4, 5]).pipe(shared.map_batches(jobs.same, order="input"))
    assert collect(stream) == [1, 2, 3, 4, 5]


def test_only_the_newest(tmp_path):
    """`switch_map`: a new item ends the process that works on the one before it."""
    with WorkerPool(2, on="processes") as pool:
        before = pids_of_both(pool)
        source, sink = Subject(), Sink()
        sink.to(source.pipe(pool.switch_map(jobs.held)))
        first, second = str(tmp_path / "first"), str(tmp_path / "second")
        source.on_next(first)
        (pid,) = eventually(lambda: notes(f"{first}.began"))
        source.on_next(second)
        eventually(lambda: is_gone(int(pid)))
        Path(second).touch()
        source.on_completed()
        (found,) = sink.wait()
        assert found != int(pid)
        eventually(lambda: len(pids(pool)) == 2 and int(pid) not in pids(pool))
        assert len(pids(pool) & before) == 1


def test_results_of_a_coroutine_function(shared):
    """``async def`` runs on an event loop of the process."""
    stream = rx.of(1, 2, 3).pipe(shared.map(jobs.double_later, order="input"))
    assert collect(stream) == [2, 4, 6]
    assert shared.submit(jobs.double_later, 4).result(WAIT) == 8
    assert str(error_of(shared, jobs.raise_later)) == "later"


def test_results_of_an_observable(shared):
    """They come out one by one; in outcomes and of `submit` they are a list."""
    stream = rx.of(3, 0, 2).pipe(shared.map(jobs.several, order="input"))
    assert collect(stream) == [0, 1, 2, 0, 1]
    assert outcome(shared, jobs.several, 3).value == [0, 1, 2]
    assert shared.submit(jobs.several, 2).result(WAIT) == [0, 1]


def test_an_observable_that_fails(shared):
    """What came before the error comes out; the error is the item's."""
    sink = Sink().to(rx.of(2).pipe(shared.map(jobs.several_then_raise)))
    with pytest.raises(ValueError, match="after them"):
        sink.wait()
    assert sink.values == [0, 1]
    assert str(error_of(shared, jobs.several_then_raise)) == "after them"


def test_a_part_that_cannot_be_sent(shared):
    """A result of an Observable that cannot be pickled is the item's failure."""
    error = error_of(shared, jobs.an_unpicklable_part)
    assert isinstance(error, NotPicklable)
    assert "lock" in str(error)


def test_none_and_other_small_values(shared):
    """Values of all common types come back as they went."""
    items = [None, True, False, 0, -1, 2**62, 2**63, -(2**63), 2**64, 10**100, 1.5, 1e300]
    items += [float("inf"), 1j, "", "é€😀", b"", b"\0\xff", (), (1, (2,)), [], {}, {1: [2]}]
    items += [("e",), ("p", b"x"), ("b", (), b""), ("r", ()), ("s",), range(3), {1, 2}]
    assert [o.value for o in outcomes(shared, jobs.same, items)] == items
    assert [type(o.value) for o in outcomes(shared, jobs.same, items)] == [
        type(item) for item in items
    ]


def test_progress_comes_home(shared):
    """`current_task().progress` reaches `pool.progress`, with the item."""
    told = Sink()
    subscription = shared.progress.subscribe(told.on_next)
    try:
        assert collect(rx.of("a").pipe(shared.map(jobs.tell))) == ["a"]
        eventually(lambda: len(told.values) == 2)
    finally:
        subscription.dispose()
    assert [(each.item, each.fraction) for each in told.values] == [("a", 0.25), ("a", 1.0)]


def test_work_in_a_process_need_not_ask(shared):
    """`cancelled` is False there: the process is ended."""
    assert shared.submit(jobs.cancelled, 0).result(WAIT) is False


def test_a_subscriber_may_wait_for_the_pool():
    """A result's subscriber calls `submit` and waits, though the only worker is its own."""
    with WorkerPool(1, on="processes") as pool:
        found = []

        def on_next(value):
            found.append(pool.submit(jobs.double, value).result(WAIT))

        Sink(on_next).to(rx.of(1, 2, 3).pipe(pool.map(jobs.double))).wait()
        assert found == [4, 8, 12]
        balanced(pool)


def test_a_subscriber_may_wait_when_a_worker_has_died():
    """The subscriber of a failure calls `submit` and waits, while its worker is none."""
    for workers in (1, 2):
        with WorkerPool(workers, on="processes", max_pending=0) as pool:
            found = []

            def on_next(value, pool=pool, found=found):
                if isinstance(value, Failure):
                    found.append(pool.submit(jobs.double, 4).result(WAIT))

            failures = Sink(on_next)
            failures.to(rx.of(7).pipe(pool.outcomes(jobs.die))).wait()
            assert found == [8]
            assert pool.submit(jobs.double, 1).result(WAIT) == 2
            balanced(pool)


def test_a_subscriber_may_wait_when_an_item_cannot_be_sent():
    """The failure is given on the thread that has just started the worker."""
    with WorkerPool(1, on="processes") as pool:
        found = []

        def on_next(_):
            found.append(pool.submit(jobs.double, 4).result(WAIT))

        Sink(on_next).to(rx.of(jobs.Stubborn()).pipe(pool.outcomes(jobs.same))).wait()
        assert found == [8]
        assert list(pool.imap(jobs.double, range(100), order="input"))[-1] == 198
        balanced(pool)


def test_a_subscriber_may_wait_for_a_call_that_waits():
    """The worker that could not be sent the item is free for that call, while it waits.

    Catches a `waits` that leaves jobs where they were put aside.
    """
    with WorkerPool(1, on="processes") as pool:
        pool.submit(jobs.double, 1).result(WAIT)
        later, found = [], []

        def on_next(_):
            found.append(later[0].result(WAIT))

        source, sink = Subject(), Sink(on_next)
        sink.to(source.pipe(pool.outcomes(jobs.same)))
        first = pool.submit(jobs.nap, 0.1)
        source.on_next(jobs.Stubborn())
        later.append(pool.submit(jobs.double, 4))
        source.on_completed()
        sink.wait()
        assert (first.result(WAIT), found) == (0.1, [8])
