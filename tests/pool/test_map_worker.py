"""`pool.worker`: items and batches in virtual time and on threads, to the tick."""

import asyncio
import sys
import threading
import time
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as ro

from rxpool import (
    InvalidArgument,
    ItemDropped,
    Limit,
    Overflow,
    PoolClosed,
    Retry,
    TaskCancelled,
    TaskTimeout,
    WorkerPool,
    WouldBlock,
)
from rxpool.pool import PoolFuture
from rxpool.pool._flows.batch_future import BatchFuture
from tests.alarms import Alarms
from tests.pool.crew import Oops, joined, started
from tests.pool.marbles import work
from tests.waiting import WAIT, is_free


def plain(value):
    """The work of the tests is Observables, and the result of one is a list."""
    if isinstance(value, list) and all(isinstance(each, list) for each in value):
        return [each for (each,) in value]
    return value[0] if isinstance(value, list) else value


class Run:
    """A worker in virtual time; what is called at which tick, and what became of it."""

    def __init__(self, workers=1, **options):
        self.time = Alarms()
        self.pool = WorkerPool(workers, on=self.time, name="p")
        self.worker = self.pool.worker(work, **options)
        self.seen = []

    def at(self, tick, call):
        """Make a call then; its future's end is noted with the tick."""

        def act(*_):
            future = call(self.worker)
            if hasattr(future, "add_done_callback"):
                future.add_done_callback(lambda each: self.seen.append(self.row(each)))

        self.time.schedule_absolute(tick, act)
        return self

    def row(self, future):
        """The tick, and the value or the type of the error."""
        if future.cancelled():
            return int(self.time.clock), "cancelled"
        error = future.exception()
        value = plain(future.result()) if error is None else type(error).__name__
        return int(self.time.clock), value

    def rows(self):
        """Let time pass."""
        self.time.start()
        assert self.time.pending == 0
        return self.seen


def test_items_one_after_another():
    """One worker, each item its own future."""
    run = Run().at(10, lambda w: w.execute("a5")).at(11, lambda w: w.execute("b5!"))
    assert run.rows() == [(15, "a"), (20, "Oops")]
    report = run.worker.metrics()
    assert (report.accepted, report.succeeded, report.failed) == (2, 1, 1)
    assert report.name == "p.worker(work)"
    assert run.worker.pending == 0


def test_a_batch_keeps_the_order_of_its_items():
    """All at once on two workers; one future, when the last is done."""
    told = []
    items = ["a30", "b10", "c10"]
    run = Run(2).at(10, lambda w: w.execute_batch(items, lambda *n: told.append(n)))
    assert run.rows() == [(40, ["a", "b", "c"])]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_error_of_the_first_item_in_order():
    """Not of the one that failed first; once all are settled."""
    run = Run(2).at(10, lambda w: w.execute_batch(["a30!", "b10!", "c50"]))
    run.at(11, lambda w: w.execute("z1"))
    seen = run.rows()
    assert seen == [(70, "Oops"), (41, "z")] or seen == [(41, "z"), (70, "Oops")]
    batch = Run(1)
    batch.at(10, lambda w: setattr(batch, "future", w.execute_batch(["a5!", "b5!"])))
    batch.rows()
    assert str(batch.future.exception()) == "a5!"


def test_an_empty_batch():
    """An empty list, at once, without a worker."""
    run = Run().at(10, lambda w: w.execute_batch([]))
    assert run.rows() == [(10, [])]


def test_a_batch_larger_than_the_inbox_waits_in_itself():
    """Where nobody can wait too: items come in as there is room."""
    items = [f"{name}10" for name in "abcdefg"]
    run = Run(1, max_pending=1).at(10, lambda w: w.execute_batch(items))
    run.at(11, lambda w: (_ for _ in ()).throw(Oops()) if w.pending > 2 else None)
    assert run.rows() == [(80, list("abcdefg"))]


def test_an_item_for_which_there_is_no_room():
    """A clear refusal where nobody can wait; by policy otherwise."""
    run = Run(1, max_pending=1)
    run.at(1, lambda w: w.execute("a9")).at(1, lambda w: w.execute("b9"))

    def refused(worker):
        with pytest.raises(WouldBlock, match="max_pending"):
            worker.execute("c9")

    assert run.at(2, refused).rows() == [(10, "a"), (19, "b")]
    for overflow, rows in {
        "drop_newest": [(2, "ItemDropped"), (10, "a"), (19, "b")],
        "drop_oldest": [(2, "ItemDropped"), (10, "a"), (19, "c")],
    }.items():
        run = Run(1, max_pending=1, overflow=overflow)
        for name in "abc":
            run.at(1 + (name == "c"), lambda w, name=name: w.execute(name + "9"))
        assert run.rows() == rows
        assert run.worker.metrics().dropped == 1
    run = Run(1, max_pending=0, overflow="error").at(1, lambda w: w.execute("a9"))

    def overflows(worker):
        with pytest.raises(Overflow):
            worker.execute("b9")

    assert run.at(2, overflows).rows() == [(10, "a")]


def test_limits_in_time_and_retries():
    """The keywords of `map` hold for each item."""
    run = Run(2, timeout=20, retry=Retry(2, delay=10, jitter=0, on=TaskTimeout))
    run.at(10, lambda w: w.execute("a50")).at(10, lambda w: w.execute("b5"))
    assert run.rows() == [(15, "b"), (60, "TaskTimeout")]
    run = Run(1, deadline=30)
    run.at(10, lambda w: w.execute("a25")).at(10, lambda w: w.execute("b25"))
    assert run.rows() == [(35, "a"), (40, "DeadlineExceeded")]


def test_a_fallback():
    """Stands in for what failed."""
    run = Run(fallback=lambda item, error: item).at(10, lambda w: w.execute("a5!"))
    assert run.rows() == [(15, "a5!")]


def test_keys_and_priorities():
    """Items of one key one after another; smaller numbers first."""
    run = Run(2, order="key", key=lambda item: item[0])
    for item in ("a1-10", "a2-10", "b1-10"):
        run.at(10, lambda w, item=item: w.execute(item))
    assert run.rows() == [(20, "a1"), (20, "b1"), (30, "a2")]
    run = Run(1, priority=lambda item: int(item[1]))
    for item in ("a9-10", "a2-10", "a1-10"):
        run.at(10, lambda w, item=item: w.execute(item))
    assert run.rows() == [(20, "a9"), (30, "a1"), (40, "a2")]
    run = Run(1, order="key", key=lambda item: 1 / 0).at(5, lambda w: w.execute("a5"))
    assert run.rows() == [(5, "ZeroDivisionError")]


def test_cancelling_an_item():
    """Until its first attempt starts."""
    run, futures = Run(), []
    run.at(10, lambda w: futures.append(w.execute("a10")))
    run.at(10, lambda w: futures.append(w.execute("b10")))
    answers = []
    run.at(15, lambda w: answers.extend(future.cancel() for future in futures))
    run.rows()
    assert answers == [False, True]
    assert futures[0].result() == ["a"]
    assert futures[1].cancelled()
    report = run.worker.metrics()
    assert (report.succeeded, report.cancelled) == (1, 1)


def test_an_item_that_waits_for_a_limit_cannot_be_taken_back():
    """It is in no line that it could leave."""
    run, futures, answers = Run(2, limit=Limit(1, per=20, key=lambda item: 1)), [], []
    run.at(10, lambda w: futures.extend(w.execute(item) for item in ("a5", "b5")))
    run.at(12, lambda w: answers.append(futures[1].cancel()))
    run.rows()
    assert answers == [False]
    assert futures[1].result() == ["b"]


def test_room_that_comes_while_the_batch_looks_for_it():
    """Caught: forgetting that somebody called while another was bringing items."""
    rooms = [False, True, True]
    flow = SimpleNamespace(
        _engine=SimpleNamespace(lock=threading.RLock(), back_pressure=SimpleNamespace()),
        state=None,
        batches=set(),
        expect=lambda batch: None,
        note_quiet=lambda: None,
        prepare=lambda item: PoolFuture(flow),
        waits=lambda: None,
        help=lambda future: None,
    )

    def enter(future, waits):
        if not (room := rooms.pop(0)):
            return room
        future.set_result(1)
        return room

    def on_room(state, resume):
        resume()  # at once, while the one who asks still holds the turn
        return True

    flow.enter, flow._engine.back_pressure.on_room = enter, on_room
    batch = BatchFuture(flow, ["a", "b"], None)
    batch.begin()
    assert batch.result(0) == [1, 1]


def test_cancelling_a_batch():
    """What waits does not run; what runs ends, for nobody."""
    run, batch, told = Run(1, max_pending=1), [], []
    items = ["a10", "b10", "c10", "d10"]
    run.at(10, lambda w: batch.append(w.execute_batch(items, lambda *n: told.append(n))))
    run.at(25, lambda w: batch[0].cancel())
    run.rows()
    assert batch[0].cancelled()
    report = run.worker.metrics()
    assert (report.succeeded, report.cancelled, report.accepted) == (2, 1, 3)
    assert told == [(1, 4)]
    assert run.worker.close()
    assert run.pool.close()


def test_closing_the_worker_and_the_pool():
    """What was accepted is finished, batches too; then it refuses."""
    run = Run(1, max_pending=1)
    run.at(10, lambda w: w.execute_batch(["a10", "b10", "c10"]))
    answers = []
    run.at(12, lambda w: answers.append(w.close()))
    run.at(13, lambda w: answers.append(run.pool.close()))

    def refused(worker):
        with pytest.raises(PoolClosed, match=r"p\.worker\(work\) is closed"):
            worker.execute("x5")
        with pytest.raises(PoolClosed):
            worker.execute_batch(["x5"])

    assert run.at(14, refused).rows() == [(40, ["a", "b", "c"])]
    assert answers == [False, False]
    assert run.worker.close()
    assert run.pool.close()
    assert run.pool.report().succeeded == 3
    with pytest.raises(PoolClosed):
        run.pool.worker(work)


def test_terminating_the_pool():
    """Every item has its end, those of a batch that are not in yet too."""
    run = Run(1, max_pending=1)
    run.at(10, lambda w: w.execute("a10")).at(11, lambda w: w.execute_batch(["b1", "c1", "d1"]))
    run.at(12, lambda w: run.pool.terminate())
    assert run.rows() == [(12, "TaskCancelled"), (12, "TaskCancelled")]


def test_progress_that_raises_is_a_fault():
    """Results are not harmed by it."""
    faults = []
    run = Run()
    run.pool.faults.subscribe(faults.append)
    run.at(10, lambda w: w.execute_batch(["a5", "b5"], lambda *n: 1 / 0))
    assert run.rows() == [(20, ["a", "b"])]
    assert [type(fault) for fault in faults] == [ZeroDivisionError] * 2


def test_arguments():
    """Refused where they are written, with the value."""
    with WorkerPool(1) as pool:
        with pytest.raises(InvalidArgument, match="order='input'"):
            pool.worker(work, order="input")
        with pytest.raises(TypeError, match="3"):
            pool.worker(3)
        with pytest.raises(TypeError, match="on_failure"):
            pool.worker(work, on_failure="skip")
        with pytest.raises(TypeError, match="no option 'max_failures'"):  # no stream to end
            pool.worker(work, max_failures=1)
        worker = pool.worker(work)
        with pytest.raises(TypeError, match="items must be iterable, got 5"):
            worker.execute_batch(5)
        with pytest.raises(TypeError, match="on_progress must be callable, got 'x'"):
            worker.execute_batch([], on_progress="x")


def test_leaving_the_block_by_an_exception():
    """What waits is taken back; what runs is waited for."""
    gate = threading.Event()
    with WorkerPool(1) as pool:
        with pytest.raises(Oops), pool.worker(wait_for(gate)) as worker:  # noqa: PT012
            futures = [worker.execute(n) for n in range(3)]
            batch = worker.execute_batch(range(3))
            futures[1].add_done_callback(lambda _: gate.set())  # it is taken back
            raise Oops
        assert futures[0].result(WAIT) == 0
        assert all(future.cancelled() for future in [*futures[1:], batch])


def wait_for(gate):
    """A function that waits for *gate*."""
    return lambda n: n if gate.wait(WAIT) else None


def test_awaiting():
    """Futures are awaitable, and leaving an async block blocks no loop."""

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with WorkerPool(2, on="asyncio", max_pending=2) as pool:
            async with pool.worker(later) as worker:
                ticker = asyncio.create_task(tick())
                assert await worker.execute(1) == 2
                assert await worker.execute_batch(range(20)) == list(range(1, 21))
                left = worker.execute_batch(range(20))
            assert left.result(0) == list(range(1, 21))
            ticker.cancel()
        return ticks

    async def later(n):
        for _ in range(3):
            await asyncio.sleep(0)
        return n + 1

    assert asyncio.run(main()) > 20


# -- threads at once -----------------------------------------------------------------------


@pytest.fixture
def impatient():
    """Threads are switched as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_four_threads_at_once(impatient):
    """Each call its own result; progress is told in turn and to the end."""
    problems = []
    with WorkerPool(3, max_pending=2) as pool, pool.worker(lambda n: n * 2) as worker:

        def call(first):
            for start in range(first, first + 200, 20):
                told = []
                busy = threading.Lock()

                def progress(done, total, told=told, busy=busy):
                    if not busy.acquire(False):
                        problems.append("told twice at once")
                        return
                    time.sleep(0)  # others may come meanwhile
                    told.append((done, total))
                    busy.release()

                batch = worker.execute_batch(range(start, start + 20), progress)
                single = worker.execute(start)
                if batch.result(WAIT) != [n * 2 for n in range(start, start + 20)]:
                    problems.append(start)
                if told != [(n + 1, 20) for n in range(20)]:
                    problems.append(told)
                if single.result(WAIT) != start * 2:
                    problems.append(start)

        joined(*(started(call, first) for first in (0, 1000, 2000, 3000)))
    assert problems == []
    assert worker.metrics().succeeded == 4 * 10 * 21


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("item"), st.integers(0, 9)),
        st.tuples(st.just("batch"), st.lists(st.integers(0, 9), max_size=6)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 3), st.integers(0, 3))
def test_every_future_has_its_own_end(steps, workers, room):
    """Whatever is called and cancelled when: results, errors and counts agree."""
    time = Alarms()
    pool = WorkerPool(workers, on=time)
    worker = pool.worker(duration, max_pending=room, overflow="drop_newest")
    calls = []

    def step(kind, what):
        if kind == "item":
            calls.append((what, worker.execute(what)))
        elif kind == "batch":
            calls.append((what, worker.execute_batch(what)))
        elif calls:
            calls[what % len(calls)][1].cancel()

    for tick, (kind, what) in enumerate(steps):
        time.schedule_absolute(2.0 * tick + 1, lambda *_, k=kind, w=what: step(k, w))
    time.start()
    for what, future in calls:
        assert future.done()
        if future.cancelled():
            continue
        error = future.exception()
        if error is None:
            assert plain(future.result()) == what
        else:
            items = what if isinstance(what, list) else [what]
            dropped = isinstance(error, (ItemDropped, CancelledError, TaskCancelled))
            assert dropped or error.args[0] in [n for n in items if n == 7]
    report = worker.metrics()
    settled = report.succeeded + report.failed + report.dropped + report.cancelled
    assert (report.in_flight, report.accepted) == (0, settled)
    assert worker.close()
    assert pool.close()
    assert time.pending == 0


def duration(number):
    """Take that many ticks; 7 fails."""
    if number == 7:
        raise Oops(7)
    return rx.timer(number).pipe(ro.map(lambda _: number))


def test_no_lock_is_held_while_a_cancelled_call_is_told_of():
    """Caught: telling of it under the lock in which it was looked whether it waits."""
    gate, free = threading.Event(), []

    def hear(_):
        if threading.current_thread() is here and armed:
            free.append(is_free(lock, 1.0))

    here, armed = threading.current_thread(), False
    with WorkerPool(1) as pool:
        lock = pool._engine.lock
        pool.metrics.subscribe(hear)
        work = pool.worker(lambda item: gate.wait())
        calls = [work.execute(item) for item in range(3)]
        armed = True
        cancelled = calls[2].cancel()
        armed = False
        gate.set()
        assert calls[0].result()
    assert cancelled
    assert free
    assert all(free)
