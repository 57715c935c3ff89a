"""Large buffers on their way to processes and back, by shared memory."""

import gc
from pathlib import Path

import numpy as np
import psutil
import pytest

from rxpool import WorkerPool
from rxpool.errors import WorkerCrashed
from tests.backends import process_jobs as jobs
from tests.backends.process_pools import outcome, outcomes
from tests.waiting import eventually


def test_arrays(shared):
    """They go there and come back whole, many of them."""
    rng = np.random.default_rng(7)
    arrays = [rng.integers(0, 1000, 150_000) for _ in range(24)]
    sums = [o.value for o in outcomes(shared, jobs.total, arrays)]
    assert sums == [array.sum() for array in arrays]
    for array, found in zip(arrays, outcomes(shared, jobs.plus_one, arrays), strict=True):
        assert (found.value == array + 1).all()
    for n, found in enumerate(outcomes(shared, jobs.filled, range(40))):
        assert (found.value == n).all()


def test_arrays_belong_to_who_has_them(shared):
    """A worker may write to its array; neither the sender's nor the result is touched."""
    array = np.zeros(100_000, dtype=np.int64)
    found = [o.value for o in outcomes(shared, jobs.plus_one_in_place, [array] * 6)]
    assert not array.any()
    assert all((each == 1).all() for each in found)
    found[0][:] = 5
    assert (found[1] == 1).all()
    assert all(o.value for o in outcomes(shared, jobs.writeable, [array] * 2))
    array.flags.writeable = False
    assert not outcome(shared, jobs.writeable, array).value


@pytest.mark.parametrize("fn", [jobs.keep, jobs.keep_a_part])
def test_an_array_that_is_kept_is_not_overwritten(fn):
    """Nor is one of which a part is kept."""
    with WorkerPool(1, on="processes") as pool:
        arrays = [np.full(40_000, n) for n in range(60)]
        assert all(o.value is True for o in outcomes(pool, fn, arrays))
        assert all(outcome(pool, fn, array).value is True for array in arrays)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_000, 5_000_003])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_any_size(shared, kind, size):
    """Below and above the size from which on they travel through shared memory."""
    data = kind(b"abc" * (size // 3 + 1))[:size]
    assert outcome(shared, jobs.length, data).value == (kind.__name__, size, b"abc")
    assert outcome(shared, jobs.same, data).value == data


def test_large_strings_and_lists(shared):
    """What is no buffer travels in the message, however large."""
    for value in ("x" * 3_000_000, list(range(300_000))):
        assert outcome(shared, jobs.same, value).value == value


def test_large_items_among_small_ones(shared):
    """A busy worker's connection never gets so full that both sides wait for each other."""
    items = ["y" * (n % 7) * 20_000 for n in range(400)]
    assert [o.value for o in outcomes(shared, jobs.same, items)] == items


def test_more_than_the_shared_memory_holds():
    """What does not fit travels in the message; what is kept stays as it is."""
    with WorkerPool(1, on="processes") as pool:
        arrays = [np.full(size * 1024 * 1024, size, np.uint8) for size in (200, 50, 10, 1)]
        assert [outcome(pool, jobs.keep, array).value for array in arrays] == [True] * 4


def test_arrays_with_gaps(shared):
    """Those that are not contiguous, or in another order, are sent as well."""
    array = np.arange(400_000).reshape(400, 1000)
    for view in (array.T, array[:, ::2], array[::-1], np.asfortranarray(array)):
        assert (outcome(shared, jobs.plus_one, view).value == view + 1).all()


def test_nothing_is_left_of_shared_memory(tmp_path):
    """No name in /dev/shm, no file, after ends of all kinds."""

    def names():  # others on this machine have theirs
        return {path.name for kind in ("rxpool*", "psm_*") for path in shm.glob(kind)}

    shm = Path("/dev/shm")
    before = names()
    files = psutil.Process().num_fds()
    with WorkerPool(2, on="processes") as pool:
        arrays = [np.zeros(100_000 + n) for n in range(20)]
        found = outcomes(pool, jobs.die_with_array, arrays[:6])
        assert all(isinstance(o.error, WorkerCrashed) for o in found)
        outcomes(pool, jobs.total, arrays)
        assert names() <= before
    gc.collect()
    eventually(lambda: psutil.Process().num_fds() <= files + 2)  # those of the fork server
