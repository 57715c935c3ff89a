"""The pool on processes: what users see of them, apart from faults."""

import asyncio
import builtins
import gc
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import Failure, Success, TaskCancelled, WorkerPool
from rxpool.errors import (
    InvalidArgument,
    NotPicklable,
    PoolClosed,
    RemoteError,
    TaskTimeout,
    WorkerCrashed,
    WorkerStartError,
)
from rxpool.timing import TimerScheduler
from tests.backends import process_jobs as jobs
from tests.backends.process_jobs import notes
from tests.pool.crew import Sink, collect
from tests.waiting import WAIT, eventually

ROOT = Path(__file__).resolve().parents[2]


def outcomes(pool, fn, items, **options):
    """The outcomes of *items*, in their order."""
    options.setdefault("order", "input")
    return collect(rx.from_iterable(items).pipe(pool.outcomes(fn, **options)))


def outcome(pool, fn, item, **options):
    """The outcome of a single item."""
    (found,) = outcomes(pool, fn, [item], **options)
    return found


def error_of(pool, fn, item=0, **options):
    """The error of a single item, which fails."""
    found = outcome(pool, fn, item, **options)
    assert isinstance(found, Failure), found
    return found.error


def pids(pool):
    """The processes of *pool* that are alive."""
    return {process.pid for process in pool._engine.backend.processes}


def is_gone(pid):
    """Whether there is no such process, or nothing is left of it but its exit code."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def balanced(pool):
    """The books, after checking that they balance and nothing is inside."""
    r = pool.report()
    assert r.accepted == r.succeeded + r.failed + r.dropped + r.cancelled + r.in_flight
    assert (r.in_flight, r.waiting, r.flows) == (0, 0, ())
    return r


@pytest.fixture(scope="module")
def shared():
    """A pool of two, for tests that leave it as it was."""
    with WorkerPool(2, on="processes", name="shared") as pool:
        # Threads that are there before a test are not left behind by it.
        pids_of_both(pool)
        assert TimerScheduler.singleton() is not None
        yield pool


def pids_of_both(pool):
    """Have both processes of a pool of two started."""
    found = set(collect(rx.of(0.05, 0.05).pipe(pool.map(jobs.nap))))
    assert found == {0.05}
    eventually(lambda: len(pids(pool)) == 2)
    return pids(pool)


# -- plain work ----------------------------------------------------------------------------


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


# -- what cannot be sent -------------------------------------------------------------------


def test_an_item_that_cannot_be_pickled(shared):
    """It fails by itself, named; its neighbours do not."""
    items = [1, jobs.Stubborn(), 2, {"deep": [0, threading.Lock()]}, 3]
    found = outcomes(shared, jobs.same, items)
    assert [type(o) for o in found] == [Success, Failure, Success, Failure, Success]
    assert isinstance(found[1].error, NotPicklable)
    assert isinstance(found[1].error, pickle.PicklingError)
    text = str(found[1].error)
    assert "the item" in text
    assert "Stubborn" in text
    assert "I stay here" in text
    assert "['deep'][1]" in str(found[3].error)
    assert "lock" in str(found[3].error)
    balanced(shared)


def test_only_items_that_cannot_be_pickled(shared):
    """However many there are, each has its outcome, and the pool works on."""
    found = outcomes(shared, jobs.same, [jobs.Stubborn() for _ in range(50)])
    assert [type(o.error) for o in found] == [NotPicklable] * 50
    mixed = [n if n % 3 else jobs.Stubborn() for n in range(3000)]
    found = outcomes(shared, jobs.same, mixed, order="completion")
    assert sum(isinstance(o, Success) for o in found) == 2000
    assert all(isinstance(o.error, NotPicklable) for o in found if isinstance(o, Failure))
    balanced(shared)


def test_an_item_that_cannot_be_unpickled(shared):
    """It fails by itself, and the error says that it is the item's fault."""
    good, bad, more = outcomes(shared, jobs.same, [1, jobs.Explosive(), 2])
    assert (good.value, more.value) == (1, 2)
    assert isinstance(bad.error, NotPicklable)
    assert "the item" in str(bad.error)
    assert "unpacked" in str(bad.error)


def test_a_function_that_cannot_be_pickled(shared):
    """Every item fails with that reason, and the pool works on."""
    found = outcomes(shared, jobs.Stubborn().__reduce__, [1, 2, 3])
    assert [type(o.error) for o in found] == [NotPicklable] * 3
    assert "the function" in str(found[0].error)
    with pytest.raises(NotPicklable, match="I stay here"):
        shared.submit(jobs.same, jobs.Stubborn()).result(WAIT)
    assert shared.submit(jobs.double, 1).result(WAIT) == 2


class Vanishing:
    """A function that can be pickled, but not unpickled elsewhere."""

    def __call__(self, item):
        return item

    def __reduce__(self):
        return jobs._explode, ()


def test_a_function_that_cannot_be_unpickled(shared):
    """Every item fails with that reason, and the pool works on."""
    found = outcomes(shared, Vanishing(), [1, 2, 3])
    assert [type(o.error) for o in found] == [NotPicklable] * 3
    assert "the function" in str(found[0].error)
    assert "unpacked" in str(found[0].error)
    assert shared.submit(jobs.double, 1).result(WAIT) == 2


def test_a_result_that_cannot_be_pickled(shared):
    """The failure names it, and where in the result it is."""
    error = error_of(shared, jobs.give_lock)
    assert isinstance(error, NotPicklable)
    assert "the result" in str(error)
    assert "_thread.lock" in str(error)
    assert "['bad'][1]" in str(error_of(shared, jobs.give_nested_lock))


def test_a_result_that_cannot_be_unpickled(shared):
    """It fails by itself."""
    error = error_of(shared, jobs.give_explosive)
    assert isinstance(error, NotPicklable)
    assert "the result" in str(error)
    assert "unpacked" in str(error)
    assert shared.submit(jobs.double, 1).result(WAIT) == 2


def test_an_exception_comes_home(shared):
    """With its type, its arguments, and its traceback as the cause."""
    error = error_of(shared, jobs.nest, 3)
    assert type(error) is ValueError
    assert error.args == ("deep down",)
    text = str(error.__cause__)
    assert text.count("in nest") == 4
    assert "process_jobs.py" in text
    assert "ValueError: deep down" in text


def test_the_cause_of_an_exception_comes_along(shared):
    """`raise … from …` is not lost; the traceback of both is behind the first of them."""
    error = error_of(shared, jobs.raise_from_other)
    assert type(error) is ValueError
    assert (type(error.__cause__), error.__cause__.args) == (KeyError, ("the root",))
    assert "KeyError: 'the root'" in str(error.__cause__.__cause__)
    assert "direct cause" in str(error.__cause__.__cause__)


@pytest.mark.parametrize(
    ("fn", "name", "text"),
    [
        (jobs.raise_holding, "Holding", "of a lock"),
        (jobs.raise_works_there, "WorksThere", "far away"),
        (jobs.raise_speechless, "Speechless", ""),
    ],
)
def test_an_exception_that_does_not_survive(shared, fn, name, text):
    """A `RemoteError` stands for it: type name, message, traceback."""
    error = error_of(shared, fn)
    assert type(error) is RemoteError
    assert error.type_name == f"tests.backends.process_jobs.{name}"
    assert str(error).startswith(error.type_name)
    assert text in str(error)
    assert fn.__name__ in str(error.__cause__)
    assert shared.submit(jobs.double, 1).result(WAIT) == 2


@pytest.mark.parametrize(
    "name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError"]
)
def test_whatever_is_raised_is_a_failure(shared, name):
    """No exception ends a worker."""
    before = pids(shared)
    error = error_of(shared, jobs.raise_named, name)
    assert type(error).__name__ == name
    assert error.args == ("from afar",)
    assert pids(shared) == before


def test_rxpools_own_errors_survive(shared):
    """They come home as they are, with what they carry."""
    error = error_of(shared, jobs.raise_it, WorkerCrashed("by hand", 5))
    assert type(error) is WorkerCrashed
    assert error.args[0] == "by hand"


def test_a_pool_cannot_be_pickled(shared):
    """Neither in an item nor by hand; the error says what to do instead."""
    with pytest.raises(NotPicklable, match="open one there"):
        pickle.dumps(shared)
    assert isinstance(error_of(shared, jobs.same, shared), NotPicklable)


def test_lambdas_and_closures_with_cloudpickle(shared):
    """They work, if it is there; so do items and results that only it can send."""
    offset = 10
    stream = rx.of(1, 2, 3).pipe(shared.map(lambda n: n + offset, order="input"))
    assert collect(stream) == [11, 12, 13]
    assert outcome(shared, lambda n: lambda: n + offset, 1).value() == 11

    class Local:
        def __init__(self, n):
            self.n = n

    assert outcome(shared, lambda local: local.n, Local(5)).value == 5
    assert cloudpickle.__version__


def test_lambdas_without_cloudpickle(shared, monkeypatch):
    """The message says what to install."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "cloudpickle":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    found = outcomes(shared, lambda n: n, [1, 2])
    assert [type(o.error) for o in found] == [NotPicklable] * 2
    assert "pip install 'rxpool[cloudpickle]'" in str(found[0].error)
    assert "the function" in str(found[0].error)


# -- large buffers -------------------------------------------------------------------------


def test_arrays(shared):
    """They go there and come back whole, many of them."""
    rng = np.random.default_rng(7)
    arrays = [rng.integers(0, 1000, 150_000) for _ in range(24)]
    sums = [o.value for o in outcomes(shared, jobs.total, arrays)]
    assert sums == [array.sum() for array in arrays]
    for array, found in zip(arrays, outcomes(shared, jobs.plus_one, arrays), strict=True):
        assert (found.value == array + 1).all()
    for n, found in enumerate(outcomes(shared, jobs.filled, range(40))):
        assert (found.value == n).all()


def test_arrays_belong_to_who_has_them(shared):
    """A worker may write to its array; neither the sender's nor the result is touched."""
    array = np.zeros(100_000, dtype=np.int64)
    found = [o.value for o in outcomes(shared, jobs.plus_one_in_place, [array] * 6)]
    assert not array.any()
    assert all((each == 1).all() for each in found)
    found[0][:] = 5
    assert (found[1] == 1).all()
    assert all(o.value for o in outcomes(shared, jobs.writeable, [array] * 2))
    array.flags.writeable = False
    assert not outcome(shared, jobs.writeable, array).value


@pytest.mark.parametrize("fn", [jobs.keep, jobs.keep_a_part])
def test_an_array_that_is_kept_is_not_overwritten(fn):
    """Nor is one of which a part is kept."""
    with WorkerPool(1, on="processes") as pool:
        arrays = [np.full(40_000, n) for n in range(60)]
        assert all(o.value is True for o in outcomes(pool, fn, arrays))
        assert all(outcome(pool, fn, array).value is True for array in arrays)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_000, 5_000_003])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_any_size(shared, kind, size):
    """Below and above the size from which on they travel through shared memory."""
    data = kind(b"abc" * (size // 3 + 1))[:size]
    assert outcome(shared, jobs.length, data).value == (kind.__name__, size, b"abc")
    assert outcome(shared, jobs.same, data).value == data


def test_large_strings_and_lists(shared):
    """What is no buffer travels in the message, however large."""
    for value in ("x" * 3_000_000, list(range(300_000))):
        assert outcome(shared, jobs.same, value).value == value


def test_large_items_among_small_ones(shared):
    """A busy worker's connection never gets so full that both sides wait for each other."""
    items = ["y" * (n % 7) * 20_000 for n in range(400)]
    assert [o.value for o in outcomes(shared, jobs.same, items)] == items


def test_more_than_the_shared_memory_holds():
    """What does not fit travels in the message; what is kept stays as it is."""
    with WorkerPool(1, on="processes") as pool:
        arrays = [np.full(size * 1024 * 1024, size, np.uint8) for size in (200, 50, 10, 1)]
        assert [outcome(pool, jobs.keep, array).value for array in arrays] == [True] * 4


def test_arrays_with_gaps(shared):
    """Those that are not contiguous, or in another order, are sent as well."""
    array = np.arange(400_000).reshape(400, 1000)
    for view in (array.T, array[:, ::2], array[::-1], np.asfortranarray(array)):
        assert (outcome(shared, jobs.plus_one, view).value == view + 1).all()


def test_nothing_is_left_of_shared_memory(tmp_path):
    """No name in /dev/shm, no file, after ends of all kinds."""

    def names():  # others on this machine have theirs
        return {path.name for kind in ("rxpool*", "psm_*") for path in shm.glob(kind)}

    shm = Path("/dev/shm")
    before = names()
    files = psutil.Process().num_fds()
    with WorkerPool(2, on="processes") as pool:
        arrays = [np.zeros(100_000 + n) for n in range(20)]
        found = outcomes(pool, jobs.die_with_array, arrays[:6])
        assert all(isinstance(o.error, WorkerCrashed) for o in found)
        outcomes(pool, jobs.total, arrays)
        assert names() <= before
    gc.collect()
    eventually(lambda: psutil.Process().num_fds() <= files + 2)  # those of the fork server


# -- the life of a process -----------------------------------------------------------------


def test_the_initializer_runs_in_each_process():
    """Once, with its arguments, before any item."""
    options = {"initializer": jobs.set_up, "initargs": ("a", 1)}
    with WorkerPool(2, on="processes", **options) as pool:
        pids_of_both(pool)
        found = [o.value for o in outcomes(pool, jobs.what_was_set_up, range(20))]
    assert found == [[("a", 1)]] * 20


def test_an_initializer_that_raises(tmp_path):
    """It is tried again, then items fail with its reason; the pool is not dead."""
    tried = str(tmp_path / "tried")
    options = {"initializer": jobs.fail_to_set_up, "initargs": (tried,)}
    with WorkerPool(1, on="processes", **options) as pool:
        found = outcomes(pool, jobs.double, range(5))
        assert [type(o.error) for o in found] == [WorkerStartError] * 5
        error = found[0].error
        assert "no database" in str(error)
        assert isinstance(error.__cause__, RuntimeError)
        assert "fail_to_set_up" in str(error.__cause__.__cause__)
        assert [o.attempts for o in found] == [0] * 5
        assert len(notes(tried)) == 3
        with pytest.raises(WorkerStartError):
            pool.submit(jobs.double, 1).result(WAIT)
        assert len(notes(tried)) == 6
        balanced(pool)


def test_an_initializer_that_works_later(tmp_path):
    """The pool is usable again when it does."""
    working, tried = tmp_path / "working", str(tmp_path / "tried")
    options = {"initializer": jobs.fail_unless, "initargs": (str(working), tried)}
    with WorkerPool(2, on="processes", **options) as pool:
        with pytest.raises(WorkerStartError, match="not yet"):
            pool.submit(jobs.double, 1).result(WAIT)
        working.touch()
        assert [o.value for o in outcomes(pool, jobs.double, range(50))] == [
            2 * n for n in range(50)
        ]
        balanced(pool)


def test_an_initializer_that_works_at_the_second_attempt(tmp_path):
    """No item knows."""
    working, tried = tmp_path / "working", str(tmp_path / "tried")
    options = {"initializer": jobs.fail_unless, "initargs": (str(working), tried)}
    with WorkerPool(1, on="processes", **options) as pool:
        future = pool.submit(jobs.double, 4)
        eventually(lambda: notes(tried))
        working.touch()
        assert future.result(WAIT) == 8


def test_an_initializer_that_ends_the_process(tmp_path):
    """The exit code is in the reason."""
    tried = str(tmp_path / "tried")
    options = {"initializer": jobs.die_in_set_up, "initargs": (tried,)}
    with WorkerPool(1, on="processes", **options) as pool:
        with pytest.raises(WorkerStartError, match="exit code 9"):
            pool.submit(jobs.double, 1).result(WAIT)
        assert 3 <= len(notes(tried)) <= 6


def test_an_initializer_that_cannot_be_pickled():
    """Items fail with that reason."""
    options = {"initializer": jobs.set_up, "initargs": (jobs.Stubborn(),)}
    with (
        WorkerPool(1, on="processes", **options) as pool,
        pytest.raises(WorkerStartError, match="I stay here"),
    ):
        pool.submit(jobs.double, 1).result(WAIT)


def test_a_worker_that_does_not_start_again(tmp_path):
    """When a dead worker cannot be replaced, the others do its work, one after another."""
    tried = str(tmp_path / "tried")
    options = {"initializer": jobs.set_up_first, "initargs": (tried, 2)}
    with WorkerPool(2, on="processes", **options) as pool:
        pids_of_both(pool)
        with pytest.raises(WorkerCrashed):
            pool.submit(jobs.die, 1).result(WAIT)
        for _ in range(3):
            found = [o.value for o in outcomes(pool, jobs.double, range(30))]
            assert found == [2 * n for n in range(30)]
            futures = [pool.submit(jobs.double, n) for n in range(10)]
            assert [future.result(WAIT) for future in futures] == [2 * n for n in range(10)]
        balanced(pool)


def test_processes_are_replaced_after_so_many_tasks():
    """No process runs more, and nothing is lost."""
    with WorkerPool(2, on="processes", max_tasks_per_worker=25) as pool:
        found = [o.value for o in outcomes(pool, jobs.pid, range(500))]
        counts = {pid: found.count(pid) for pid in found}
        assert max(counts.values()) == 25
        assert len(found) == 500
        assert [o.value for o in outcomes(pool, jobs.double, range(3))] == [0, 2, 4]
        assert {o.attempts for o in outcomes(pool, jobs.pid, range(100))} == {1}
        balanced(pool)


def test_one_task_per_process():
    """Each item has a process of its own."""
    with WorkerPool(2, on="processes", max_tasks_per_worker=1) as pool:
        found = [o.value for o in outcomes(pool, jobs.pid, range(12))]
        assert len(set(found)) == 12


def test_processes_are_replaced_when_they_grow():
    """A process that uses too much memory ends after its item, and nothing is lost."""
    limit = 250 * 1024 * 1024
    with WorkerPool(1, on="processes", max_memory_per_worker=limit) as pool:
        found = [o.value for o in outcomes(pool, jobs.hoard, [20 * 1024 * 1024] * 24)]
        assert 2 <= len(set(found)) <= 6
        assert len(found) == 24
        balanced(pool)


@pytest.mark.parametrize(
    "options",
    [
        {"max_tasks_per_worker": 0},
        {"max_tasks_per_worker": 1.5},
        {"max_memory_per_worker": 0},
        {"poison_after": 0},
        {"initializer": 3},
        {"initargs": 3},
        {"unknown": 3},
    ],
)
def test_options_are_checked(options):
    """Where the pool is made."""
    with pytest.raises(InvalidArgument):
        WorkerPool(1, on="processes", **options)


def test_options_of_processes_need_processes():
    """They are refused for other pools."""
    with pytest.raises(InvalidArgument, match="needs on='processes'"):
        WorkerPool(1, max_tasks_per_worker=1)


def test_no_process_before_there_is_work():
    """As many as are needed, and none after `close`."""
    pool = WorkerPool(3, on="processes", name="crew")
    assert pids(pool) == set()
    pool.submit(jobs.double, 1).result(WAIT)
    assert len(pids(pool)) == 1
    started = pids(pool)
    pool.close()
    assert pids(pool) == set()
    assert all(is_gone(pid) for pid in started)
    with pytest.raises(PoolClosed):
        pool.submit(jobs.double, 1)


def test_processes_bear_the_name_of_the_pool():
    """So do the threads that serve them."""
    with WorkerPool(1, on="processes", name="crew") as pool:
        pool.submit(jobs.double, 1).result(WAIT)
        assert [process.name for process in pool._engine.backend.processes] == ["crew"]
        assert any(thread.name == "crew-0" for thread in threading.enumerate())


def test_more_workers(tmp_path):
    """After `resize` there are more processes."""
    with WorkerPool(1, on="processes") as pool:
        gates = [str(tmp_path / str(n)) for n in range(3)]
        futures = [pool.submit(jobs.held, gate) for gate in gates]
        eventually(lambda: notes(f"{gates[0]}.began"))
        pool.resize(3)
        for gate in gates:
            eventually(lambda gate=gate: notes(f"{gate}.began"))
        for gate in gates:
            Path(gate).touch()
        assert len({future.result(WAIT) for future in futures}) == 3


def test_fewer_workers(tmp_path):
    """After `resize` processes end that have nothing to do, and work goes on with the rest."""
    with WorkerPool(3, on="processes") as pool:
        for _ in range(5):
            pool.resize(3)
            gates = [str(tmp_path / f"{_}-{n}") for n in range(3)]
            futures = [pool.submit(jobs.held, gate) for gate in gates]
            for gate in gates:
                eventually(lambda gate=gate: notes(f"{gate}.began"))
            pool.resize(1)
            for gate in gates:
                Path(gate).touch()
            for future in futures:
                future.result(WAIT)
            assert pool.submit(jobs.double, 2).result(WAIT) == 4
            eventually(lambda: len(pids(pool)) == 1)
            assert [o.value for o in outcomes(pool, jobs.double, range(30))][-1] == 58


def test_fewer_workers_while_they_are_busy():
    """Sizes that change while work goes on lose nothing."""
    with WorkerPool(2, on="processes") as pool:
        done = Sink()
        done.to(rx.from_iterable(range(4000)).pipe(pool.map(jobs.double)))
        for size in (1, 3, 1, 2, 1, 3, 2, 1):
            pool.resize(size)
            seen = len(done.values)
            eventually(lambda seen=seen: len(done.values) > seen or len(done.values) == 4000)
        assert sorted(done.wait()) == [2 * n for n in range(4000)]
        balanced(pool)


def test_logs_come_home(shared, caplog):
    """Records go to the parent's handlers: message, level, extra fields, traceback."""
    logger = logging.getLogger("rxpool.test.jobs")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        with WorkerPool(1, on="processes") as pool:
            pid = pool.submit(jobs.log, 7).result(WAIT)
            mine = [r for r in caplog.records if r.name == "rxpool.test.jobs"]
    finally:
        logger.setLevel(before)
    assert [r.levelname for r in mine] == ["INFO", "ERROR"]
    assert mine[0].getMessage() == "info 7"
    assert mine[0].number == 7
    assert mine[0].process == pid
    assert mine[1].getMessage() == "failed 7"
    assert (mine[1].msg, mine[1].args) == ("failed %s", (7,))
    assert "ValueError: logged" in mine[1].exc_text
    assert mine[1].exc_info[0] is ValueError


def test_levels_are_those_of_the_parent(caplog):
    """Those that were set when the process started."""
    logger = logging.getLogger("rxpool.test.strict")
    logger.setLevel(logging.ERROR)
    try:
        with WorkerPool(1, on="processes") as pool:
            pool.submit(jobs.log_locally, "rxpool.test.strict").result(WAIT)
    finally:
        logger.setLevel(logging.NOTSET)
    assert [r.getMessage() for r in caplog.records if r.name == logger.name] == ["high enough"]


def test_a_log_record_with_what_cannot_be_pickled(shared, caplog):
    """The rest of it comes home."""
    shared.submit(jobs.log_unpicklable, 0).result(WAIT)
    (record,) = [r for r in caplog.records if r.name == "rxpool.test.jobs"]
    assert record.getMessage() == "with 1"
    assert "Stubborn" in record.x


# -- the end of work -----------------------------------------------------------------------


def test_close_finishes_what_was_accepted(tmp_path):
    """Every call has its result, then the processes are gone."""
    record = str(tmp_path / "record")
    pool = WorkerPool(2, on="processes")
    futures = [pool.submit(jobs.record_slowly, (n, record)) for n in range(50)]
    assert pool.close() is True
    assert [future.result(0) for future in futures] == list(range(50))
    assert sorted(map(int, notes(record))) == list(range(50))


def test_close_gives_up_in_time(tmp_path):
    """Past the timeout the processes are killed, and every item has its outcome."""
    pool = WorkerPool(2, on="processes")
    path = str(tmp_path / "dozing")
    sink = Sink().to(rx.of(path, path, path).pipe(pool.outcomes(jobs.doze)))
    eventually(lambda: len(notes(path)) == 2)
    begun = time.monotonic()
    assert pool.close(0.1) is False
    assert time.monotonic() - begun < 2
    assert [type(o.error) for o in sink.wait()] == [TaskCancelled] * 3
    assert all(is_gone(int(pid)) for pid in notes(path))


@pytest.mark.parametrize("fn", [jobs.doze, jobs.spin])
def test_terminate_kills(tmp_path, fn):
    """At once, also what is busy."""
    pool = WorkerPool(2, on="processes")
    path = str(tmp_path / "busy")
    sink = Sink().to(rx.of(path, path, path).pipe(pool.outcomes(fn)))
    eventually(lambda: len(notes(path)) == 2)
    begun = time.monotonic()
    pool.terminate()
    assert time.monotonic() - begun < 1
    assert [type(o.error) for o in sink.wait()] == [TaskCancelled] * 3
    assert all(is_gone(int(pid)) for pid in notes(path))


def test_terminate_while_a_process_starts(tmp_path):
    """A hanging initializer holds nothing up for long."""
    path = str(tmp_path / "dozing")
    pool = WorkerPool(1, on="processes", initializer=jobs.doze, initargs=(path,))
    future = pool.submit(jobs.double, 1)
    (pid,) = eventually(lambda: notes(path))
    begun = time.monotonic()
    pool.terminate()
    assert time.monotonic() - begun < 4
    assert future.cancelled() or isinstance(future.exception(0), TaskCancelled)
    eventually(lambda: is_gone(int(pid)))


def test_dispose_kills_what_runs(tmp_path):
    """The process of an unwanted item is ended and replaced; the others go on."""
    with WorkerPool(2, on="processes") as pool:
        gate, path = str(tmp_path / "gate"), str(tmp_path / "dozing")
        other = pool.submit(jobs.held, gate)
        sink = Sink().to(rx.of(path).pipe(pool.map(jobs.doze)))
        (pid,) = eventually(lambda: notes(path))
        begun = time.monotonic()
        sink.subscription.dispose()
        assert time.monotonic() - begun < 0.5
        eventually(lambda: is_gone(int(pid)))
        assert pool.submit(jobs.double, 2).result(WAIT) == 4
        Path(gate).touch()
        assert other.result(WAIT) != int(pid)
        balanced(pool)


def test_short_items_that_are_cancelled_keep_their_process():
    """They are given a moment to end: nobody waits for a new process."""
    with WorkerPool(1, on="processes") as pool:
        (before,) = {pool.submit(jobs.pid).result(WAIT)}
        for _ in range(20):
            sink = Sink()
            sink.to(rx.from_iterable([0.001] * 500).pipe(pool.map(jobs.nap)))
            eventually(lambda sink=sink: len(sink.values) > 3)
            sink.subscription.dispose()
        assert pool.submit(jobs.pid).result(WAIT) == before
        balanced(pool)


def test_a_timeout_kills(tmp_path):
    """`TaskTimeout` when the time is over; what waits behind is done by another process."""
    with WorkerPool(1, on="processes") as pool:
        pool.submit(jobs.double, 1).result(WAIT)
        path = str(tmp_path / "dozing")
        begun = time.monotonic()
        hung = outcome(pool, jobs.doze, path, timeout=0.3)
        assert 0.3 <= time.monotonic() - begun < 1
        assert isinstance(hung.error, TaskTimeout)
        assert 0.3 <= hung.took < 0.6
        assert hung.attempts == 1
        eventually(lambda: is_gone(int(notes(path)[0])))
        assert pool.submit(jobs.double, 1).result(WAIT) == 2
        balanced(pool)


def test_a_timeout_counts_from_the_start(tmp_path):
    """Not from acceptance, and not from when the item came to the worker."""
    with WorkerPool(1, on="processes") as pool:
        found = outcomes(pool, jobs.nap, [0.1] * 8, timeout=0.4)
        assert all(isinstance(o, Success) for o in found)
        mixed = [0.0] * 200 + [0.15] * 4 + [0.0] * 200
        found = outcomes(pool, jobs.nap, mixed, timeout=0.4)
        assert all(isinstance(o, Success) for o in found)


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_limits_that_are_met_at_the_last_moment(limit):
    """Items that end just when their time is over harm no other."""
    with WorkerPool(2, on="processes") as pool:
        naps = [0.02 + n % 9 * 0.001 if n % 5 == 0 else 0.0 for n in range(300)]
        pids_of_both(pool)
        bound = 0.024 if limit == "timeout" else 30.0
        found = outcomes(pool, jobs.nap, naps, **{limit: bound})
        assert len(found) == 300
        for o in found:
            if isinstance(o, Failure):
                assert isinstance(o.error, TaskTimeout), o
        balanced(pool)


def test_a_deadline(tmp_path):
    """It ends what runs and what waits."""
    with WorkerPool(1, on="processes") as pool:
        path = str(tmp_path / "dozing")
        found = outcomes(pool, jobs.doze, [path] * 3, deadline=0.3)
        assert {type(o.error).__name__ for o in found} == {"DeadlineExceeded"}
        assert [o.attempts for o in found] == [1, 0, 0]
        assert pool.submit(jobs.double, 1).result(WAIT) == 2


# -- slow items ----------------------------------------------------------------------------


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


# -- the interpreter's end -----------------------------------------------------------------


def run(program, *args, **options):
    """Run a program; its output."""
    options.setdefault("timeout", 40)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        **options,
    )


def test_a_pool_that_is_open_at_the_end():
    """The interpreter's exit closes it: what was accepted is done, nobody is left."""
    done = run(
        """
        import os
        from rxpool import WorkerPool
        from tests.backends import process_jobs as jobs
        pool = WorkerPool(2, on="processes")
        futures = [pool.submit(jobs.double, n) for n in range(20)]
        for future in futures:
            future.add_done_callback(lambda future: os.write(1, b"%d\\n" % future.result()))
        """
    )
    assert sorted(map(int, done.stdout.split())) == list(range(0, 40, 2))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_without_a_guard(tmp_path):
    """A script whose main module opens the pool when it is imported ends, with a reason."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            from rxpool import WorkerPool
            from rxpool.errors import WorkerStartError

            def double(n):
                return 2 * n

            pool = WorkerPool(1, on="processes")
            try:
                print(pool.submit(double, 4).result(30))
            except WorkerStartError as error:
                print("WorkerStartError", error)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=40,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0
    assert done.stdout.startswith("WorkerStartError")


def test_functions_and_errors_of_the_main_module(tmp_path):
    """They are found by the workers, and what comes home is of the same class."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            from rxpool import WorkerPool

            class Thing:
                pass

            class Oops(Exception):
                pass

            def thing(_):
                return Thing()

            def oops(_):
                raise Oops("here")

            if __name__ == "__main__":
                with WorkerPool(1, on="processes") as pool:
                    print(type(pool.submit(thing, 0).result(30)) is Thing)
                    print(type(pool.submit(oops, 0).exception(30)) is Oops)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=40,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout.split(), done.stderr) == (["True", "True"], "")
