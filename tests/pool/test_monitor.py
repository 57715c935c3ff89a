"""A monitor of a pool: it knows all at any time, and other subscribers hear as without it."""

import logging
import threading
from collections import Counter

import pytest
import reactivex as rx

from rxpool import Limit, PerformanceMonitor, Retry, WorkerPool
from rxpool.events import MetricEvent
from tests.alarms import Alarms
from tests.pool.crew import Oops, Sink, collect
from tests.pool.test_metrics import GOOD, P, Virtual, half

NAMES = ("rxpool.task.duration", "rxpool.task.wait", "rxpool.tasks")


def add(number):
    """The work."""
    return number + 1


async def add_async(number):
    """The same for an event loop."""
    return number + 1


def of_events(events):
    """A monitor that was given events one by one."""
    monitor = PerformanceMonitor(clock=lambda: 0.0)
    for event in events:
        monitor.on_next(event)
    return monitor


BACKENDS = [("threads", add), ("asyncio", add_async), ("processes", add), ("inline", add)]


@pytest.mark.parametrize(("on", "function"), BACKENDS)
def test_nothing_is_missing_when_the_pool_is_closed(on, function):
    """Nor before that: what is delivered is counted."""
    monitor, least = PerformanceMonitor(), []
    with WorkerPool(1, on=on, monitor=monitor) as pool:
        done = Sink()

        def see(_):
            counted = monitor.report("rxpool.tasks").count
            done.on_next(None)
            least.append(counted - len(done.values))

        rx.range(1000).pipe(pool.map(function)).subscribe(see, done.on_error, done.on_completed)
        done.wait()
    assert min(least) >= 0
    assert [monitor.report(name).count for name in NAMES] == [1000] * 3
    assert monitor.report("rxpool.tasks", pool=pool.name).by_outcome == {"success": 1000}
    assert monitor._intakes == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": "input"},
        {"retry": Retry(2, delay=0)},
        {"limit": Limit(500, per=0.05)},
        {"timeout": 60},
        {"deadline": 60},
    ],
    ids=" ".join,
)
def test_who_hears_events_and_the_monitor_agree(options):
    """On every report but the rate, and the events are those that a monitor was sent before."""
    monitor, events = PerformanceMonitor(clock=lambda: 0.0), []
    with WorkerPool(4, name="p", monitor=monitor) as pool:
        pool.metrics.subscribe(events.append)
        collect(rx.range(600).pipe(pool.map(half, on_failure="skip", **options)))
    found, wanted = monitor.reports(), of_events(events).reports()
    assert list(found) == list(wanted)
    for name, report in wanted.items():
        for field in ("count", "errors", "by_outcome", "min", "max", "last", "p50", "p99"):
            assert getattr(found[name], field) == getattr(report, field), (name, field)
        assert found[name].total == pytest.approx(report.total)


def test_a_subscriber_hears_each_event_as_without_a_monitor():
    """Names, values, units, attributes, instants and their order."""
    heard = []
    for monitor in (None, PerformanceMonitor()):
        events, time = [], Alarms()
        pool = WorkerPool(1, on=time, name="p", monitor=monitor)
        pool.metrics.subscribe(events.append)
        run = Virtual.__new__(Virtual)
        run.time, run.pool = time, pool
        run.run([(210, "a30"), (220, "b5!"), (221, "c5")])
        heard.append(events)
    assert heard[0] == heard[1]
    assert all(type(event) is MetricEvent for event in heard[0])
    one = [event for event in heard[0] if event.name in NAMES][:3]
    assert one == [
        MetricEvent("rxpool.task.duration", 30, "s", 240, GOOD),
        MetricEvent("rxpool.task.wait", 0, "s", 240, P),
        MetricEvent("rxpool.tasks", 1, "{task}", 240, GOOD),
    ]
    assert Counter(event.name for event in heard[0])["rxpool.tasks"] == 3


def test_in_virtual_time():
    """At each tick the monitor knows what has ended."""
    time, seen = Alarms(), []
    monitor = PerformanceMonitor(clock=time)
    run = Virtual.__new__(Virtual)
    run.time, run.pool = time, WorkerPool(1, on=time, monitor=monitor)
    for tick in (239, 241, 246, 260):
        time.schedule_absolute(
            tick,
            lambda *_: seen.append(
                (monitor.report(NAMES[2]).count, monitor.report(NAMES[0]).max)
            ),
        )
    run.run([(210, "a30"), (211, "b5"), (212, "c10!")])
    assert seen == [(0, 0.0), (1, 30.0), (2, 30.0), (3, 30.0)]


def test_two_pools_and_one_monitor():
    """Each has its own figures, also when the other is closed."""
    monitor = PerformanceMonitor()
    with WorkerPool(2, name="a", monitor=monitor) as first:
        with WorkerPool(2, name="b", monitor=monitor) as second:
            for pool, count in ((first, 300), (second, 500)):
                assert len(list(pool.imap(add, range(count)))) == count
            assert monitor.report("rxpool.tasks").count == 800
        list(first.imap(add, range(10)))
        assert monitor.report("rxpool.tasks", pool="a").count == 310
        assert monitor.report("rxpool.task.wait", pool="b").count == 500
        assert len(monitor._intakes) == 2  # of tasks, and of results that wait
    assert monitor.report("rxpool.task.duration").count == 810


def test_a_monitor_of_ones_own_gets_events():
    """A subclass that looks at each of them does so."""
    seen = []

    class Own(PerformanceMonitor):
        def on_next(self, value, /):
            seen.append(value.name)
            super().on_next(value)

    monitor = Own()
    with WorkerPool(1, monitor=monitor) as pool:
        list(pool.imap(add, range(20)))
    assert Counter(seen)["rxpool.tasks"] == 20 == monitor.report("rxpool.tasks").count


@pytest.mark.parametrize(("on", "function"), BACKENDS)
def test_a_clock_that_raises_is_a_fault(on, function):
    """The monitor is let go, the work goes on, and the others hear on."""
    broken, faults, events = threading.Event(), [], []

    def clock():
        if broken.is_set():
            raise Oops("the clock")
        return 0.0

    monitor = PerformanceMonitor(clock=clock)
    with WorkerPool(1, on=on, monitor=monitor) as pool:
        pool.faults.subscribe(faults.append)
        assert list(pool.imap(function, range(3))) == [1, 2, 3]
        broken.set()
        assert sorted(pool.imap(function, range(50))) == list(range(1, 51))
        pool.metrics.subscribe(events.append)
        assert sorted(pool.imap(function, range(5))) == list(range(1, 6))
        assert pool._engine.telemetry._feed is None
    broken.clear()
    assert [type(fault) for fault in faults] == [Oops]
    assert monitor.report("rxpool.tasks").count == 3
    assert monitor._intakes == []
    assert sum(event.name == "rxpool.tasks" for event in events) == 5


def test_a_log_that_hears_nothing_costs_a_task_nothing(caplog):
    """Whether starts and ends are told is decided when a flow begins."""
    told = []
    with WorkerPool(1) as pool:
        telemetry = pool._engine.telemetry
        telemetry.succeeded = telemetry.starting = told.append
        for level, heard, starts in (
            (logging.WARNING, False, False),
            (logging.INFO, True, False),
        ):
            caplog.set_level(level, logger="rxpool")
            assert list(pool.imap(add, range(9)))
            assert (telemetry.heard, telemetry.logs_starts) == (heard, starts)
            assert told == []
        caplog.set_level(logging.DEBUG, logger="rxpool")
        assert list(pool.imap(add, range(9)))
        assert telemetry.logs_starts
        assert len(told) == 9
