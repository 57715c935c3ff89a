"""Laws of the state of ``throttle``, on arbitrary items and times, against a small model."""

from collections import deque
from itertools import cycle
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from rxpool._core.rate_limiters import SlidingLog, TokenBucket
from rxpool.operators._throttle_state import ThrottleState
from tests.operators.drive import Drive, dated, keys, lates, noted, steps, times

throttle_items = st.lists(
    st.tuples(steps, keys, st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0, 2.0, 5.0])), max_size=30
)
bounds = st.sampled_from([(999, "block"), (0, "drop_newest"), (0, "drop_oldest")])
more_bounds = st.tuples(
    st.sampled_from([1, 2, 3]), st.sampled_from(["drop_newest", "drop_oldest"])
)


def throttled_expected(events, interval, burst, cooldown, most, policy):
    """What leaves when, found by looking at every half second; no heap, no due times."""

    class Bucket:
        def __init__(self, now):
            self.tokens, self.at, self.blocked = burst, now, now
            self.waiting = deque()

        def fill(self, now):
            self.tokens += (now - self.at) / interval
            self.at = now

        def try_to_take(self, cost, now):
            self.fill(now)
            if self.tokens < cost or now < self.blocked:
                return False
            self.tokens = min(self.tokens, max(burst, cost)) - cost
            if cooldown and self.tokens < 1:
                self.blocked = now + cooldown
            return True

    buckets, out, now = {}, [], 0.0
    left = deque(enumerate(events))
    while left or any(bucket.waiting for bucket in buckets.values()):
        while left and left[0][1][0] == now:
            number, (_, key, cost) = left.popleft()
            bucket = buckets.setdefault(key, Bucket(now))
            if not bucket.waiting:
                bucket.fill(now)
                bucket.tokens = min(bucket.tokens, burst)
                if bucket.try_to_take(cost, now):
                    out.append((now, number))
                    continue
            waiting = sorted(n for b in buckets.values() for n, _ in b.waiting)
            if len(waiting) >= most:
                if policy == "drop_newest" or not waiting:
                    continue
                for other in buckets.values():
                    if other.waiting and other.waiting[0][0] == waiting[0]:
                        other.waiting.popleft()
            bucket.waiting.append((number, cost))
        while True:
            heads = sorted(
                ((b.waiting[0][0], b) for b in buckets.values() if b.waiting),
                key=lambda head: head[0],
            )
            for number, bucket in heads:
                if bucket.try_to_take(bucket.waiting[0][1], now):
                    bucket.waiting.popleft()
                    out.append((now, number))
                    break
            else:
                break
        now += 0.5
    return out


@given(
    throttle_items,
    st.sampled_from([1.0, 2.0, 4.0]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]),
    st.sampled_from([0.0, 0.0, 1.0, 5.0]),
    bounds | more_bounds,
    st.booleans(),
)
def test_items_leave_as_soon_as_they_can(items, interval, burst, cooldown, bound, fast):
    """Exactly the items of the model leave, at exactly its times, in its order."""
    if interval == 1.0:  # the model looks at half seconds only
        items = [(s, k, float(round(c))) for s, k, c in items]
        burst = float(round(burst))
    most, policy = bound
    events = dated(items)
    state = ThrottleState(
        1.0, per=interval, burst=burst, cooldown=cooldown, max_pending=most, overflow=policy
    )
    drive = Drive(state, fast=fast)
    for number, (at, key, cost) in enumerate(events):
        drive.offer(at, number, None if key is None and cost == 1 else (key, cost))
    drive.finish()
    expected = throttled_expected(events, interval, burst, cooldown, most, policy)
    assert drive.out == expected


@given(
    throttle_items,
    st.sampled_from([1.0, 3.0, 10.0]),
    st.sampled_from([0.0, 1.0, 4.0]),
    st.sampled_from([0.0, 0.01, 0.05, 1.0]),
    st.sampled_from([0.1, 1.0]),
)
def test_a_bucket_admits_at_most_burst_and_rate(items, rate, burst, late, scale):
    """In any window: never more than burst, or one item's cost, and what flows in meanwhile.

    A timer that is late is forgiven for up to 0.05 seconds.
    """
    drive = Drive(ThrottleState(rate, burst=burst), late)
    for number, at in enumerate(times(s * scale for s, _, _ in items)):
        drive.offer(at, number, (None, items[number][2]))
    drive.finish()
    assert [number for _, number in drive.out] == list(range(len(items)))
    for first in range(len(drive.out)):
        total = 0.0
        for at, number in drive.out[first:]:
            cost = items[number][2]
            total += cost
            most = max([burst, *(items[n][2] for _, n in drive.out[first : number + 1])])
            window = at - drive.out[first][0] + min(late, 0.05) + 2e-6
            assert total <= most + rate * window + 1e-6


@given(
    throttle_items,
    st.sampled_from([1.0, 2.0, 2.5, 5.0]),
    st.sampled_from([1.0, 3.0, 0.3]),
    st.sampled_from([0.0, 0.2, 4.0]),
    st.sampled_from([0.0, 0.0, 1.0, 5.0]),
)
def test_strict_never_admits_more_than_rate(items, rate, per, late, cooldown):
    """In no window of `per` seconds leaves more than `rate`, however late timers are."""
    items = [(step, key, min(cost, rate)) for step, key, cost in items]
    state = ThrottleState(rate, per=per, strict=True, cooldown=cooldown)
    drive = Drive(state, late)
    for number, at in enumerate(times(s for s, _, _ in items)):
        drive.offer(at, number, (None, items[number][2]))
    drive.finish()
    assert [number for _, number in drive.out] == list(range(len(items)))
    for at, _ in drive.out:
        inside = [n for then, n in drive.out if at - per + 2e-9 < then <= at]
        assert sum(items[n][2] for n in inside) <= rate + 1e-9


@given(
    throttle_items,
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0, 1.6, 5.0]), min_size=1),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.sampled_from([1.0, 3.0]),
    st.sampled_from([0, 2, 100]),
)
def test_strict_counts_where_items_come_out(items, stalls, rate, per, most):
    """However long anything takes between the admission of an item and its end."""
    items = [(step, key, min(cost, rate)) for step, key, cost in items]
    state = ThrottleState(rate, per=per, strict=True, max_pending=most, overflow="drop_newest")
    out, now, stall = [], 0.0, cycle(stalls)

    def fetch():
        nonlocal now
        while state.ready:
            number = state.ready.popleft()
            now += next(stall)
            out.append((now, number))
            now += next(stall)
            state.delivered(now)

    def ring_until(then):
        nonlocal now
        while (due := state.due) is not None and due < then:
            now = max(now, due)
            state.expire(now)
            fetch()

    for number, at in enumerate(times(step for step, *_ in items)):
        ring_until(at)
        now = max(now, at)
        state.offer(number, now, items[number][1:])
        if number % 3:  # somebody else delivers, a moment later
            fetch()
    fetch()
    ring_until(inf)
    assert not state.held
    for key in {key for _, key, _ in items}:
        mine = [(at, items[n][2]) for at, n in out if items[n][1] == key]
        for at, _ in mine:
            inside = [cost for then, cost in mine if at - per + 2e-9 < then <= at]
            assert sum(inside) <= rate + 1e-9


@given(
    st.lists(st.tuples(steps, keys, st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])), max_size=30),
    st.sampled_from([1.0, 4.0, 4.0, 5.0]),
    st.sampled_from([3.0, 8.0, 20.0]),
    st.sampled_from([0.0, 0.0, 1.0, 5.0]),
)
def test_strict_lets_items_leave_at_the_first_instant(items, rate, per, cooldown):
    """Each item leaves when the window has room for it, not later."""
    items = [(step, key, min(cost, rate)) for step, key, cost in items]
    drive = Drive(ThrottleState(rate, per=per, strict=True, cooldown=cooldown))
    expected, blocked = [], 0.0
    for number, at in enumerate(times(s for s, _, _ in items)):
        cost = items[number][2]
        drive.offer(at, number, (None, cost))
        soonest = max([at, blocked, *(then for then, _ in expected[-1:])])
        for leave in sorted({soonest, *(then + per for then, _ in expected)}):
            inside = sum(items[n][2] for then, n in expected if leave - per < then)
            if leave >= soonest and inside + cost <= rate:
                break
        expected.append((leave, number))
        if cooldown and rate - inside - cost < 1:
            blocked = leave + cooldown
    drive.finish()
    assert drive.out == expected


@given(throttle_items, bounds | more_bounds, lates, st.booleans(), st.booleans())
def test_throttled_items_have_one_fate(items, bound, late, strict, finish):
    """Each comes out once, in order of its key, or is counted; no bound is exceeded."""
    most, policy = bound
    state = ThrottleState(
        5.0, per=10.0, strict=strict, max_pending=most, overflow=policy, notes=True
    )
    drive = Drive(state, late)
    for number, at in enumerate(times(s for s, _, _ in items)):
        _, key, cost = items[number]
        drive.offer(at, number, (key, cost))
        assert state.held <= most
        assert len(drive.out) + state.held + noted(state) == number + 1
    cleared = 0
    if finish:
        drive.finish()
    else:
        cleared = state.clear()
    assert (state.held, state.due) == (0, None)
    assert len(drive.out) + cleared + noted(state) == len(items)
    numbers = [number for _, number in drive.out]
    assert len(set(numbers)) == len(numbers)
    for key in ("a", "b", None):
        mine = [number for number in numbers if items[number][1] == key]
        assert mine == sorted(mine)
    assert len([n for n in state.notes if n[0] == "rxpool.throttle.wait"]) == len(drive.out)


@given(
    throttle_items,
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0.0, 1.0, 4.0]),
    st.booleans(),
    lates,
)
def test_a_producer_that_waits_gets_all_items_through(items, most, burst, strict, late):
    """With ``"block"`` an item that is refused is taken when room was promised."""
    state = ThrottleState(5.0, per=10.0, burst=burst, strict=strict, max_pending=most)
    drive = Drive(state, late)
    for number, at in enumerate(times(s for s, _, _ in items)):
        _, key, cost = items[number]
        drive.offer(max(at, drive.now), number, (key, cost))
        assert state.held <= most
    drive.finish()
    assert sorted(number for _, number in drive.out) == list(range(len(items)))


@given(st.lists(st.tuples(steps, st.sampled_from([0.0, 1.0, 3.0])), max_size=40))
def test_a_bucket_never_holds_more_than_burst(moves):
    """However long it rests; and it is full exactly from `rested` on."""
    bucket, now = TokenBucket(interval=1.0, burst=3.0, cooldown=0.0, now=0.0), 0.0
    for step, cost in moves:
        now += step
        bucket.settle(now)
        held = now - bucket.empty
        assert held <= 3.0
        assert (held == 3.0) == (bucket.rested() <= now)
        if bucket.due(cost) <= now:
            bucket.take(cost, now, now)
            assert now - bucket.empty == held - cost


@given(st.lists(steps, max_size=40))
def test_a_log_forgets_what_left_its_window(moves):
    """It remembers the admissions of one window and no more."""
    log, now = SlidingLog(rate=3, per=5.0, cooldown=0.0, now=0.0), 0.0
    for step in moves:
        now = max(now + step, log.due(1.0))
        log.take(1.0, now, now)
        assert len(log.log) <= 3
        assert log.rested() == now + 5.0
