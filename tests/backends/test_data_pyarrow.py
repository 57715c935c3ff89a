"""Of slices of Arrow data only their part travels."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.backends.processes import _reduce_pyarrow
from rxpool.backends.processes._codec import decode, encode
from tests.backends import process_jobs as jobs
from tests.backends.channel_parts import Ring
from tests.backends.process_pools import outcome
from tests.backends.travels import sent

pa = pytest.importorskip("pyarrow")
N = 20_000

ARRAYS = {
    "numbers": lambda: pa.array(range(N)),
    "with nothing in between": lambda: pa.array([1.5, None] * (N // 2)),
    "truths": lambda: pa.array([True, None, False, True] * (N // 2)),
    "texts": lambda: pa.array([str(n) for n in range(N)]),
    "large texts": lambda: pa.array([str(n) for n in range(N)], pa.large_string()),
    "views of texts": lambda: pa.array([f"a long text, {n}" for n in range(N)], "string_view"),
    "views of bytes": lambda: pa.array([b"x" * 20, None] * (N // 2), pa.binary_view()),
    "dates": lambda: pa.array(range(N), pa.timestamp("s", "UTC")),
    "lists": lambda: pa.array([[n, n + 1] for n in range(N)]),
    "lists of lists": lambda: pa.array([[[n], []] for n in range(N)]),
    "pairs": lambda: pa.array([[n, n] for n in range(N)], pa.list_(pa.int32(), 2)),
    "records": lambda: pa.array([{"a": n, "b": str(n)} for n in range(N)]),
    "maps": lambda: pa.array([[("a", n)] for n in range(N)], pa.map_("string", "int64")),
    "of few words": lambda: pa.array(["a", "b"] * (N // 2)).dictionary_encode(),
    "runs": lambda: pa.RunEndEncodedArray.from_arrays(
        pa.array(range(2, 2 * N, 2), "int32"), pa.array(range(1, N))
    ),
    "decimals": lambda: pa.array([1, 2] * (N // 2), pa.decimal128(5, 2)),
    "identifiers": lambda: pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([bytes(16)] * N, pa.binary(16))
    ),
    "nothing": lambda: pa.nulls(N),
}


def same(found, value):
    """Whether they are equal, of the same type, and sound."""
    found.validate(full=True)
    assert type(found) is type(value)
    assert getattr(found, "type", None) == getattr(value, "type", None)
    assert getattr(found, "schema", None) == getattr(value, "schema", None)
    return found.equals(value)


@pytest.mark.parametrize("lent", [True, False])
@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_arrays(make, lent):
    """Whole ones stay out of the pickle; of slices their part travels."""
    array = make()
    found, inside, beside = sent([array], lent)
    assert same(found[0], array)
    assert inside < 20_000
    slices = [array[n : n + 10] for n in range(1, 1000, 10)]
    found, inside, beside = sent(slices, lent, 1 << 26)
    assert all(map(same, found, slices))
    assert inside + beside < 100 * 2000
    half = array[3 : len(array) // 2]
    assert same(sent(half)[0], half)


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_tables(make):
    """And what they are made of."""
    table = pa.table({"a": pa.chunked_array([make(), make()]), "b": pa.nulls(2 * len(make()))})
    part = table.slice(5, 10)
    for value in (part, part["a"], part.to_batches()[0], table.slice(len(table) - 3)):
        found, inside, beside = sent({"a": value})
        assert same(found["a"], value)
        assert inside + beside < 5000
    assert same(sent(table)[0], table)


def test_unions_arrive_whole():
    """Arrow does not cut those to size: what there is around a slice goes along."""
    union = pa.UnionArray.from_dense(
        pa.array([0, 1] * (N // 2), "int8"),
        pa.array([n // 2 for n in range(N)], "int32"),
        [pa.array(range(N // 2)), pa.array(["x"] * (N // 2))],
    )
    assert same(sent(union)[0], union)
    assert same(sent(union[5:15])[0], union[5:15])


def test_a_large_part_stays_out_of_the_pickle():
    """Half of a table is copied once more, and so is in shared memory alone."""
    table = pa.table({"a": range(10 * N), "b": [None, 1.5] * (5 * N)})
    half = table.slice(7, 5 * N)
    found, inside, beside = sent(half)
    assert same(found, half)
    assert inside < 14_000  # with the bits that say what is not there
    assert beside < 1.1 * half.nbytes
    assert sent(table)[2] == table.get_total_buffer_size()


VALUES = st.one_of(
    st.lists(st.none() | st.integers(-(2**40), 2**40)),
    st.lists(st.none() | st.text(max_size=30)),
    st.lists(st.none() | st.lists(st.none() | st.booleans(), max_size=4)),
)


@given(VALUES, st.integers(0, 5), st.integers(0, 5))
@settings(deadline=None)
def test_any_slice(values, start, length):
    """However little there is around it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_reduce_pyarrow, "_LITTLE", -1)
        array = pa.array(values).slice(min(start, len(values)), length)
        found, _, _ = sent([array])
    assert same(found[0], array)


def test_what_is_lent_is_known_to_be_in_use():
    """As long as a part of the table is there."""
    ring = Ring(1 << 20).buffers
    loans = []
    table = decode(encode(pa.table({"a": range(N)}), ring, "the item"), ring, loans)
    part = table["a"].chunk(0)[3:5]
    del table
    assert loans[0]() is not None
    del part
    assert loans[0]() is None


def test_there_and_back(shared):
    """Through processes."""
    table = pa.table({"a": range(N), "b": [str(n) for n in range(N)]}).slice(5, 15_000)
    assert same(outcome(shared, jobs.same, table).value, table)
