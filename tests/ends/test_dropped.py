"""Pools and faces that nobody keeps: their work is done, then their workers end."""

import asyncio
import gc
import multiprocessing
import threading
import time
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import WorkerPool
from rxpool import operators as ops
from rxpool.faces import BatchProcessor, DebounceManager, ThrottleManager, batched
from tests import jobs
from tests.waiting import WAIT, eventually

OWN = ("threads", "processes", "asyncio")  # places with workers of the pool's own


@pytest.fixture(autouse=True)
def no_collector():
    """What has to end does so without the collector, which may not come for hours."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=[*OWN, "thread-executor", "process-executor"])
def on(request):
    """A place where work runs."""
    if request.param == "thread-executor":
        with ThreadPoolExecutor(2) as executor:
            yield executor
    elif request.param == "process-executor":
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(2, context) as executor:
            yield executor
    else:
        yield request.param


def workers(name):
    """The threads of a pool, and the processes of this program."""
    threads = [t.name for t in threading.enumerate() if t.name.startswith(name)]
    return threads, multiprocessing.active_children()


def gone(name):
    """Whether a pool has no worker any more, beside those of a user's executor."""
    threads, processes = workers(name)
    return not threads and not [p for p in processes if p.name.startswith(name)]


def by_submit(pool):
    """Calls, some of which fail."""
    assert pool.submit(jobs.double, 2).result(WAIT) == 4
    assert isinstance(pool.submit(jobs.fail_odd, 1).exception(WAIT), jobs.Oops)


def by_map(pool):
    """A flow."""
    results = rx.range(20).pipe(pool.map(jobs.double), ro.to_list()).run()
    assert sorted(results) == list(range(0, 40, 2))


def by_imap(pool):
    """An iterator, left early."""
    assert next(iter(pool.imap(jobs.double, range(100)))) in range(0, 200, 2)


def by_handle(pool):
    """A handle that is not closed, with an item and a batch."""
    handle = pool.worker(jobs.double)
    assert handle.execute(4).result(WAIT) == 8
    assert handle.execute_batch([1, 2]).result(WAIT) == [2, 4]


def by_pull(pool):
    """A chain of two flows."""
    chain = pool.pull(range(30)).pipe(
        pool.map(jobs.double), ops.batch(max_size=7), pool.map(len), ro.sum()
    )
    assert chain.run() == 30


@pytest.mark.parametrize("use", [by_submit, by_map, by_imap, by_handle, by_pull])
def test_an_idle_pool_ends_its_workers(on, use):
    """At once when the last who knows it lets it go."""

    def work():
        pool = WorkerPool(2, on=on, name="dropped")
        use(pool)

    work()
    eventually(partial(gone, "dropped"))


def test_an_unused_pool_is_dropped(on):
    """It had no worker."""
    WorkerPool(2, on=on, name="dropped")
    assert gone("dropped")


@pytest.mark.parametrize("on", OWN, indirect=True)
def test_ten_pools(on):
    """None of them leaves anything."""
    for number in range(10):
        assert WorkerPool(2, on=on, name=f"dropped{number}").submit(abs, -1).result(WAIT) == 1
    eventually(partial(gone, "dropped"))


@pytest.mark.parametrize("futures_kept", [True, False])
def test_work_in_flight_is_done(on, tmp_path, futures_kept):
    """By a pool that is gone already; then its workers end, also if futures are kept."""
    hold = partial(jobs.hold, str(tmp_path))

    def work():
        pool = WorkerPool(2, on=on, name="dropped")
        return [pool.submit(hold, item) for item in "abcde"]

    futures = work()
    if not futures_kept:
        futures.clear()
    eventually(lambda: len(jobs.notes(tmp_path)) >= 2)
    jobs.open_gate(tmp_path, "*")
    eventually(lambda: sum(mark == "-" for mark, *_ in jobs.notes(tmp_path)) == 5)
    eventually(partial(gone, "dropped"))
    assert [future.result() for future in futures] == list("abcde")[: len(futures)]


def test_a_batch_in_flight_is_done(on, tmp_path):
    """Items that are not in the books yet belong to it."""
    hold = partial(jobs.hold, str(tmp_path))

    def work():
        return WorkerPool(2, on=on, name="dropped").worker(hold, max_pending=1).execute_batch

    future = work()("abcdef")
    eventually(lambda: len(jobs.notes(tmp_path)) >= 2)
    jobs.open_gate(tmp_path, "*")
    assert future.result(WAIT) == list("abcdef")
    eventually(partial(gone, "dropped"))


@pytest.mark.parametrize("kept", [True, False])
def test_a_flow_that_is_fed_goes_on(on, kept):
    """It is in use as long as it is open, whether the subscription is kept or not."""
    source, got, ended = Subject(), [], threading.Event()

    def work():
        pool = WorkerPool(2, on=on, name="dropped")
        return source.pipe(pool.map(jobs.double)).subscribe(got.append, None, ended.set)

    subscription = work()
    if not kept:
        del subscription
    for item in range(3):
        source.on_next(item)
        eventually(lambda: len(got) == item + 1)  # noqa: B023
    source.on_completed()
    assert ended.wait(WAIT)
    assert got == [0, 2, 4]
    eventually(partial(gone, "dropped"))


def test_leaving_a_flow_is_its_end(on, tmp_path):
    """With the last subscription the workers end."""
    source = Subject()

    def work():
        pool = WorkerPool(2, on=on, name="dropped")
        return source.pipe(pool.map(partial(jobs.hold, str(tmp_path)))).subscribe()

    subscription = work()
    source.on_next("a")
    eventually(lambda: jobs.notes(tmp_path))
    subscription.dispose()
    jobs.open_gate(tmp_path, "*")
    eventually(partial(gone, "dropped"))


def test_an_operator_keeps_the_pool(on):
    """It can be used as long as somebody has it; then the workers end."""

    def make():
        return WorkerPool(2, on=on, name="dropped").map(jobs.double)

    double = make()
    for _ in range(2):
        assert sorted(rx.of(1, 2, 3).pipe(double, ro.to_list()).run()) == [2, 4, 6]
    stream = rx.of(4).pipe(double)
    del double
    assert stream.run() == 8
    del stream
    eventually(partial(gone, "dropped"))


def test_a_handle_keeps_the_pool(on):
    """It can be used as long as somebody has it; then the workers end."""
    handle = WorkerPool(2, on=on, name="dropped").worker(jobs.double)
    for _ in range(2):
        assert handle.execute(2).result(WAIT) == 4
    del handle
    eventually(partial(gone, "dropped"))


def test_a_bound_method_keeps_the_pool():
    """So does whatever else refers to it."""
    submit = WorkerPool(2, name="dropped").submit
    assert submit(abs, -1).result(WAIT) == 1
    assert submit(abs, -2).result(WAIT) == 2
    del submit
    eventually(partial(gone, "dropped"))


@pytest.mark.parametrize("on", OWN, indirect=True)
def test_an_owner_that_the_pool_knows(on):
    """A cycle of a pool and its owner is left to the collector, which finds it."""

    class Owner:
        def __init__(self):
            self.events = []
            self.pool = WorkerPool(2, on=on, name="dropped", monitor=self.see)
            self.pool.faults.subscribe(self.see)
            self.handle = self.pool.worker(jobs.double)
            self.handle.owner = self

        def see(self, event):
            self.events.append(event)

    def work():
        owner = Owner()
        assert owner.handle.execute(2).result(WAIT) == 4
        assert owner.pool.submit(jobs.double, 3).result(WAIT) == 6
        return weakref.ref(owner)

    owner = work()
    assert owner() is not None
    eventually(lambda: (gc.collect(), owner() is None)[1])
    eventually(partial(gone, "dropped"))


@pytest.mark.parametrize("on", OWN, indirect=True)
def test_who_listens_to_a_dropped_pool_hears_its_end(on):
    """Metrics, faults and progress complete."""
    ended = []

    def work():
        pool = WorkerPool(2, on=on, name="dropped")
        for name in ("metrics", "attempts", "faults", "progress"):
            getattr(pool, name).subscribe(on_completed=partial(ended.append, name))
        assert pool.submit(jobs.double, 2).result(WAIT) == 4

    work()
    eventually(lambda: sorted(ended) == ["attempts", "faults", "metrics", "progress"])
    eventually(partial(gone, "dropped"))


def test_a_pool_on_a_running_loop():
    """Its keeper on the loop ends, and its threads."""

    async def main():
        def work():
            pool = WorkerPool(2, on="asyncio", name="dropped")
            return pool.submit(jobs.double, 2), pool.submit(jobs.double_later, 2)

        tasks = asyncio.all_tasks()
        assert await asyncio.gather(*work()) == [4, 4]
        while asyncio.all_tasks() - tasks or not gone("dropped"):
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), WAIT))


@pytest.mark.parametrize("on", OWN, indirect=True)
def test_dropping_waits_for_nothing(on):
    """A finaliser runs with whatever locks held, those of the pool included."""
    pool = WorkerPool(2, on=on, name="dropped")
    assert pool.submit(jobs.double, 2).result(WAIT) == 4
    engine, held, dropped = pool._engine, threading.Event(), threading.Event()
    backend = engine.backend
    locks = [engine.lock]
    locks += [
        lock
        for each in (backend, getattr(getattr(backend, "threads", None), "crew", None))
        if (lock := getattr(each, "_lock", None)) is not None
    ]
    if on == "asyncio":
        locks.append(backend.loop._lock)

    def hold(locks):
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            dropped.wait(WAIT)

    thread = threading.Thread(target=hold, args=(locks,))
    thread.start()
    assert held.wait(WAIT)
    began = time.monotonic()
    del pool
    took = time.monotonic() - began
    dropped.set()
    thread.join(WAIT)
    assert took < WAIT / 2
    del engine, backend, locks, thread
    eventually(partial(gone, "dropped"))


def test_dropping_races_with_the_last_result(frantic):
    """Whoever comes last, the pool that lost its keeper or the end of its work."""
    done = []
    for number in range(200):
        pool = WorkerPool(2, name=f"dropped{number}")
        pool.submit(done.append, number)
        if number % 3:
            pool.submit(done.append, number)
        if number % 2:
            time.sleep(0)
        del pool
    eventually(lambda: len(done) == 200 + sum(bool(n % 3) for n in range(200)))
    eventually(partial(gone, "dropped"))


# -- faces ------------------------------------------------------------------------------------


def test_an_idle_face_ends_its_pool():
    """When the last who knows it lets it go, futures that are done included."""

    def work():
        processor = BatchProcessor(list, max_delay=0.001)
        throttle = ThrottleManager(1000)
        debounce = DebounceManager(0.001)
        futures = [processor.add(1), throttle.execute(abs, -2), debounce.execute(abs, -3)]
        assert [future.result(WAIT) for future in futures] == [1, 2, 3]
        faces = (processor, throttle, debounce)
        eventually(lambda: not any(face._engine.kept for face in faces))
        return futures

    futures = work()
    eventually(lambda: gone("BatchProcessor") and gone("ThrottleManager"))
    eventually(lambda: gone("DebounceManager"))
    assert len(futures) == 3


def test_calls_that_wait_in_a_dropped_face_are_made():
    """In their time, whether the futures are kept or not."""
    made = []

    def work():
        BatchProcessor(lambda items: (made.append(items), items)[1], max_delay=0.02).add(1)
        throttle = ThrottleManager(50)
        throttle.execute(made.append, 2)
        throttle.execute(made.append, 3)
        DebounceManager(0.02).execute(made.append, 4)

        @batched(max_delay=0.02)
        def double(items):
            made.append(items)
            return [2 * item for item in items]

        return double(5)

    assert work().result(WAIT) == 10
    eventually(lambda: sorted(map(str, made)) == ["2", "3", "4", "[1]", "[5]"])
    eventually(lambda: gone("BatchProcessor") and gone("ThrottleManager"))
    eventually(lambda: gone("DebounceManager"))


def test_a_cancelled_call_leaves_an_open_batch(tmp_path):
    """The next item joins it, and is not lost when the processor is dropped."""
    made = []

    def work():
        processor = BatchProcessor(lambda items: (made.append(items), items)[1], max_delay=0.2)
        assert processor.add(1).cancel()
        return processor.add(2)

    assert work().result(WAIT) == 2
    assert made == [[2]]
    eventually(lambda: gone("BatchProcessor"))


def _keep(value):
    return value


@pytest.mark.parametrize("on", ["threads", "processes", "asyncio"])
@pytest.mark.parametrize("kind", ["batch", "debounce", "throttle"])
def test_a_face_keeps_its_pool(kind, on):
    """Nobody else has the pool, and every call has its result; with the face it goes."""

    def make():
        pool = WorkerPool(1, on=on)
        if kind == "batch":
            face = BatchProcessor(_keep, max_delay=0.01, pool=pool)
            return weakref.ref(pool), face, face.add
        face = DebounceManager(0.01, pool=pool) if kind == "debounce" else None
        face = face or ThrottleManager(1000, pool=pool)
        return weakref.ref(pool), face, partial(face.execute, _keep)

    pool, face, call = make()
    for number in range(3):
        gc.collect()
        assert call(number).result(20) == number
    face.close()
    del face, call
    until = time.monotonic() + 20
    while pool() is not None:
        assert time.monotonic() < until
        gc.collect()  # on asyncio the loop's last task may refer to it
        time.sleep(0.01)
