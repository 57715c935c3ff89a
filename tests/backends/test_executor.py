"""Pools on executors of the user: threads, processes, loky, Dask."""

import asyncio
import multiprocessing
import threading
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextvars import ContextVar
from itertools import count, islice

import pytest
import reactivex as rx

from rxpool import (
    Failure,
    NotPicklable,
    RemoteError,
    TaskTimeout,
    WorkerCrashed,
    WorkerPool,
    current_task,
)
from rxpool.backends.executors._window import Window
from tests import executor_jobs as jobs
from tests.backends.clusters import dask_executor
from tests.waiting import WAIT, eventually

MARK = ContextVar("mark", default="none")


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


@pytest.fixture(scope="module")
def threads():
    """Three threads."""
    with ThreadPoolExecutor(3, thread_name_prefix="users") as executor:
        meet = threading.Barrier(3)
        list(executor.map(lambda _: meet.wait(WAIT), range(3)))
        yield executor


class Manual(Executor):
    """Runs calls when it is told to; answers on threads of the test."""

    def __init__(self):
        self.calls = []
        self.refusal = None

    def submit(self, function, /, *args, **kwargs):
        """Keep the call."""
        if self.refusal is not None:
            raise self.refusal
        future = Future()
        self.calls.append((future, function, args, kwargs))
        return future

    def run(self, place=0):
        """Make a call that was kept."""
        future, function, args, kwargs = self.calls.pop(place)
        if not future.set_running_or_notify_cancel():
            return
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(value)

    def begin(self):
        """A worker has taken the first call."""
        assert self.calls[0][0].set_running_or_notify_cancel()

    def end(self):
        """The first call, which was begun, ends."""
        self.calls.pop(0)[0].set_result(None)


@pytest.fixture(scope="module", params=["threads", "processes", "loky"])
def executor(request):
    """Each kind that is at hand."""
    return request.getfixturevalue(request.param)


def collect(stream):
    """What a stream emits."""
    seen, ended = [], threading.Event()
    stream.subscribe(seen.append, lambda e: (seen.append(e), ended.set()), ended.set)
    assert ended.wait(WAIT)
    return seen


def nothing_is_held(pool):
    """No thread of the executor is taken for busy."""
    backend = pool._engine.backend
    eventually(lambda: backend._inside == 0)
    window = backend._window
    kept = (backend._lent, backend._ready, window._busy, window._mail)
    assert not any(kept)


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


# -- threads -------------------------------------------------------------------------------


def test_threads_run_tasks_themselves(threads):
    """With their variables, and knowing their task."""

    def work(number):
        current_task().progress(0.5)
        assert threading.current_thread().name.startswith("users")
        return MARK.get()

    told = []
    with WorkerPool(on=threads) as pool:
        pool.progress.subscribe(lambda progress: told.append(progress.item))
        MARK.set("here")
        assert list(pool.imap(work, range(4))) == ["here"] * 4
    assert sorted(told) == [0, 1, 2, 3]


def test_tasks_on_threads_that_wait_for_their_pool():
    """One thread: calls, loops, and a stream that is waited for in a way nobody sees."""
    with ThreadPoolExecutor(1) as executor, WorkerPool(on=executor) as pool:

        def by_call(number):
            return pool.submit(jobs.double, number).result(WAIT)

        def by_loop(number):
            return sum(pool.imap(jobs.double, range(number)))

        def by_stream(number):
            return sum(collect(pool.pull(range(number)).pipe(pool.map(jobs.double))))

        for function in (by_call, by_loop, by_stream):
            assert list(pool.imap(function, [3, 3])) == [6, 6]
        # Threads beside the executor's are for as long as tasks wait.
        user = executor.submit(threading.current_thread).result(WAIT)
        for _ in range(50):
            assert pool.submit(threading.current_thread).result(WAIT) is user
        nothing_is_held(pool)


class Threads:
    """A `ThreadPoolExecutor` whose tasks tell on how many threads they are, and of whom."""

    def __init__(self, workers):
        self.lock, self.here, self.now, self.most = threading.Lock(), threading.local(), 0, 0
        self.gate, self.began = threading.Event(), threading.Semaphore(0)
        self.executor = ThreadPoolExecutor(
            workers, thread_name_prefix="users", initializer=self.initialize, initargs=("set",)
        )

    def initialize(self, value):
        """What the executor calls on its threads."""
        self.here.value = value

    def task(self, number):
        """A short one."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        value = getattr(self.here, "value", None), threading.current_thread().name[:5]
        with self.lock:
            self.now -= 1
        return number, value

    def hang(self, number):
        """One that goes on."""
        with self.lock:
            self.now += 1
        self.began.release()
        self.gate.wait(WAIT)
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("how", ["timeout", "cancel"])
@pytest.mark.parametrize(("workers", "slots"), [(2, 2), (4, 2)])
def test_work_that_goes_on_keeps_its_slot_and_its_thread(how, workers, slots):
    """On threads too: no other runs more than there are slots for, or elsewhere."""
    threads = Threads(workers)
    with threads.executor as executor, WorkerPool(slots, on=executor) as pool:
        if how == "timeout":
            seen = collect(pool.pull([1]).pipe(pool.outcomes(threads.hang, timeout=0.05)))
            assert [type(outcome.error) for outcome in seen] == [TaskTimeout]
        else:
            flow = rx.of(1).pipe(pool.map(threads.hang)).subscribe()
            assert threads.began.acquire(timeout=WAIT)
            flow.dispose()
        assert pool.report().abandoned == 1
        flows = [pool.imap(threads.task, range(100)) for _ in range(2)]
        expected = [(n, ("set", "users")) for n in range(100)]
        assert [sorted(flow) for flow in flows] == [expected] * 2
        assert threads.most == slots
        assert pool.report().abandoned == 1
        # Those that wait for such a slot are run when it is free.
        rest = rx.of(2).pipe(pool.map(threads.hang)).subscribe()
        for _ in range(2 if how == "timeout" else 1):
            assert threads.began.acquire(timeout=WAIT)
        rest.dispose()
        assert pool.report().abandoned == 2
        future, gone = pool.submit(threads.task, 5), rx.of(6).pipe(pool.map(threads.task))
        gone.subscribe().dispose()
        threads.gate.set()
        assert future.result(WAIT) == (5, ("set", "users"))
        eventually(lambda: pool.report().abandoned == 0)
        nothing_is_held(pool)
        assert sorted(pool.imap(threads.task, range(100))) == expected
        assert threads.most == slots


def test_who_waits_for_such_a_slot_is_not_overtaken():
    """An item that the pool has started comes before those that follow on other threads."""
    threads = Threads(2)
    with threads.executor as executor, WorkerPool(2, on=executor) as pool:
        flow = rx.of(1).pipe(pool.map(threads.hang)).subscribe()
        assert threads.began.acquire(timeout=WAIT)
        flow.dispose()
        first = list(islice(pool.imap(threads.task, count(), order="input"), 1000))
        assert [number for number, _ in first] == list(range(1000))
        threads.gate.set()


def test_what_has_not_begun_on_a_thread_is_taken_back():
    """Others of the executor's keep its threads: what is cancelled meanwhile keeps no slot."""
    threads = Threads(1)
    with threads.executor as executor, WorkerPool(1, on=executor) as pool:
        executor.submit(threads.hang, 0)
        assert threads.began.acquire(timeout=WAIT)
        for _ in range(3):
            rx.of(1).pipe(pool.map(threads.task)).subscribe().dispose()
        assert pool.report().abandoned == 0
        future = pool.submit(threads.task, 2)
        threads.gate.set()
        assert future.result(WAIT) == (2, ("set", "users"))
        nothing_is_held(pool)


def test_threads_beside_the_executor_are_set_up_as_its_are():
    """A task that waits for its pool has another thread run what it waits for."""
    threads = Threads(1)
    with threads.executor as executor, WorkerPool(on=executor) as pool:

        def by_call(number):
            return pool.submit(threads.task, number).result(WAIT)[1][0]

        def by_stream(number):
            return collect(pool.pull([number]).pipe(pool.map(threads.task)))[0][1][0]

        for function in (by_call, by_stream):
            assert list(pool.imap(function, [1, 2])) == ["set"] * 2


def test_a_thread_executor_that_is_shut_down():
    """What comes later fails; what it had begun, and cancelled, is settled too."""
    executor = ThreadPoolExecutor(1)
    gate, began = threading.Event(), threading.Event()

    def hold(number):
        began.set()
        gate.wait(WAIT)
        return number

    with WorkerPool(2, on=executor) as pool:
        futures = [pool.submit(hold, n) for n in range(2)]
        assert began.wait(WAIT)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.set()
        assert futures[0].result(WAIT) == 0
        assert isinstance(futures[1].exception(WAIT), WorkerCrashed)
        error = pool.submit(hold, 2).exception(WAIT)
        assert isinstance(error, WorkerCrashed)
        assert isinstance(error.__cause__, RuntimeError)
        seen = collect(rx.from_iterable(range(2000)).pipe(pool.outcomes(hold)))
        assert len(seen) == 2000
        nothing_is_held(pool)
    executor.shutdown()


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


# -- Dask ------------------------------------------------------------------------------------


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
