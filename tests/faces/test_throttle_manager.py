"""`ThrottleManager`: one regression test per known defect of hand-written ones, T1 to T13."""

import asyncio
import threading

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex.testing import TestScheduler

from rxpool.errors import InvalidArgument, PoolClosed, TaskCancelled, WouldBlock
from rxpool.faces import ThrottleManager
from rxpool.faces._line import LineState


class Bench:
    """A manager in virtual time; its calls are names that take so many ticks."""

    def __init__(self, rate, **options):
        self.scheduler = TestScheduler()
        self.started = []
        self.ended = []
        self.manager = ThrottleManager(rate, scheduler=self.scheduler, **options)

    @property
    def now(self):
        return round(self.scheduler.to_seconds(self.scheduler.clock), 6)

    def call(self, name, takes):
        self.started.append((self.now, name))
        if isinstance(takes, Exception):
            raise takes
        return rx.timer(takes, scheduler=self.scheduler) if takes else name

    def execute(self, name, takes=0):
        future = self.manager.execute(self.call, name, takes)
        future.add_done_callback(lambda _: self.ended.append((self.now, name)))
        return future

    def at(self, *steps):
        futures = []
        for tick, name, *takes in steps:
            if tick > self.now:
                self.scheduler.advance_to(tick)
            futures.append(self.execute(name, *takes))
        return futures

    def books(self):
        m = self.manager.metrics()
        assert m.started == m.running + m.succeeded + m.failed
        return m


def test_t1_the_line_moves_when_nothing_runs():
    """A timer, not the end of a call, lets the next one start."""
    bench = Bench(1)
    bench.at((1, "a"), (1, "b"), (1, "c"))
    bench.scheduler.advance_to(60)
    assert bench.started == [(1, "a"), (2, "b"), (3, "c")]


def test_t2_as_many_start_as_may():
    """Not one per end: a slow call holds back nobody while there are places."""
    bench = Bench(3, strict=True, max_concurrent=10)
    bench.at((1, "slow", 15), *[(1, i, 4) for i in range(8)])
    bench.scheduler.advance_to(60)
    assert [tick for tick, _ in bench.started] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_t3_never_more_at_once_than_allowed():
    """A place is taken when it is given; a newcomer at that instant does not get it too."""
    bench = Bench(100, burst=100, max_concurrent=1)
    bench.at((1, "a", 3), (1, "b", 3))
    bench.at((4, "c", 3))  # at the tick at which a ends and b starts
    bench.scheduler.advance_to(60)
    assert bench.started == [(1, "a"), (4, "b"), (7, "c")]
    assert bench.ended == [(4, "a"), (7, "b"), (10, "c")]


def test_t4_no_newcomer_overtakes():
    """First in, first out, also when a token is there already."""
    bench = Bench(1, burst=2, max_concurrent=1)
    bench.at((1, "a", 9), (2, "b"), (9, "c"))
    bench.scheduler.advance_to(60)
    assert [name for _, name in bench.started] == ["a", "b", "c"]


def test_t5_the_burst_holds_at_the_start():
    """Fifty at once: five start, the others at the rate."""
    bench = Bench(2, burst=5)
    bench.at(*[(1, i) for i in range(50)])
    bench.scheduler.advance_to(60)
    ticks = [tick for tick, _ in bench.started]
    assert ticks == [1] * 5 + [1 + i / 2 for i in range(1, 46)]


def test_t6_t7_t8_t9_the_cooldown_is_an_edge():
    """It counts from the start that emptied the bucket, once; it neither renews itself nor
    waits for a call to end, and the bucket refills meanwhile."""
    bench = Bench(1, burst=2, cooldown=10)
    bench.at((1, "a", 30), (1, "b", 30), (2, "c"), (3, "d"), (40, "e"))
    bench.scheduler.advance_to(90)
    # 11: the bucket is full again, so c leaves a token and d empties it; e comes long after.
    assert bench.started == [(1, "a"), (1, "b"), (11, "c"), (11, "d"), (40, "e")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0}, "rate must be finite and greater than 0, got 0"),
        ({"rate": 1, "per": 0}, "per must be finite and greater than 0, got 0"),
        ({"rate": 1, "burst": -1}, "burst must be finite and 0 or more, got -1"),
        ({"rate": 1, "max_concurrent": 0}, "max_concurrent must be 1 or more, got 0"),
        ({"rate": 1, "max_pending": 0}, "max_pending must be 1 or more, got 0"),
        ({"rate": 0.5, "strict": True}, "strict with a rate below 1"),
        ({"rate": 1, "strict": 1}, "strict must be True or False, got 1"),
    ],
)
def test_t10_bad_options_are_refused_at_once(options, words):
    """With the value in the message."""
    with pytest.raises(InvalidArgument, match=words):
        ThrottleManager(**options)


def test_t10_a_burst_above_the_rate_is_legal():
    """And a burst of 0: every call waits for its own token."""
    bench = Bench(1, burst=3)
    bench.at(*[(1, i) for i in range(5)])
    bench.scheduler.advance_to(60)
    assert [tick for tick, _ in bench.started] == [1, 1, 1, 2, 3]
    bench = Bench(1, burst=0)
    bench.at((1, "a"), (1, "b"))
    bench.scheduler.advance_to(60)
    assert [tick for tick, _ in bench.started] == [2, 3]


def test_t11_who_leaves_the_line_gives_the_place_back():
    """Neither a token nor room is lost; the line is bounded."""
    bench = Bench(1, max_pending=2)
    _, b, _ = bench.at((1, "a"), (1, "b"), (1, "c"))
    with pytest.raises(WouldBlock, match=r"2 calls wait already.*execute_async"):
        bench.execute("d")
    assert b.cancel()
    bench.execute("d")
    bench.scheduler.advance_to(60)
    assert bench.started == [(1, "a"), (2, "c"), (3, "d")]
    assert bench.books().cancelled == 1


def test_t12_failures_are_counted_and_figures_are_of_now():
    """At every instant started = running + succeeded + failed."""
    bench = Bench(100, burst=100, max_concurrent=2)
    futures = bench.at((1, "a", 5), (1, "b", ValueError("b")), (1, "c", 5), (1, "d", 5))
    bench.scheduler.advance_to(2)
    m = bench.books()
    assert (m.started, m.waiting, m.running, m.succeeded, m.failed) == (3, 1, 2, 0, 1)
    bench.scheduler.advance_to(60)
    m = bench.books()
    assert (m.started, m.waiting, m.running, m.succeeded, m.failed) == (4, 0, 0, 3, 1)
    with pytest.raises(ValueError, match="b"):
        futures[1].result()


def test_strict_never_starts_more_in_any_window():
    """Exactly `per` after the oldest the next one may start."""
    bench = Bench(2, per=10, strict=True)
    bench.at((1, "a"), (9, "b"), (9, "c"), (9, "d"))
    bench.scheduler.advance_to(60)
    assert bench.started == [(1, "a"), (9, "b"), (11, "c"), (19, "d")]


def test_close_finishes_the_line():
    """Each call at its time; nothing more is taken."""
    bench = Bench(1)
    bench.at((1, "a"), (1, "b"), (1, "c"))
    assert bench.manager.close() is False
    with pytest.raises(PoolClosed, match="ThrottleManager is closed"):
        bench.execute("d")
    bench.scheduler.advance_to(60)
    assert bench.started == [(1, "a"), (2, "b"), (3, "c")]
    assert bench.manager.close() is True


# -- threads and loops ----------------------------------------------------------------------


def test_on_threads():
    """Plain functions run on worker threads, so many at once, and may fail."""
    guard, running, most = threading.Lock(), [0], [0]

    def call(number, *, factor):
        with guard:
            running[0] += 1
            most[0] = max(most[0], running[0])
        with guard:
            running[0] -= 1
        if number == 7:
            raise KeyError(number)
        return number * factor

    with ThrottleManager(1e6, burst=100, max_concurrent=3, max_pending=5) as manager:
        futures = [manager.execute(call, i, factor=2) for i in range(100)]
        assert isinstance(futures[7].exception(10), KeyError)
        assert [f.result(10) for i, f in enumerate(futures) if i != 7] == [
            i * 2 for i in range(100) if i != 7
        ]
    assert most[0] <= 3


def test_on_an_event_loop():
    """Coroutine functions run on the loop of the caller; there is a way to wait for room."""

    async def main():
        loop, running, most = asyncio.get_running_loop(), [0], [0]

        async def call(number):
            assert asyncio.get_running_loop() is loop
            running[0] += 1
            most[0] = max(most[0], running[0])
            await asyncio.sleep(0)
            running[0] -= 1
            return number

        async with ThrottleManager(1e6, max_concurrent=2, max_pending=3) as manager:
            futures = [await manager.execute_async(call, i) for i in range(50)]
            assert [await future for future in futures] == list(range(50))
        assert most[0] == 2

    asyncio.run(main())


def test_a_cancelled_task_gives_its_place_back():
    """Also when the coroutine is cancelled while it runs."""

    async def main():
        async def stop():
            asyncio.current_task().cancel()
            await asyncio.sleep(9)

        async def fine():
            return 1

        async with ThrottleManager(1e6, max_concurrent=1) as manager:
            stopped, good = manager.execute(stop), manager.execute(fine)
            with pytest.raises(TaskCancelled):
                await stopped
            assert await good == 1

    asyncio.run(main())


def test_context_variables_come_along():
    """Each call sees those of who asked for it."""
    from contextvars import ContextVar

    variable = ContextVar("variable", default=0)
    with ThrottleManager(1e6, burst=9) as manager:
        futures = []
        for value in (1, 2, 3):
            token = variable.set(value)
            futures.append(manager.execute(variable.get))
            variable.reset(token)
        assert [future.result(10) for future in futures] == [1, 2, 3]


def test_racing_threads(frantic):
    """Calls, cancellations and timers from everywhere: never too many at once, all settle."""
    guard, running, most, ran = threading.Lock(), [0], [0], []

    def call(number):
        with guard:
            running[0] += 1
            most[0] = max(most[0], running[0])
        ran.append(number)
        with guard:
            running[0] -= 1
        return number

    ends, each = {}, 1500

    def feed(start):
        futures = [(i, manager.execute(call, i)) for i in range(start, start + each)]
        for i, future in futures:
            if i % 3 == 0:
                future.cancel()
        for i, future in futures:
            ends[i] = None if future.cancelled() else future.result(20)

    with ThrottleManager(1e6, burst=1e6, max_concurrent=3) as manager:
        threads = [threading.Thread(target=feed, args=(n * each,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most[0] <= 3
    assert sorted(ran) == sorted(i for i, end in ends.items() if end is not None)
    m = manager.metrics()
    assert (m.started, m.cancelled) == (len(ran), 4 * each - len(ran))
    assert (m.waiting, m.running, m.succeeded) == (0, 0, len(ran))


# -- the pure state ---------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from(["join", "join", "leave", "end", "look"])),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(
    STEPS,
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from([0.0, 1.0, 4.0]),
    st.integers(1, 3),
    st.booleans(),
)
def test_laws_of_the_line(steps, rate, burst, places, strict):
    """In order; never more at once than places nor more in a window than the meter allows;
    whoever may start does; who left did not start; the line is bounded."""
    rate = max(rate, 1.0) if strict else rate
    line = LineState(rate, 0.0, burst=burst, strict=strict, places=places, max_pending=5)
    now, number, started, left, joined, running = 0.0, 0, [], set(), [], 0
    for gap, step in steps:
        end = now + gap
        while (due := line.due) is not None and due <= end:
            now = max(now, due)
            call = line.next(now)
            assert call is not None  # what is due starts
            started.append((now, call))
            running += 1
        now = end
        if step == "join":
            waiting = line.waiting
            if line.join(number, now):
                assert waiting < 5
                joined.append(number)
            else:
                assert waiting == 5
            number += 1
        elif step == "leave" and line.waiting:
            gone = next(
                c for c in joined if c not in left and c not in dict(map(reversed, started))
            )
            line.leave(gone)
            left.add(gone)
        elif step == "end" and running:
            line.end(now)
            running -= 1
        while (call := line.next(now)) is not None:
            started.append((now, call))
            running += 1
        assert line.running == running <= places
    names = [call for _, call in started]
    assert names == [call for call in joined if call not in left][: len(names)]
    ticks = [tick for tick, _ in started]
    for first in range(len(ticks)):
        for last in range(first, len(ticks)):
            span, count = ticks[last] - ticks[first], last - first + 1
            if strict:
                assert span >= 1 - 1e-6 or count <= rate
            else:
                assert count <= max(burst, 1) + rate * span + 1e-3


def test_a_late_timer_costs_no_rate():
    """Each start 10 ms late, at 10 a second: still ten in a second."""
    line = LineState(10.0, 0.0)
    for number in range(30):
        line.join(number, 0.0)
    starts = []
    while (due := line.due) is not None:
        assert line.next(due + 0.01) is not None
        starts.append(due + 0.01)
        line.end(due + 0.01)
    assert starts[-1] == pytest.approx(2.9 + 0.01)
