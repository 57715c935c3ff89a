"""Policies on every backend: who waits holds no worker, and each item has one outcome."""

from functools import partial
from pathlib import Path

import pytest
import reactivex as rx

from rxpool import (
    CircuitBreaker,
    CircuitOpen,
    Failure,
    Hedge,
    Journal,
    Limit,
    Retry,
    Success,
    TaskTimeout,
)
from tests.conformance.lanes import counts


class Oops(Exception):
    """What attempts fail with."""


def attempt(folder, times, item):
    """Fail so many times, then give the item."""
    made = len(list(Path(folder).glob(f"attempt-{item}-*")))
    Path(folder, f"attempt-{item}-{made}").touch()
    if made < times:
        raise Oops(item)
    return item


def refuse(item):
    """Fail."""
    raise Oops(item)


@pytest.mark.parametrize("order", ["completion", "input", "key"])
def test_attempts_until_one_is_good(lane, order):
    """Every item is tried three times; none is lost, none comes twice."""
    options = {"key": lambda item: item % 3} if order == "key" else {}
    with lane.pool(2) as pool:
        through = pool.outcomes(
            partial(attempt, lane.folder, 2),
            order=order,
            retry=Retry(3, delay=lane.tick, jitter=0),
            **options,
        )
        records = lane.collect(rx.of(*range(8)).pipe(through))
        assert all(isinstance(record, Success) for record in records)
        assert {record.attempts for record in records} == {3}
        assert sorted(record.item for record in records) == list(range(8))
        if order == "input":
            assert [record.item for record in records] == list(range(8))
        assert counts(pool) == {"accepted": 8, "succeeded": 8}


def test_no_attempt_beyond_the_policy(lane):
    """The last error is the item's; a fallback stands in for it if there is one."""
    with lane.pool(2) as pool:
        never = partial(attempt, lane.folder, 99)
        records = lane.collect(rx.of(1, 2).pipe(pool.outcomes(never, retry=Retry(2, delay=0))))
        assert [(type(r), r.attempts) for r in records] == [(Failure, 2)] * 2
        assert all(type(record.error).__name__ == "Oops" for record in records)
        replaced = pool.map(never, fallback=lambda item, error: (item, str(error)))
        assert sorted(lane.collect(rx.of(1, 2).pipe(replaced))) == [(1, "1"), (2, "2")]


def test_a_worker_is_free_while_another_item_waits(lane):
    """One worker; the first item waits for ever for its second attempt."""
    with lane.pool(1) as pool:
        through = pool.map(
            partial(attempt, lane.folder, 1),
            retry=Retry(2, delay=100_000, jitter=0, on=lambda error: "7" in str(error)),
            on_failure="skip",
        )
        seen = []
        sink = lane.subscribe(rx.concat(rx.of(7), rx.never()).pipe(through))
        others = pool.map(partial(attempt, lane.folder, 0))
        lane.until(lambda: list(Path(lane.folder).glob("attempt-7-*")))
        seen = lane.collect(rx.of(1, 2, 3).pipe(others))
        assert sorted(seen) == [1, 2, 3]
        assert counts(pool)["in_flight"] == 1
        sink.subscription.dispose()


def test_a_timeout_and_another_attempt(lane):
    """The attempt that hangs is ended; what it still does is not the item's."""
    with lane.pool(2) as pool:
        lane.collect(rx.of(*range(4)).pipe(pool.map(partial(attempt, lane.folder, 0))))
        through = pool.outcomes(
            lane.hold, timeout=150 * lane.tick, retry=Retry(2, delay=0, on=TaskTimeout)
        )
        (record,) = lane.collect(rx.of("a").pipe(through))
        assert isinstance(record.error, TaskTimeout)
        assert record.attempts == 2
        lane.until_cut_off("a", "a")


def test_a_limit_a_breaker_and_a_journal_together(lane, tmp_path):
    """All good items come out, each once; a second run has nothing to do."""
    work = partial(attempt, lane.folder, 0)
    for left in (10, 0):
        kept = Journal(tmp_path / "journal", fingerprint="1", emit="skip")
        with lane.pool(2) as pool, kept as journal:
            through = pool.map(
                work,
                limit=Limit(1, per=lane.tick, burst=2),
                breaker=CircuitBreaker(),
                journal=journal,
            )
            assert len(lane.collect(rx.of(*range(10)).pipe(through))) == left
    assert len(list(Path(lane.folder).glob("attempt-*"))) == 10


def test_a_breaker_opens(lane):
    """After that nothing is tried."""
    circuit = CircuitBreaker(minimum_number_of_calls=4, sliding_window_size=4)
    with lane.pool(1) as pool:
        through = pool.outcomes(refuse, breaker=circuit, order="input")
        records = lane.collect(rx.of(*range(12)).pipe(through))
        kinds = [type(record.error).__name__ for record in records]
        assert kinds[:4] == ["Oops"] * 4
        assert kinds[-4:] == ["CircuitOpen"] * 4
        refused = [r for r in records if isinstance(r.error, CircuitOpen)]
        assert all(record.attempts == 0 for record in refused)


def test_a_second_run_of_what_takes_long(lane):
    """One outcome; the run that lost is ended."""
    with lane.pool(2) as pool:
        lane.collect(rx.of(*range(4)).pipe(pool.map(partial(attempt, lane.folder, 0))))
        sink = lane.subscribe(
            rx.of("a").pipe(pool.outcomes(lane.hold, hedge=Hedge(100 * lane.tick)))
        )
        lane.until(lambda: lane.started.count("a") == 2)
        lane.open("a")
        (record,) = sink.result()
        assert (record.item, record.attempts) == ("a", 2)
        assert counts(pool)["succeeded"] == 5
