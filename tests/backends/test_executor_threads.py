"""Pools on an executor of threads: slots, tasks that wait, what is taken back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from itertools import count, islice

import pytest
import reactivex as rx

from rxpool import TaskTimeout, WorkerCrashed, WorkerPool, current_task
from tests import executor_jobs as jobs
from tests.backends.executors import collect
from tests.waiting import WAIT, eventually

MARK = ContextVar("mark", default="none")


def nothing_is_held(pool):
    """No thread of the executor is taken for busy."""
    backend = pool._engine.backend
    eventually(lambda: backend._inside == 0)
    window = backend._window
    kept = (backend._lent, backend._ready, window._busy, window._mail)
    assert not any(kept)


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
