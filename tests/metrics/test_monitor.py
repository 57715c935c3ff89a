"""The monitor: what it counts, in virtual time, from many threads, and merged."""

import asyncio
import pickle
import re
import threading
from datetime import timedelta

import pytest
from reactivex.scheduler import HistoricalScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool.errors import InvalidArgument
from rxpool.events import MetricEvent
from rxpool.metrics import PerformanceMonitor, Report
from rxpool.metrics._monitor import OVERFLOW
from rxpool.timing import Clock, TimerScheduler
from tests.waiting import eventually


class Hand:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def event(name, value, unit="s", **attributes):
    return MetricEvent(
        name, value, unit, 0.0, {k.replace("_", "."): v for k, v in attributes.items()}
    )


def test_a_report():
    """Every field of it."""
    clock = Hand()
    monitor = PerformanceMonitor(window=10, clock=clock)
    clock.now = 5.0
    for n in range(1, 101):
        monitor.track("job", n / 100, outcome="failure" if n % 10 == 0 else "success")
    report = monitor.report("job")
    assert (report.name, report.unit, report.count, report.errors) == ("job", "s", 100, 10)
    assert report.by_outcome == {"success": 90, "failure": 10}
    assert report.total == pytest.approx(50.5)
    assert report.mean == pytest.approx(0.505)
    assert (report.min, report.max) == (0.01, 1.0)
    assert report.p50 == pytest.approx(0.5, rel=0.01)
    assert report.p90 == pytest.approx(0.9, rel=0.01)
    assert report.p99 == pytest.approx(0.99, rel=0.01)
    assert report.rate == pytest.approx(20)  # 100 in the 5 seconds there were
    assert monitor.report("job", outcome="failure").count == 10
    assert monitor.report("job", outcome="other") == Report("job")
    assert monitor.report("nothing") == Report("nothing")
    assert monitor.reports() == {"job": report}
    with pytest.raises(AttributeError):
        report.count = 1
    with pytest.raises(TypeError):
        report.by_outcome["x"] = 1
    assert pickle.loads(pickle.dumps(report)) == report


def test_the_rate_slides():
    """What is older than the window no longer counts; the oldest step leaves evenly."""
    clock = Hand()
    monitor = PerformanceMonitor(window=60, clock=clock)
    rates = []
    for second in range(240):
        clock.now = second + 0.5
        if second < 120:
            monitor.track("job", 0.1)
        clock.now = second + 1.0
        rates.append(monitor.report("job").rate)
    assert rates[0] == pytest.approx(1.0)
    assert rates[59] == rates[119] == pytest.approx(1.0)
    assert rates[149] == pytest.approx(0.5)
    assert rates[179:] == [0.0] * 61
    clock.now = 10_000.0
    monitor.track("job", 0.1)
    assert monitor.report("job").rate == pytest.approx(1 / 60)
    assert len(next(iter(monitor._series.values())).window.slots) == 1


def test_instruments():
    """Counters of things count the things; levels are followed; a gauge is what it is."""
    monitor = PerformanceMonitor(clock=Hand())
    for lost in (1, 4):
        monitor.on_next(event("rxpool.dropped", lost, "{item}", policy="drop_oldest"))
    for change in (1, 1, 1, -1):
        monitor.on_next(event("rxpool.task.active", change, "{task}"))
    for size in (3, 0):
        monitor.on_next(event("rxpool.queue.size", size, "{task}"))
    monitor.on_next(
        event("rxpool.tasks", 1, "{task}", outcome="failure", error_type="ValueError")
    )
    monitor.on_next(event("rxpool.tasks", 2, "{task}", outcome="success"))
    monitor.on_next(event("rxpool.worker.cpu", 0.25))
    found = monitor.reports()
    assert list(found) == sorted(found)
    dropped, active, queue = (
        found[f"rxpool.{n}"] for n in ("dropped", "task.active", "queue.size")
    )
    assert (dropped.count, dropped.total, dropped.max) == (5, 5, 0.0)
    assert (active.last, active.max, active.count) == (2, 3, 4)
    assert (queue.last, queue.max) == (0, 3)
    tasks = found["rxpool.tasks"]
    assert (tasks.count, tasks.errors, tasks.by_outcome) == (3, 1, {"failure": 1, "success": 2})
    assert (found["rxpool.worker.cpu"].count, found["rxpool.worker.cpu"].total) == (1, 0.25)


def test_an_error_without_an_outcome():
    """An ``error.type`` alone is an error; with the outcome ``cancelled`` it is none."""
    monitor = PerformanceMonitor()
    monitor.on_next(event("rxpool.retry.attempts", 1, "{attempt}", error_type="OSError"))
    monitor.on_next(event("a", 1, outcome="cancelled", error_type="CancelledError"))
    assert monitor.report("rxpool.retry.attempts").errors == 1
    assert monitor.report("a").errors == 0


def test_timed():
    """As a block, nested, as a decorator, and of an async function; errors pass and count."""
    clock = Hand()
    monitor = PerformanceMonitor(clock=clock)

    with monitor.timed("block", stage="x") as timer:
        clock.now += 1.0
        with timer:
            clock.now += 2.0
    report = monitor.report("block", stage="x", outcome="success")
    assert (report.count, report.min, report.max) == (2, 2.0, 3.0)

    @monitor.timed("call")
    def call(fail):
        """Says so."""
        clock.now += 0.5
        if fail:
            raise ValueError("no")
        return "yes"

    assert call(False) == "yes"
    assert call.__doc__ == "Says so."
    with pytest.raises(ValueError, match="no"):
        call(True)
    report = monitor.report("call")
    assert (report.count, report.errors, report.max) == (2, 1, 0.5)
    assert monitor.report("call", **{"error.type": "ValueError"}).count == 1

    @monitor.timed("later")
    async def later(error):
        clock.now += 4.0
        await asyncio.sleep(0)
        if error:
            raise error
        return 1

    assert asyncio.run(later(None)) == 1
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(later(asyncio.CancelledError()))
    with pytest.raises(InvalidArgument):
        asyncio.run(later(InvalidArgument("x")))
    report = monitor.report("later")
    assert report.by_outcome == {"success": 1, "cancelled": 1, "failure": 1}
    assert report.min == 4.0
    assert report.errors == 1
    assert monitor.report("later", **{"error.type": "rxpool.errors.InvalidArgument"}).count == 1


def test_attribute_sets_are_bounded():
    """The rest goes to one more set of the name, and names beyond to one name; none is lost."""
    monitor = PerformanceMonitor(max_series=3)
    for n in range(100):
        monitor.track("a", 1.0, key=str(n), outcome="failure" if n % 2 else "success")
    for n in range(100):
        monitor.track(f"name {n}", 1.0, outcome="failure")
    assert len(monitor._series) == 5
    found = monitor.reports()
    assert list(found) == ["a", OVERFLOW]
    assert (found["a"].count, found["a"].errors) == (100, 50)
    assert found["a"].by_outcome == {"success": 50, "failure": 50}
    assert (found[OVERFLOW].count, found[OVERFLOW].errors) == (100, 100)
    assert monitor.report("a", overflow="true").count == 97
    copy = pickle.loads(pickle.dumps(monitor))
    assert copy.report("a").by_outcome == found["a"].by_outcome
    assert len(copy._series) <= 5


def test_every_in_virtual_time():
    """At exact ticks, from the subscription until it is disposed."""
    scheduler = TestScheduler()
    monitor = PerformanceMonitor(window=100, clock=scheduler)
    for tick in (205, 215, 216):
        scheduler.schedule_absolute(tick, lambda *_: monitor.track("job", 1))
    results = scheduler.start(lambda: monitor.every(10, scheduler), disposed=235)
    counts = [(m.time, m.value.value.get("job", Report("job")).count) for m in results.messages]
    assert counts == [(210, 1), (220, 3), (230, 3)]


def test_every_leaves_out_what_a_slow_subscriber_misses():
    """And goes on at the next instant of its own rhythm."""
    scheduler = HistoricalScheduler()
    clock = Clock(scheduler)
    start, seen = clock.now(), []

    def slow(_):
        seen.append(clock.now() - start)
        if len(seen) == 1:
            scheduler.sleep(timedelta(seconds=25))

    subscription = PerformanceMonitor().every(10).subscribe(slow, scheduler=scheduler)
    scheduler.advance_by(timedelta(seconds=65))
    subscription.dispose()
    scheduler.advance_by(timedelta(seconds=45))
    assert seen == [10.0, 40.0, 50.0, 60.0]


def test_every_in_real_time_starts_no_thread_per_subscription():
    """A hundred subscriptions, timers of the shared scheduler, nothing left when disposed."""
    before = threading.active_count()
    timers = TimerScheduler.singleton().pending
    rang = threading.Event()
    monitor = PerformanceMonitor()
    monitor.track("job", 1)
    found = []

    def take(reports):
        found.append(reports["job"].count)
        rang.set()

    many = [monitor.every(0.01).subscribe(take) for _ in range(100)]
    assert rang.wait(10)
    assert threading.active_count() <= before + 4
    for each in many:
        each.dispose()
    eventually(lambda: TimerScheduler.singleton().pending <= timers)  # one may just ring
    assert set(found) == {1}


def test_merging_and_pickling():
    """Counts, distributions and the window go along, into one that has a clock of its own."""
    here, there = Hand(), Hand()
    first = PerformanceMonitor(window=60, clock=here)
    second = PerformanceMonitor(window=60, clock=there)
    here.now, there.now = 1000.0, 60.0
    for n in range(60):
        first.track("job", 1.0, outcome="success")
        second.track("job", 3.0, outcome="failure" if n < 20 else "success")
    second.track("other", 2.0)
    first.merge(second)
    report = first.report("job")
    assert (report.count, report.errors, report.mean) == (120, 20, pytest.approx(2.0))
    assert report.by_outcome == {"success": 100, "failure": 20}
    assert report.rate == pytest.approx(2.0)
    assert first.report("other").count == 1
    first.merge(pickle.loads(pickle.dumps(second.snapshot())))
    assert first.report("job").count == 180
    copy = pickle.loads(pickle.dumps(second))
    assert copy.report("job").count == 60
    assert copy.report("job").rate == pytest.approx(1.0, rel=0.05)
    here.now += 61
    assert first.report("job").rate == 0.0
    first.merge(first)
    assert first.report("job").count == 360


def test_as_an_observer(caplog):
    """It can be subscribed to a stream of events; that one's error is logged."""
    events, monitor = Subject(), PerformanceMonitor()
    events.subscribe(monitor)
    events.on_next(event("job", 1.0))
    events.on_error(ValueError("no"))
    assert monitor.report("job").count == 1
    assert "the metrics failed" in caplog.text


def rows(monitor):
    """The table as a dict by name, of what each line has in which column."""
    head, *lines = str(monitor).splitlines()
    assert len({len(line) for line in (head, *lines)}) == 1
    columns = {match.end(): match.group() for match in re.finditer(r"\S+", head)}
    found = {}
    for line in lines:
        name, unit, *numbers = re.finditer(r"\S+", line)
        cells = {columns[each.end()]: each.group() for each in numbers}
        found[name.group()] = {"unit": unit.group(), **cells}
    return found


def test_the_table():
    """A line for each name below the names of the columns."""
    monitor = PerformanceMonitor(clock=Hand())
    numbers = ["mean", "min", "p50", "p90", "p99", "max"]
    head = ["name", "unit", "count", "errors", "rate", "total", "now", *numbers]
    assert str(monitor).split() == head
    monitor.track("job", 0.5, outcome="failure")
    numbers = dict.fromkeys(numbers, "0.5")
    assert rows(monitor) == {
        "job": {"unit": "s", "count": "1", "errors": "1", "rate": "1", **numbers}
    }


def test_the_table_shows_what_makes_sense():
    """Of levels and counters there are no percentiles; what are things is whole."""
    monitor = PerformanceMonitor(clock=Hand())
    for n in range(3):
        monitor.on_next(event("rxpool.tasks", 4115, "{task}", outcome="success"))
        monitor.on_next(event("rxpool.task.active", 1, "{task}"))
        monitor.on_next(event("rxpool.queue.size", 2 * n, "{task}"))
        monitor.on_next(event("rxpool.worker.cpu", 0.25, "s"))
        monitor.on_next(event("rxpool.batch.size", 1, "{item}"))
        monitor.on_next(event("rxpool.worker.memory", 2e6, "By"))
    found = rows(monitor)
    assert found["rxpool.tasks"] == {
        "unit": "{task}",
        "count": "12,345",
        "errors": "0",
        "rate": found["rxpool.tasks"]["rate"],
    }
    assert found["rxpool.task.active"] == {"unit": "{task}", "now": "3", "min": "1", "max": "3"}
    assert found["rxpool.queue.size"] == {"unit": "{task}", "now": "4", "min": "0", "max": "4"}
    assert found["rxpool.worker.cpu"] == {"unit": "s", "total": "0.75"}
    assert found["rxpool.batch.size"]["p50"] == found["rxpool.batch.size"]["max"] == "1"
    assert "errors" not in found["rxpool.batch.size"]


@pytest.mark.parametrize("size", [1, 7, 1000, 99_999])
def test_things_are_whole_numbers(size):
    """Percentiles too, within 1 %; what takes time stays as it is."""
    monitor = PerformanceMonitor()
    for each in (size, size, size + 1):
        monitor.on_next(event("rxpool.batch.size", each, "{item}"))
    report = monitor.report("rxpool.batch.size")
    for name in ("total", "min", "max", "p50", "p90", "p99"):
        assert type(getattr(report, name)) is int, name
    assert report.p50 == pytest.approx(size, rel=0.01)
    assert report.kind == "histogram"
    monitor.track("job", 2.0)
    assert type(monitor.report("job").max) is float


@pytest.mark.parametrize("turn", range(8))
def test_threads(frantic, turn):
    """Nothing is lost when many meet new sets of attributes, report and merge at once."""
    monitor, other = PerformanceMonitor(), PerformanceMonitor()
    other.track("other", 1.0)
    start = threading.Barrier(5)
    failures = []

    def count():
        start.wait()
        for n in range(900):
            monitor.on_next(MetricEvent("job", 1.0, "s", 0.0, {"worker": str(n % 300)}))

    def look():
        start.wait()
        try:
            for _ in range(10):
                monitor.reports()
                monitor.merge(other)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    threads.append(threading.Thread(target=look))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = monitor.report("job")
    assert not failures
    assert (report.count, report.total) == (3600, 3600.0)
    assert len(monitor._by_name["job"]) == 300
    assert monitor.report("other").count == 10


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: PerformanceMonitor(window=0), "window must be .* got 0"),
        (lambda: PerformanceMonitor(max_series=0), "max_series"),
        (lambda: PerformanceMonitor(clock=3), "clock must be .* got 3"),
        (lambda: PerformanceMonitor().track("a", -1), "seconds must be .* got -1"),
        (lambda: PerformanceMonitor().track("a", float("nan")), "nan"),
        (lambda: PerformanceMonitor().track(1, 1), "name must be a str, got 1"),
        (lambda: PerformanceMonitor().track("a", 1, key=1), "key must be a str, got 1"),
        (lambda: PerformanceMonitor().every(0), "seconds must be .* got 0"),
        (lambda: PerformanceMonitor().every(1, 5), "scheduler must be .* got 5"),
        (lambda: PerformanceMonitor().merge(3), "other must be .* got 3"),
        (lambda: PerformanceMonitor().merge(PerformanceMonitor(window=1)), "windows"),
        (lambda: PerformanceMonitor().on_next(event("a", float("inf"))), "inf"),
    ],
)
def test_arguments(call, match):
    """Refused where they are written; the message names the value."""
    with pytest.raises(InvalidArgument, match=match):
        call()


def test_what_was_refused_is_not_counted():
    """Nor half of it."""
    monitor = PerformanceMonitor()
    with pytest.raises(InvalidArgument):
        monitor.on_next(event("a", float("nan")))
    assert monitor.report("a") == Report("a", "s")
