"""`resize`: more workers start what waits, fewer let what runs finish."""

import threading

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import WorkerPool
from tests.alarms import Alarms
from tests.pool.crew import Sink, balanced, collect, joined, passed, started
from tests.pool.marbles import Run, conserved, shown, work
from tests.waiting import eventually


def to(workers):
    """An action: the pool has so many workers from now on."""
    return lambda run: run.pool.resize(workers)


SIX = "a30@210 b30@210 c30@210 d30@210 e30@210 f30@210 |@215"
KEY = {"order": "key", "key": lambda item: item[0]}

# workers, options, source, when to resize, result
MARBLES = {
    "more workers start what waits at once": (
        1, {}, SIX, {220: to(3)}, "a@240 b@250 c@250 d@270 e@280 f@280 |@280",
    ),
    "more workers, in input order": (
        1, {"order": "input"}, SIX, {220: to(3)}, "a@240 b@250 c@250 d@270 e@280 f@280 |@280",
    ),
    "more workers, with keys": (
        1, KEY, SIX.replace("d30", "a30"), {220: to(3)},
        "a@240 b@250 c@250 a@270 e@280 f@280 |@280",
    ),
    "more workers than the flow may use": (
        1, {"concurrency": 2}, SIX, {220: to(3)},
        "a@240 b@250 c@270 d@280 e@300 f@310 |@310",
    ),
    "fewer workers: what runs is not interrupted": (
        3, {}, SIX, {220: to(1)}, "a@240 b@240 c@240 d@270 e@300 f@330 |@330",
    ),
    "fewer, and more again": (
        3, {}, SIX, {220: to(1), 235: to(3)}, "a@240 b@240 c@240 d@270 e@270 f@270 |@270",
    ),
    "fewer, and more again when some have ended": (
        3, {}, "a30@210 b30@210 c60@210 d30@210 e30@210 |@215", {220: to(1), 245: to(3)},
        "a@240 b@240 c@270 d@275 e@275 |@275",
    ),
    "as many as before": (
        2, {}, SIX, {220: to(2)}, "a@240 b@240 c@270 d@270 e@300 f@300 |@300",
    ),
    "while nothing runs": (
        1, {}, SIX, {205: to(6)}, "a@240 b@240 c@240 d@240 e@240 f@240 |@240",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "options", "source", "at", "expected"), MARBLES.values(), ids=MARBLES
)
def test_marbles(workers, options, source, at, expected):
    """Values and ticks are exact, and the books balance at every tick."""
    run = Run(source, lambda run: run.pool.map(work, **options), workers=workers, at=at)
    assert run.text == expected
    assert run.let_go == [215]
    assert run.counts["succeeded"] == run.counts["accepted"]


def test_fewer_workers_for_several_flows():
    """A worker that is one too many is not passed on to another flow."""

    def operator(run):
        few = rx.of("x10", "y10", "z10").pipe(ro.delay(20.0), run.pool.map(work))
        return lambda xs: rx.merge(xs.pipe(run.pool.map(work)), few)

    source = "a30@210 b30@210 c30@210 d30@210 e30@210 |@215"
    run = Run(source, operator, workers=3, at={215: to(1)})
    assert run.text == "a@240 b@240 c@240 d@270 x@280 e@310 y@320 z@330 |@330"


def test_pull_reads_on_when_there_are_more_workers():
    """The demand grows with the pool, at once."""
    scheduler = Alarms()
    pool = WorkerPool(1, on=scheduler)
    scheduler.schedule_absolute(220.0, lambda *_: pool.resize(3) and None)
    results = scheduler.start(
        lambda: pool.pull(["a30"] * 6).pipe(pool.map(work, max_pending=0))
    )
    assert shown(results.messages) == "a@230 a@250 a@250 a@260 a@280 a@280 |@280"
    assert conserved(pool).succeeded == 6


def test_the_number_of_workers_is_known():
    """`workers` and the representation follow, also before any work and after the end."""
    pool = WorkerPool(2, name="crew")
    pool.resize(5)
    assert (pool.workers, repr(pool)) == (5, "<WorkerPool 'crew' of 5, open>")
    assert pool.submit(str, 1).result() == "1"
    pool.close()
    pool.resize(1)
    assert pool.workers == 1


# -- threads -----------------------------------------------------------------------------


class Gauge:
    """A function that waits at a gate and knows how many do."""

    def __init__(self):
        self.gate, self.now, self.most = threading.Event(), 0, 0
        self._lock = threading.Lock()

    def __call__(self, item):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        passed(self.gate)
        with self._lock:
            self.now -= 1
        return item


@pytest.mark.parametrize("order", ["completion", "input"])
def test_threads_are_started_for_what_waits(order):
    """Waiting tasks run as soon as there are workers for them, with nobody's help."""
    gauge = Gauge()
    with WorkerPool(1) as pool:
        sink = Sink().to(rx.from_iterable(range(10)).pipe(pool.map(gauge, order=order)))
        eventually(lambda: gauge.now == 1)
        pool.resize(4)
        eventually(lambda: gauge.now == 4)
        assert pool.report().waiting == 6
        gauge.gate.set()
        assert sorted(sink.wait()) == list(range(10))
    assert gauge.most == 4


def test_threads_end_that_are_too_many():
    """Idle threads end at once, busy ones when their task has; none is interrupted."""
    before = set(threading.enumerate())

    def crew():
        return [t for t in threading.enumerate() if t.name.startswith("crew-")]

    gauge = Gauge()
    with WorkerPool(6, name="crew") as pool:
        sink = Sink().to(rx.from_iterable(range(6)).pipe(pool.map(gauge)))
        eventually(lambda: gauge.now == 6)
        pool.resize(2)
        assert len(crew()) == 6
        gauge.gate.set()
        assert sorted(sink.wait()) == list(range(6))
        eventually(lambda: len(crew()) == 2)
        pool.resize(1)
        eventually(lambda: len(crew()) == 1)
        assert collect(rx.of(1, 2, 3).pipe(pool.map(str))) == ["1", "2", "3"]
    eventually(lambda: set(threading.enumerate()) <= before | set(crew()))
    assert balanced(pool).succeeded == 9


@pytest.mark.parametrize("order", ["completion", "input"])
def test_fewer_workers_hold_for_a_flow_that_never_pauses(order):
    """Each worker looks after each task whether it is one too many.

    Catches a worker that goes on from task to task without a look.
    """
    tickets, running, most = threading.Semaphore(0), set(), []

    def fn(item):
        running.add(item)
        most.append(len(running))
        assert tickets.acquire(timeout=10)
        running.remove(item)
        return item

    with WorkerPool(4) as pool:
        sink = Sink().to(rx.from_iterable(range(60)).pipe(pool.map(fn, order=order)))
        eventually(lambda: len(running) == 4)
        pool.resize(1)
        for _ in range(4):
            tickets.release()
        eventually(lambda: pool.report().succeeded >= 4)
        del most[:]
        for _ in range(60):
            tickets.release()
        assert sorted(sink.wait()) == list(range(60))
        assert max(most[4:]) == 1


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("order", ["completion", "input", "key"])
def test_resizing_under_stress(order):
    """Whatever the number of workers does meanwhile, each item has its result.

    Catches a flow that is forgotten while it may start nothing, and threads of which there
    are other than the pool believes.
    """
    options = {"order": order} | ({"key": lambda n: n % 5} if order == "key" else {})
    stop = threading.Event()
    with WorkerPool(3, max_pending=20) as pool:

        def resize(sizes):
            while not stop.is_set():
                for size in sizes:
                    pool.resize(size)

        busy = [started(resize, [1, 5, 2]), started(resize, [4, 1])]
        through = pool.map(lambda n: n, **options)
        for _ in range(3):
            assert sorted(collect(rx.from_iterable(range(300)).pipe(through))) == list(
                range(300)
            )
        stop.set()
        joined(*busy)
        barrier = threading.Barrier(pool.workers)
        items = range(pool.workers)
        assert len(collect(rx.from_iterable(items).pipe(pool.map(lambda _: barrier.wait(10)))))
    assert balanced(pool).succeeded == 900 + pool.workers


def test_a_blocked_producer_goes_on():
    """A producer that waits for room is let go by more workers."""
    gauge = Gauge()
    xs = Subject()
    with WorkerPool(1, max_pending=1) as pool:
        sink = Sink().to(xs.pipe(pool.map(gauge)))
        producer = started(lambda: [xs.on_next(n) for n in range(3)])
        eventually(lambda: gauge.now == 1 and pool.report().waiting == 1)
        pool.resize(3)
        joined(producer)
        eventually(lambda: gauge.now == 3)
        xs.on_completed()
        gauge.gate.set()
        assert sorted(sink.wait()) == [0, 1, 2]


def test_who_hears_of_a_resize_may_resize():
    """Caught: telling of it while the lock of those who resize is held."""
    gate, heard = threading.Event(), []

    def hear(_):
        if armed and not heard:
            heard.append(1)
            pool.resize(4)

    armed = False
    with WorkerPool(2) as pool:
        pool.metrics.subscribe(hear)
        calls = [pool.submit(gate.wait) for _ in range(6)]
        engine = pool._engine
        eventually(lambda: engine.telemetry.due(engine.now()))  # levels are told again
        armed = True
        pool.resize(3)
        gate.set()
        assert all(call.result() for call in calls)
    assert heard
    assert pool.workers == 4
