"""Exceptions come home as what they are, whatever their classes are like."""

import pickle

import pytest

from rxpool import RemoteError, Retry, WorkerPool
from rxpool.backends._remote import RemoteTraceback, decode_error, encode_error
from rxpool.policies._predicates import matches
from tests.backends import error_jobs as jobs
from tests.waiting import WAIT


def shape(error, seen=None):
    """All that can be told of an exception, those that it refers to included."""
    seen = {} if seen is None else seen
    if not isinstance(error, BaseException):
        return [shape(each, seen) for each in error] if isinstance(error, list) else error
    if id(error) in seen:
        return seen[id(error)]
    seen[id(error)] = f"exception {len(seen)}"
    fields = {
        name: shape(getattr(error, name, None), seen)
        for name in ("code", "why", "start", "reason", "filename", "name", "path", "message")
    }
    return (
        type(error),
        str(error),
        shape(list(error.args), seen),
        fields,
        {name: shape(value, seen) for name, value in vars(error).items()},
        [shape(each, seen) for each in getattr(error, "exceptions", ())],
    )


def travelled(error):
    """*error* after the way home."""
    return decode_error(pickle.loads(pickle.dumps(encode_error(error), 5)))


@pytest.mark.parametrize("name", sorted(set(jobs.MAKES) - {"with a part", "in a circle"}))
def test_it_is_the_same_exception(name):
    """Class, arguments, attributes, slots, notes, and parts of groups."""
    error = jobs.MAKES[name]()
    assert shape(travelled(error)) == shape(error)


def test_a_class_that_says_how_it_is_pickled_is_asked():
    """What it leaves out stays out, though it could be sent."""
    error = jobs.Reduced(5)
    error.left_here = "something large"
    found = travelled(error)
    assert (type(found), found.args, found.left_here) == (jobs.Reduced, (5,), None)


def test_a_group_has_its_own_exceptions():
    """Whatever became of the list that it was made of."""
    errors = [ValueError(1), jobs.ApiError(status=2)]
    group = ExceptionGroup("all", errors)
    errors.clear()
    found = travelled(group)
    assert (type(found), found.message) == (ExceptionGroup, "all")
    assert [type(each) for each in found.exceptions] == [ValueError, jobs.ApiError]


def test_a_circle_stays_one():
    """Exceptions that refer to each other; the chain of causes comes to an end."""
    found = travelled(jobs.MAKES["in a circle"]())
    assert found.other.other is found
    assert found.__cause__ is found.other
    assert isinstance(found.other.__cause__, RemoteTraceback)


def test_a_part_that_cannot_be_sent_harms_no_other():
    """A stand-in takes its place in the group."""
    found = travelled(jobs.MAKES["with a part"]())
    held, good = found.exceptions
    assert type(found) is ExceptionGroup
    assert (type(held), held.type_name) == (RemoteError, "tests.backends.error_jobs.Held")
    assert (type(good), good.status) == (jobs.ApiError, 2)


def test_endless_chains_are_cut():
    """A chain of a thousand causes has an end that is told as text."""
    first = error = ValueError(0)
    for number in range(1, 1000):
        error.__cause__ = ValueError(number)
        error = error.__cause__
    found, length = travelled(first), 0
    while found.__cause__ is not None:
        found, length = found.__cause__, length + 1
    assert 10 < length < 100
    assert "ValueError: 0" in str(found)


def test_through_a_worker_process():
    """Each kind, as raised, with its cause and then the traceback; no worker is lost."""
    with WorkerPool(1, on="processes") as pool:
        for name, make in jobs.MAKES.items():
            error = pool.submit(jobs.call, name).exception(WAIT)
            cause = error.__cause__
            assert type(error) is type(make()), name
            assert (type(cause), cause.status) == (jobs.ApiError, 500)
            assert "in call" in str(cause.__cause__)
        assert pool.report().failed == len(jobs.MAKES)


@pytest.mark.parametrize(
    ("on", "is_meant"),
    [
        (jobs.Held, True),
        (jobs.ApiError, True),
        ((KeyError, jobs.ApiError), True),
        (Exception, True),
        (RemoteError, True),
        (jobs.Frozen, False),
        (OSError, False),
        (lambda error: "Held" in str(error), True),
    ],
)
def test_a_stand_in_is_what_it_stands_for(on, is_meant):
    """Where errors are chosen by type, the names of its classes count."""
    found = travelled(jobs.Held())
    assert type(found) is RemoteError
    assert matches(on, found) is is_meant


def test_classes_of_the_main_module_have_its_name():
    """Workers import it under another one."""
    there = type("Own", (jobs.Held,), {"__module__": "__mp_main__"})
    here = type("Own", (jobs.Held,), {"__module__": "__main__"})
    found = travelled(there())
    assert (type(found), found.type_name) == (RemoteError, "__main__.Own")
    assert matches(here, found)


def test_what_cannot_be_sent_is_tried_again():
    """`Retry(on=…)` by a base class, after the wait that the exception asks for."""
    retry = Retry(on=jobs.ApiError, delay=1000.0)
    with WorkerPool(1, on="processes") as pool:
        assert list(pool.imap(jobs.fail, [1, 2], retry=retry)) == [1, 2]
