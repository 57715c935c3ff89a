"""Pools on Dask."""

import threading

import pytest
import reactivex as rx

from rxpool import NotPicklable, TaskTimeout, WorkerPool
from rxpool.backends.executors._window import Window
from tests import executor_jobs as jobs
from tests.backends.clusters import dask_executor
from tests.backends.executors import Manual
from tests.waiting import WAIT, eventually


@pytest.fixture(scope="module")
def dask():
    """A cluster of threads in this process."""
    with dask_executor() as executor:
        executor.submit(jobs.double, 1).result(WAIT)
        executor.submit(lambda: 1).result(WAIT)
        yield executor


@pytest.mark.filterwarnings("ignore")
def test_dask(dask):
    """Results, failures, Observables and lambdas, as anywhere else."""
    with WorkerPool(2, on=dask) as pool:
        assert sorted(pool.imap(lambda n: 2 * n, range(10))) == [2 * n for n in range(10)]
        assert sorted(pool.imap(jobs.double_later, range(5))) == [0, 2, 4, 6, 8]
        assert pool.submit(jobs.twice, 3).result(WAIT) == [3, 3]
        with pytest.raises(ValueError, match="no 1"):
            pool.submit(jobs.fail, 1).result(WAIT)
        with pytest.raises(NotPicklable, match=r"the item .*lock"):
            pool.submit(jobs.double, threading.Lock()).result(WAIT)


def test_slots_of_the_window():
    """A slot is free when its call has ended, whatever became of the job."""
    window = Window()
    assert window.resize(2) == []
    assert [window.admit(name) for name in "abc"] == [True, True, False]
    window.give_up("a")
    assert window.abandoned == 1
    assert not window.admit("d")
    window.give_up("c")  # it waits: nothing is kept for it
    assert window.release("a") == ["d"]
    assert window.abandoned == 0
    assert not window.admit("e")
    assert not window.admit("f")
    assert window.resize(4) == ["e", "f"]
    assert window.resize(1) == []
    assert [window.release(name) for name in "def"] == [[], [], []]
    assert window.release("b") == []
    assert window.admit("g")


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_work_that_goes_on_keeps_its_slot(how):
    """Nothing is put behind it; the item has its outcome at once."""
    executor = Manual()
    with WorkerPool(2, on=executor) as pool:
        if how == "timeout":
            flow = pool.pull([1]).pipe(pool.outcomes(jobs.double, timeout=0.05))
            seen, ended = [], threading.Event()
            flow.subscribe(seen.append, on_completed=ended.set)
            eventually(lambda: executor.calls)
            executor.begin()
            assert ended.wait(WAIT)
            assert [type(outcome.error) for outcome in seen] == [TaskTimeout]
        else:
            flow = rx.of(1).pipe(pool.map(jobs.double)).subscribe()
            eventually(lambda: executor.calls)
            executor.begin()
            flow.dispose()
        assert pool.report().abandoned == 1
        futures = [pool.submit(jobs.double, n) for n in range(4)]
        eventually(lambda: len(executor.calls) == 2)
        for number in range(4):  # one after the other, as there is one slot
            assert len(executor.calls) == 2
            executor.run(1)
            assert futures[number].result(WAIT) == 2 * number
            eventually(lambda left=3 - number: len(executor.calls) == 1 + bool(left))
        assert pool.report().abandoned == 1
        executor.end()
        eventually(lambda: pool.report().abandoned == 0)
        futures = [pool.submit(jobs.double, n) for n in range(2)]
        eventually(lambda: len(executor.calls) == 2)
        executor.run()
        executor.run()
        assert [future.result(WAIT) for future in futures] == [0, 2]


def test_an_answer_that_comes_too_late_changes_no_outcome():
    """An item that timed out has done so, though its outcome is still to be delivered."""
    executor, seen = Manual(), []
    first, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def take(outcome):
        seen.append(outcome)
        first.set()
        assert go_on.wait(WAIT)

    with WorkerPool(2, on=executor) as pool:
        flow = pool.pull("abc").pipe(pool.outcomes(jobs.double, timeout=0.05))
        flow.subscribe(take, on_completed=ended.set)
        eventually(lambda: len(executor.calls) == 2)
        for future, *_ in executor.calls:
            assert future.set_running_or_notify_cancel()
        assert first.wait(WAIT)
        eventually(lambda: pool.report().abandoned == 2)
        late = executor.calls.pop(1 if seen[0].item == "a" else 0)
        late[0].set_result(None)  # what no worker of ours answers: it would be an error
        eventually(lambda: len(executor.calls) == 2)  # the third item has the slot
        go_on.set()
        executor.end()
        executor.run()
        assert ended.wait(WAIT)
    errors = [type(outcome.error) for outcome in seen if outcome.item in "ab"]
    assert errors == [TaskTimeout, TaskTimeout]


def test_jobs_that_wait_for_such_a_slot():
    """They have it when the work has ended, or are cancelled while they wait."""
    executor = Manual()
    with WorkerPool(1, on=executor) as pool:
        flow = rx.of(1).pipe(pool.map(jobs.double)).subscribe()
        eventually(lambda: executor.calls)
        executor.begin()
        flow.dispose()
        other = rx.of(2).pipe(pool.map(jobs.double)).subscribe()
        other.dispose()
        future = pool.submit(jobs.double, 3)
        assert len(executor.calls) == 1
        executor.end()
        eventually(lambda: executor.calls)
        executor.run()
        assert future.result(WAIT) == 6


@pytest.mark.filterwarnings("ignore")
def test_dask_is_not_told_to_cancel_what_may_have_begun(dask):
    """Its futures say that they wait while their work runs."""
    gate, began = threading.Event(), threading.Event()
    with WorkerPool(1, on=dask) as pool:
        jobs.HELD.update(gate=gate, began=began)
        flow = rx.of(1).pipe(pool.map(jobs.hold)).subscribe()
        assert began.wait(WAIT)
        flow.dispose()
        assert pool.report().abandoned == 1
        future = pool.submit(jobs.double, 3)
        gate.set()
        assert future.result(WAIT) == 6
        assert pool.report().abandoned == 0
