"""How `imap` and `pull` read their input: several items at once, each handed over in time."""

import threading
from contextlib import suppress

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.scheduler import CurrentThreadScheduler

from rxpool import PoolClosed, TaskCancelled, WorkerPool
from rxpool.pool._flows import subscription
from rxpool.pool._flows.reading import read_ahead
from tests.waiting import WAIT, eventually


class Gated:
    """An input of which each item after the first is there when the one before has run."""

    def __init__(self, count):
        self.count = count
        self.ran = threading.Semaphore(0)

    def __iter__(self):
        yield 0
        for number in range(1, self.count):
            assert self.ran.acquire(timeout=WAIT), f"{number - 1} was never run"
            yield number

    def run(self, number):
        """The work."""
        self.ran.release()
        return number


@pytest.fixture
def many(monkeypatch):
    """How many items were handed over together, each time."""
    sizes = []
    take_many = subscription.MapFlow.take_many

    def counted(flow, items):
        sizes.append(len(items))
        take_many(flow, items)

    monkeypatch.setattr(subscription.MapFlow, "take_many", counted)
    return sizes


@pytest.mark.parametrize("order", ["completion", "input"])
def test_imap_hands_an_item_over_before_it_waits_for_the_next(order):
    """An input that gives its items one by one may wait for what becomes of them."""
    items = Gated(40)
    with WorkerPool(2) as pool:
        slow = (pause(item) for item in items)
        assert sorted(pool.imap(items.run, slow, order=order)) == list(range(40))


def pause(item):
    """So long that a reader looks at the clock."""
    threading.Event().wait(0.001)
    return item


def test_pull_hands_an_item_over_before_it_waits_for_the_next():
    """The same for a flow that `pull` feeds."""
    items = Gated(40)
    with WorkerPool(2) as pool:
        slow = (pause(item) for item in items)
        results = pool.pull(slow).pipe(pool.map(items.run), ro.to_list()).run()
    assert sorted(results) == list(range(40))


def test_a_flow_takes_several_items_that_pull_has_read(many):
    """As many as there is room for."""
    with WorkerPool(2) as pool:
        results = pool.pull(range(1000)).pipe(pool.map(abs), ro.to_list()).run()
    assert sorted(results) == list(range(1000))
    assert sum(many) == 1000
    assert max(many) > 1


@pytest.mark.parametrize(
    "options",
    [
        {"priority": abs},
        {"order": "key", "key": abs},
        {"overflow": "drop_oldest", "max_pending": 2000},
        {"overflow": "error", "max_pending": 2000},
    ],
)
def test_items_that_are_looked_at_one_by_one_are_taken_one_by_one(many, options):
    """By the user's functions, or by a policy that may drop them."""
    with WorkerPool(2) as pool:
        results = pool.pull(range(100)).pipe(pool.map(abs, **options), ro.to_list()).run()
    assert sorted(results) == list(range(100))
    assert many == []


@pytest.mark.parametrize("kind", ["switch_map", "exhaust_map", "map_batches"])
def test_flows_of_another_kind_take_items_one_by_one(many, kind):
    """They have rules of their own for each."""
    with WorkerPool(2) as pool:
        source = pool.pull([[1], [2], [3]])
        work = getattr(pool, kind)
        fn = (lambda batch: batch) if kind == "map_batches" else len
        source.pipe(work(fn), ro.to_list()).run()
    assert many == []


@pytest.mark.parametrize("between", [ro.map(abs), ro.take(5), ro.filter(bool)])
def test_what_is_between_sees_each_item(many, between):
    """Only a flow that is fed by nobody else takes several."""
    with WorkerPool(2) as pool:
        pool.pull(range(20)).pipe(between, pool.map(abs), ro.to_list()).run()
    assert many == []


def test_no_more_is_read_than_there_is_room_for():
    """What was read and is not delivered is what may run, and wait."""
    read, done, most = [], [], []
    gate = threading.Event()

    def items():
        for number in range(200):
            read.append(number)
            most.append(len(read) - len(done))
            yield number

    def work(number):
        gate.wait(WAIT)
        return number

    with WorkerPool(2) as pool:
        ended = threading.Event()
        source = pool.pull(items()).pipe(pool.map(work, max_pending=10))
        thread = threading.Thread(
            target=lambda: source.subscribe(done.append, on_completed=ended.set)
        )
        thread.start()
        gate.set()
        thread.join(WAIT)
        assert ended.wait(WAIT)
    assert sorted(done) == list(range(200))
    assert max(most) <= 2 + 10 + 1  # the one that is in hand


def test_what_was_read_before_the_input_failed_comes_out():
    """Then the error."""

    def items():
        yield from range(10)
        raise ValueError("the input")

    seen = []
    with WorkerPool(2) as pool, pytest.raises(ValueError, match="the input"):
        pool.pull(items()).pipe(pool.map(abs), ro.do_action(seen.append)).run()
    assert sorted(seen) == list(range(10))


def test_who_left_gets_nothing_more(many):
    """And the input is read no further."""
    numbers = iter(list(range(10_000)))
    with WorkerPool(1) as pool:
        stream = pool.pull(numbers).pipe(pool.map(abs), ro.take(3), ro.to_list())
        assert len(stream.run()) == 3
    assert next(numbers) < 10_000
    assert many


def test_other_actions_of_the_thread_have_their_turn():
    """A source beside it on the same scheduler is not held up until the input ends."""
    seen = []
    with WorkerPool(2) as pool:
        one = pool.pull(range(1000)).pipe(pool.map(lambda n: "a"))
        both = rx.merge(one, rx.from_iterable("b" * 10)).pipe(ro.do_action(seen.append))
        both.pipe(ro.count()).run(scheduler=CurrentThreadScheduler.singleton())
    assert seen.count("a") == 1000
    assert seen.count("b") == 10
    assert seen.index("b") < 1000


def test_items_that_are_there_are_read_together():
    """False says that it was all."""
    ahead = []
    numbers = iter(range(5))
    assert read_ahead(numbers, 3, ahead)
    assert ahead == [0, 1, 2]
    assert not read_ahead(numbers, 3, ahead)
    assert ahead == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("make", [lambda: (n for n in range(3)), lambda: map(abs, range(3))])
def test_what_may_wait_for_its_next_item_is_read_one_by_one(make):
    """What was read is handed over before."""
    ahead, items = [], make()
    for number in range(3):
        assert read_ahead(items, 10, ahead)
        assert ahead == list(range(number + 1))
    assert not read_ahead(items, 10, ahead)


def test_an_input_that_breaks_off_while_it_is_read():
    """What was read before is there."""
    ahead, items = [], iter(changed := {1: 1, 2: 2})
    assert read_ahead(items, 1, ahead)
    changed[3] = 3
    with pytest.raises(RuntimeError, match="changed size"):
        read_ahead(items, 5, ahead)
    assert ahead == [1]


@pytest.mark.parametrize("flow", ["imap", "pull"])
def test_an_item_runs_while_the_input_waits_for_the_next(flow):
    """However quickly the reader came to wait."""
    gate, ran = threading.Event(), threading.Event()

    def items():
        yield 1
        assert ran.wait(WAIT), "the first item waits for the second"
        gate.set()
        yield 2

    def work(item):
        ran.set()
        return item

    with WorkerPool(2) as pool:
        if flow == "imap":
            assert sorted(pool.imap(work, items())) == [1, 2]
        else:
            stream = pool.pull(items()).pipe(pool.map(work), ro.to_list())
            assert sorted(stream.run()) == [1, 2]
    assert gate.is_set()


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("order", ["completion", "input"])
def test_whatever_was_read_runs_while_the_reader_waits(order):
    """Bursts of items, and after each the input waits until all of it has run.

    Catches a `Dispatcher.pending` that does not take what was read, and a reader that looks for
    a free slot before it leaves the item.
    """
    with WorkerPool(3) as pool:
        for round_ in range(200):
            ran = threading.Semaphore(0)

            def items(bursts=(1, 2, 7, 1 + round_ % 5), ran=ran):
                for burst in bursts:
                    yield from range(burst)
                    for _ in range(burst):
                        assert ran.acquire(timeout=WAIT), "what was read does not run"

            def work(item, ran=ran):
                ran.release()
                return item

            results = list(pool.imap(work, items(), order=order))
            assert len(results) == 11 + round_ % 5


def test_what_was_read_is_not_lost_when_the_pool_closes():
    """An iterator that never gives more is cut; what it gave has an outcome."""
    gate, inside = threading.Event(), threading.Event()
    ran = []

    def items():
        yield from range(5)
        inside.set()
        gate.wait(WAIT)

    def work(item):
        ran.append(item)
        inside.wait(WAIT)
        return item

    results = []
    pool = WorkerPool(1)

    def consume():
        with suppress(PoolClosed):
            results.extend(pool.imap(work, items()))

    reader = threading.Thread(target=consume)
    reader.start()
    assert inside.wait(WAIT)
    closing = threading.Thread(target=pool.close)
    closing.start()
    eventually(lambda: len(ran) == 5)
    gate.set()
    reader.join(WAIT)
    closing.join(WAIT)
    assert sorted(ran) == list(range(5))
    report = pool.report()
    assert (report.accepted, report.succeeded) == (5, 5)


def test_what_was_read_is_given_up_with_the_rest():
    """By a pool that is terminated while the reader waits."""
    gate, inside = threading.Event(), threading.Event()

    def items():
        yield from range(5)
        inside.set()
        gate.wait(WAIT)

    def work(item):
        gate.wait(WAIT)
        return item

    pool = WorkerPool(1)

    def consume():
        with suppress(PoolClosed, TaskCancelled):
            list(pool.imap(work, items()))

    reader = threading.Thread(target=consume)
    reader.start()
    assert inside.wait(WAIT)
    pool.terminate()
    gate.set()
    reader.join(WAIT)
    assert not reader.is_alive()
    report = pool.report()
    assert report.in_flight == 0
    assert report.accepted == report.cancelled + report.succeeded
