"""Arrays that numpy copies into a pickle stay out of it, and are what pickle makes of them."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rxpool.backends.processes import _reduce_numpy
from rxpool.backends.processes._codec import decode, encode
from tests.backends import process_jobs as jobs
from tests.backends.channel_parts import Ring
from tests.backends.process_pools import outcome
from tests.backends.travels import dumped, pickled, sent

N = 20_000
DTYPES = [
    *("M8[s]", "m8[ns]", ">M8[us]", "f8", ">i4", "?", "c16", "U3", "S5", "V7", "f2", "g", "O"),
    [("a", "i4"), ("b", "M8[D]")],
    [("a", "O"), ("b", "M8[D]")],
    [("a", "f4", (2,)), ("b", "m8[s]")],
    [("a", "i4"), ("b", ">f8")],
]


def same(found, array):
    """Whether *found* is what pickle makes of *array*.

    But in the byte order of *array*: pickle keeps that of some arrays and changes others.
    """
    expected = pickled(array).astype(array.dtype, copy=False)
    assert type(found) is type(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype.hasobject:
        assert found.tolist() == expected.tolist()
    else:
        assert found.tobytes() == expected.tobytes()
    for flag in ("c_contiguous", "f_contiguous", "aligned"):
        assert getattr(found.flags, flag) == getattr(expected.flags, flag), flag
    assert found.flags.writeable == pickled(array).flags.writeable
    return True


@st.composite
def arrays(draw):
    """Arrays of all kinds, whole or in part, turned, read-only, with or without gaps."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    array = np.zeros(shape, dtype)
    if array.size and not dtype.hasobject and dtype.kind != "U":
        raw = draw(st.binary(min_size=array.nbytes, max_size=array.nbytes))
        array = np.frombuffer(bytearray(raw), dtype).reshape(shape)
    if draw(st.booleans()):
        array = array.T
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    if array.ndim and draw(st.booleans()):
        array = array[..., :: draw(st.sampled_from([-2, -1, 2]))]
    if draw(st.booleans()):
        array = np.broadcast_to(array, (2, *array.shape))
    return read_only(array) if draw(st.booleans()) else array


def read_only(array):
    """The same memory, not to be written to."""
    array = array.view()
    array.flags.writeable = False
    return array


@given(arrays(), st.booleans())
@settings(deadline=None)
def test_any_array(array, apart):
    """Whatever stays out of the pickle: the same as with pickle alone."""
    buffers = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_reduce_numpy, "LARGE", 0)
        data = dumped([array], (lambda b: buffers.append(b.raw())) if apart else None)
    [found] = pickle.loads(data, buffers=[bytearray(b) for b in buffers])
    assert same(found, array)


LARGE = {
    "dates": lambda: np.arange(N).astype("M8[s]"),
    "durations in the other byte order": lambda: np.arange(N).astype(">m8[ms]"),
    "dates in Fortran order": lambda: np.asfortranarray(np.zeros((100, 200), "M8[s]")),
    "dates with gaps": lambda: np.arange(2 * N).astype("M8[s]")[::2],
    "records with dates": lambda: np.zeros(N, [("a", "M8[s]"), ("b", "i4")]),
    "a field": lambda: np.ones(N, [("a", "i4"), ("b", "f4")])["a"],
    "backwards": lambda: np.arange(N)[::-1],
    "broadcast": lambda: np.broadcast_to(np.arange(200), (100, 200)),
    "part of a matrix": lambda: np.arange(4 * N).reshape(200, -1)[:, 10:300],
}


@pytest.mark.parametrize("lent", [True, False])
@pytest.mark.parametrize("change", [lambda array: array, read_only])
@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_large_ones_stay_out_of_the_pickle(make, change, lent):
    """Among others, too."""
    array = change(make())
    found, inside, beside = sent({"a": [array], "b": 1}, lent)
    assert (inside < 1000, beside) == (True, array.nbytes)
    assert same(found["a"][0], array)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", ["f8", "M8[s]", [("a", "M8[s]")]])
def test_a_map_of_a_file(tmp_path, mode, dtype):
    """It stays one by its type, and has no file, as with pickle alone."""
    np.arange(N).astype("i8").tofile(tmp_path / "data")
    array = np.memmap(tmp_path / "data", dtype, mode)
    for part in (array, array[5:-5], array[::2], array.reshape(100, 200).T):
        found, inside, beside = sent([part])
        assert (inside < 1000, beside) == (True, part.nbytes)
        assert same(found[0], part)
        assert found[0].filename is None
    small, _, beside = sent([array[:10]])
    assert beside == 0
    assert same(small[0], array[:10])


def test_what_is_lent_is_known_to_be_in_use():
    """As long as a part of an array of dates is there."""
    ring = Ring(1 << 20).buffers
    loans = []
    array = decode(encode(LARGE["dates"](), ring, "the item"), ring, loans)
    part = array[5:7]
    del array
    assert loans[0]() is not None
    del part
    assert loans[0]() is None


def test_a_copy_that_is_sent_is_alive_as_long_as_needed():
    """It is made for the pickle, and has nobody else who holds it."""
    many = [np.full(2 * N, n).astype("M8[s]")[::2] for n in range(20)]
    found, _, _ = sent(many)
    assert all((a == b).all() for a, b in zip(found, many, strict=True))


def test_without_room_they_travel_in_the_message():
    """Writable all the same."""
    array = read_only(LARGE["dates"]())
    found, inside, beside = sent([array, array[::2]], size=1 << 15)
    assert (inside > array.nbytes, beside) == (True, 0)
    assert same(found[0], array)


@dataclass
class Reading:
    """What users have arrays in."""

    times: np.ndarray
    values: list


def test_there_and_back(shared):
    """In an object, through processes."""
    reading = Reading(LARGE["dates"](), [np.arange(2 * N)[::2], {"m": LARGE["a field"]()}])
    found = outcome(shared, jobs.same, reading).value
    assert same(found.times, reading.times)
    assert same(found.values[0], reading.values[0])
    assert same(found.values[1]["m"], reading.values[1]["m"])


def test_frames_of_pandas(shared):
    """What is in a frame is reached as well, dates with a zone and texts too."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2020", periods=N, freq="s"),
            "zone": pd.date_range("2020", periods=N, freq="s", tz="UTC"),
            "took": pd.to_timedelta(np.arange(N), "s"),
            "kind": pd.Categorical(["a", "b"] * (N // 2)),
            "number": np.arange(N),
        },
        index=pd.date_range("2020", periods=N, freq="h"),
    )
    for part in (frame, frame[::2], frame[["number", "time"]]):
        found, inside, beside = sent(part)
        pd.testing.assert_frame_equal(found, part)
        assert beside > 20 * inside
    found = outcome(shared, jobs.same, frame).value
    pd.testing.assert_frame_equal(found, frame)
    found.loc[found.index[0], "time"] = pd.Timestamp("2021")
