"""Processes that outlive the worker that they came from."""

import os

import psutil
import pytest
import reactivex as rx

from rxpool import WorkerPool
from tests.ends import worker_jobs as jobs
from tests.ends.programs import LIMIT, run
from tests.ends.worker_programs import HOLDS, Sink, program
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("fn", "groups", "own"),
    [("last", True, True), ("last", False, False), ("fork", False, True)],
)
def test_a_process_that_outlives_its_worker(tmp_path, holders, fn, groups, own):
    """The end of the worker is told by itself; what it had done before is not lost.

    Not *own*: where processes have no descriptors, the fork server tells it.
    """
    text = """
        if __name__ == "__main__":
            fn, groups, own = sys.argv[1:]
            if own != "True":
                from rxpool.backends.processes import _process

                _process.open_pidfd = lambda pid: None
            work, items = {"last": (last, range(101)), "fork": (fork, [0])}[fn]
            found = []
            with WorkerPool(1, on="processes", process_groups=groups == "True") as pool:
                rx.from_iterable(items).pipe(pool.outcomes(work)).subscribe(found.append)
            errors = [outcome for outcome in found if isinstance(outcome, Failure)]
            print(sorted(outcome.value for outcome in found if outcome not in errors))
            print(errors[0].item, repr(errors[0].error), len(errors))
            end_holder()
    """
    ended = run(tmp_path, program(HOLDS, text), fn, str(groups), str(own))
    good, bad = (list(range(100)), 100) if fn == "last" else ([], 0)
    error = "WorkerCrashed('the worker process ended while it ran this: exit code 9')"
    assert ended.lines == [str(good), f"{bad} {error} 1"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


@pytest.mark.parametrize("way", ["timeout", "terminate", "kill"])
def test_the_end_of_a_worker_whose_connection_is_held(tmp_path, holders, way):
    """A timeout holds, `terminate` returns, and `kill -9` is noticed."""
    text = """
        if __name__ == "__main__":
            way = sys.argv[1]
            with WorkerPool(1, on="processes") as pool:
                errors = []
                limit = 0.5 if way == "timeout" else None
                flow = rx.of(1).pipe(pool.outcomes(stay, timeout=limit))
                flow.subscribe(lambda outcome: errors.append(type(outcome.error).__name__))
                until(lambda: notes("holders"))
                if way == "kill":
                    os.kill(pool._engine.backend.pids()[0], signal.SIGKILL)
                if way == "terminate":
                    pool.terminate()
            print(errors)
            end_holder()
    """
    ended = run(tmp_path, program(HOLDS, text), way)
    error = {"timeout": "TaskTimeout", "terminate": "TaskCancelled", "kill": "WorkerCrashed"}
    assert ended.lines == [f"['{error[way]}']"]
    assert (
        ended.err.count("work was cancelled") == ended.err.count("\n") == (way == "terminate")
    )
    assert (ended.code, ended.left) == (0, ())


def test_what_a_worker_has_said_before_its_end():
    """It is heard, also if that is known to have come."""
    told = []

    def listen(progress):
        told.append(progress.fraction)
        eventually(lambda: not psutil.pid_exists(progress.item[0]))

    with WorkerPool(1, on="processes") as pool:
        pid = pool.submit(os.getpid).result(LIMIT)
        pool.progress.subscribe(listen)
        (outcome,) = Sink(rx.of((pid,)).pipe(pool.outcomes(jobs.tell_and_die))).values
    assert told == [n / 100 for n in range(100)]
    assert outcome.error.exitcode == 9
