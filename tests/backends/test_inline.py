"""`on="inline"`: each task runs at once on the thread that brings it, one at a time."""

import asyncio
import threading
import time

import pytest
import reactivex as rx

from rxpool import (
    Failure,
    InvalidArgument,
    Retry,
    Success,
    TaskTimeout,
    WorkerPool,
    WouldBlock,
    current_task,
)
from tests.waiting import WAIT


def here(item):
    """The thread that this runs on."""
    return threading.current_thread()


async def here_later(item):
    """The same, after a turn of the loop."""
    await asyncio.sleep(0)
    return threading.current_thread()


@pytest.fixture(name="pool")
def _pool():
    with WorkerPool(on="inline") as pool:
        faults = []
        pool.faults.subscribe(faults.append)
        yield pool
    assert not faults


@pytest.mark.parametrize("work", [here, here_later])
def test_work_runs_on_the_thread_that_brings_it(pool, work):
    """By stream, call and iterator; and it is done when that returns."""
    me = threading.current_thread()
    seen = []
    rx.of(1, 2).pipe(pool.map(work), pool.map(lambda it: it)).subscribe(seen.append)
    assert seen == [me, me]
    call = pool.submit(work, 1)
    assert call.done()
    assert call.result() is me
    assert list(pool.imap(work, range(3))) == [me] * 3


def test_stacks_are_real_ones(pool):
    """Who brought the item is found by going up from the function."""
    import traceback

    def bring():
        return pool.submit(lambda: [frame.name for frame in traceback.extract_stack()]).result()

    assert "bring" in bring()


def test_no_thread_is_started():
    """Not for work, nor for the end of the pool."""
    before = threading.active_count()
    with WorkerPool(on="inline") as pool:
        rx.range(50).pipe(pool.map(here)).subscribe()
        assert threading.active_count() <= before
    assert threading.active_count() <= before


@pytest.mark.parametrize("workers", [2, 4])
def test_it_has_one_worker(workers):
    """More are refused, later too."""
    with pytest.raises(InvalidArgument, match=f"one worker, got workers={workers}"):
        WorkerPool(workers, on="inline")
    with WorkerPool(1, on="inline") as pool:
        assert pool.workers == 1
        pool.resize(1)
        with pytest.raises(InvalidArgument, match=f"workers={workers}"):
            pool.resize(workers)
        assert pool.workers == 1


def overrun(until):
    """Work that ends when it is told that it is overdue."""
    while not current_task().cancelled:
        time.sleep(0.001)
        assert time.monotonic() < until
    return "late"


@pytest.mark.parametrize("limit", [{"timeout": 0.02}, {"deadline": 0.02}])
def test_what_overran_its_time_is_told_when_it_returns(pool, limit):
    """It is not interrupted; `current_task().cancelled` says so; the next one runs then."""
    outcomes = []
    began = time.monotonic()
    rx.of(began + WAIT).pipe(pool.outcomes(overrun, **limit)).subscribe(outcomes.append)
    (failed,) = outcomes
    assert isinstance(failed, Failure)
    assert isinstance(failed.error, TimeoutError)
    assert 0.02 <= failed.took < WAIT
    assert pool.submit(here, 1).result() is threading.current_thread()


def test_an_overrun_is_seen_however_late_the_timer_is(pool):
    """By the time that it took, not by what an alarm has found."""

    def stand_still(item):
        until = time.perf_counter() + item
        while time.perf_counter() < until:  # no other thread gets in between
            pass
        return item

    import sys

    before = sys.getswitchinterval()
    sys.setswitchinterval(10.0)
    try:
        outcomes = []
        work = pool.outcomes(stand_still, timeout=0.005)
        rx.of(0.02, 0.0).pipe(work).subscribe(outcomes.append)
    finally:
        sys.setswitchinterval(before)
    assert isinstance(outcomes[0], Failure)
    assert isinstance(outcomes[0].error, TaskTimeout)
    assert isinstance(outcomes[1], Success)


def test_an_observable_is_ended_in_time(pool):
    """What goes on after the function has returned can be interrupted."""
    ended = threading.Event()
    outcomes = []

    def slow_then_never(item):
        if item:
            overrun(time.monotonic() + WAIT)
        return rx.create(lambda observer, _=None: ended.set)

    for item in (False, True):
        ended.clear()
        over = threading.Event()
        flow = rx.of(item).pipe(pool.outcomes(slow_then_never, timeout=0.02))
        flow.subscribe(outcomes.append, on_completed=over.set)
        assert ended.wait(WAIT)
        assert over.wait(WAIT)
    assert [type(outcome.error) for outcome in outcomes] == [TaskTimeout] * 2


def test_what_another_thread_brings_runs_behind_what_runs(pool):
    """There is one worker: who has it runs that next, and nobody waits for it."""
    began, go_on = threading.Event(), threading.Event()
    seen = []

    def hold(item):
        began.set()
        assert go_on.wait(WAIT)
        return here(item)

    def bring():
        seen.append(pool.submit(hold, 1).result())

    thread = threading.Thread(target=bring)
    thread.start()
    assert began.wait(WAIT)
    call = pool.submit(here, 2)
    assert not call.done()
    go_on.set()
    assert call.result(WAIT) is thread
    thread.join()
    assert seen == [thread]


def test_others_go_on_while_the_worker_waits_for_them(pool):
    """A task that waits for the pool does not keep what it waits for from running."""
    asked = threading.Event()
    other = {}

    def bring():
        assert asked.wait(WAIT)
        other["call"].put(pool.submit(here, "from elsewhere"))

    import queue

    other["call"] = queue.SimpleQueue()
    thread = threading.Thread(target=bring)
    thread.start()
    source = rx.subject.Subject()

    def wait(item):
        asked.set()
        nested = list(pool.imap(lambda it: it + 1, range(3)))
        return [*nested, other["call"].get(timeout=WAIT).result(WAIT)]

    seen = []
    source.pipe(pool.map(wait)).subscribe(seen.append)
    source.on_next(1)
    thread.join()
    (value,) = seen
    assert value[:3] == [1, 2, 3]


def test_nested_calls_run_here(pool):
    """To any depth that one thread allows."""

    def down(n):
        return 0 if not n else 1 + pool.submit(down, n - 1).result()

    assert pool.submit(down, 20).result() == 20


def test_a_subscriber_may_feed_its_own_source(pool):
    """That does not nest."""
    source = rx.subject.Subject()
    seen = []

    def go_on(n):
        seen.append(n)
        if n < 2000:
            source.on_next(n)

    source.pipe(pool.map(lambda n: n + 1)).subscribe(go_on)
    source.on_next(0)
    assert seen == list(range(1, 2001))


def test_another_attempt_after_a_pause(pool):
    """Comes when it is due, and what it is waited for with hears of it."""
    tried = []

    def flaky(item):
        tried.append(item)
        if len(tried) < 3:
            raise OSError
        return item

    assert list(pool.imap(flaky, ["x"], retry=Retry(delay=0.001))) == ["x"]
    assert tried == ["x"] * 3


def test_a_coroutine_where_a_loop_runs(recwarn):
    """Fails with a sentence that says what to use; plain functions run."""

    async def main():
        async with WorkerPool(on="inline") as pool:
            assert await pool.submit(here, 1) is threading.current_thread()
            with pytest.raises(WouldBlock, match="use on='asyncio'"):
                await pool.submit(here_later, 1)

    asyncio.run(main())
    assert not recwarn.list


def test_coroutines_share_a_loop(pool):
    """What belongs to one, such as a client's connections, can be used by the next."""

    async def loop(item):
        return asyncio.get_running_loop()

    loops = set(pool.imap(loop, range(3)))
    assert len(loops) == 1
    pool.close()
    assert loops.pop().is_closed()


def test_dispose_while_it_runs(pool):
    """The task learns of it, nothing comes out, and the worker goes on."""
    source = rx.subject.Subject()
    seen = []
    subscription = source.pipe(
        pool.map(lambda _: (subscription.dispose(), current_task().cancelled))
    ).subscribe(seen.append)
    source.on_next(1)
    assert seen == []
    assert pool.report().cancelled == 1
    assert pool.submit(here, 1).result(0) is threading.current_thread()


def test_a_pool_that_is_dropped_leaves_no_loop(recwarn):
    """Nor a thread."""
    import gc

    WorkerPool(on="inline").submit(here_later, 1).result()
    gc.collect()
    assert not recwarn.list
