"""Items that wait for an attempt, a limit or a breaker are inside: they keep others out."""

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import CircuitBreaker, CircuitOpen, Limit, Retry
from tests.conformance.lanes import REAL, counts

WORKERS, PENDING, ITEMS = 2, 3, 12
WAITS = [("retry", "completion"), ("retry", "input"), ("retry", "key")]
WAITS += [("limit with keys", "completion"), ("limit", "input"), ("breaker", "completion")]


class Oops(Exception):
    """What attempts fail with."""


def refuse(item):
    """Fail."""
    raise Oops(item)


def give(item):
    """Do nothing."""
    return item


def noting(pool, most):
    """Numbers; at each, *most* learns how many items were inside."""
    for item in range(ITEMS):
        most.append(pool.report().in_flight)
        yield item


def policies(what, tick):
    """Work and policies with which every item waits without a worker for a while."""
    if what == "retry":
        return refuse, {"retry": Retry(2, delay=15 * tick, jitter=0)}
    if what == "limit":
        return give, {"limit": Limit(1, per=3 * tick)}
    if what == "limit with keys":
        return give, {"limit": Limit(1, per=15 * tick, key=lambda item: item % 3)}
    breaker = CircuitBreaker(
        minimum_number_of_calls=1,
        sliding_window_size=1,
        permitted_number_of_calls_in_half_open_state=1,
        wait_duration_in_open_state=5 * tick,
    )
    return refuse, {"retry": Retry(2, on=CircuitOpen), "breaker": breaker}


def by_key(order):
    """What that order needs."""
    return {"key": lambda item: item} if order == "key" else {}


@pytest.mark.parametrize(("what", "order"), WAITS)
def test_no_more_are_read_than_there_is_room_for(lane, what, order):
    """A source that looks for room finds none while those that wait fill it."""
    fn, options = policies(what, lane.tick)
    most = []
    with lane.pool(WORKERS, max_pending=PENDING) as pool:
        through = pool.map(fn, order=order, on_failure="skip", **options, **by_key(order))
        lane.start(pool.pull(noting(pool, most)).pipe(through)).result()
        assert len(most) == counts(pool)["accepted"] == ITEMS
    assert max(most) < WORKERS + PENDING  # and then one more


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("lane", REAL, indirect=True)
def test_an_iterator_reads_no_more_either(lane, order):
    """The same for `imap`, which looks for room itself."""
    fn, options = policies("retry", lane.tick)
    most = []
    with lane.pool(WORKERS, max_pending=PENDING) as pool:
        options |= {"order": order, "on_failure": "skip"} | by_key(order)
        lane.spawn(lambda: list(pool.imap(fn, noting(pool, most), **options)))
        lane.until(lambda: len(most) == ITEMS and not pool.report().in_flight)
    assert max(most) < WORKERS + PENDING


@pytest.mark.parametrize("lane", REAL, indirect=True)  # elsewhere producers cannot wait
def test_producers_wait(lane):
    """One that pushes waits as well; where it cannot, it is told."""
    fn, options = policies("retry", lane.tick)
    most = []
    with lane.pool(WORKERS, max_pending=PENDING) as pool:
        source = rx.from_iterable(noting(pool, most))
        lane.start(source.pipe(pool.map(fn, on_failure="skip", **options))).result()
    assert max(most) <= WORKERS + PENDING


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_what_comes_beyond_them_is_dropped(lane, overflow):
    """No worker is busy, but there is no room either."""
    with lane.pool(WORKERS, max_pending=PENDING) as pool:
        waits = Retry(2, delay=100_000 * lane.tick, jitter=0)
        source = Subject()
        sink = lane.subscribe(
            source.pipe(pool.map(refuse, retry=waits, overflow=overflow, on_failure="skip"))
        )
        for item in range(ITEMS):
            source.on_next(item)
            lane.until(lambda: pool.report().in_flight == pool.report().waiting)
        inside = WORKERS + PENDING
        assert counts(pool) == {
            "accepted": ITEMS,
            "dropped": ITEMS - inside,
            "in_flight": inside,
            "waiting": inside,
        }
        sink.subscription.dispose()


def test_a_chain_is_held_back(lane):
    """What waits in the second flow keeps the first from going on, and that one its source."""
    fn, options = policies("retry", lane.tick)
    most = []
    with lane.pool(WORKERS, max_pending=PENDING) as pool:
        first = pool.map(give, max_pending=1)
        second = pool.map(fn, on_failure="skip", **options)
        lane.start(pool.pull(noting(pool, most)).pipe(first, second)).result()
        assert len(most) == ITEMS
    assert max(most) <= 2 * WORKERS + PENDING + 1
