"""Pools on executors of the user: those of threads, of processes, and loky."""

import asyncio
import multiprocessing
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

import pytest
import reactivex as rx

from rxpool import Failure, NotPicklable, RemoteError, TaskTimeout, WorkerCrashed, WorkerPool
from tests import executor_jobs as jobs
from tests.backends.executors import Manual, collect
from tests.waiting import WAIT, eventually


@pytest.fixture(scope="module")
def processes():
    """Two processes."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(int, range(4)))
        yield executor


@pytest.fixture(scope="module")
def loky():
    """Two processes of loky."""
    module = pytest.importorskip("loky")
    executor = module.get_reusable_executor(2, timeout=600)
    list(executor.map(int, range(4)))
    yield executor
    executor.shutdown(wait=True)


@pytest.fixture(scope="module", params=["threads", "processes", "loky"])
def executor(request):
    """Each kind that is at hand."""
    return request.getfixturevalue(request.param)


# -- every kind ----------------------------------------------------------------------------


@pytest.mark.parametrize("function", [jobs.double, jobs.double_later])
def test_results(executor, function):
    """Of functions and async functions, in any order and in that of the input."""
    with WorkerPool(on=executor) as pool:
        assert sorted(pool.imap(function, range(50))) == [2 * n for n in range(50)]
        ordered = pool.imap(function, range(50), order="input")
        assert list(ordered) == [2 * n for n in range(50)]
        assert pool.submit(function, 4).result(WAIT) == 8


def test_items_of_observables(executor):
    """They are results."""
    with WorkerPool(2, on=executor) as pool:
        assert sorted(pool.imap(jobs.twice, range(3))) == [0, 0, 1, 1, 2, 2]
        assert pool.submit(jobs.twice, 3).result(WAIT) == [3, 3]
        seen = collect(rx.of(1).pipe(pool.outcomes(jobs.twice)))
        assert seen[0].value == [1, 1]


def test_failures(executor):
    """Each belongs to its item, whatever it is; the executor lives on."""
    with WorkerPool(2, on=executor) as pool:
        for function, kinds in (
            (jobs.fail, (ValueError,)),
            (jobs.odd, (jobs.Odd, RemoteError)),
            (jobs.leave, (SystemExit, RemoteError)),
        ):
            seen = collect(pool.pull(range(5)).pipe(pool.outcomes(function)))
            assert sorted(outcome.item for outcome in seen) == list(range(5))
            assert all(isinstance(outcome.error, kinds) for outcome in seen)
        assert pool.submit(jobs.double, 1).result(WAIT) == 2


def test_the_executor_is_the_users(executor):
    """Closing a pool does not shut it down."""
    for _ in range(2):
        with WorkerPool(1, on=executor) as pool:
            pool.submit(jobs.double, 1).result(WAIT)
    assert executor.submit(jobs.double, 2).result(WAIT) == 4


def test_the_window(executor):
    """As many futures as workers, and by default as many workers as it has."""
    with WorkerPool(on=executor) as pool:
        assert pool.workers == executor._max_workers


def test_a_timeout(executor):
    """The item fails in time, and others go on."""
    with WorkerPool(2, on=executor) as pool:
        seen = collect(pool.pull([1.0]).pipe(pool.outcomes(jobs.slow, timeout=0.1)))
        assert [type(outcome.error) for outcome in seen] == [TaskTimeout]
        assert pool.submit(jobs.double, 1).result(WAIT) == 2


def test_awaiting(executor):
    """Futures, loops and blocks on an event loop."""

    async def main():
        async with WorkerPool(2, on=executor) as pool:
            numbers = await asyncio.gather(*[pool.submit(jobs.double, n) for n in range(5)])
            return numbers, [n async for n in pool.imap(jobs.double, range(5), order="input")]

    assert asyncio.run(main()) == ([0, 2, 4, 6, 8], [0, 2, 4, 6, 8])


# -- processes -----------------------------------------------------------------------------


def test_what_cannot_be_pickled_is_named(processes):
    """The function, the item, or the result."""
    with WorkerPool(on=processes) as pool:
        for call, text in (
            (pool.submit(lambda: 1), "the function .*lambda"),
            (pool.submit(jobs.double, threading.Lock()), "the item .*lock"),
            (pool.submit(threading.Lock), "a result"),
        ):
            with pytest.raises(NotPicklable, match=text) as caught:
                call.result(WAIT)
            assert caught.value.__cause__ is not None
        seen = collect(pool.pull([1, threading.Lock(), 2]).pipe(pool.outcomes(jobs.double)))
        failures = [outcome for outcome in seen if isinstance(outcome, Failure)]
        assert [type(failure.error) for failure in failures] == [NotPicklable]
        assert len(seen) == 3


def test_a_worker_that_dies_breaks_the_executor():
    """Its items fail clearly, later ones too."""
    context = multiprocessing.get_context("forkserver")
    executor = ProcessPoolExecutor(1, mp_context=context)
    with executor, WorkerPool(on=executor) as pool:
        seen = collect(pool.pull(range(6)).pipe(pool.outcomes(jobs.die)))
        values = [o.item for o in seen if not isinstance(o, Failure)]
        errors = [o.error for o in seen if isinstance(o, Failure)]
        assert values == [0, 1, 2]
        assert len(errors) == 3
        for error in errors:
            assert isinstance(error, WorkerCrashed)
            assert isinstance(error.__cause__, BrokenExecutor)
        assert isinstance(pool.submit(jobs.double, 1).exception(WAIT), WorkerCrashed)


def test_lambdas_travel_with_loky(loky):
    """It sends them by cloudpickle."""
    with WorkerPool(on=loky) as pool:
        assert sorted(pool.imap(lambda n: n + 1, range(4))) == [1, 2, 3, 4]
        with pytest.raises(NotPicklable, match=r"the item .*lock"):
            pool.submit(jobs.double, threading.Lock()).result(WAIT)


# -- whose threads do what -------------------------------------------------------------------


def test_results_come_on_a_thread_of_the_pool():
    """Never on the executor's, which has others to bring."""
    executor, seen = Manual(), []
    with WorkerPool(2, on=executor, name="mine") as pool:
        rx.of(1, 2).pipe(pool.map(jobs.double)).subscribe(
            lambda _: seen.append(threading.current_thread().name)
        )
        executor.run()
        executor.run()
    assert {name.rpartition("-")[0] for name in seen} == {"mine-results"}


def test_a_subscriber_may_wait_for_the_pool():
    """Another thread brings the results that it waits for."""
    executor, seen, asked = Manual(), [], threading.Event()
    with WorkerPool(2, on=executor) as pool:

        def wait(value):
            future = pool.submit(jobs.double, value)
            asked.set()
            seen.append(future.result(WAIT))

        rx.of(1).pipe(pool.map(jobs.double)).subscribe(wait)
        executor.run()
        assert asked.wait(WAIT)
        executor.run()
        eventually(lambda: seen)
    assert seen == [4]


def test_futures_of_abandoned_items_are_cancelled():
    """Those that did not begin."""
    executor = Manual()
    with WorkerPool(2, on=executor) as pool:
        with pool.imap(jobs.double, range(5)) as results:
            reader = threading.Thread(target=lambda: list(results))
            reader.start()
            eventually(lambda: len(executor.calls) == 2)
        reader.join(WAIT)
        assert all(call[0].cancelled() for call in executor.calls)
        executor.calls.clear()
        future = pool.submit(jobs.double, 2)
        executor.run()
        assert future.result(WAIT) == 4


def test_an_executor_that_cancels():
    """Nobody wanted that: the item has failed."""
    executor = Manual()
    with WorkerPool(1, on=executor) as pool:
        future = pool.submit(jobs.double, 1)
        executor.calls.pop()[0].cancel()
        assert isinstance(future.exception(WAIT), WorkerCrashed)


def test_an_executor_that_refuses():
    """However much waits, each item fails, and no stack overflows."""
    executor = Manual()
    with WorkerPool(1, on=executor) as pool:
        futures = [pool.submit(jobs.double, n) for n in range(1000)]
        executor.refusal = RuntimeError("cannot schedule new futures after shutdown")
        executor.run()
        assert futures[0].result(WAIT) == 0
        for future in futures[1:]:
            error = future.exception(WAIT)
            assert isinstance(error, WorkerCrashed)
            assert error.__cause__ is executor.refusal


@pytest.mark.parametrize("name", ["KilledWorker", "WorkerCrashedError", "RayActorError"])
def test_workers_that_die_elsewhere_are_known_by_name(name):
    """Dask and Ray say that in words of their own; what else they raise stays what it is."""
    executor = Manual()
    with WorkerPool(1, on=executor) as pool:
        for told, kind in ((name, WorkerCrashed), ("Other", Exception)):
            future = pool.submit(jobs.double, 1)
            reason = type(told, (Exception,), {})("no more")
            executor.calls.pop()[0].set_exception(reason)
            error = future.exception(WAIT)
            assert error is reason or (type(error) is kind and error.__cause__ is reason)
            assert isinstance(error, kind)


def test_clocks_of_other_machines_are_not_trusted():
    """Durations are the worker's, the start is what can be true."""
    executor = Manual()

    def answer(*args):
        mark, value, several, _, _, error, what = errand(*args)
        return mark, value, several, 1e12, 0.0, error, what

    with WorkerPool(1, on=executor) as pool:
        seen = []
        rx.of(1).pipe(pool.outcomes(jobs.double)).subscribe(seen.append)
        future, errand, args, kwargs = executor.calls.pop()
        executor.calls.append((future, answer, args, kwargs))
        executor.run()
        eventually(lambda: seen)
    assert 0 <= seen[0].waited < WAIT
    assert seen[0].took == 0.0
