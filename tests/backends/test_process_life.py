"""The processes of a pool: initializers, replacement, number, names and logs."""

import logging
import threading
from pathlib import Path

import pytest
import reactivex as rx

from rxpool import WorkerPool
from rxpool.errors import InvalidArgument, PoolClosed, WorkerCrashed, WorkerStartError
from tests.backends import process_jobs as jobs
from tests.backends.process_jobs import notes
from tests.backends.process_pools import outcomes, pids, pids_of_both
from tests.pool.crew import Sink, balanced
from tests.processes import is_gone
from tests.waiting import WAIT, eventually


def test_the_initializer_runs_in_each_process():
    """Once, with its arguments, before any item."""
    options = {"initializer": jobs.set_up, "initargs": ("a", 1)}
    with WorkerPool(2, on="processes", **options) as pool:
        pids_of_both(pool)
        found = [o.value for o in outcomes(pool, jobs.what_was_set_up, range(20))]
    assert found == [[("a", 1)]] * 20


def test_an_initializer_that_raises(tmp_path):
    """It is tried again, then items fail with its reason; the pool is not dead."""
    tried = str(tmp_path / "tried")
    options = {"initializer": jobs.fail_to_set_up, "initargs": (tried,)}
    with WorkerPool(1, on="processes", **options) as pool:
        found = outcomes(pool, jobs.double, range(5))
        assert [type(o.error) for o in found] == [WorkerStartError] * 5
        error = found[0].error
        assert "no database" in str(error)
        assert isinstance(error.__cause__, RuntimeError)
        assert "fail_to_set_up" in str(error.__cause__.__cause__)
        assert [o.attempts for o in found] == [0] * 5
        assert len(notes(tried)) == 3
        with pytest.raises(WorkerStartError):
            pool.submit(jobs.double, 1).result(WAIT)
        assert len(notes(tried)) == 6
        balanced(pool)


def test_an_initializer_that_works_later(tmp_path):
    """The pool is usable again when it does."""
    working, tried = tmp_path / "working", str(tmp_path / "tried")
    options = {"initializer": jobs.fail_unless, "initargs": (str(working), tried)}
    with WorkerPool(2, on="processes", **options) as pool:
        with pytest.raises(WorkerStartError, match="not yet"):
            pool.submit(jobs.double, 1).result(WAIT)
        working.touch()
        assert [o.value for o in outcomes(pool, jobs.double, range(50))] == [
            2 * n for n in range(50)
        ]
        balanced(pool)


def test_an_initializer_that_works_at_the_second_attempt(tmp_path):
    """No item knows."""
    working, tried = tmp_path / "working", str(tmp_path / "tried")
    options = {"initializer": jobs.fail_unless, "initargs": (str(working), tried)}
    with WorkerPool(1, on="processes", **options) as pool:
        future = pool.submit(jobs.double, 4)
        eventually(lambda: notes(tried))
        working.touch()
        assert future.result(WAIT) == 8


def test_an_initializer_that_ends_the_process(tmp_path):
    """The exit code is in the reason."""
    tried = str(tmp_path / "tried")
    options = {"initializer": jobs.die_in_set_up, "initargs": (tried,)}
    with WorkerPool(1, on="processes", **options) as pool:
        with pytest.raises(WorkerStartError, match="exit code 9"):
            pool.submit(jobs.double, 1).result(WAIT)
        assert 3 <= len(notes(tried)) <= 6


def test_an_initializer_that_cannot_be_pickled():
    """Items fail with that reason."""
    options = {"initializer": jobs.set_up, "initargs": (jobs.Stubborn(),)}
    with (
        WorkerPool(1, on="processes", **options) as pool,
        pytest.raises(WorkerStartError, match="I stay here"),
    ):
        pool.submit(jobs.double, 1).result(WAIT)


def test_a_worker_that_does_not_start_again(tmp_path):
    """When a dead worker cannot be replaced, the others do its work, one after another."""
    tried = str(tmp_path / "tried")
    options = {"initializer": jobs.set_up_first, "initargs": (tried, 2)}
    with WorkerPool(2, on="processes", **options) as pool:
        pids_of_both(pool)
        with pytest.raises(WorkerCrashed):
            pool.submit(jobs.die, 1).result(WAIT)
        for _ in range(3):
            found = [o.value for o in outcomes(pool, jobs.double, range(30))]
            assert found == [2 * n for n in range(30)]
            futures = [pool.submit(jobs.double, n) for n in range(10)]
            assert [future.result(WAIT) for future in futures] == [2 * n for n in range(10)]
        balanced(pool)


def test_processes_are_replaced_after_so_many_tasks():
    """No process runs more, and nothing is lost."""
    with WorkerPool(2, on="processes", max_tasks_per_worker=25) as pool:
        found = [o.value for o in outcomes(pool, jobs.pid, range(500))]
        counts = {pid: found.count(pid) for pid in found}
        assert max(counts.values()) == 25
        assert len(found) == 500
        assert [o.value for o in outcomes(pool, jobs.double, range(3))] == [0, 2, 4]
        assert {o.attempts for o in outcomes(pool, jobs.pid, range(100))} == {1}
        balanced(pool)


def test_one_task_per_process():
    """Each item has a process of its own."""
    with WorkerPool(2, on="processes", max_tasks_per_worker=1) as pool:
        found = [o.value for o in outcomes(pool, jobs.pid, range(12))]
        assert len(set(found)) == 12


def test_processes_are_replaced_when_they_grow():
    """A process that uses too much memory ends after its item, and nothing is lost."""
    limit = 250 * 1024 * 1024
    with WorkerPool(1, on="processes", max_memory_per_worker=limit) as pool:
        found = [o.value for o in outcomes(pool, jobs.hoard, [20 * 1024 * 1024] * 24)]
        assert 2 <= len(set(found)) <= 6
        assert len(found) == 24
        balanced(pool)


@pytest.mark.parametrize(
    "options",
    [
        {"max_tasks_per_worker": 0},
        {"max_tasks_per_worker": 1.5},
        {"max_memory_per_worker": 0},
        {"poison_after": 0},
        {"initializer": 3},
        {"initargs": 3},
        {"unknown": 3},
    ],
)
def test_options_are_checked(options):
    """Where the pool is made."""
    with pytest.raises(InvalidArgument):
        WorkerPool(1, on="processes", **options)


def test_options_of_processes_need_processes():
    """They are refused for other pools."""
    with pytest.raises(InvalidArgument, match="needs on='processes'"):
        WorkerPool(1, max_tasks_per_worker=1)


def test_no_process_before_there_is_work():
    """As many as are needed, and none after `close`."""
    pool = WorkerPool(3, on="processes", name="crew")
    assert pids(pool) == set()
    pool.submit(jobs.double, 1).result(WAIT)
    assert len(pids(pool)) == 1
    started = pids(pool)
    pool.close()
    assert pids(pool) == set()
    assert all(is_gone(pid) for pid in started)
    with pytest.raises(PoolClosed):
        pool.submit(jobs.double, 1)


def test_processes_bear_the_name_of_the_pool():
    """So do the threads that serve them."""
    with WorkerPool(1, on="processes", name="crew") as pool:
        pool.submit(jobs.double, 1).result(WAIT)
        assert [process.name for process in pool._engine.backend.processes] == ["crew"]
        assert any(thread.name == "crew-0" for thread in threading.enumerate())


def test_more_workers(tmp_path):
    """After `resize` there are more processes."""
    with WorkerPool(1, on="processes") as pool:
        gates = [str(tmp_path / str(n)) for n in range(3)]
        futures = [pool.submit(jobs.held, gate) for gate in gates]
        eventually(lambda: notes(f"{gates[0]}.began"))
        pool.resize(3)
        for gate in gates:
            eventually(lambda gate=gate: notes(f"{gate}.began"))
        for gate in gates:
            Path(gate).touch()
        assert len({future.result(WAIT) for future in futures}) == 3


def test_fewer_workers(tmp_path):
    """After `resize` processes end that have nothing to do, and work goes on with the rest."""
    with WorkerPool(3, on="processes") as pool:
        for _ in range(5):
            pool.resize(3)
            gates = [str(tmp_path / f"{_}-{n}") for n in range(3)]
            futures = [pool.submit(jobs.held, gate) for gate in gates]
            for gate in gates:
                eventually(lambda gate=gate: notes(f"{gate}.began"))
            pool.resize(1)
            for gate in gates:
                Path(gate).touch()
            for future in futures:
                future.result(WAIT)
            assert pool.submit(jobs.double, 2).result(WAIT) == 4
            eventually(lambda: len(pids(pool)) == 1)
            assert [o.value for o in outcomes(pool, jobs.double, range(30))][-1] == 58


def test_fewer_workers_while_they_are_busy():
    """Sizes that change while work goes on lose nothing."""
    with WorkerPool(2, on="processes") as pool:
        done = Sink()
        done.to(rx.from_iterable(range(4000)).pipe(pool.map(jobs.double)))
        for size in (1, 3, 1, 2, 1, 3, 2, 1):
            pool.resize(size)
            seen = len(done.values)
            eventually(lambda seen=seen: len(done.values) > seen or len(done.values) == 4000)
        assert sorted(done.wait()) == [2 * n for n in range(4000)]
        balanced(pool)


def test_logs_come_home(shared, caplog):
    """Records go to the parent's handlers: message, level, extra fields, traceback."""
    logger = logging.getLogger("rxpool.test.jobs")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        with WorkerPool(1, on="processes") as pool:
            pid = pool.submit(jobs.log, 7).result(WAIT)
            mine = [r for r in caplog.records if r.name == "rxpool.test.jobs"]
    finally:
        logger.setLevel(before)
    assert [r.levelname for r in mine] == ["INFO", "ERROR"]
    assert mine[0].getMessage() == "info 7"
    assert mine[0].number == 7
    assert mine[0].process == pid
    assert mine[1].getMessage() == "failed 7"
    assert (mine[1].msg, mine[1].args) == ("failed %s", (7,))
    assert "ValueError: logged" in mine[1].exc_text
    assert mine[1].exc_info[0] is ValueError


def test_levels_are_those_of_the_parent(caplog):
    """Those that were set when the process started."""
    logger = logging.getLogger("rxpool.test.strict")
    logger.setLevel(logging.ERROR)
    try:
        with WorkerPool(1, on="processes") as pool:
            pool.submit(jobs.log_locally, "rxpool.test.strict").result(WAIT)
    finally:
        logger.setLevel(logging.NOTSET)
    assert [r.getMessage() for r in caplog.records if r.name == logger.name] == ["high enough"]


def test_a_log_record_with_what_cannot_be_pickled(shared, caplog):
    """The rest of it comes home."""
    shared.submit(jobs.log_unpicklable, 0).result(WAIT)
    (record,) = [r for r in caplog.records if r.name == "rxpool.test.jobs"]
    assert record.getMessage() == "with 1"
    assert "Stubborn" in record.x
