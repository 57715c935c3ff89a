"""What cannot be sent to a process of a pool, or back, is the failure of its item alone."""

import builtins
import pickle
import threading

import cloudpickle
import pytest
import reactivex as rx

from rxpool import Failure, Success
from rxpool.errors import NotPicklable, RemoteError, WorkerCrashed
from tests.backends import process_jobs as jobs
from tests.backends.process_pools import error_of, outcome, outcomes, pids
from tests.pool.crew import balanced, collect
from tests.waiting import WAIT


def test_an_item_that_cannot_be_pickled(shared):
    """It fails by itself, named; its neighbours do not."""
    items = [1, jobs.Stubborn(), 2, {"deep": [0, threading.Lock()]}, 3]
    found = outcomes(shared, jobs.same, items)
    assert [type(o) for o in found] == [Success, Failure, Success, Failure, Success]
    assert isinstance(found[1].error, NotPicklable)
    assert isinstance(found[1].error, pickle.PicklingError)
    text = str(found[1].error)
    assert "the item" in text
    assert "Stubborn" in text
    assert "I stay here" in text
    assert "['deep'][1]" in str(found[3].error)
    assert "lock" in str(found[3].error)
    balanced(shared)


def test_only_items_that_cannot_be_pickled(shared):
    """However many there are, each has its outcome, and the pool works on."""
    found = outcomes(shared, jobs.same, [jobs.Stubborn() for _ in range(50)])
    assert [type(o.error) for o in found] == [NotPicklable] * 50
    mixed = [n if n % 3 else jobs.Stubborn() for n in range(3000)]
    found = outcomes(shared, jobs.same, mixed, order="completion")
    assert sum(isinstance(o, Success) for o in found) == 2000
    assert all(isinstance(o.error, NotPicklable) for o in found if isinstance(o, Failure))
    balanced(shared)


def test_an_item_that_cannot_be_unpickled(shared):
    """It fails by itself, and the error says that it is the item's fault."""
    good, bad, more = outcomes(shared, jobs.same, [1, jobs.Explosive(), 2])
    assert (good.value, more.value) == (1, 2)
    assert isinstance(bad.error, NotPicklable)
    assert "the item" in str(bad.error)
    assert "unpacked" in str(bad.error)


def test_a_function_that_cannot_be_pickled(shared):
    """Every item fails with that reason, and the pool works on."""
    found = outcomes(shared, jobs.Stubborn().__reduce__, [1, 2, 3])
    assert [type(o.error) for o in found] == [NotPicklable] * 3
    assert "the function" in str(found[0].error)
    with pytest.raises(NotPicklable, match="I stay here"):
        shared.submit(jobs.same, jobs.Stubborn()).result(WAIT)
    assert shared.submit(jobs.double, 1).result(WAIT) == 2


class Vanishing:
    """A function that can be pickled, but not unpickled elsewhere."""

    def __call__(self, item):
        return item

    def __reduce__(self):
        return jobs._explode, ()


def test_a_function_that_cannot_be_unpickled(shared):
    """Every item fails with that reason, and the pool works on."""
    found = outcomes(shared, Vanishing(), [1, 2, 3])
    assert [type(o.error) for o in found] == [NotPicklable] * 3
    assert "the function" in str(found[0].error)
    assert "unpacked" in str(found[0].error)
    assert shared.submit(jobs.double, 1).result(WAIT) == 2


def test_a_result_that_cannot_be_pickled(shared):
    """The failure names it, and where in the result it is."""
    error = error_of(shared, jobs.give_lock)
    assert isinstance(error, NotPicklable)
    assert "the result" in str(error)
    assert "_thread.lock" in str(error)
    assert "['bad'][1]" in str(error_of(shared, jobs.give_nested_lock))


def test_a_result_that_cannot_be_unpickled(shared):
    """It fails by itself."""
    error = error_of(shared, jobs.give_explosive)
    assert isinstance(error, NotPicklable)
    assert "the result" in str(error)
    assert "unpacked" in str(error)
    assert shared.submit(jobs.double, 1).result(WAIT) == 2


def test_an_exception_comes_home(shared):
    """With its type, its arguments, and its traceback as the cause."""
    error = error_of(shared, jobs.nest, 3)
    assert type(error) is ValueError
    assert error.args == ("deep down",)
    text = str(error.__cause__)
    assert text.count("in nest") == 4
    assert "process_jobs.py" in text
    assert "ValueError: deep down" in text


def test_the_cause_of_an_exception_comes_along(shared):
    """`raise … from …` is not lost; the traceback of both is behind the first of them."""
    error = error_of(shared, jobs.raise_from_other)
    assert type(error) is ValueError
    assert (type(error.__cause__), error.__cause__.args) == (KeyError, ("the root",))
    assert "KeyError: 'the root'" in str(error.__cause__.__cause__)
    assert "direct cause" in str(error.__cause__.__cause__)


@pytest.mark.parametrize(
    ("fn", "name", "text"),
    [
        (jobs.raise_holding, "Holding", "of a lock"),
        (jobs.raise_works_there, "WorksThere", "far away"),
        (jobs.raise_speechless, "Speechless", ""),
    ],
)
def test_an_exception_that_does_not_survive(shared, fn, name, text):
    """A `RemoteError` stands for it: type name, message, traceback."""
    error = error_of(shared, fn)
    assert type(error) is RemoteError
    assert error.type_name == f"tests.backends.process_jobs.{name}"
    assert str(error).startswith(error.type_name)
    assert text in str(error)
    assert fn.__name__ in str(error.__cause__)
    assert shared.submit(jobs.double, 1).result(WAIT) == 2


@pytest.mark.parametrize(
    "name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError"]
)
def test_whatever_is_raised_is_a_failure(shared, name):
    """No exception ends a worker."""
    before = pids(shared)
    error = error_of(shared, jobs.raise_named, name)
    assert type(error).__name__ == name
    assert error.args == ("from afar",)
    assert pids(shared) == before


def test_rxpools_own_errors_survive(shared):
    """They come home as they are, with what they carry."""
    error = error_of(shared, jobs.raise_it, WorkerCrashed("by hand", 5))
    assert type(error) is WorkerCrashed
    assert error.args[0] == "by hand"


def test_a_pool_cannot_be_pickled(shared):
    """Neither in an item nor by hand; the error says what to do instead."""
    with pytest.raises(NotPicklable, match="open one there"):
        pickle.dumps(shared)
    assert isinstance(error_of(shared, jobs.same, shared), NotPicklable)


def test_lambdas_and_closures_with_cloudpickle(shared):
    """They work, if it is there; so do items and results that only it can send."""
    offset = 10
    stream = rx.of(1, 2, 3).pipe(shared.map(lambda n: n + offset, order="input"))
    assert collect(stream) == [11, 12, 13]
    assert outcome(shared, lambda n: lambda: n + offset, 1).value() == 11

    class Local:
        def __init__(self, n):
            self.n = n

    assert outcome(shared, lambda local: local.n, Local(5)).value == 5
    assert cloudpickle.__version__


def test_lambdas_without_cloudpickle(shared, monkeypatch):
    """The message says what to install."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "cloudpickle":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    found = outcomes(shared, lambda n: n, [1, 2])
    assert [type(o.error) for o in found] == [NotPicklable] * 2
    assert "pip install 'rxpool[cloudpickle]'" in str(found[0].error)
    assert "the function" in str(found[0].error)
