"""`DebounceManager`: one regression test per known defect of hand-written ones, D1 to D14."""

import asyncio
import threading

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from rxpool.errors import InvalidArgument, Overflow, PoolClosed, TaskCancelled
from rxpool.faces import DebounceManager


class Bench:
    """A manager in virtual time; its calls are names, and take *takes* ticks."""

    def __init__(self, wait, takes=0.0, **options):
        self.scheduler = TestScheduler()
        self.ran = []
        self.takes = takes
        self.manager = DebounceManager(wait, scheduler=self.scheduler, **options)

    @property
    def now(self):
        return self.scheduler.to_seconds(self.scheduler.clock)

    def call(self, name):
        self.ran.append((self.now, name))
        if isinstance(name, Exception):
            raise name
        if not self.takes:
            return name
        timer = rx.timer(self.takes, scheduler=self.scheduler)
        return timer.pipe(rx.operators.map(lambda _: name))

    def at(self, *steps):
        futures = []
        for tick, name in steps:
            if tick > self.now:
                self.scheduler.advance_to(tick)
            futures.append(self.manager.execute(self.call, name))
        return futures

    def end(self, tick=90):
        self.scheduler.advance_to(tick)
        m = self.manager.metrics()
        assert m.accepted == (m.succeeded + m.failed + m.cancelled + m.pending + m.running)
        return m


EDGES = {  # options, calls at ticks, runs, results
    "d1: no leading edge unless asked": ({}, [1, 2, 3], [(6, 3)], [3, 3, 3]),
    "d2: no trailing edge unless asked": (
        {"leading": True, "trailing": False},
        [1, 2, 3, 20],
        [(1, 1), (20, 20)],
        [1, 1, 1, 20],
    ),
    "both edges": ({"leading": True}, [1, 2, 3, 20], [(1, 1), (6, 3), (20, 20)], [1, 3, 3, 20]),
    "d4: the newest call runs at the maximum wait, once": (
        {"max_wait": 5},
        [1, 2, 4, 5, 7, 20],
        [(6, 5), (10, 7), (23, 20)],
        [5, 5, 5, 5, 7, 20],
    ),
    "d9: a maximum below the wait counts as the wait": (
        {"max_wait": 0},
        [1, 2, 3, 4],
        [(4, 3), (7, 4)],
        [3, 3, 3, 4],
    ),
    "d10: a newcomer does not run before its time": (
        {"max_wait": 4},
        [1, 3, 4.5, 6],
        [(5, 4.5), (9, 6)],
        [4.5, 4.5, 4.5, 6],
    ),
}


@pytest.mark.parametrize(("options", "calls", "runs", "results"), EDGES.values(), ids=EDGES)
def test_edges(options, calls, runs, results):
    """D1, D2, D3, D4, D5, D9, D10: what runs when, and who gets which result."""
    bench = Bench(3, **options)
    futures = bench.at(*[(tick, tick) for tick in calls])
    bench.end()
    assert bench.ran == runs
    assert [future.result() for future in futures] == results  # d3: every caller is settled


def test_d6_pending_is_of_now():
    """Nothing waits after the run, nor before the first call."""
    bench = Bench(3)
    assert bench.manager.pending == 0
    bench.at((1, "a"), (2, "b"))
    assert bench.manager.pending == 2
    bench.end()
    assert bench.manager.pending == 0


def test_d7_time_zero_is_a_time_like_any_other():
    """The first call at tick 0 begins a burst, and the next one belongs to it."""
    bench = Bench(3, leading=True)
    bench.at((0, "a"), (0, "b"), (1, "c"))
    bench.end()
    assert bench.ran == [(0, "a"), (4, "c")]


def test_d8_no_wait_is_the_next_turn():
    """Five calls of one turn run once."""
    bench = Bench(0)
    futures = bench.at(*[(1, name) for name in "abcde"])
    assert bench.ran == []
    bench.end()
    assert bench.ran == [(1, "e")]
    assert [future.result() for future in futures] == ["e"] * 5


def test_d11_flush_runs_now():
    """The pending call, once; with nothing pending nothing."""
    bench = Bench(3)
    bench.manager.flush()
    futures = bench.at((1, "a"), (2, "b"))
    bench.manager.flush()
    bench.end()
    assert bench.ran == [(2, "b")]
    assert [future.result() for future in futures] == ["b", "b"]


def test_d11_cancel_runs_nothing():
    """All the futures are cancelled; the next call begins a new burst."""
    bench = Bench(3, leading=True)
    a, b, c = bench.at((1, "a"), (2, "b"), (2, "c"))
    bench.manager.cancel()
    (d,) = bench.at((2.5, "d"))
    m = bench.end()
    assert bench.ran == [(1, "a"), (2.5, "d")]
    assert (a.result(), b.cancelled(), c.cancelled(), d.result()) == ("a", True, True, "d")
    assert m.cancelled == 2


def test_d12_runs_never_overlap():
    """An edge during a run waits for its end; of two, the newest call is made."""
    bench = Bench(1, takes=10)
    futures = bench.at((1, "a"), (4, "b"), (7, "c"))
    m = bench.end()
    assert bench.ran == [(2, "a"), (12, "c")]
    assert [future.result() for future in futures] == [["a"], ["c"], ["c"]]
    assert (m.runs, m.accepted) == (2, 3)


def test_d13_an_error_goes_to_all_who_share_the_run():
    """And to nobody else."""
    boom = ValueError("boom")
    bench = Bench(3)
    futures = bench.at((1, "a"), (2, boom), (20, "c"))
    m = bench.end()
    assert [future.exception() for future in futures] == [boom, boom, None]
    assert (m.failed, m.succeeded) == (2, 1)


@pytest.mark.parametrize("takes", [0, 10])
def test_without_trailing_later_calls_share_the_leading_result(takes):
    """Whether the leading call is done, runs, or waits for the run before it."""
    bench = Bench(3, takes=takes, leading=True, trailing=False)
    futures = bench.at((1, "a"), (2, "b"), (6, "c"), (7, "d"))
    bench.end()
    results = [future.result() for future in futures]
    assert results == (["a", "a", "c", "c"] if not takes else [["a"], ["a"], ["c"], ["c"]])
    assert bench.ran == [(1, "a"), (11 if takes else 6, "c")]


def test_a_cancelled_call_is_not_made():
    """If it was the newest, the newest one that is left is made in its place."""
    bench = Bench(3)
    a, b, c = bench.at((1, "a"), (2, "b"), (3, "c"))
    assert c.cancel()
    m = bench.end()
    assert bench.ran == [(6, "b")]
    assert (a.result(), b.result(), m.cancelled) == ("b", "b", 1)
    assert not b.cancel()


def test_all_cancelled_is_no_run():
    """The timer finds nothing to do."""
    bench = Bench(3)
    for future in bench.at((1, "a"), (2, "b")):
        future.cancel()
    assert bench.end().runs == 0


def test_close_is_a_flush():
    """As with the completion of a stream."""
    bench = Bench(3)
    (future,) = bench.at((1, "a"))
    bench.manager.close()
    with pytest.raises(PoolClosed, match="DebounceManager is closed"):
        bench.manager.execute(print)
    bench.end()
    assert bench.ran == [(1, "a")]
    assert future.result() == "a"
    assert bench.manager.close()


def test_leaving_by_an_error_settles_all():
    """What waits is cancelled, what runs fails."""
    bench = Bench(1, takes=50)

    def leave():
        with bench.manager:
            futures.extend(bench.at((1, "a"), (5, "b")))
            raise KeyError

    futures = []
    with pytest.raises(KeyError):
        leave()
    assert isinstance(futures[0].exception(), TaskCancelled)
    assert futures[1].cancelled()


def test_the_wait_is_bounded():
    """So many calls may wait for one run."""
    bench = Bench(3, max_pending=2)
    bench.at((1, "a"), (1, "b"))
    with pytest.raises(Overflow, match="max_pending=2"):
        bench.at((1, "c"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wait": -1}, "wait must be finite and 0 or more, got -1"),
        ({"wait": float("nan")}, "wait must be finite"),
        ({"wait": 1, "max_wait": -1}, "max_wait must be finite and 0 or more, got -1"),
        ({"wait": 1, "trailing": False}, "would run nothing"),
        ({"wait": 1, "leading": 1}, "leading must be True or False, got 1"),
    ],
)
def test_bad_options_are_refused_at_once(options, words):
    """With the value in the message."""
    with pytest.raises(InvalidArgument, match=words):
        DebounceManager(**options)


def test_on_an_event_loop():
    """Coroutine functions run on the caller's loop; all awaiters get the newest result."""

    async def main():
        async def search(text):
            await asyncio.sleep(0)
            return text, asyncio.get_running_loop()

        async with DebounceManager(60) as manager:
            futures = [manager.execute(search, text) for text in ("a", "ab", "abc")]
            manager.flush()
            ends = [await future for future in futures]
        assert ends == [("abc", asyncio.get_running_loop())] * 3

    asyncio.run(main())


@pytest.mark.parametrize("leading", [False, True])
def test_racing_threads(frantic, leading):
    """Every caller is settled, with the result of a call that was made; none overlaps."""
    guard, ran, ends, each = threading.Lock(), [], [], 2000

    def call(number):
        assert guard.acquire(blocking=False)
        ran.append(number)
        guard.release()
        return number

    def feed(start):
        futures = [manager.execute(call, i) for i in range(start, start + each)]
        for at, future in enumerate(futures):
            if at % 4 == 0 and not leading:
                future.cancel()
        ends.extend(None if f.cancelled() else f.result(20) for f in futures)

    with DebounceManager(0.0, max_wait=0.0, leading=leading, trailing=not leading) as manager:
        threads = [threading.Thread(target=feed, args=(n * each,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ends) == 4 * each
    assert {end for end in ends if end is not None} <= set(ran)
    m = manager.metrics()
    assert m.runs == len(ran) == len(set(ran))
    assert (m.succeeded, m.cancelled) == (4 * each - ends.count(None), ends.count(None))
    assert (m.accepted, m.pending, m.running) == (4 * each, 0, 0)
