"""A task that waits for its own pool waits for items that wait themselves: nothing hangs."""

import threading

import pytest
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import Limit, Retry, WorkerPool
from tests.waiting import WAIT

ITEMS = range(6)


class Flaky:
    """Work that fails so many times for each item, then gives it."""

    def __init__(self, times):
        self._times, self._made, self._lock = times, {}, threading.Lock()

    def __call__(self, item):
        """An attempt."""
        with self._lock:
            made = self._made[item] = self._made.get(item, 0) + 1
        if made <= self._times:
            raise ValueError(item)
        return item


def options(what):
    """Policies with which items wait without a worker."""
    retry = Retry(3, delay=0.01, jitter=0)
    return {
        "retry": {"retry": retry},
        "limit": {"limit": Limit(200)},
        "limit with keys": {"limit": Limit(100, key=lambda item: item % 2)},
        "both": {"retry": retry, "limit": Limit(200)},
    }[what]


def work(what):
    """What suits them."""
    return Flaky(2 if what in ("retry", "both") else 0)


def by_imap(pool, what):
    """Iterate."""
    return sorted(pool.imap(work(what), ITEMS, **options(what)))


def by_stream(pool, what):
    """Wait for a stream."""
    stream = pool.pull(ITEMS).pipe(pool.map(work(what), **options(what)), ro.to_list())
    return sorted(stream.run())


def by_call(pool, what):
    """Wait for one call after another."""
    worker = pool.worker(work(what), **options(what))
    return [worker.execute(item).result(WAIT) for item in ITEMS]


def by_batch(pool, what):
    """Wait for several calls."""
    return pool.worker(work(what), **options(what)).execute_batch(ITEMS).result(WAIT)


WHAT = pytest.mark.parametrize("what", ["retry", "limit", "limit with keys", "both"])


@WHAT
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", [by_imap, by_stream, by_call, by_batch])
def test_a_task_waits_for_results(way, workers, what):
    """All workers wait for items that come back when nobody else is there to run them."""
    with WorkerPool(workers) as pool:
        calls = [pool.submit(way, pool, what) for _ in range(workers)]
        assert [call.result(WAIT) for call in calls] == [list(ITEMS)] * workers


@WHAT
@pytest.mark.parametrize("pending", [0, 1, 2])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_waits_for_room(workers, pending, what):
    """It pushes into a flow of its own pool that is full of what waits."""
    seen, ended = [], threading.Event()
    with WorkerPool(workers) as pool:
        subject = Subject()
        through = pool.map(work(what), max_pending=pending, **options(what))
        subject.pipe(through).subscribe(seen.append, seen.append, ended.set)

        def push(start):
            for item in ITEMS:
                subject.on_next(start + item)

        calls = [pool.submit(push, 10 * number) for number in range(workers)]
        for call in calls:
            call.result(WAIT)
        subject.on_completed()
        assert ended.wait(WAIT)
    assert sorted(seen) == sorted(10 * n + item for n in range(workers) for item in ITEMS)


def test_a_limit_is_asked_before_a_call_that_is_waited_for():
    """The task that waits for a call does not run it past the limit."""
    ran = []
    with WorkerPool(1) as pool:
        limit = Limit(1, per=1000)
        worker = pool.worker(ran.append, limit=limit)

        def wait():
            first, second = worker.execute(1), worker.execute(2)
            first.result(WAIT)
            with pytest.raises(TimeoutError):
                second.result(0.05)
            second.cancel()

        pool.submit(wait).result(WAIT)
    assert ran == [1]
