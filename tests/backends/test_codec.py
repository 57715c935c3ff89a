"""How values, buffers and errors are encoded for another process."""

import copyreg
import pickle
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxpool.backends._remote import RemoteTraceback, decode_error, encode_error
from rxpool.backends.processes._codec import LARGE, decode, encode, spans_of
from rxpool.errors import NotPicklable, RemoteError
from tests.backends import process_jobs as jobs
from tests.backends.channel_parts import Ring

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.complex_numbers(allow_nan=False),
        st.text(),
        st.binary(),
        st.sampled_from([b"x" * LARGE, b"y" * (LARGE - 1), "z" * LARGE, bytearray(LARGE)]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(VALUES, st.sampled_from([None, 1 << 20, 1 << 15]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_values_survive(value, size):
    """With shared memory, with too little of it, and without."""
    ring = None if size is None else Ring(size).buffers
    wire = pickle.loads(pickle.dumps(encode(value, ring, "the item"), 5))
    found = decode(wire, ring)
    assert found == value
    assert type(found) is type(value)
    loans = []
    assert decode(wire, ring, loans) == value


def test_large_arrays_stay_out_of_the_message():
    """Those that are worth it lie in shared memory, several in one value too."""
    ring = Ring(1 << 22)
    arrays = {"a": np.arange(100_000), "b": [np.ones(50_000)], "c": np.arange(10)}
    wire = encode(arrays, ring.buffers, "the item")
    assert len(pickle.dumps(wire)) < 2000
    assert len(spans_of(wire)) == 2
    found = decode(wire, ring.buffers)
    assert (found["a"] == arrays["a"]).all()
    assert (found["b"][0] == 1).all()
    assert (found["c"] == arrays["c"]).all()
    ring.memory[:] = bytes(1 << 22)
    assert (found["a"] == arrays["a"]).all()  # a copy


def test_a_borrowed_buffer_is_known_to_be_in_use():
    """As long as an array, or a view of it, refers to it.

    Catches taking a view that could be released for a buffer that nobody uses.
    """
    ring = Ring(1 << 21)
    wire = encode(np.arange(100_000), ring.buffers, "the item")
    loans = []
    array = decode(wire, ring.buffers, loans)
    part = array[10:20].reshape(2, 5).T
    raw = memoryview(array)
    del array
    assert [loan() is None for loan in loans] == [False]
    del part
    assert [loan() is None for loan in loans] == [False]
    del raw
    assert [loan() is None for loan in loans] == [True]


def test_without_room_an_array_travels_in_the_message():
    """Nothing stays in the ring of the part that did fit."""
    ring = Ring(1 << 20)
    arrays = [np.arange(65_536), np.arange(65_537)]
    wire = encode(arrays, ring.buffers, "the item")
    assert spans_of(wire) == ()
    found = decode(wire, ring.buffers)
    assert all((a == b).all() for a, b in zip(found, arrays, strict=True))
    assert ring.buffers.put(memoryview(bytes(1 << 20))) is not None


def raised(call, *args):
    """The exception that a call raises, with its traceback."""
    try:
        call(*args)
    except BaseException as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize(
    ("call", "argument", "kind"),
    [
        (jobs.nest, 2, ValueError),
        (jobs.raise_named, "SystemExit", SystemExit),
        (jobs.raise_from_other, 0, ValueError),
        (jobs.raise_two_arguments, 0, jobs.TwoArguments),
        (jobs.raise_holding, 0, RemoteError),
        (jobs.raise_speechless, 0, RemoteError),
    ],
)
def test_errors_survive_or_are_replaced(call, argument, kind, monkeypatch):
    """The traceback goes along in any case; a stand-in knows the name of the type."""
    error = raised(call, argument)
    # Libraries that other tests import teach pickle to save such exceptions.
    monkeypatch.delitem(copyreg.dispatch_table, type(error), raising=False)
    wire = pickle.loads(pickle.dumps(encode_error(error), 5))
    found = decode_error(wire)
    assert type(found) is kind
    cause = found.__cause__
    if error.__cause__ is not None:
        assert (type(cause), cause.args) == (KeyError, ("the root",))
        cause = cause.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert call.__name__ in str(cause)
    if kind is RemoteError:
        assert found.type_name.endswith(type(error).__name__)
        assert str(found).startswith(found.type_name)
    else:
        assert found.args == error.args


def test_values_are_no_errors():
    """What is a value is not taken for an exception, exceptions as values included."""
    for value in (1, ("e", b""), ValueError("a value")):
        assert decode_error(encode(value, None, "the result")) is None
    found = decode(encode(ValueError("a value"), None, "the result"))
    assert (type(found), found.args) == (ValueError, ("a value",))


def test_what_cannot_be_pickled_is_found():
    """The error says what it is and where."""
    with pytest.raises(NotPicklable, match=r"the item .*\['a'\]\[1\].*lock"):
        encode({"a": [1, threading.Lock()]}, None, "the item")
