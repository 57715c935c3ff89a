"""Policies on threads that take turns every microsecond: one item, one outcome, nothing left.

Each test names the change of the code that it was seen to catch.
"""

import random
import threading
from collections import Counter

import pytest
import reactivex as rx

from rxpool import AdaptiveConcurrency, CircuitBreaker, Hedge, Limit, Retry, WorkerPool
from rxpool.policies._limit import limit_door
from tests.pool.crew import Oops, Sink
from tests.waiting import eventually

ITEMS = 300


class Flaky:
    """Fails at the first attempts of some items; lasts a little now and then."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.failures = [self.chance.choice((0, 0, 1, 2, 9)) for _ in range(ITEMS)]
        self.lock = threading.Lock()
        self.made = Counter()
        self.pause = threading.Event()

    def __call__(self, item):
        """One attempt."""
        with self.lock:
            self.made[item] += 1
            made = self.made[item]
        if item % 37 == 0:
            self.pause.wait(0.002)
        if made <= self.failures[item]:
            raise Oops(item)
        return item


def policies():
    """All of them, none of which ever ends an item."""
    capacity = AdaptiveConcurrency(initial=4, most=6, errors=())
    return {
        "retry": Retry(3, delay=0, on=Oops),
        "breaker": CircuitBreaker(failure_rate_threshold=1.0, sliding_window_size=10_000),
        "limit": Limit.all(capacity, Limit(1e6, burst=100)),
    }, capacity


@pytest.mark.parametrize("order", ["completion", "input", "key"])
@pytest.mark.parametrize("hedged", [False, True])
def test_one_item_one_outcome(frantic, order, hedged):
    """All slots and all room of the limit are given back.

    Catches a retry that is the same task as the attempt before it.
    """
    work = Flaky(order)
    options, capacity = policies()
    if order == "key":
        options["key"] = lambda item: item % 7
    if hedged:
        options["hedge"] = Hedge(0.0005, budget=None)
    with WorkerPool(4) as pool:
        source = pool.pull(range(ITEMS))
        sink = Sink().to(source.pipe(pool.outcomes(work, order=order, **options)))
        records = sink.wait()
        report = pool.report()
        assert (report.accepted, report.in_flight) == (ITEMS, 0)
        assert report.succeeded + report.failed == ITEMS
        eventually(lambda: capacity._capacity.running == 0)
        eventually(lambda: pool._engine.slots.free == 4)
    assert sorted(record.item for record in records) == list(range(ITEMS))
    if order == "input":
        assert [record.item for record in records] == list(range(ITEMS))
    assert hedged or all(r.attempts == min(3, work.failures[r.item] + 1) for r in records)


@pytest.mark.parametrize("seed", range(8))
def test_left_at_any_moment(frantic, seed):
    """What waits for a retry, for room, or runs is let go of: no slot, no room, no timer.

    Catches a permit that is not given back by a cancelled attempt.
    """
    work = Flaky(seed)
    options, capacity = policies()
    options["retry"] = Retry(5, delay=0.001, on=Oops)
    after = random.Random(seed).randrange(1, 120)
    with WorkerPool(3) as pool:
        seen = []
        through = pool.map(
            work, on_failure="skip", hedge=Hedge(0.0005, budget=None), deadline=0.05, **options
        )
        reached = threading.Event()

        def note(value):
            seen.append(value)
            if len(seen) == after:
                reached.set()

        subscription = pool.pull(range(ITEMS)).pipe(through).subscribe(note, lambda _: None)
        reached.wait(0.2)
        subscription.dispose()
        eventually(lambda: not pool.report().flows)
        eventually(lambda: pool.report().in_flight == 0)
        report = pool.report()
        assert report.accepted == (
            report.succeeded + report.failed + report.dropped + report.cancelled
        )
        eventually(lambda: capacity._capacity.running == 0)
        eventually(lambda: pool._engine.slots.free == 3)


def test_flows_on_many_threads_share_a_limit(frantic):
    """No more pass than the limit allows, and all do in the end.

    Catches looking and taking under two locks.
    """
    limit = Limit(200, per=0.2, strict=True)
    (part,), starts = limit_door(limit).state.parts, []

    def noted(key, cost, now, waited, take=part.take):
        take(key, cost, now, waited)
        starts.append(part._latest)

    part.take = noted
    with WorkerPool(4) as one, WorkerPool(2) as two:
        streams = [
            pool.pull(range(100)).pipe(pool.map(str, limit=limit))
            for pool in (one, two, one, two, one, two)
        ]
        values = Sink().to(rx.merge(*streams)).wait()
    assert len(values) == 600
    assert starts == sorted(starts)
    assert all(
        late - early >= 0.2 - 1e-6 for early, late in zip(starts, starts[200:], strict=False)
    )
