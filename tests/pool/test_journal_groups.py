"""Results go into a journal many at a time; each comes out once, and when it is written."""

import sqlite3
import sys
import threading
import time

import pytest

from rxpool import Journal, NotPicklable, TaskCancelled, WorkerPool
from rxpool.pool._state.commits import MOST, CommitQueue
from rxpool.records._database import Database


@pytest.fixture
def quick_switches():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def writes(monkeypatch):
    """What was written, by transaction; a test may set what is done before one."""
    done = Writes()
    real = Database.insert_many

    def insert_many(self, into, rows):
        done.before(rows)
        real(self, into, rows)
        done.groups.append([item for _, item, _ in rows])
        done.items.update(item for _, item, _ in rows)

    monkeypatch.setattr(Database, "insert_many", insert_many)
    return done


class Writes:
    def __init__(self):
        self.groups = []
        self.items = set()
        self.before = lambda rows: None


def plus_one(item):
    return item + 1


@pytest.mark.usefixtures("quick_switches")
def test_one_writes_at_a_time_and_nothing_is_left_behind():
    """Without the token two would; and who finds it taken can go on."""
    queue = CommitQueue(threading.Lock())
    writing, most, written = [], [], []

    def bring(first):
        for item in range(first, first + 2000):
            queue.put(item, None)
            while (group := queue.claim()) is not None:
                writing.append(first)
                most.append(len(writing))
                written.extend(task for task, _ in group)
                writing.pop()
                queue.written()

    threads = [threading.Thread(target=bring, args=(n * 2000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert sorted(written) == list(range(8000))


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("order", ["completion", "input", "key"])
@pytest.mark.parametrize("face", ["imap", "map", "worker"])
def test_a_result_comes_out_once_and_after_it_is_written(tmp_path, writes, order, face):
    """However the threads interleave."""
    items, out, early = range(1500), [], []
    options = {"order": order, **({"key": lambda item: item % 7} if order == "key" else {})}

    def take(value):
        out.append(value)
        if str(value - 1) not in writes.items:
            early.append(value)

    with Journal(tmp_path / "journal") as journal, WorkerPool(4) as pool:
        options["journal"] = journal
        if face == "imap":
            for value in pool.imap(plus_one, items, **options):
                take(value)
        elif face == "map":
            pool.pull(items).pipe(pool.map(plus_one, **options)).subscribe(take)
        else:
            if order != "completion":
                options.pop("order")
                options.pop("key", None)
            with pool.worker(plus_one, **options) as worker:
                for value in worker.execute_batch(items).result(60):
                    take(value)
    counts = pool.report()
    assert sorted(out) == [item + 1 for item in items]
    assert not early
    assert (counts.succeeded, counts.in_flight) == (len(items), 0)
    if face == "imap":
        assert len(writes.groups) < len(items)
    if order == "input":
        assert out == sorted(out)


def test_one_item_does_not_wait_for_others(tmp_path, writes):
    """Nor for the next one, if that takes long."""
    began = threading.Event()
    end = threading.Event()

    def work(item):
        if item:
            began.set()
            end.wait(20)
        return item

    with Journal(tmp_path / "journal") as journal, WorkerPool(1) as pool:
        results = pool.imap(work, [0, 1], journal=journal)
        assert next(results) == 0
        assert writes.groups == [["0"]]
        end.set()
        assert list(results) == [1]


def test_a_failing_transaction_is_tried_item_by_item(tmp_path, writes):
    """So each has an error of its own, and the others are kept."""

    def before(rows):
        if any(item == "5" for _, item, _ in rows):
            raise sqlite3.OperationalError("the disk is full")

    writes.before = before
    with Journal(tmp_path / "journal") as journal, WorkerPool(2) as pool:
        found = pool.collect(plus_one, range(200), journal=journal)
        assert journal.finished() == 199
    assert [record.item for record in found.failures] == [5]
    assert isinstance(found.failures[0].error, sqlite3.OperationalError)


@pytest.mark.parametrize("on", ["threads", "asyncio"])
def test_what_cannot_be_pickled_fails_alone(tmp_path, on):
    """The others of its group are kept."""

    async def later(item):
        return threading.Lock() if item == 5 else item

    def work(item):
        return threading.Lock() if item == 5 else item

    with Journal(tmp_path / "journal") as journal, WorkerPool(2, on=on) as pool:
        fn = later if on == "asyncio" else work
        found = pool.collect(fn, range(100), journal=journal)
        assert journal.finished() == 99
    assert [record.item for record in found.failures] == [5]
    assert isinstance(found.failures[0].error, NotPicklable)


@pytest.mark.parametrize("order", ["completion", "input"])
def test_cancelled_while_its_result_is_written(tmp_path, writes, order):
    """It has one outcome; the next run takes the result from the file."""
    writing, go_on = threading.Event(), threading.Event()

    def before(rows):
        writing.set()
        go_on.wait(20)

    writes.before = before
    path, out, ends = tmp_path / "journal", [], []
    with Journal(path, fingerprint="1") as journal:
        pool = WorkerPool(2)
        pool.pull(range(10)).pipe(pool.map(plus_one, order=order, journal=journal)).subscribe(
            out.append, ends.append
        )
        assert writing.wait(20)
        assert pool.report().in_flight
        stopper = threading.Thread(target=pool.terminate)
        stopper.start()
        while not ends:
            time.sleep(0.001)
        go_on.set()
        stopper.join()
        counts = pool.report()
        assert out == []
        assert (counts.in_flight, counts.succeeded) == (0, 0)
        assert counts.accepted == counts.cancelled
        written = set(writes.items)
        assert written
    ran = []
    with Journal(path, fingerprint="1") as journal, WorkerPool(2) as pool:
        values = list(pool.imap(lambda n: ran.append(n) or n + 1, range(10), journal=journal))
    assert sorted(values) == list(range(1, 11))
    assert {str(item) for item in ran} == {str(item) for item in range(10)} - written


def test_more_than_may_wait_are_held_back(tmp_path, writes):
    """While one writes slowly the others stop, so few are done again after a kill."""
    held, done = [], []

    def before(rows):
        assert len(rows) <= MOST
        held.append(len(done) - len(writes.items))
        time.sleep(0.01)

    writes.before = before
    with Journal(tmp_path / "journal") as journal, WorkerPool(4) as pool:
        found = list(pool.imap(lambda n: done.append(n) or n, range(2000), journal=journal))
    assert len(found) == 2000
    assert max(held) <= 2 * MOST + 2 * 4


def test_an_item_that_comes_again_is_not_run_again(tmp_path):
    """Its result is in the file by then."""
    ran = []
    with (
        Journal(tmp_path / "journal") as journal,
        WorkerPool(2) as pool,
        pool.worker(lambda n: ran.append(n) or n, journal=journal) as worker,
    ):
        for item in [1, 2, 1, 2, 3]:
            assert worker.execute(item).result(20) == item
    assert ran == [1, 2, 3]


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("on", ["threads", "asyncio"])
@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("emit", ["stored", "skip"])
def test_what_is_known_and_what_is_not_may_come_in_any_order(tmp_path, on, order, emit):
    """What is known is not run; what a worker has taken before it saw that, neither."""
    ran = []

    def work(item):
        ran.append(item)
        return item

    async def later(item):
        return work(item)

    known, items = [item for item in range(900) if item % 3 == 1], range(900)
    for some in (known, items):
        with (
            Journal(tmp_path / "journal", emit=emit, fingerprint="1") as journal,
            WorkerPool(4, on=on) as pool,
        ):
            fn = later if on == "asyncio" else work
            found = list(pool.imap(fn, some, journal=journal, order=order))
    assert sorted(ran) == list(items)
    new = [item for item in items if emit == "stored" or item % 3 != 1]
    assert sorted(found) == new
    assert order == "completion" or found == new


def test_cancelling_says_so(tmp_path, writes):
    """A future whose result waits for its commit has the outcome of the cancellation."""
    writing, go_on = threading.Event(), threading.Event()
    writes.before = lambda rows: (writing.set(), go_on.wait(20))
    with Journal(tmp_path / "journal") as journal:
        pool = WorkerPool(1)
        worker = pool.worker(plus_one, journal=journal)
        future = worker.execute(1)
        assert writing.wait(20)
        assert worker.pending == 1
        assert not worker.close(0.01)
        stopper = threading.Thread(target=pool.terminate)
        stopper.start()
        with pytest.raises(TaskCancelled):
            future.result(20)
        go_on.set()
        stopper.join()
        assert worker.pending == 0
