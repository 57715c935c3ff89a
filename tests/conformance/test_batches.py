"""Functions of whole batches, with a result or a failure for each item."""

from functools import partial

import pytest
import reactivex as rx
from reactivex.observer import Observer

from rxpool import BatchSizeError
from rxpool import operators as ops
from tests import jobs
from tests.conformance.lanes import counts, source


@pytest.mark.parametrize("fn", [jobs.doubles, jobs.doubles_later])
def test_results_of_items(lane, fn):
    """Lists go in, single results come out, in order if wanted; batches are counted."""
    with lane.pool(2) as pool:
        stream = source(lane, pool, range(50)).pipe(
            ops.batch(max_size=8), pool.map_batches(fn, order="input")
        )
        assert lane.collect(stream) == list(range(0, 100, 2))
        assert counts(pool) == {"accepted": 7, "succeeded": 7}


def test_bisect_finds_the_bad_item(lane):
    """Of a batch of 8 with one bad item 7 have results, and 1 has failed."""
    letters = []
    with lane.pool(2) as pool:
        through = pool.map_batches(
            jobs.doubles_but_13,
            bisect=True,
            order="input",
            on_failure=Observer(letters.append),
        )
        assert lane.collect(rx.of(list(range(8, 16))).pipe(through)) == [
            2 * n for n in range(8, 16) if n != 13
        ]
    assert [(letter.item, type(letter.error)) for letter in letters] == [(13, jobs.Oops)]


def test_without_bisect_the_whole_batch_fails(lane):
    """All its items have failed with that error; others have their results."""
    letters = []
    with lane.pool(2) as pool:
        through = pool.map_batches(
            jobs.doubles_but_13, order="input", on_failure=Observer(letters.append)
        )
        stream = rx.of([1, 2], [12, 13, 14], [3]).pipe(through)
        assert lane.collect(stream) == [2, 4, 6]
    assert [letter.item for letter in letters] == [12, 13, 14]
    assert all(isinstance(letter.error, jobs.Oops) for letter in letters)


def test_a_result_may_be_an_exception(lane):
    """Just that item has failed."""
    letters = []
    with lane.pool(2) as pool:
        through = pool.map_batches(
            jobs.doubles_of_even, order="input", on_failure=Observer(letters.append)
        )
        assert lane.collect(rx.of([0, 1, 2], [3, 4]).pipe(through)) == [0, 4, 8]
    assert [letter.item for letter in letters] == [1, 3]
    assert all(isinstance(letter.error, jobs.Oops) for letter in letters)


def test_another_number_of_results(lane):
    """It is a `BatchSizeError` of all items of that batch."""
    letters = []
    with lane.pool(2) as pool:
        through = pool.map_batches(jobs.one_too_few, on_failure=Observer(letters.append))
        assert lane.collect(rx.of([1, 2, 3]).pipe(through)) == []
    assert [letter.item for letter in letters] == [1, 2, 3]
    assert all(isinstance(letter.error, BatchSizeError) for letter in letters)


def test_batches_of_one(lane):
    """A bad batch of one item is not halved any further."""
    with lane.pool(1) as pool:
        through = pool.map_batches(jobs.doubles_but_13, bisect=True, on_failure="skip")
        assert lane.collect(rx.of([13], [1]).pipe(through)) == [2]


def test_a_batch_is_one_task(lane):
    """The function is called once for each."""
    with lane.pool(1) as pool:
        through = pool.map_batches(partial(jobs.note_batch, lane.folder))
        assert lane.collect(rx.of([1, 2, 3], [4]).pipe(through)) == [1, 2, 3, 4]
    assert lane.started == ["3", "1"]
