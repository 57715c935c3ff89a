"""How a pool ends: close, terminate, the with block, the end of the program."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import Failure, PoolClosed, Success, TaskCancelled, WorkerPool
from rxpool import operators as ops
from tests import jobs
from tests.conformance.lanes import REAL, VIRTUAL, balanced, counts
from tests.waiting import WAIT


def test_close_finishes_what_was_accepted(lane):
    """Sources are cut, everything inside comes out, the stream completes."""
    subject = Subject()
    with lane.pool(2) as pool:
        sink = lane.subscribe(subject.pipe(pool.map(lane.hold, order="input")))
        for item in "abcdef":
            subject.on_next(item)
        lane.until_running("a", "b")
        lane.open("*")
        assert lane.close(pool) is True
        assert sink.completed
        assert sink.values == list("abcdef")
        assert not subject.observers
        assert counts(pool) == {"accepted": 6, "succeeded": 6}
        assert lane.close(pool) is True


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_an_unused_pool_ends(lane, how):
    """There was nothing to do, so nothing is left."""
    with lane.pool() as pool:
        assert getattr(pool, how)() in (True, None)
        assert lane.close(pool) is True


def test_close_cuts_an_endless_source(lane):
    """A source that never ends does not keep the pool from closing."""

    def numbers():
        n = 0
        while True:
            yield n
            n += 1

    with lane.pool(2, max_pending=4) as pool:
        work = pool.map(lane.last, order="input")
        sink = lane.start(pool.pull(numbers()).pipe(ro.map(lambda n: (n, 1)), work))
        lane.until(lambda: len(sink.values) > 20)
        assert lane.close(pool) is True
        lane.until(sink.ended.is_set)
        assert sink.completed
        assert sink.values == list(range(len(sink.values)))
        assert counts(pool)["succeeded"] == len(sink.values)


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_close_with_a_timeout_terminates_the_rest(lane):
    """It answers False; what was not done has been cancelled, what was has its result."""
    subject = Subject()
    with lane.pool(2) as pool:
        sink = lane.subscribe(subject.pipe(pool.outcomes(lane.hold)))
        for item in "abcde":
            subject.on_next(item)
        lane.open("a")
        lane.until(lambda: len(lane.running) == 2 and len(sink.values) == 1)
        assert lane.close(pool, timeout=0.05) is False
        lane.until(sink.ended.is_set)
        assert sink.completed
        outcome = {record.item: record for record in sink.values}
        assert isinstance(outcome.pop("a"), Success)
        assert sorted(outcome) == list("bcde")
        assert all(isinstance(record.error, TaskCancelled) for record in outcome.values())
        lane.until_cut_off("b", "c")


@pytest.mark.parametrize("lane", VIRTUAL, indirect=True)
def test_close_where_nobody_can_wait(lane):
    """In virtual time it says how things stand, and the pool ends when its work does."""
    with lane.pool(2) as pool:
        sink = lane.subscribe(rx.of(*"abc").pipe(pool.map(lane.hold)))
        lane.until_running("a", "b")
        assert pool.close(timeout=1) is False
        lane.open("*")
        assert sorted(sink.result()) == list("abc")
        assert pool.close() is True


@pytest.mark.parametrize("order", ["completion", "input"])
def test_terminate(lane, order):
    """Every accepted item has its outcome: the results so far, and `TaskCancelled`."""
    subject = Subject()
    with lane.pool(2) as pool:
        sink = lane.subscribe(subject.pipe(pool.outcomes(lane.hold, order=order)))
        for item in "abcdef":
            subject.on_next(item)
        lane.until_running("a", "b")
        lane.open("a")
        lane.until_running("b", "c")
        lane.until(lambda: len(sink.values) == 1)
        pool.terminate()
        lane.until(sink.ended.is_set)
        assert sink.completed
        assert sorted(record.item for record in sink.values) == list("abcdef")
        assert isinstance(sink.values[0], Success)
        for record in sink.values[1:]:
            assert isinstance(record, Failure)
            assert isinstance(record.error, TaskCancelled)
            assert record.attempts == (record.item in "bc")
        assert order == "completion" or [r.item for r in sink.values] == list("abcdef")
        assert not subject.observers
        assert counts(pool) == {"accepted": 6, "succeeded": 1, "cancelled": 5}
        lane.until_cut_off("b", "c")
    assert sorted(lane.started) == list("abc")


def test_map_is_told_that_the_pool_was_terminated(lane):
    """Its stream ends with `TaskCancelled`."""
    subject = Subject()
    with lane.pool(1) as pool:
        sink = lane.subscribe(subject.pipe(pool.map(lane.hold)))
        subject.on_next("a")
        lane.until_running("a")
        pool.terminate()
        sink.wait()
        assert isinstance(sink.error, TaskCancelled)


def test_leaving_by_an_exception_terminates(lane):
    """The exception goes on; what ran is stopped."""
    subject = Subject()
    boom = RuntimeError("boom")
    with pytest.raises(RuntimeError) as raised, lane.make(2) as pool:  # noqa: PT012
        sink = lane.subscribe(subject.pipe(pool.outcomes(lane.hold)))
        for item in "abc":
            subject.on_next(item)
        lane.until_running("a", "b")
        raise boom
    assert raised.value is boom
    lane.until(sink.ended.is_set)
    assert [type(record.error) for record in sink.values] == [TaskCancelled] * 3
    lane.until_cut_off("a", "b")
    balanced(pool)


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_work_is_refused_afterwards(lane, how):
    """`submit` raises, flows end with `PoolClosed`, and so do iterators."""
    with lane.pool() as pool:
        assert lane.collect(rx.of(1).pipe(pool.map(jobs.same))) == [1]
        getattr(pool, how)()
        with pytest.raises(PoolClosed):
            pool.submit(jobs.same, 1)
        assert isinstance(lane.subscribe(rx.of(1).pipe(pool.map(str))).wait().error, PoolClosed)
        with pytest.raises(PoolClosed):
            pool.imap(jobs.same, [1])
        assert counts(pool) == {"accepted": 1, "succeeded": 1}


def test_a_chain_is_drained_from_the_top(lane):
    """What batches between two flows hold goes on to the next one before that ends."""
    subject = Subject()
    with lane.pool(2) as pool:
        sink = lane.subscribe(
            subject.pipe(pool.map(lane.hold), ops.batch(max_size=100), pool.map(jobs.same))
        )
        for item in "abcde":
            subject.on_next(item)
        lane.until_running("a", "b")
        lane.open("*")
        assert lane.close(pool) is True
        (batch,) = sink.values
        assert sorted(batch) == list("abcde")
        assert sink.completed


def test_async_with(lane):
    """A pool is an async context manager too."""
    got = []

    async def main():
        pool = WorkerPool(2, on=lane.on)
        subject = Subject()
        async with pool:
            subject.pipe(pool.map(jobs.double, order="input")).subscribe(got.append)
            for n in range(5):
                subject.on_next(n)
        return pool

    pool = lane.coroutine(main())
    lane.until(lambda: not pool.report().flows)
    assert got == [0, 2, 4, 6, 8]
    balanced(pool)


PROGRAM = """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    from reactivex.scheduler import ThreadPoolScheduler
    from reactivex.subject import Subject
    from rxpool import WorkerPool
    from tests import jobs

    if __name__ == "__main__":
        on = {on}
        pool = WorkerPool(2, on=on)
        got = []
        subject = Subject()
        subject.pipe(pool.map({fn}, order="input")).subscribe(
            got.append, on_completed=lambda: print(got, flush=True)
        )
        for n in range(20):
            subject.on_next(n)
"""

ENDS = {
    "threads": ("'threads'", "jobs.double"),
    "processes": ("'processes'", "jobs.double"),
    "asyncio": ("'asyncio'", "jobs.double_later"),
    "thread-executor": ("ThreadPoolExecutor(2)", "jobs.double"),
    "scheduler": ("ThreadPoolScheduler(4)", "jobs.double"),
    "process-executor": (
        "ProcessPoolExecutor(2, multiprocessing.get_context('forkserver'))",
        "jobs.double",
    ),
}


@pytest.mark.parametrize("kind", ENDS)
def test_the_end_of_the_program_closes_the_pool(kind, tmp_path):
    """What was accepted is finished, nothing is printed beside that, nothing hangs."""
    on, fn = ENDS[kind]
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM.format(on=on, fn=fn)))
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-W", "error", program],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout == f"{list(range(0, 40, 2))}\n"
    assert ended.returncode == 0


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_close_from_several_threads(lane):
    """Everybody who closes is told the same, once it is so."""
    subject, answers = Subject(), []
    with lane.pool(2) as pool:
        sink = lane.subscribe(subject.pipe(pool.map(lane.hold)))
        for item in "abcd":
            subject.on_next(item)
        lane.until_running("a", "b")
        threads = [
            threading.Thread(target=lambda: answers.append(pool.close())) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        lane.open("*")
        for thread in threads:
            thread.join(WAIT)
        assert answers == [True] * 3
        assert sorted(sink.values) == list("abcd")


def test_results_that_were_done_are_delivered_first(lane):
    """Closing right after the last item loses none of them."""
    with lane.pool(3) as pool:
        subject = Subject()
        sink = lane.subscribe(subject.pipe(pool.map(jobs.double), ro.map(str)))
        for n in range(200):
            subject.on_next(n)
        assert lane.close(pool) is True
        assert sorted(map(int, sink.values)) == list(range(0, 400, 2))
