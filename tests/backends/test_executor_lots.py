"""Short items of one function go to an executor several in a call."""

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from reactivex import Subject

from rxpool import Failure, Hedge, NotPicklable, WorkerCrashed, WorkerPool
from rxpool.backends.executors._lots import Lots
from tests import executor_jobs as jobs
from tests.waiting import WAIT, eventually


class Counting(ThreadPoolExecutor):
    """Counts the calls that it is given."""

    calls = 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        return super().submit(fn, *args, **kwargs)


@pytest.fixture
def processes():
    """Two worker processes."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        yield executor


# -- how many ---------------------------------------------------------------------------------


def test_few_items_are_a_call_each():
    """Nobody loses anything for a lot that saves nothing."""
    lots = Lots()
    for _ in range(64):
        assert lots.most(abs) == 1
        lots.ran(abs, 1, 1e-6)
    assert lots.most(abs) > 1
    assert lots.most(len) == 1


def test_long_items_are_a_call_each_however_many():
    """A lot is some milliseconds of work."""
    lots = Lots()
    for _ in range(200):
        lots.ran(abs, 1, 0.005)
        assert lots.most(abs) == 1


def test_one_item_that_took_long_makes_the_next_lot_small():
    """At once."""
    lots = Lots()
    for _ in range(100):
        lots.ran(abs, 1, 1e-6)
        lots.most(abs)
    assert lots.most(abs) > 100
    lots.ran(abs, 100, 1.0)
    assert lots.most(abs) == 1


def test_what_cannot_be_a_lot_is_never_one_again():
    """However short its items are."""
    lots = Lots()
    lots.ran(abs, 100, 1e-6)
    lots.one_by_one(abs)
    lots.ran(abs, 1000, 1e-6)
    assert lots.most(abs) == 1


def test_a_function_without_a_hash_goes_item_by_item():
    """There is nothing to remember it by."""

    class Odd:
        __hash__ = None

        def __call__(self, item):
            return item

    lots = Lots()
    lots.ran(Odd(), 1000, 1e-6)
    assert lots.most(Odd()) == 1
    with ThreadPoolExecutor(1) as executor, WorkerPool(on=executor) as pool:
        assert sorted(pool.imap(Odd(), range(200))) == list(range(200))


def test_functions_are_forgotten():
    """A program that makes them in a loop does not keep them."""
    lots = Lots()
    functions = [lambda n=number: n for number in range(200)]
    for function in functions:
        lots.ran(function, 100, 1e-6)
    assert sum(lots.most(function) > 1 for function in functions) <= 64


# -- flows ------------------------------------------------------------------------------------


def test_many_short_items_are_few_calls():
    """Each with its own result."""
    with Counting(2) as executor, WorkerPool(on=executor) as pool:
        assert sorted(pool.imap(abs, range(3000))) == list(range(3000))
        assert executor.calls < 1000


@pytest.mark.parametrize("options", [{"timeout": 60}, {"deadline": 60}, {"hedge": Hedge(60)}])
def test_where_time_is_limited_each_item_is_a_call(options):
    """Its time counts from the hand-over."""
    with Counting(2) as executor, WorkerPool(on=executor) as pool:
        assert sorted(pool.imap(abs, range(300), **options)) == list(range(300))
        assert executor.calls == 300


@pytest.mark.parametrize("options", [{"order": "input"}, {"order": "key", "key": bool}])
def test_order_is_kept(options, processes):
    """Of all items, and of those of one key."""
    with WorkerPool(on=processes) as pool:
        assert list(pool.imap(jobs.double, range(1, 1500), **options)) == [
            2 * number for number in range(1, 1500)
        ]


def test_an_item_of_a_lot_that_fails_fails_alone(processes):
    """The others have results."""
    with WorkerPool(on=processes) as pool:
        outcomes = pool.collect(jobs.only_even, range(1000))
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, Failure) is bool(number % 2)
        assert outcome.item == number


def test_an_item_of_a_lot_that_cannot_be_sent_fails_alone(processes):
    """The lot is taken apart, and nothing of it is run twice."""
    items = [*range(400), threading.Lock(), *range(400, 800)]
    with WorkerPool(on=processes) as pool:
        outcomes = pool.collect(jobs.same, items)
    (failure,) = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert isinstance(failure.error, NotPicklable)
    assert failure.item is items[400]
    assert [outcome.attempts for outcome in outcomes if outcome is not failure] == [1] * 800


def test_a_result_of_a_lot_that_cannot_come_home_fails_alone(processes):
    """The others do."""
    with WorkerPool(on=processes) as pool:
        outcomes = pool.collect(jobs.lock_at_500, range(800))
    failed = [outcome.item for outcome in outcomes if isinstance(outcome, Failure)]
    assert failed == [500]


def test_a_worker_that_dies_in_the_midst_of_a_lot(processes):
    """Everything that has no result fails; each item has one outcome."""
    with WorkerPool(on=processes) as pool:
        outcomes = pool.collect(jobs.die_at_700, range(1000))
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert len(outcomes) == 1000
    assert {type(outcome.error) for outcome in failed} == {WorkerCrashed}
    assert 700 in [outcome.item for outcome in failed]


def test_who_leaves_has_what_was_handed_over_cancelled():
    """No more is called than what runs, and what is behind it in its lot."""
    gate, calls, source = threading.Event(), [], Subject()

    def work(number):
        calls.append(number)
        if number >= 200:
            gate.wait(WAIT)
        return number

    with Counting(1) as executor, WorkerPool(1, on=executor) as pool:
        subscription = source.pipe(pool.map(work)).subscribe()
        for number in range(900):
            source.on_next(number)
        eventually(lambda: 200 in calls)
        subscription.dispose()
        gate.set()
        eventually(lambda: not pool.report().abandoned)
        given = executor.calls
        pool.submit(abs, 1).result(WAIT)
        assert executor.calls == given + 1
        assert pool.report().cancelled >= 600
