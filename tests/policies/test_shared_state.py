"""The bucket that processes take leases from, by itself, whatever the clock does."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.policies._shared_state import Bucket, Figures, Request

PROCESSES = 3


class Machine:
    """A bucket, and processes that use their leases as early as they may."""

    def __init__(self, figures):
        self.figures, self.now, self.offset = figures, 0.0, 1000.0
        self.bucket = Bucket.fresh(figures, figures.burst, self.wall)
        self.leases = [None] * PROCESSES
        self.used = []  # when and how much

    @property
    def wall(self):
        """The clock that may be put back."""
        return self.now + self.offset

    def ask(self, request):
        """One transaction."""
        self.bucket, lease = self.bucket.answer(self.figures, request, self.wall, self.now)
        return lease

    def use(self, process, cost):
        """Whether the process may go now; it asks if its lease has not enough."""
        lease = self.leases[process]
        if lease is None or not lease.has(cost) or lease.idle(self.now):
            back, epoch = (0.0, 0) if lease is None else (lease.left, lease.epoch)
            lease = self.leases[process] = self.ask(Request(cost, back, epoch))
        if lease.due(cost) > self.now + 1e-9:
            return False
        lease.used += cost
        self.used.append((self.now, cost))
        return True


FIGURES = st.builds(
    Figures,
    st.sampled_from([0.5, 10.0, 400.0]),
    st.just(1.0),
    st.sampled_from([0.0, 1.0, 60.0]),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 0.05, 0.4, 3.0]),  # time goes on
        st.integers(0, PROCESSES - 1),
        st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        st.sampled_from([None] * 6 + ["back", "die"]),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(FIGURES, STEPS)
def test_the_sum_keeps_the_rate(figures, steps):
    """In any window no more than the burst, what has come, and the leases that were out."""
    machine = Machine(figures)
    for gap, process, cost, event in steps:
        machine.now += gap
        if event == "back":
            machine.offset -= 500.0
        elif event == "die":
            machine.leases[process] = None
        machine.use(process, cost)
    out = PROCESSES * max(2.0, figures.chunk)
    for first, (since, _) in enumerate(machine.used):
        sums = accumulate(cost for _, cost in machine.used[first:])
        for (at, _), spent in zip(machine.used[first:], sums, strict=True):
            assert spent <= figures.burst + (at - since) * figures.rate + out + 1e-6
    # From the beginning there are no leases: not even that is more.
    sums = accumulate(cost for _, cost in machine.used)
    for (at, _), spent in zip(machine.used, sums, strict=True):
        assert spent <= figures.burst + at * figures.rate + 1e-6


@settings(max_examples=150, deadline=None)
@given(
    FIGURES,
    st.lists(st.tuples(st.sampled_from([0.0, 0.02, 0.5, 2.0]), st.booleans()), max_size=40),
)
def test_a_clock_that_is_put_back_makes_nobody_wait(figures, steps):
    """All goes on as if it had not been; what came since the last transaction is lost."""
    machine, other = Machine(figures), Machine(figures)
    for gap, back in steps:
        machine.now = other.now = machine.now + gap
        lease, same = machine.ask(Request(1.0)), other.ask(Request(1.0))
        assert lease.due(1.0) == pytest.approx(same.due(1.0), abs=1e-6)
        machine.now = other.now = machine.now + 0.001
        if back:
            machine.offset -= 500.0
            other.offset -= 0.001
            machine.ask(Request())
            other.ask(Request())


@given(FIGURES)
def test_a_clock_that_is_put_forward_gives_the_burst_at_most(figures):
    """As a night without calls does."""
    machine = Machine(figures)
    for _ in range(10):
        machine.ask(Request(5.0))
    machine.offset += 1e6
    machine.ask(Request())
    assert -machine.bucket.empty <= figures.burst * figures.interval + 1e-9


@settings(max_examples=100, deadline=None)
@given(FIGURES, st.lists(st.integers(0, PROCESSES - 1), min_size=1, max_size=30))
def test_who_dies_loses_a_lease(figures, dying):
    """What those who live get is all the rest, in the time that it takes to come."""
    machine = Machine(figures)
    for process in dying:
        machine.leases[process] = machine.ask(Request(1.0))
    lost = len(dying) * max(1.0, figures.chunk)
    lease = machine.ask(Request(1.0))
    late = max(0.0, lost + 1.0 - figures.burst) * figures.interval
    assert lease.due(1.0) <= machine.now + late + 1e-6


def test_what_is_given_back_is_there_for_others():
    """A process that has been idle gives its lease back with its next one."""
    machine = Machine(Figures(1.0, 1.0, 100.0))
    lease = machine.ask(Request(60.0))
    lease.used = 10.0
    machine.ask(Request(1.0, lease.left, lease.epoch))
    assert machine.bucket.empty == pytest.approx(-(100 - 10 - 1))


def test_a_pause():
    """It empties the bucket, holds for the next lease, and what is older is not taken back."""
    machine = Machine(Figures(10.0, 1.0, 100.0))
    old = machine.ask(Request(50.0))
    machine.ask(Request(pause=3.0))
    lease = machine.ask(Request(2.0, old.left, old.epoch))
    assert lease.due(1.0) == pytest.approx(3.0)
    assert lease.due(2.0) == pytest.approx(3.1)


def test_of_two_pauses_the_later_end_wins():
    """Also for what costs nothing."""
    machine = Machine(Figures(10.0, 1.0, 100.0))
    machine.ask(Request(pause=3.0))
    machine.ask(Request(pause=1.0))
    assert machine.ask(Request(0.0)).due(0.0) == pytest.approx(3.0)


def test_the_size_of_a_lease():
    """What 50 ms bring, 5 % of the burst at most, a token at least, and what is needed."""
    assert Figures(1000, 1.0, 10_000).chunk == 50
    assert Figures(1000, 1.0, 100).chunk == 5
    assert Figures(1000, 1.0, 1).chunk == 1
    assert Machine(Figures(1000, 1.0, 100)).ask(Request(7.0)).size == 7
