"""Calls and iterators: the pool without streams."""

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest
import reactivex as rx

from rxpool import TaskCancelled, WouldBlock
from tests import jobs
from tests.conformance.lanes import IN_MEMORY, REAL, VIRTUAL, counted, counts
from tests.waiting import WAIT


def outcome_of(lane, call):
    """The result of a call, after waiting for it."""
    lane.until(call.done)
    return lane.plain(call.result())


# -- submit --------------------------------------------------------------------------------


def test_submit(lane):
    """The future has the result, or the exception."""
    with lane.pool(2) as pool:
        calls = [pool.submit(pow, n, exp=2) for n in range(5)]
        for call in calls:
            lane.until(call.done)
        assert [call.result() for call in calls] == [0, 1, 4, 9, 16]
        bad = pool.submit(jobs.meet, "SystemExit" if lane.sends_all else "Oops")
        lane.until(bad.done)
        assert type(bad.exception()).__name__ in ("SystemExit", "Oops")
        assert counts(pool) == {"accepted": 6, "succeeded": 5, "failed": 1}


@pytest.mark.parametrize("form", [jobs.double, jobs.double_later])
@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_result_waits(lane, form):
    """Whoever asks for the result waits until it is there."""
    with lane.pool(1) as pool:
        assert pool.submit(form, 21).result(WAIT) == 42
        assert pool.submit(form, 21).exception(WAIT) is None


@pytest.mark.parametrize("lane", VIRTUAL, indirect=True)
def test_result_where_nobody_can_wait(lane):
    """In virtual time asking too early is an error that says so, not a wait without end."""
    with lane.pool(1) as pool:
        call = pool.submit(jobs.double, 21)
        with pytest.raises(WouldBlock):
            call.result(0.1)
        with pytest.raises(WouldBlock):
            call.exception(0.1)
        lane.until(call.done)
        assert call.result() == 42


def test_the_result_of_an_observable_is_a_list(lane):
    """A call of a function that returns one has all its items."""
    with lane.pool() as pool:
        call = pool.submit(jobs.several, 3)
        lane.until(call.done)
        assert call.result() == [0, 1, 2]


def test_a_call_that_waits_can_be_cancelled(lane):
    """It never runs, and is counted; one that runs cannot be."""
    with lane.pool(1) as pool:
        first, second = pool.submit(lane.hold, "a"), pool.submit(lane.hold, "b")
        lane.until_running("a")
        assert second.cancel() is True
        assert second.cancelled()
        assert first.cancel() is False
        lane.open("*")
        assert outcome_of(lane, first) == "a"
        with pytest.raises(CancelledError):
            second.result(0)
        lane.until(lambda: pool.report().in_flight == 0)
        assert counts(pool) == {"accepted": 2, "succeeded": 1, "cancelled": 1}
    assert lane.started == ["a"]


def test_terminate_settles_calls(lane):
    """Every future has an end, and nobody waits for ever."""
    with lane.pool(1) as pool:
        calls = [pool.submit(lane.hold, item) for item in "abc"]
        lane.until_running("a")
        pool.terminate()
        for call in calls:
            assert call.done()
            with pytest.raises((TaskCancelled, CancelledError)):
                call.result(0)
        lane.until_cut_off("a")


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_a_call_can_be_awaited(lane):
    """In a coroutine, beside that it runs."""
    with lane.pool(2) as pool:

        async def main():
            calls = [pool.submit(jobs.double, n) for n in range(5)]
            return await asyncio.gather(*calls)

        assert lane.coroutine(main()) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_submit_waits_for_room(lane):
    """With `max_pending` calls that wait, the next one waits to be taken."""
    calls = []
    with lane.pool(1, max_pending=1) as pool:

        def bring():
            for item in "abcd":
                calls.append(pool.submit(lane.hold, item))

        lane.spawn(bring)
        lane.until_running("a")
        lane.until(lambda: len(calls) == 2)
        assert counts(pool)["accepted"] == 2
        lane.open("*")
        lane.until(lambda: len(calls) == 4)
        assert [outcome_of(lane, call) for call in calls] == list("abcd")


IN_MEMORY_REAL = [name for name in IN_MEMORY if name in REAL]


@pytest.mark.parametrize("lane", IN_MEMORY_REAL, indirect=True)
def test_work_may_wait_for_its_own_pool(lane):
    """A task that submits to its pool and waits does not stop a pool of one worker."""
    with lane.pool(1, max_pending=1) as pool:

        def nested(depth):
            return 1 + pool.submit(nested, depth - 1).result(WAIT) if depth else 0

        assert pool.submit(nested, 4).result(WAIT) == 4


@pytest.mark.parametrize("lane", ["asyncio", "running-loop"], indirect=True)
def test_coroutines_may_wait_for_their_own_pool(lane):
    """The same with coroutines, which await."""
    with lane.pool(1, max_pending=1) as pool:

        async def nested(depth):
            return 1 + await pool.submit(nested, depth - 1) if depth else 0

        assert pool.submit(nested, 4).result(WAIT) == 4


# -- imap ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", REAL, indirect=True)
@pytest.mark.parametrize("order", ["completion", "input"])
def test_imap(lane, order):
    """All results, in order if wanted."""
    with lane.pool(2) as pool:
        results = list(pool.imap(jobs.double, range(100), order=order))
        assert sorted(results) == list(range(0, 200, 2))
        assert order == "completion" or results == sorted(results)
        assert counts(pool) == {"accepted": 100, "succeeded": 100}


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_imap_with_coroutines_and_observables(lane):
    """Whatever functions return is followed as in `map`."""
    with lane.pool(2) as pool:
        assert sorted(pool.imap(jobs.double_later, range(20))) == list(range(0, 40, 2))
        assert list(pool.imap(jobs.several, [2, 0, 3], order="input")) == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("lane", REAL, indirect=True)
@pytest.mark.parametrize("order", ["completion", "input"])
def test_imap_reads_as_far_as_there_is_room(lane, order):
    """The input is read by whoever asks, no further than the bounds allow."""
    read, got = [], []
    items = [str(n) for n in range(20)]
    with lane.pool(2, max_pending=3) as pool:

        def ask():
            got.extend(pool.imap(lane.hold, counted(items, read), order=order))

        lane.spawn(ask)
        lane.until(lambda: len(lane.running) == 2)
        lane.until(lambda: len(read) == 5)
        assert counts(pool)["accepted"] == 5
        lane.open("*")
        lane.until(lambda: len(got) == 20)
        assert sorted(got) == sorted(items)


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_leaving_the_loop_cancels_the_rest(lane):
    """What runs is stopped, what waits never runs, the input is read no further."""
    read = []
    items = ["0", "1", "2", "3", "4", "5", "6"]
    with lane.pool(2, max_pending=2) as pool:
        lane.open("0")
        for result in pool.imap(lane.hold, counted(items, read)):
            assert result == "0"
            break
        lane.until(lambda: pool.report().in_flight == 0)
        ran = [item for item in lane.started if item != "0"]
        lane.until_cut_off(*ran)
        assert len(read) <= 5
        assert counts(pool)["succeeded"] == 1
        if not lane.frees_at_once:
            lane.open("*")
        assert list(pool.imap(jobs.same, [1, 2], order="input")) == [1, 2]


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_imap_raises(lane):
    """The first failure comes out of the loop, or failures are left out."""
    with lane.pool(2) as pool:
        with pytest.raises(jobs.Oops):
            list(pool.imap(jobs.fail_odd, range(10)))
        kept = pool.imap(jobs.fail_odd, range(10), on_failure="skip", order="input")
        assert list(kept) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_imap_of_an_input_that_fails(lane):
    """All results come, then that error."""
    boom = RuntimeError("boom")

    def numbers():
        yield from range(50)
        raise boom

    got = []
    with lane.pool(2) as pool:
        with pytest.raises(RuntimeError) as raised:  # noqa: PT012
            for result in pool.imap(jobs.double, numbers()):
                got.append(result)
        assert raised.value is boom
        assert sorted(got) == list(range(0, 100, 2))


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_imap_in_a_coroutine(lane):
    """It is an async iterator too."""
    with lane.pool(2) as pool:

        async def main():
            return [r async for r in pool.imap(jobs.double, range(30), order="input")]

        assert lane.coroutine(main()) == list(range(0, 60, 2))


@pytest.mark.parametrize("lane", VIRTUAL, indirect=True)
def test_imap_where_nobody_can_wait(lane):
    """In virtual time it says what to use instead."""
    with lane.pool(1) as pool:
        results = pool.imap(lane.hold, ["a"])
        with pytest.raises(WouldBlock, match=r"pool\.pull"):
            next(iter(results))
        results.close()


@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_terminate_ends_the_loop(lane):
    """Who waits for a result is told."""
    told = threading.Event()
    with lane.pool(1) as pool:

        def ask():
            try:
                list(pool.imap(lane.hold, ["a", "b"]))
            except TaskCancelled:
                told.set()

        lane.spawn(ask)
        lane.until_running("a")
        pool.terminate()
        assert told.wait(WAIT)
        lane.until_cut_off("a")


def test_streams_calls_and_iterators_share_the_workers(lane):
    """However work comes in, no more of it runs at once than there are workers."""
    with lane.pool(2) as pool:
        sink = lane.subscribe(rx.of("a", "b").pipe(pool.map(lane.hold)))
        calls = [pool.submit(lane.hold, item) for item in "cd"]
        lane.until(lambda: len(lane.running) == 2)
        lane.open("*")
        assert sorted(sink.result()) == ["a", "b"]
        assert [outcome_of(lane, call) for call in calls] == ["c", "d"]
    assert lane.most == 2
