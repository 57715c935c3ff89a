"""`Limit` by itself: a clock that is advanced by hand, and whoever is woken asks again."""

import asyncio
import threading
from heapq import heappop, heappush
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.errors import InvalidArgument, InvalidItem
from rxpool.policies import AdaptiveConcurrency, Limit
from rxpool.policies._limit import limit_door


class Alarm:
    """One alarm of a `Hand`."""

    def __init__(self):
        self.disposed = False

    def dispose(self):
        """It does not ring."""
        self.disposed = True


class Hand:
    """A clock that goes on when it is told to."""

    virtual = True

    def __init__(self):
        self.time = 0.0
        self.heap, self.order = [], count()

    def now(self):
        """The present."""
        return self.time

    def alarm(self, due, ring):
        """Call *ring* when `advance` comes to *due*."""
        alarm = Alarm()
        heappush(self.heap, (due, next(self.order), alarm, ring))
        return alarm

    def advance(self, to):
        """Go on, and ring what is due."""
        while self.heap and self.heap[0][0] <= to:
            due, _, alarm, ring = heappop(self.heap)
            self.time = max(self.time, due)
            if not alarm.disposed:
                ring(self.time)
        self.time = max(self.time, to)

    @property
    def set(self):
        """Alarms that are going to ring."""
        return sum(not alarm.disposed for _, _, alarm, _ in self.heap)


class Callers:
    """Callers who ask a limit, and note when they were let through."""

    def __init__(self, limit, clock=None):
        self.limit, self.door = limit, limit_door(limit)
        self.clock = Hand() if clock is None else clock
        self.passed, self.waiting = [], {}

    def come(self, name, item=None):
        """One comes, and asks until it may pass."""

        def ask():
            if name in self.waiting and self.door.enter(ticket, self.clock.now()):
                del self.waiting[name]
                self.passed.append((name, self.clock.now()))
            self.door.arm()

        ticket = self.door.ticket(item, ask, self.clock)
        self.waiting[name] = ticket
        ask()

    def go(self, name):
        """One goes without having passed."""
        ticket = self.waiting.pop(name, None)
        if ticket is not None:
            self.door.leave(ticket)
            self.door.arm()


GAPS = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]), min_size=1, max_size=40)
COSTS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=40, max_size=40)
LEAVES = st.sets(st.integers(0, 39))


@settings(max_examples=150, deadline=None)
@given(GAPS, COSTS, LEAVES, st.floats(0.5, 5), st.floats(0, 4))
def test_tokens_are_conserved(gaps, costs, leaves, rate, burst):
    """No more passes than was saved up and has come since; whoever goes takes none."""
    callers = Callers(Limit(rate, burst=burst, cost=lambda item: item))
    for n, gap in enumerate(gaps):
        callers.clock.advance(callers.clock.time + gap)
        callers.come(n, costs[n])
        if n in leaves:
            callers.go(n - 1)
    callers.clock.advance(10_000)
    assert not callers.waiting
    assert not callers.clock.set
    assert [n for n, _ in callers.passed] == sorted(n for n, _ in callers.passed)
    for first in range(len(callers.passed)):
        since, spent = callers.passed[first][1], 0.0
        for n, at in callers.passed[first:]:
            spent += costs[n]
            most = max(burst, costs[callers.passed[first][0]], costs[n])
            assert spent <= most + rate * (at - since) + 1e-6 * rate + 1e-6 + (
                max(0.0, costs[callers.passed[first][0]] - burst)
            )


@settings(max_examples=150, deadline=None)
@given(GAPS, LEAVES, st.integers(1, 4), st.floats(0.5, 5))
def test_no_window_of_a_strict_limit_has_more(gaps, leaves, rate, per):
    """And each passes at the first instant at which it may."""
    callers = Callers(Limit(rate, per=per, strict=True))
    came = {}
    for n, gap in enumerate(gaps):
        callers.clock.advance(callers.clock.time + gap)
        came[n] = callers.clock.time
        callers.come(n)
        if n in leaves:
            callers.go(n)
    callers.clock.advance(10_000)
    assert not callers.waiting
    times = [at for _, at in callers.passed]
    assert all(b - a >= per - 1e-8 for a, b in zip(times, times[rate:], strict=False))
    for place, (n, at) in enumerate(callers.passed):
        first = max(came[n], times[place - rate] + per if place >= rate else 0.0)
        first = max(first, times[place - 1] if place else 0.0)
        assert at == pytest.approx(first, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(GAPS, st.lists(st.sampled_from("ab"), min_size=40, max_size=40))
def test_several_are_taken_together_or_not_at_all(gaps, keys):
    """One that waits for one part takes nothing of the other; none waits for ever."""
    wide, narrow = Limit(1, burst=2), Limit(1, per=3, key=lambda item: item)
    both = Callers(Limit.all(wide, narrow))
    alone = Callers(wide)
    alone.clock = both.clock
    for n, gap in enumerate(gaps):
        both.clock.advance(both.clock.time + gap)
        (both if n % 3 else alone).come(n, keys[n])
    both.clock.advance(10_000)
    assert not both.waiting
    assert not alone.waiting
    times = sorted(at for _, at in both.passed + alone.passed)
    assert all(b - a >= 1 - 1e-6 for a, b in zip(times, times[2:], strict=False))
    for key in "ab":
        mine = [at for n, at in both.passed if keys[n] == key]
        assert all(b - a >= 3 - 1e-6 for a, b in pairwise(mine))


def test_an_idle_key_is_forgotten():
    """Its bucket is full again."""
    limit = Limit(1, key=lambda item: item)
    callers = Callers(limit)
    for key in range(100):
        callers.clock.advance(2.0 * key)
        callers.come(key, key)
    assert len(limit_door(limit).state.parts[0]._meters) <= 3


def test_a_pause_is_longer_by_chance():
    """By a share of itself, once for all who wait."""
    limit = Limit(10, burst=10, jitter=0.5)
    limit_door(limit).state.parts[0].random = lambda: 0.5
    callers = Callers(limit)
    callers.come("a")
    limit.pause(4)
    callers.come("b")
    callers.come("c")
    callers.clock.advance(4.9)
    assert [name for name, _ in callers.passed] == ["a"]
    callers.clock.advance(5.0)
    assert callers.passed[1:] == [("b", 5.0)]
    callers.clock.advance(5.2)
    assert callers.passed[2:] == [("c", 5.1)]


@given(
    gap=st.integers(1, 300).map(lambda n: n / 10),
    pause=st.integers(0, 100).map(lambda n: n / 10),
    burst=st.integers(0, 50),
    keyed=st.booleans(),
)
def test_no_burst_after_a_pause(gap, pause, burst, keyed):
    """From the pause on no more pass than the rate allows, and one; nobody waits for ever."""
    limit = Limit(10, burst=burst, jitter=0, key=(lambda item: "all") if keyed else None)
    callers = Callers(limit)
    callers.come("first")
    callers.clock.advance(gap)
    before = len(callers.passed)
    limit.pause(pause, gap)
    for name in range(60):
        callers.come(name)
    callers.clock.advance(gap + pause + 7)
    times = [time for _, time in callers.passed[before:]]
    assert len(times) >= 60
    assert all(time >= gap + pause - 1e-6 for time in times)
    for number, time in enumerate(times):
        assert number <= (time - gap - pause) * 10 + 1 + 1e-6


@pytest.mark.parametrize("pause", [0.0, 0.04])
def test_a_pause_that_is_shorter_than_a_token_takes(pause):
    """It empties the bucket, too: the next token comes a token's time after it began."""
    limit = Limit(10, burst=10, jitter=0)
    callers = Callers(limit)
    callers.clock.advance(100.0)
    limit.pause(pause, 100.0)
    callers.come("a")
    callers.clock.advance(100.09)
    assert not callers.passed
    callers.clock.advance(100.11)
    assert [name for name, _ in callers.passed] == ["a"]


@pytest.mark.parametrize("strict", [False, True])
def test_the_first_tokens(strict):
    """So many are there at the first use, then it is a limit like any other."""
    limit = Limit(10, burst=10, initial=3, strict=strict)
    callers = Callers(limit)
    callers.clock.advance(100.0)
    for name in range(30):
        callers.come(name)
    assert len(callers.passed) == 3
    callers.clock.advance(100.95)
    assert len(callers.passed) == (3 if strict else 12)
    callers.clock.advance(101.05)
    assert len(callers.passed) == 13


def test_the_first_tokens_of_a_key():
    """A key that comes later has what it would have if it had been there from the start."""
    callers = Callers(Limit(1, burst=10, initial=0, key=lambda item: item))
    callers.come("a", 1)
    callers.clock.advance(5.0)
    for name in range(8):
        callers.come(name, 2)
    assert [name for name, _ in callers.passed] == ["a", 0, 1, 2, 3, 4]


def test_a_key_that_comes_after_a_pause():
    """Its bucket was emptied too."""
    limit = Limit(1, burst=10, jitter=0, key=lambda item: item)
    callers = Callers(limit)
    callers.come("a", 1)
    limit.pause(10, 0.0)
    callers.clock.advance(12.0)
    for name in range(8):
        callers.come(name, 2)
    assert [name for name, _ in callers.passed] == ["a", 0, 1, 2]


@pytest.mark.parametrize("options", [{"initial": -1}, {"initial": 1.5}, {"initial": "1"}])
def test_first_tokens_that_cannot_be_meant(options):
    """Not more than there is room for."""
    with pytest.raises(InvalidArgument, match="initial must be"):
        Limit(10, **options)
    with pytest.raises(InvalidArgument, match="initial must be rate=10 at most, got 11"):
        Limit(10, initial=11, strict=True)


@pytest.mark.parametrize("cost", [-1, float("nan"), float("inf"), "1", True, None])
def test_a_bad_cost_is_refused(cost):
    """With the value in the message."""
    with pytest.raises(InvalidItem, match="cost"):
        limit_door(Limit(1, cost=lambda _: cost)).ticket(1, lambda: None, Hand())


def test_what_can_never_pass_is_refused():
    """It would wait for ever."""
    with pytest.raises(InvalidItem, match="never"):
        limit_door(Limit(2, strict=True, cost=lambda _: 3)).ticket(1, lambda: None, Hand())


def test_calls_at_once():
    """Good calls make it grow if it was full; a slow one shrinks it, once for all."""
    limit = AdaptiveConcurrency(initial=2, least=1, most=3, decrease=0.5, slow=1.0)
    callers = Callers(limit)
    for name in "abcd":
        callers.come(name)
    assert [name for name, _ in callers.passed] == ["a", "b"]

    def end(took, error=None):
        callers.door.done(error, took, callers.clock.now())
        callers.door.arm()
        callers.clock.advance(callers.clock.time)

    callers.clock.advance(0.5)
    end(0.5)
    end(0.5)
    assert [name for name, _ in callers.passed] == ["a", "b", "c", "d"]
    assert limit.limit == 2
    callers.clock.advance(2.0)
    end(1.5)
    assert limit.limit == 1
    end(1.5)  # it had begun before the limit shrank
    assert limit.limit == 1
    callers.come("e")
    callers.clock.advance(3.0)
    end(0.5, ValueError())
    assert limit.limit == 1


def test_one_bad_moment_shrinks_once():
    """Calls that were under way then say nothing new; later ones do."""
    limit = AdaptiveConcurrency(initial=8, decrease=0.5)
    callers = Callers(limit)
    for name in range(4):
        callers.come(name)
    callers.clock.advance(1.0)
    for _ in range(3):
        callers.door.done(ValueError(), 1.0, callers.clock.now())
    assert limit.limit == 4
    callers.come("later")
    callers.clock.advance(2.0)
    callers.door.done(ValueError(), 0.5, callers.clock.now())
    assert limit.limit == 2


def test_a_limit_that_limits_nobody_does_not_grow():
    """One call at a time, all good."""
    limit = AdaptiveConcurrency(initial=2)
    callers = Callers(limit)
    for name in range(20):
        callers.come(name)
        callers.door.done(None, 0.1, callers.clock.now())
    assert limit.limit == 2


def test_what_came_while_nobody_waited_is_capped():
    """One that costs more than is saved up waits for the rest, however long nobody came."""
    callers = Callers(Limit(1, burst=1, cost=2))
    callers.come("a")
    callers.clock.advance(20.0)
    callers.come("b")
    callers.clock.advance(40.0)
    assert callers.passed == [("a", 1.0), ("b", 21.0)]


def test_whoever_asked_first_is_first_in_all_lines():
    """A newcomer in another line does not take what is there for one that is just woken."""
    part = Limit(1)
    lane, other = Callers(Limit.all(part, Limit(100))), Callers(part)
    other.clock = lane.clock
    lane.come("a")
    lane.come("b")
    lane.clock.time = 1.0  # it is time for b, and nothing has rung
    other.come("c")
    assert [name for name, _ in other.passed] == []
    lane.clock.advance(10.0)
    assert lane.passed == [("a", 0.0), ("b", 1.0)]
    assert other.passed == [("c", 2.0)]


def test_waiting_on_a_thread_and_on_a_loop():
    """`acquire` waits, or gives up in time; `acquire_async` does not block the loop."""
    limit = Limit(100, burst=1)
    assert limit.acquire()
    assert limit.acquire()
    slow = Limit(1, per=1000)
    assert slow.acquire(timeout=0)
    assert not slow.acquire(timeout=0.01)
    assert not limit_door(slow).state.parts[0].lines

    async def main():
        await asyncio.gather(*(limit.acquire_async() for _ in range(5)))
        waits = asyncio.ensure_future(slow.acquire_async())
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)

    asyncio.run(main())
    assert not limit_door(slow).state.parts[0].lines


def test_many_threads_take_turns(frantic):
    """In all no more than there are tokens.

    Catches looking and taking under two locks.
    """
    limit, passed = Limit(1e-3, burst=50), []
    lock = threading.Lock()

    def call():
        for _ in range(20):
            if limit.acquire(timeout=0):
                with lock:
                    passed.append(1)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 50
