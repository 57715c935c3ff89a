"""What travels to the workers of an executor, and what comes back."""

import multiprocessing
import pickle
import sys
import threading
import types
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from rxpool import BatchSizeError, NotPicklable, WorkerPool, current_task
from rxpool.errors import InvalidItem
from tests.backends import foreign_jobs as jobs
from tests.backends.clusters import dask_executor
from tests.waiting import WAIT


@pytest.fixture(scope="module")
def bare():
    """A worker that cannot import rxpool, nor what that needs."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=jobs.forbid) as executor:
        executor.submit(int, 1).result(WAIT)
        yield executor


@pytest.fixture(scope="module")
def dask():
    """A cluster of threads in this process."""
    with dask_executor() as executor:
        meet = threading.Barrier(2)
        jobs.runs.append(meet)  # all threads are there before a test counts them
        list(executor.map(jobs.meet, range(2)))
        executor.submit(lambda: 1).result(WAIT)
        yield executor


class Remembering(Executor):
    """Makes each call once: what looks the same has the same result."""

    def __init__(self, looks=lambda function, args: (function, args)):
        self.known = {}
        self._looks = looks  #: what it looks at

    def submit(self, function, /, *args, **kwargs):
        """Call it, by way of a pickle, unless that was done."""
        future = Future()
        key = pickle.dumps(self._looks(function, args))
        if key not in self.known:
            again, args, kwargs = pickle.loads(pickle.dumps((function, args, kwargs)))
            self.known[key] = again(*args, **kwargs)
        future.set_result(self.known[key])
        return future


@pytest.mark.filterwarnings("ignore")
def test_equal_items_are_calls_of_their_own(dask):
    """Dask gives equal calls of a function one key, and makes them once; some see less."""
    by_arguments = Remembering(lambda function, args: args)
    by_function = Remembering(lambda function, args: function)
    for executor in (dask, Remembering(), by_arguments, by_function):
        jobs.runs.clear()
        with WorkerPool(4, on=executor) as pool:
            assert list(pool.imap(jobs.note, [7] * 20)) == [7] * 20
            assert [pool.submit(jobs.note, 8).result(WAIT) for _ in range(3)] == [8] * 3
        assert jobs.runs.count(7) == 20
        assert jobs.runs.count(8) == 3


def test_workers_need_nothing_of_rxpool(bare):
    """Calls, coroutines, batches, and exceptions as they are."""
    with WorkerPool(1, on=bare) as pool:
        assert pool.submit(jobs.is_bare, 0).result(WAIT)
        assert list(pool.imap(jobs.double, range(3))) == [0, 2, 4]
        assert list(pool.imap(jobs.double_later, [[1], "ab"])) == [[1, 1], "abab"]
        error = pool.submit(jobs.refuse, 5).exception(WAIT)
        assert (type(error), error.code) == (jobs.Refused, 5)
        assert type(error.__cause__) is KeyError
        assert "in refuse" in str(error.__cause__.__cause__)
        assert pool.submit(jobs.is_bare, 0).result(WAIT)


def test_batches(bare):
    """The function alone travels; what it returns is looked at here."""
    with WorkerPool(1, on=bare) as pool:
        flow = pool.pull([[1, 2], [3]]).pipe(pool.map_batches(jobs.pairs))
        seen, ended = [], threading.Event()
        flow.subscribe(seen.append, on_completed=ended.set)
        assert ended.wait(WAIT)
        assert seen == [(1, 1), (2, 2), (3, 3)]
        for fn, item, kind in ((len, [1], BatchSizeError), (jobs.pairs, 5, InvalidItem)):
            errors, ended = [], threading.Event()
            pool.pull([item]).pipe(pool.map_batches(fn)).subscribe(
                on_error=lambda e, errors=errors, ended=ended: (errors.append(e), ended.set())
            )
            assert ended.wait(WAIT)
            assert [type(error) for error in errors] == [kind]


def test_a_function_that_the_worker_does_not_have(bare, monkeypatch):
    """The item fails and says what is missing; the executor goes on."""
    module = types.ModuleType("only_here")
    exec("def work(item):\n    return item\n", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with WorkerPool(1, on=bare) as pool:
        error = pool.submit(module.work, 1).exception(5.0)
        assert type(error) is NotPicklable
        assert "the function cannot be unpickled in the worker: ModuleNotFound" in str(error)
        assert "only_here" in str(error)
        assert isinstance(error.__cause__, ModuleNotFoundError)
        assert pool.submit(jobs.double, 1).result(WAIT) == 2


def test_a_result_that_cannot_be_sent(bare):
    """It is the failure of its item."""
    with WorkerPool(1, on=bare) as pool:
        error = pool.submit(threading.Lock).exception(WAIT)
        assert type(error) is NotPicklable
        assert "a result cannot be sent home by the worker" in str(error)
        assert pool.submit(jobs.double, 1).result(WAIT) == 2


class Mute:
    """Can be neither sent nor shown."""

    def __init__(self):
        self.lock = threading.Lock()

    def __repr__(self):
        raise LookupError("mine")


def test_an_item_that_can_be_neither_sent_nor_shown(bare):
    """It is named by its type."""
    with WorkerPool(1, on=bare) as pool:
        for error in (
            pool.submit(jobs.double, Mute()).exception(WAIT),
            pool.collect(jobs.double, [Mute()]).failures[0].error,
        ):
            assert type(error) is NotPicklable
            assert "whose repr raises LookupError> cannot be sent" in str(error)
        assert pool.submit(jobs.double, 1).result(WAIT) == 2


class Elsewhere(ThreadPoolExecutor):
    """Sends calls away, as executors of interpreters do, whatever it is derived from."""

    def submit(self, function, /, *args, **kwargs):
        """Run what is left of the call after a pickle."""
        data = pickle.dumps((function, args, kwargs))
        return super().submit(run_pickled, data)


class Named(ThreadPoolExecutor):
    """A `ThreadPoolExecutor`, but for its name."""

    def __init__(self):
        super().__init__(1, thread_name_prefix="named")


def run_pickled(data):
    """Make a call; its result is pickled, too."""
    function, args, kwargs = pickle.loads(data)
    return pickle.loads(pickle.dumps(function(*args, **kwargs)))


def test_an_executor_is_told_by_what_it_does():
    """Of two that are derived from `ThreadPoolExecutor`, one runs tasks on threads here."""
    with Elsewhere(2) as executor, WorkerPool(on=executor) as pool:
        assert pool.workers == 2
        assert list(pool.imap(jobs.double, range(5), order="input")) == [0, 2, 4, 6, 8]
        error = pool.submit(jobs.refuse, 5).exception(WAIT)
        assert (type(error), error.code) == (jobs.Refused, 5)
    with ThreadPoolExecutor(1) as executor, Elsewhere(1) as other:
        executor.submit = other.submit
        with WorkerPool(on=executor) as pool:
            error = pool.submit(threading.Lock).exception(WAIT)
            assert type(error) is NotPicklable
    lock = threading.Lock()
    with Named() as executor, WorkerPool(on=executor) as pool:
        assert pool.submit(lambda given: given, lock).result(WAIT) is lock
        name = pool.submit(lambda: (current_task(), threading.current_thread().name))
        assert name.result(WAIT)[1].startswith("named")


def test_gevent_is_told_of(monkeypatch, caplog):
    """Where it has replaced what waits for workers there is a sentence that says what to do."""
    for patched, told in (({"threading"}, 1), ({"select"}, 1), ({"socket"}, 0)):
        caplog.clear()
        module = types.SimpleNamespace(is_module_patched=patched.__contains__)
        monkeypatch.setitem(sys.modules, "gevent.monkey", module)
        with WorkerPool(1, on="processes"):
            pass
        told_of = [r for r in caplog.records if "patch_all(thread=False" in r.getMessage()]
        assert len(told_of) == told
