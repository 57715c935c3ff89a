"""What ``throttle`` tells and what it remembers."""

import pytest
from reactivex.testing import TestScheduler

from rxpool import MetricEvent
from rxpool import operators as ops
from rxpool._checks import OVERFLOWS
from rxpool._core.state import FULL
from rxpool.operators._throttle_state import ThrottleState
from tests.operators.sources import items


def test_events():
    """How long each item waited, in seconds, and nothing of the item itself."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*items(210, 211, 213))
    events = []
    scheduler.start(lambda: xs.pipe(ops.throttle(1, per=10, monitor=events.append)))
    assert events == [
        MetricEvent("rxpool.throttle.wait", 0.0, "s", 210.0, {}),
        MetricEvent("rxpool.throttle.wait", 9.0, "s", 220.0, {}),
        MetricEvent("rxpool.throttle.wait", 17.0, "s", 230.0, {}),
    ]


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_every_dropped_item_is_an_event_at_once(overflow):
    """A storm of dropped items does not pile up until something comes out."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*items(210, 211, 212, 213))
    events = []
    scheduler.start(
        lambda: xs.pipe(
            ops.throttle(1, per=10, max_pending=1, overflow=overflow, monitor=events.append)
        )
    )
    dropped = [e for e in events if e.name == "rxpool.dropped"]
    assert dropped == [
        MetricEvent("rxpool.dropped", 1, "{item}", at, {"policy": overflow})
        for at in (212.0, 213.0)
    ]


def test_a_full_idle_bucket_is_forgotten():
    """Keys that rest cost no memory, and come back with a full bucket."""
    state = ThrottleState(1.0, burst=2)
    for i in range(1000):
        state.offer(i, i / 1000, (i, 1.0))
        state.ready.clear()
    assert state.keys == 1000
    state.offer("x", 100.0, ("x", 1.0))
    assert state.keys == 1
    state.ready.clear()
    for i in range(3):
        state.offer(i, 100.5, (0, 1.0))
    assert (list(state.ready), state.held) == ([0, 1], 3)


def test_the_cap_holds_again_after_an_item_waited_outside():
    """With ``max_pending=0``: an item that waited outside and passed leaves no claim behind."""
    state = ThrottleState(1.0, burst=1, max_pending=0)
    assert [state.offer(i, 0.0, None) for i in range(2)] == [1, FULL]
    assert state.offer(1, 1.0, None) == 1
    assert state.offer(2, 100.0, (None, 5.0)) == FULL
    assert state.retry_at((None, 5.0)) == 104.0


def test_the_cap_holds_again_after_an_item_waited_for_room():
    """An item that waited outside, and then inside, leaves no claim behind either."""
    state = ThrottleState(1.0, burst=1, max_pending=1)
    for _ in range(2):
        state.offer("a", 0.0, ("a", 1.0))  # one passes, one waits
    assert [state.offer("b", 0.0, ("b", 2.0)) for _ in range(2)] == [FULL, FULL]
    state.expire(1.0)
    state.offer("b", 1.0, ("b", 3.0))
    assert state.due == 2.0
    state.expire(2.0)
    state.offer("b", 100.0, ("b", 5.0))
    assert state.due == 104.0


def test_a_producer_waits_for_the_subscriber_when_that_is_what_holds_it_up():
    """While too many admitted items wait to be fetched, no time is named to try again."""
    state = ThrottleState(1e6, burst=1e6, max_pending=0)
    taken = 0
    while state.offer(taken, 1.0, None) != FULL:
        taken += 1
    assert taken == len(state.ready) < 100
    assert state.retry_at(None) is None


def test_a_bucket_that_is_not_full_is_remembered():
    """Forgetting gives nobody tokens."""
    state = ThrottleState(1.0, burst=2, overflow="drop_newest", max_pending=0)
    for i in range(20):
        state.offer(i, i / 10, ("a", 1.0))
        state.offer(i, i / 10, ("b", 1.0))
    assert len(state.ready) == 2 * (2 + 1)


def test_a_bucket_that_cools_down_is_remembered():
    """A full bucket that may not be used yet is not as good as new."""
    state = ThrottleState(10.0, cooldown=5.0, overflow="drop_newest", max_pending=0)
    for i in range(50):
        state.offer(i, i / 10, ("a", 1.0))
    assert list(state.ready) == [0]


def deliver(state, now):
    """The subscriber is given what is ready."""
    while state.ready:
        state.ready.popleft()
        if state.delivered is not None:
            state.delivered(now)


@pytest.mark.parametrize("strict", [False, True])
def test_a_key_that_items_wait_for_is_remembered(strict):
    """A key is forgotten neither while items of it wait nor too late after."""
    state = ThrottleState(1.0, strict=strict)
    for i in range(5):
        state.offer(i, 0.0, ("a", 1.0))
    deliver(state, 0.0)
    for now in range(1, 5):
        state.offer(now, float(now), ("b", 0.0))
        deliver(state, float(now))
        assert state.keys == 2
        state.expire(float(now))
        deliver(state, float(now))
    state.offer("x", 5.1, ("b", 0.0))
    state.offer("x", 5.2, ("b", 0.0))
    assert state.keys == 1


def test_dropped_items_leave_nothing_behind():
    """Memory is bounded also when items of many keys are dropped over and over."""
    state = ThrottleState(1.0, per=1000, burst=0, max_pending=2, overflow="drop_oldest")
    for i in range(10_000):
        state.offer(i, i / 1000, ("a", 2.0))
        state.offer(i, i / 1000, ("b", 1.0))
    assert len(state._heap) < 200
    assert state.held == 2


def test_items_of_no_cost_do_not_fill_the_strict_log():
    """What does not count is not remembered."""
    state = ThrottleState(1.0, strict=True)
    for i in range(1000):
        state.offer(i, i / 1000, (None, 0.0))
    meter = state._queues[None].meter
    assert len(meter.log) == 0


def test_a_cooldown_counts_from_the_real_admission():
    """A timer that is late shortens no cooldown, although it costs no tokens."""
    state = ThrottleState(1.0, cooldown=5.0)
    for i in range(3):
        state.offer(i, 0.0, None)
    state.expire(5.04)  # due at 5.0
    assert list(state.ready) == [0, 1]
    assert state.due == pytest.approx(10.04)


def test_lateness_of_a_timer_is_not_added_up():
    """Timers that are always late a little cost no rate."""
    state, now = ThrottleState(100.0), 0.0
    for i in range(1000):
        state.offer(i, 0.0, None)
    while state.due is not None:
        now = state.due + 0.009
        state.expire(now)
    assert now == pytest.approx(999 * 0.01 + 0.009)


def test_each_overflow_policy_does_something_else():
    """Those of pools are those of throttles."""

    def what_becomes_of(policy):
        state = ThrottleState(1.0, max_pending=1, overflow=policy)
        answers = [state.offer(item, 0.0, None) for item in "abc"]
        state.expire(10.0)
        return answers[-1] == FULL, "".join(state.ready)

    found = {}
    for policy in OVERFLOWS:
        try:
            found[policy] = what_becomes_of(policy)
        except Exception as error:
            found[policy] = type(error)
    assert len(set(found.values())) == len(OVERFLOWS)
