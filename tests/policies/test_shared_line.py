"""Limits that have their tokens from a store: who waits is woken, with a clock by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.errors import RxPoolError
from rxpool.policies import Limit
from rxpool.policies._shared import SharedRate
from rxpool.policies._shared_state import Bucket, Figures
from tests.policies.test_limit import Callers, Hand


class Memory:
    """A store without a file."""

    def __init__(self, figures, clock):
        self.figures, self.clock = figures, clock
        self.bucket = Bucket.fresh(figures, figures.burst, 0.0)
        self.asked, self.broken = 0, False
        self.meanwhile = lambda: None

    def ask(self, request, now):
        """One transaction."""
        self.asked += 1
        if self.broken:
            self.clock.time += 10.0  # it was locked
            raise RxPoolError("broken")
        self.bucket, lease = self.bucket.answer(self.figures, request, self.clock.time, now)
        self.meanwhile()
        return lease


def sharing(rate, burst):
    """Callers of a limit, of another of the same store, and of both with a third."""
    clock = Hand()
    clock.virtual = False
    memory = Memory(Figures(rate, 1.0, burst), clock)
    limits = []
    for _ in range(2):
        limit = Limit.__new__(Limit)
        limit._be_made_of([SharedRate(memory, lambda item: item, 0.0)])
        limits.append(limit)
    limits.append(Limit.all(*limits, Limit(1000, burst=10)))
    groups = [Callers(limit, clock) for limit in limits]
    for group in groups:
        group.door.now = clock.now  # as after the first that came
    return groups, memory


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.0, 0.01, 0.5, 3.0]),
            st.integers(0, 2),
            st.sampled_from([0.0, 0.5, 1.0, 2.0]),
            st.booleans(),
        ),
        max_size=40,
    ),
    st.sampled_from([1.0, 30.0, 1000.0]),
    st.sampled_from([0.0, 1.0, 100.0]),
)
def test_all_pass_in_time(steps, rate, burst):
    """Whatever goes, is paused or needs both, and the sum keeps the rate."""
    groups, memory = sharing(rate, burst)
    clock, costs = memory.clock, {}
    for n, (gap, which, cost, odd) in enumerate(steps):
        clock.advance(clock.time + gap)
        costs[n] = cost * (2 if which == 2 else 1)  # it takes of the store twice
        groups[which].come(n, cost)
        if odd and cost == 2.0:
            groups[which].limit.pause(0.7, clock.time)
        elif odd and cost == 0.5:
            groups[which].go(n)
    clock.advance(clock.time + 10_000)
    assert not any(group.waiting for group in groups)
    assert not clock.set
    passed = sorted((at, costs[n]) for group in groups for n, at in group.passed)
    total = 0.0
    for at, cost in passed:
        total += cost
        assert total <= burst + rate * at * (1 + 1e-6) + 1e-5 * (1 + rate)


def test_a_lease_that_somebody_else_used_up():
    """Whoever waited for it has another fetched, though nobody comes any more."""
    (one, _, both), memory = sharing(10.0, 1.0)
    one.come("first", 1.0)
    memory.clock.advance(0.001)
    for n in range(3):
        one.come(f"one {n}", 1.0)
        both.come(f"both {n}", 1.0)
    memory.clock.advance(60.0)
    assert len(one.passed) == 4
    assert len(both.passed) == 3


def test_a_store_that_fails_is_asked_again_later():
    """Not by each who comes."""
    (one, _, _), memory = sharing(1000.0, 1.0)
    memory.broken = True
    one.limit.pause(10.5, one.clock.now())
    for n in range(3):
        ticket = one.door.ticket(1.0, lambda: None, one.clock)
        for _ in range(2):
            try:
                assert not one.door.enter(ticket, one.clock.now())
            except RxPoolError:
                break
            one.door.arm()
        else:
            pytest.fail(f"number {n} was not told")
    assert memory.asked == 1
    memory.broken = False
    memory.clock.advance(11.2)
    one.come("later", 1.0)
    memory.clock.advance(13.0)
    assert [name for name, _ in one.passed] == ["later"]


def test_the_others_hear_of_a_pause_that_the_store_did_not_take_at_once():
    """When it is asked the next time."""
    (one, other, _), memory = sharing(1000.0, 1.0)
    memory.broken = True
    one.limit.pause(60.0, one.clock.now())
    memory.broken = False
    memory.clock.advance(20.0)
    one.come("one", 1.0)
    other.come("other", 1.0)
    memory.clock.advance(100.0)
    assert all(at >= 60.0 for _, at in one.passed + other.passed)
    assert len(one.passed) == len(other.passed) == 1


def test_a_pause_while_the_store_is_asked():
    """What it answers is from before, and the pause is told it by whoever asks."""
    (one, other, _), memory = sharing(100.0, 100.0)  # leases of 5

    def pause():
        memory.meanwhile = lambda: None
        one.go("first")
        one.limit.pause(5.0, one.clock.now())

    memory.meanwhile = pause
    one.come("first", 1.0)
    for n in range(4):
        one.come(n, 1.0)
    other.come("other", 1.0)
    memory.clock.advance(10.0)
    times = [at for _, at in one.passed]
    assert times == pytest.approx([5.0, 5.01, 5.02, 5.03])  # no burst after it
    assert other.passed[0][1] >= 5.0


def test_a_lease_that_nobody_used():
    """Is given back with the next one, which comes after a pause of the others."""
    (one, other, _), memory = sharing(1.0, 100.0)  # leases of 1
    one.come("half", 0.5)
    for n in range(50):
        other.come(n, 1.0)
    memory.clock.advance(3.0)
    one.come("another", 0.5)
    assert -memory.bucket.empty == pytest.approx(100 - 1 - 50 + 3 + 0.5 - 1)
    other.limit.pause(60.0, 3.0)
    memory.clock.advance(5.0)
    one.come("a third", 0.5)
    memory.clock.advance(100.0)
    assert one.passed[-1] == ("a third", pytest.approx(63.0, abs=0.51))
    assert one.passed[-1][1] >= 63.0
