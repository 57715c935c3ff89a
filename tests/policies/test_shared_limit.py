"""A `Limit` with a store: real processes, one file."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from rxpool import Limit, WorkerPool
from rxpool.errors import InvalidArgument, InvalidArgumentType, RxPoolError
from rxpool.policies import guarded
from rxpool.policies._limit import limit_door

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("sharing_limit.py")


@pytest.fixture
def store(tmp_path):
    """A file of limits that is not there yet."""
    return f"sqlite:///{tmp_path / 'limits.db'}"


def start(*arguments):
    """A process that shares."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def release(processes):
    """Let them begin, all that are ready."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    since = monotonic()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return since


def test_the_sum_of_processes_keeps_the_rate(store):
    """Four at once, from an empty bucket that is filled while they are started."""
    rate, burst, seconds = 300, 60, 1.5
    began = monotonic()
    Limit(rate, burst=burst, initial=0, store=store, name="api")
    processes = [start(store, rate, burst, seconds) for _ in range(4)]
    since = release(processes)
    counts = [int(process.communicate(timeout=50)[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    spent = monotonic() - since
    assert sum(counts) <= burst + rate * spent
    assert sum(counts) <= rate * (monotonic() - began)  # nothing was there in the beginning
    assert sum(counts) >= rate * seconds * 0.3  # on a slow machine some never come


def test_a_killed_process_loses_its_lease(store):
    """And no more; the others go on with what comes."""
    rate, burst = 100, 100_000  # leases of 5; the bucket is never full
    limit = Limit(rate, burst=burst, initial=0, store=store, name="api")
    began = stored(store)
    process = start(store, rate, burst, 0)
    release([process])
    printed = sum(bool(process.stdout.readline()) for _ in range(203))
    process.kill()
    printed += len(process.stdout.read().splitlines())
    process.wait()
    process.stdin.close()
    process.stdout.close()
    ended = stored(store)
    taken = (ended["at"] + ended["empty"] - began["at"]) * rate
    assert printed - 1e-3 <= taken <= printed + 5 + 1e-3
    assert limit.acquire(timeout=30)


def stored(store):
    """What the file holds."""
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as file:
        file.row_factory = sqlite3.Row
        return dict(file.execute("SELECT * FROM rxpool_limits").fetchone())


def test_a_transaction_per_lease(store):
    """Not per item: there are as many as there are leases of 5 % of the burst."""
    limit = Limit(10, burst=1000, store=store, name="api")
    part = limit_door(limit).state.parts[0]
    asked, ask = [], part.store.ask
    part.store.ask = lambda *args: (asked.append(args), ask(*args))[1]
    for _ in range(20):
        limit.acquire()
    assert len(asked) == 20  # 50 ms bring half a token
    other = Limit(1000, burst=1000, store=store, name="other")
    part = limit_door(other).state.parts[0]
    asked, ask = [], part.store.ask
    part.store.ask = lambda *args: (asked.append(args), ask(*args))[1]
    since = monotonic()
    for _ in range(200):
        other.acquire()
    idle = monotonic() - since  # a lease that was idle for a second is given back
    assert 4 <= len(asked) <= 4 + idle


@pytest.mark.parametrize(
    "figures", [{"rate": 11}, {"per": 2}, {"burst": 6}], ids=lambda figures: next(iter(figures))
)
def test_other_figures_are_refused_with_both(store, figures):
    """Under another name they are not."""
    mine = {"rate": 10, "per": 1, "burst": 5}
    Limit(**mine, store=store, name="api")
    Limit(**mine, store=store, name="api")
    with pytest.raises(InvalidArgument) as raised:
        Limit(**{**mine, **figures}, store=store, name="api")
    for value in ("'api'", "rate=10, per=1, burst=5", store.removeprefix("sqlite:///")):
        assert value in str(raised.value)
    assert f"{next(iter(figures))}={next(iter(figures.values()))}" in str(raised.value)
    Limit(**{**mine, **figures}, store=store, name="other")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"name": None}, InvalidArgument, "store= needs name="),
        ({"store": None}, InvalidArgument, "name= needs store="),
        ({"name": ""}, InvalidArgument, "name"),
        ({"name": 3}, InvalidArgumentType, "got 3"),
        ({"store": 3}, InvalidArgumentType, "got 3"),
        ({"store": "/limits.db"}, InvalidArgument, "got '/limits.db'"),
        ({"store": "sqlite:///x.db"}, InvalidArgument, "an absolute path"),
        ({"store": "redis://x"}, InvalidArgument, "redis"),
        ({"strict": True}, InvalidArgument, "strict=True"),
        ({"key": len}, InvalidArgument, "key="),
        ({"initial": 2}, InvalidArgument, "initial"),
    ],
)
def test_what_cannot_be_meant(store, options, error, text):
    """Is refused where it is written."""
    with pytest.raises(error, match=text):
        Limit(1, **{"store": store, "name": "api", **options})


def test_files_of_others(tmp_path):
    """Are refused, and stay as they are."""
    path = tmp_path / "notes.txt"
    path.write_text("these are notes\n" * 100)
    with pytest.raises(InvalidArgument, match=r"notes\.txt"):
        Limit(1, store=f"sqlite:///{path}", name="api")
    assert path.read_text() == "these are notes\n" * 100
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as file:
        file.execute("CREATE TABLE things (n)")
    with pytest.raises(InvalidArgument, match="something else"):
        Limit(1, store=f"sqlite:///{other}", name="api")
    with pytest.raises(InvalidArgument, match="directory"):
        Limit(1, store=f"sqlite:///{tmp_path}", name="api")
    with pytest.raises(FileNotFoundError):
        Limit(1, store=f"sqlite:///{tmp_path}/none/x.db", name="api")


def test_the_figures_stay(store):
    """They are those of the others too."""
    limit = Limit(1, store=store, name="api")
    with pytest.raises(InvalidArgument, match="another name"):
        limit.update(rate=5)


def test_a_pause_holds_for_the_others(store):
    """With their next lease, here of a token."""
    one, other = (Limit(1000, store=store, name="api", jitter=0) for _ in range(2))
    assert other.acquire(timeout=10)
    since = monotonic()
    one.pause(0.4)
    assert other.acquire(timeout=10)
    assert monotonic() - since >= 0.38  # the store counts by the clock on the wall
    one.pause(60)
    assert not other.acquire(timeout=0.01)
    assert not one.acquire(timeout=0.01)
    assert not Limit.all(Limit(1000, burst=10), other).acquire(timeout=0.01)


def test_several_limits_and_threads_of_one_process(store):
    """Each that waits is woken, whoever asks the store."""
    one, other = (Limit(400, burst=4, store=store, name="api") for _ in range(2))
    both = Limit.all(one, Limit(1e6, burst=1000), other)
    counts = []

    def take(limit):
        counts.extend(limit.acquire(timeout=30) for _ in range(15))

    threads = [threading.Thread(target=take, args=(limit,)) for limit in (one, other, both) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(45)
    assert counts == [True] * 90


def test_an_item_that_costs_more_than_the_burst(store):
    """Gets what it waits for."""
    limit = Limit(100, burst=2, cost=lambda cost: cost, store=store, name="api")
    since = monotonic()
    assert limit.acquire(10, timeout=30)
    assert limit.acquire(0, timeout=30)
    assert monotonic() - since >= 0.07


def test_a_flow(store):
    """Of a pool."""
    limit = Limit(200, burst=10, store=store, name="api")
    since = monotonic()
    with WorkerPool(4) as pool:
        assert len(list(pool.imap(abs, range(60), limit=limit))) == 60
    assert monotonic() - since >= 49 / 200


@pytest.mark.parametrize("how", ["pool", "guarded", "acquire"])
def test_a_file_that_cannot_be_used_any_more(store, how):
    """Is the error of each item; nothing waits for ever."""
    limit = Limit(10, store=store, name="api")
    path = Path(store.removeprefix("sqlite:///"))
    path.write_bytes(b"something else " * 1000)
    if how == "pool":
        with WorkerPool(2) as pool:
            failures = pool.collect(abs, range(5), limit=limit).failures
            assert len(failures) == 5
            assert all(isinstance(failure.error, RxPoolError) for failure in failures)
            assert str(path) in str(failures[0].error)
        return
    take = limit.acquire if how == "acquire" else guarded(int, limit=limit)
    with pytest.raises(RxPoolError, match=r"limits\.db"):
        take()


def test_a_file_that_was_removed(store):
    """Is made again."""
    limit = Limit(1000, store=store, name="api")
    os.remove(store.removeprefix("sqlite:///"))
    assert limit.acquire(timeout=10)
    assert stored(store)["rate"] == 1000


def test_virtual_time(store):
    """Has no place in a file that goes by the wall clock."""
    limit = Limit(10, store=store, name="api")
    scheduler = TestScheduler()
    errors = []
    with WorkerPool(2, on=scheduler) as pool:
        rx.of(1).pipe(pool.map(abs, limit=limit)).subscribe(
            on_error=errors.append, scheduler=scheduler
        )
        scheduler.start()
    assert "virtual" in str(errors[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_shares(store):
    """With leases of its own: what is left of the parent's is the parent's alone."""
    limit = Limit(1000, burst=1000, initial=60, store=store, name="api")
    assert limit.acquire()
    assert limit_door(limit).state.parts[0]._lease.left == 49
    child = os.fork()
    if child == 0:
        signal.alarm(40)
        try:
            good = limit_door(limit).state.parts[0]._lease is None and limit.acquire(timeout=30)
            good = good and limit_door(limit).state.parts[0]._lease.left == 49
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert limit_door(limit).state.parts[0]._lease.left == 49
    assert limit.acquire(timeout=30)
