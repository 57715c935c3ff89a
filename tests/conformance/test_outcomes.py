"""One item, one outcome: whatever functions do, in every place where work can run."""

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.observer import Observer
from reactivex.subject import Subject

from rxpool import Failure, RemoteError, Success
from tests import jobs
from tests.conformance.lanes import IN_MEMORY, counts, source

#: what would end an iteration does not come out as it is
STOPS = {"StopIteration": "RuntimeError", "StopAsyncIteration": "RuntimeError"}
FORMS = {"def": jobs.double, "async def": jobs.double_later, "Observable": jobs.double_observed}


@pytest.mark.parametrize("form", FORMS)
def test_results(lane, form):
    """Functions, coroutine functions and functions of Observables give their results."""
    with lane.pool() as pool:
        results = lane.collect(source(lane, pool, range(20)).pipe(pool.map(FORMS[form])))
        assert sorted(results) == list(range(0, 40, 2))
        assert counts(pool) == {"accepted": 20, "succeeded": 20}


@pytest.mark.parametrize("form", [jobs.none, jobs.none_later])
def test_none_is_a_result(lane, form):
    """A function that returns nothing has a result for each item, and items may be None."""
    with lane.pool() as pool:
        assert lane.collect(rx.of(1, None, 3).pipe(pool.map(form))) == [None] * 3
        records = lane.collect(rx.of(None).pipe(pool.outcomes(form)))
        assert [(record.item, record.value) for record in records] == [(None, None)]


def test_nothing_in_nothing_out(lane):
    """A source that completes at once has a flow that does."""
    with lane.pool() as pool:
        assert lane.collect(rx.empty().pipe(pool.map(jobs.double))) == []
        assert lane.collect(rx.empty().pipe(pool.outcomes(jobs.double))) == []


def test_results_of_observables_come_one_by_one(lane):
    """`map` emits what an Observable does; an empty one has no result."""
    with lane.pool(1) as pool:
        results = rx.of(3, 0, 2).pipe(pool.map(jobs.several, order="input"))
        assert lane.collect(results) == [0, 1, 2, 0, 1]
        assert counts(pool) == {"accepted": 3, "succeeded": 3}


def test_the_outcome_of_an_observable_is_a_list(lane):
    """`outcomes` has one `Success` for each item, with the list of its results."""
    with lane.pool() as pool:
        records = lane.collect(rx.of(3, 0).pipe(pool.outcomes(jobs.several, order="input")))
        assert [(record.item, record.value) for record in records] == [(3, [0, 1, 2]), (0, [])]


def test_an_observable_that_fails_gives_its_results_first(lane):
    """What came before the error comes out; the item has failed."""
    with lane.pool() as pool:
        sink = lane.subscribe(rx.of(2).pipe(pool.map(jobs.several_then_oops))).wait()
        assert (sink.values, type(sink.error)) == ([0, 1], jobs.Oops)
        (record,) = lane.collect(rx.of(2).pipe(pool.outcomes(jobs.several_then_oops)))
        assert isinstance(record, Failure)
        assert isinstance(record.error, jobs.Oops)
        assert counts(pool) == {"accepted": 2, "failed": 2}


def _fates_met(lane, form, expected):
    """Run *form* on fates: how each ended, by name."""
    with lane.pool() as pool:
        records = lane.collect(rx.of(*expected).pipe(pool.outcomes(form)))
        assert counts(pool)["accepted"] == len(expected)
    met = {}
    for record in records:
        assert record.item not in met
        assert record.attempts == 1
        assert record.waited >= 0
        assert record.took >= 0
        match record:
            case Success(item=item, value=value):
                met[item] = value[0] if isinstance(value, list) else value
            case Failure(item=item, error=RemoteError(type_name=name)):
                # Stands for what would end the worker of somebody else's executor.
                assert not lane.sends_all
                assert not issubclass(jobs.FATES[item], Exception)
                met[item] = name.rpartition(".")[2]
            case Failure(item=item, error=error):
                met[item] = type(error).__name__
    return met


@pytest.mark.parametrize("form", ["def", "async def"])
def test_whatever_is_raised_is_the_failure_of_its_item(lane, form):
    """SystemExit and its like included; the others have their results."""
    expected = {fate: fate for fate in ("fine", *jobs.FATES, "good")} | STOPS
    fn = {"def": jobs.meet, "async def": jobs.meet_later}[form]
    assert _fates_met(lane, fn, expected) == expected


def test_whatever_an_observable_fails_with_is_the_failure_of_its_item(lane):
    """An Observable has errors of the type Exception only."""
    fates = [fate for fate, kind in jobs.FATES.items() if issubclass(kind, Exception)]
    expected = {fate: fate for fate in ("fine", *fates, "good")} | STOPS
    assert _fates_met(lane, jobs.meet_observed, expected) == expected


@pytest.mark.parametrize("order", ["completion", "input"])
def test_raise_ends_the_stream_with_the_first_failure(lane, order):
    """The error of the item comes out as it was raised, and the rest is cancelled."""
    with lane.pool(1) as pool:
        stream = source(lane, pool, [0, 2, 3, 4, 5]).pipe(pool.map(jobs.fail_odd, order=order))
        sink = lane.subscribe(stream).wait()
        assert sink.values == [0, 2]
        assert isinstance(sink.error, jobs.Oops)
        assert sink.error.args == (3,)


def test_skip_leaves_failures_out(lane):
    """Values come out, failures are counted."""
    with lane.pool() as pool:
        through = pool.map(jobs.fail_odd, on_failure="skip")
        assert sorted(lane.collect(rx.of(*range(7)).pipe(through))) == [0, 2, 4, 6]
        assert counts(pool) == {"accepted": 7, "succeeded": 4, "failed": 3}


def test_an_observer_is_given_failures(lane):
    """Dead letters go to the observer, values go on, the stream completes."""
    letters = []
    with lane.pool() as pool:
        through = pool.map(jobs.fail_odd, on_failure=Observer(letters.append))
        assert sorted(lane.collect(rx.of(*range(5)).pipe(through))) == [0, 2, 4]
    assert sorted(letter.item for letter in letters) == [1, 3]
    assert all(isinstance(letter, Failure) for letter in letters)
    assert all(isinstance(letter.error, jobs.Oops) for letter in letters)


@pytest.mark.parametrize("order", ["completion", "input"])
def test_a_source_that_fails_after_500_items(lane, order):
    """All 500 results come out, then that error."""
    boom = RuntimeError("boom")
    with lane.pool() as pool:
        numbers = rx.concat(rx.from_iterable(range(500)), rx.throw(boom))
        sink = lane.subscribe(numbers.pipe(pool.map(jobs.double, order=order))).wait()
        assert sorted(sink.values) == list(range(0, 1000, 2))
        assert sink.error is boom


def test_an_iterable_that_fails_after_500_items(lane):
    """The same with a source that is read on demand."""
    boom = RuntimeError("boom")

    def numbers():
        yield from range(500)
        raise boom

    with lane.pool(max_pending=3) as pool:
        sink = lane.start(pool.pull(numbers()).pipe(pool.map(jobs.double))).wait()
        assert sorted(sink.values) == list(range(0, 1000, 2))
        assert sink.error is boom


@pytest.mark.parametrize("lane", IN_MEMORY, indirect=True)
@pytest.mark.parametrize("form", [jobs.tag, jobs.tag_later])
def test_variables_of_contexts_go_along(lane, form):
    """Work sees those of whoever brought its item; those of processes are their own."""
    items = Subject()
    with lane.pool() as pool:
        sink = lane.subscribe(items.pipe(pool.map(form)))
        token = jobs.TAG.set("mine")
        try:
            items.on_next(1)
            items.on_next(2)
            items.on_completed()
            assert sink.result() == ["mine"] * 2
            call = pool.submit(form, 3)
            lane.until(call.done)
            assert call.result() == "mine"
        finally:
            jobs.TAG.reset(token)


@pytest.mark.parametrize("form", [jobs.tell, jobs.tell_later])
def test_work_tells_how_far_it_is(lane, form):
    """What `current_task` is told comes out of the pool, where it can know the task."""
    told = []
    with lane.pool() as pool:
        pool.progress.pipe(ro.map(lambda p: (p.item, p.fraction))).subscribe(told.append)
        assert lane.collect(rx.of("a").pipe(pool.map(form))) == ["a"]
        expected = [("a", 0.5), ("a", 1.0)] if lane.tells else []
        lane.until(lambda: len(told) >= len(expected))
    assert told == expected
