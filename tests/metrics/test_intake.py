"""Lots of numbers: whoever reads the monitor sees all of them, whenever he looks."""

import os
import pickle
import sys
import threading
from time import sleep

import pytest

from rxpool.metrics import Histogram, PerformanceMonitor
from rxpool.metrics._histogram import record_all
from rxpool.metrics._intake import _CROWD, _LOT
from rxpool.metrics._monitor import OVERFLOW, intake_of
from tests.metrics.test_monitor import Hand, event

GOOD = {"pool": "p", "outcome": "success"}
TOOK, WAIT = "rxpool.task.duration", "rxpool.task.wait"


def opened(monitor, pool="p"):
    """An intake as that of a pool."""
    good = {"pool": pool, "outcome": "success"}
    measured = ((TOOK, "s", good), (WAIT, "s", {"pool": pool}))
    return intake_of(monitor, measured, ("rxpool.tasks", "{task}", good))


def put(intake, took, waited):
    """A task."""
    intake.put((took, waited, intake.now()))


def as_events(monitor, numbers):
    """The same by events."""
    for took, waited in numbers:
        monitor.on_next(event(TOOK, took, **GOOD))
        monitor.on_next(event(WAIT, waited, pool="p"))
        monitor.on_next(event("rxpool.tasks", 1, "{task}", **GOOD))


@pytest.fixture
def impatient():
    """Threads are switched as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def equal(one, other):
    """Reports are the same, sums but for rounding."""
    found, wanted = one.reports(), other.reports()
    assert list(found) == list(wanted)
    for name, report in wanted.items():
        for field in report.__slots__:
            value = getattr(report, field)
            shown = pytest.approx(value) if isinstance(value, float) else value
            assert getattr(found[name], field) == shown, (name, field)
    return True


@pytest.mark.parametrize("count", [1, _LOT - 1, _LOT, 3 * _LOT + 7])
def test_lots_count_as_events_do(count):
    """Every field of every report, while lots are open and when they are closed."""
    clock = Hand()
    one, other = (PerformanceMonitor(window=10, clock=clock) for _ in range(2))
    intake = opened(one)
    numbers = [((n % 17) / 7, (n % 5) / 3) for n in range(count)]
    for place, (took, waited) in enumerate(numbers):
        clock.now = place / 50
        put(intake, took, waited)
        as_events(other, [(took, waited)])
        if place % 100 == 99:
            assert equal(one, other)
    assert equal(one, other)
    intake.close()
    assert equal(one, other)
    assert one._intakes == []


def test_all_at_once():
    """A list of rows is as good as one after the other; what is below 0 counts as 0."""
    one, other = PerformanceMonitor(clock=Hand()), PerformanceMonitor(clock=Hand())
    intake = opened(one)
    intake.put([0.5, -0.25, 0.0, 1.5, 0.125, 0.0])
    as_events(other, [(0.5, 0.0), (1.5, 0.125)])
    assert equal(one, other)


@pytest.mark.parametrize(
    "read",
    [
        lambda monitor: monitor.report(TOOK).count,
        lambda monitor: monitor.report("rxpool.tasks", outcome="success").count,
        lambda monitor: monitor.reports()[WAIT].count,
        lambda monitor: next(iter(monitor)).count,
        lambda monitor: int("rxpool.tasks" in str(monitor)),
        lambda monitor: len(monitor.snapshot().series) // 3,
        lambda monitor: pickle.loads(pickle.dumps(monitor)).report(TOOK).count,
        lambda monitor: merged(monitor).report(TOOK).count,
    ],
)
def test_every_way_to_read_sees_all(read):
    """One task that was just put in is there."""
    monitor = PerformanceMonitor()
    put(opened(monitor), 0.5, 0.25)
    assert read(monitor) == 1


def merged(monitor):
    """Another that has taken it in."""
    other = PerformanceMonitor()
    other.merge(monitor)
    return other


def test_the_rate_is_of_when_they_came():
    """Not of when they were counted."""
    clock = Hand()
    monitor = PerformanceMonitor(window=60, clock=clock)
    intake = opened(monitor)
    for second in (0.5, 30.5, 59.5):
        clock.now = second
        for _ in range(60):
            put(intake, 0.1, 0.1)
    clock.now = 75.0
    assert monitor.report("rxpool.tasks").rate == pytest.approx(2.0)
    clock.now = 200.0
    put(intake, 0.1, 0.1)
    clock.now = 400.0
    assert monitor.report("rxpool.tasks").rate == 0.0
    assert monitor.report("rxpool.tasks").count == 181


def test_no_more_than_a_lot_waits():
    """And if somebody has the lock, no more than a few, then whoever brings more waits."""
    monitor = PerformanceMonitor()
    intake = opened(monitor)
    for _ in range(10 * _LOT):
        put(intake, 0.5, 0.25)
        assert len(intake._rows) < 3 * _LOT
    reached, go = threading.Event(), threading.Event()

    def hold():
        with monitor._lock:
            reached.set()
            go.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    reached.wait(20)
    done = threading.Event()

    def fill():
        for _ in range(2 * _CROWD):
            put(intake, 0.5, 0.25)
        done.set()

    filler = threading.Thread(target=fill)
    filler.start()
    while len(intake._rows) < 3 * _CROWD:
        assert not done.wait(0.001)
    assert not done.wait(0.05)
    assert len(intake._rows) == 3 * _CROWD
    go.set()
    filler.join(20)
    holder.join(20)
    assert monitor.report(TOOK).count == 10 * _LOT + 2 * _CROWD


def test_what_comes_first_has_its_series_first():
    """Of a monitor that is full, as if each number had come as an event."""
    monitor = PerformanceMonitor(max_series=3)
    intake = opened(monitor)
    put(intake, 0.5, 0.25)
    monitor.on_next(event("other", 1.0))
    put(opened(monitor, "q"), 0.5, 0.25)
    found = monitor.reports()
    assert [found[name].count for name in (TOOK, WAIT, "rxpool.tasks", OVERFLOW)] == [
        2,
        2,
        2,
        1,
    ]
    assert found["rxpool.tasks"].by_outcome == {"success": 2}
    assert monitor.report(TOOK, overflow="true").count == 1
    assert monitor.report(TOOK, pool="q").count == 0


def test_whose_events_are_his_own_business():
    """Only a monitor as it comes takes lots."""

    class Own(PerformanceMonitor):
        def on_next(self, value, /):
            super().on_next(value)

    class Same(PerformanceMonitor):
        pass

    monitor = PerformanceMonitor()
    assert opened(Own()) is None
    assert opened(print) is None
    assert opened(Same()) is not None
    assert opened(monitor.on_next) is not None
    assert len(monitor._intakes) == 1
    monitor.on_next = print
    assert opened(monitor) is None


class Slow(list):
    """A list in the midst of whose emptying other threads have their turn."""

    def __getitem__(self, where):
        found = super().__getitem__(where)
        sleep(0)
        return found


@pytest.mark.parametrize("kind", [list, Slow])
def test_four_threads_and_two_readers(impatient, kind):
    """None is lost, none counted twice, and no count ever falls."""
    monitor, each = PerformanceMonitor(), 4000
    intakes = [opened(monitor, pool) for pool in ("p", "q", "p")]
    for intake in intakes:
        intake._rows = kind()
    done, fell = threading.Event(), []

    def bring(intake):
        for _ in range(each):
            put(intake, 0.5, 0.25)

    def read():
        last = 0
        while not done.is_set():
            found = monitor.report(TOOK).count
            if found < last:
                fell.append((last, found))
            last = found

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=bring, args=(intakes[n % 3],)) for n in range(4)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join(60)
    found = monitor.reports()
    done.set()
    for thread in readers:
        thread.join(60)
    assert fell == []
    for name in (TOOK, WAIT, "rxpool.tasks"):
        assert found[name].count == 4 * each
    assert found[TOOK].total == 4 * each * 0.5
    assert found[WAIT].mean == 0.25
    assert monitor.report("rxpool.tasks", pool="q").count == each


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_lots_are_counted(impatient):
    """The child has whole lots: as many of one number as of the other, and can go on."""
    monitor = PerformanceMonitor()
    intake, done = opened(monitor), threading.Event()

    def bring():
        while not done.is_set():
            put(intake, 0.5, 0.25)

    thread = threading.Thread(target=bring)
    thread.start()
    codes = []
    try:
        for _ in range(20):
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    counts = {report.count for report in monitor.reports().values()}
                    put(intake, 0.5, 0.25)
                    whole = len(counts) <= 1
                    code = 0 if whole and monitor.report(TOOK).count == sum(counts) + 1 else 2
                finally:
                    os._exit(code)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    finally:
        done.set()
        thread.join(20)
    assert codes == [0] * 20


def test_a_handler_that_reads_while_its_thread_counts():
    """It sees what is counted so far, and nothing is counted twice."""
    monitor = PerformanceMonitor()
    intake, seen = opened(monitor), []
    count = intake.count
    monitor._intakes[0] = Interrupted(count, lambda: seen.append(monitor.report(TOOK).count))
    put(intake, 0.5, 0.25)
    assert monitor.report(TOOK).count == 1
    assert seen == [0]


class Interrupted:
    """An intake in the midst of whose counting a signal comes."""

    def __init__(self, count, handler):
        self._count, self._handler = count, handler

    def count(self, series_of, step):
        self._handler()
        self._count(series_of, step)


@pytest.mark.parametrize(
    "values", [[0.5], [0.0, 0.5], [-1.0, 2.0, 2.0], [5e-324, 1.7e308], [0.1] * 300]
)
def test_a_histogram_takes_many_at_once(values):
    """As one by one."""
    one, other = Histogram(), Histogram()
    record_all(one, values)
    for value in values:
        other.record(value)
    assert one.sum == pytest.approx(other.sum)
    one.sum = other.sum
    assert one == other
