"""A subscriber that leaves while work hangs."""

import threading

import reactivex as rx

from rxpool import WorkerPool
from tests.pool.crew import balanced, open_gate
from tests.waiting import WAIT, eventually


def test_dispose_while_work_hangs_leaves_the_pool_usable():
    """Threads that hang in work nobody waits for are replaced, and end when it does."""
    gate = threading.Event()
    hanging = threading.Semaphore(0)

    def hang(_):
        hanging.release()
        open_gate(gate)

    with WorkerPool(2) as pool:
        stuck = rx.of(1, 2, 3).pipe(pool.map(hang)).subscribe()
        for _ in range(2):
            assert hanging.acquire(timeout=WAIT)
        stuck.dispose()
        assert balanced(pool).cancelled == 3
        # Both slots are free again: two run at once.
        barrier = threading.Barrier(2)
        calls = [pool.submit(barrier.wait, WAIT) for _ in range(2)]
        assert sorted(call.result(WAIT) for call in calls) == [0, 1]
        gate.set()
    assert balanced(pool).succeeded == 2


def test_results_of_abandoned_work_go_nowhere():
    """What abandoned work returns or raises is dropped, and counted no second time."""
    gate, running = threading.Event(), threading.Semaphore(0)
    got, ended = [], threading.Semaphore(0)

    def late(n):
        running.release()
        open_gate(gate)
        try:
            return 1 // n
        finally:
            ended.release()

    with WorkerPool(2) as pool:
        subscription = rx.of(0, 1).pipe(pool.map(late)).subscribe(got.append, got.append)
        for _ in range(2):
            assert running.acquire(timeout=WAIT)
        subscription.dispose()
        gate.set()
        for _ in range(2):
            assert ended.acquire(timeout=WAIT)
        assert pool.submit(str, 1).result(WAIT) == "1"
    eventually(lambda: pool._engine.backend.abandoned == 0)
    assert got == []
    report = balanced(pool)
    assert (report.succeeded, report.cancelled) == (1, 2)
