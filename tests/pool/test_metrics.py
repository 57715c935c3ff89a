"""What a pool tells of its work: events, attempts, and that they add up."""

import sys
import threading
from collections import Counter

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import (
    CircuitBreaker,
    InvalidArgument,
    Limit,
    MetricEvent,
    PerformanceMonitor,
    Retry,
    WorkerPool,
)
from rxpool.metrics import METRICS
from tests.alarms import Alarms
from tests.pool.crew import Oops, Sink, collect, joined, started
from tests.pool.marbles import work


class Virtual:
    """A pool in virtual time, and what it told."""

    def __init__(self, workers=1, **options):
        self.time = Alarms()
        self.events, self.attempts = [], []
        self.pool = WorkerPool(workers, on=self.time, name="p", monitor=self.events.append)
        self.pool.attempts.subscribe(self.attempts.append)

    def run(self, items, **options):
        """Send `items`, pairs of a tick and an item, through `map`."""
        source = Subject()
        for tick, item in items:
            self.time.schedule_absolute(tick, lambda *_, item=item: source.on_next(item))
        self.sink = Sink()
        self.sink.to(source.pipe(self.pool.map(work, on_failure="skip", **options)))
        self.time.start()
        return self

    def told(self, name):
        """Instant, value and attributes of the events of a name."""
        return [
            (event.at, event.value, dict(event.attributes) | {"pool": "p"})
            for event in self.events
            if event.name == name
        ]

    def counted(self, name="rxpool.tasks"):
        """Sums of the values by outcome."""
        sums = Counter()
        for event in self.events:
            if event.name == name:
                sums[event.attributes["outcome"]] += event.value
        return sums


P = {"pool": "p"}
GOOD = {"pool": "p", "outcome": "success"}


def bad(kind):
    """The attributes of a failure."""
    return {"pool": "p", "outcome": "failure", "error.type": kind}


OOPS = bad("tests.pool.marbles.Oops")


def test_one_worker_two_items():
    """Durations, waits, levels and counts at their ticks."""
    run = Virtual().run([(210, "a30"), (220, "b5!")])
    assert run.told("rxpool.task.duration") == [(240, 30, GOOD), (245, 5, OOPS)]
    assert run.told("rxpool.task.wait") == [(240, 0, P), (245, 20, P)]
    assert run.told("rxpool.tasks") == [(240, 1, GOOD), (245, 1, OOPS)]
    assert run.told("rxpool.task.active") == [(210, 1, P), (245, -1, P)]
    assert run.told("rxpool.queue.size") == [(220, 1, P), (240, 0, P)]


def test_attempts_have_lanes_that_do_not_overlap():
    """One record for each attempt; what runs side by side has lanes of its own."""
    run = Virtual(2).run([(210, "a30"), (211, "b10"), (212, "c10!")])
    shown = [(r.worker, r.started, r.ended, r.outcome) for r in run.attempts]
    assert shown == [
        ("p-0", 211, 221, "success"),
        ("p-0", 221, 231, "failure"),
        ("p-1", 210, 240, "success"),
    ]
    assert run.attempts[1].error == "tests.pool.marbles.Oops: c10!"
    assert run.attempts[1].accepted == 212


def test_retries():
    """Each attempt has a duration; the item is counted once, and waited once."""
    run = Virtual().run([(210, "a5!")], retry=Retry(max_attempts=3, delay=10, jitter=0))
    assert run.told("rxpool.task.duration") == [(215, 5, OOPS), (230, 5, OOPS), (255, 5, OOPS)]
    kind = {"pool": "p", "error.type": "tests.pool.marbles.Oops"}
    assert run.told("rxpool.retry.attempts") == [(215, 1, kind), (230, 1, kind)]
    assert run.told("rxpool.retry.wait") == [(215, 10, P), (230, 20, P)]
    assert run.told("rxpool.tasks") == [(255, 1, OOPS)]
    assert run.told("rxpool.task.wait") == [(215, 0, P)]
    assert [record.attempt for record in run.attempts] == [1, 2, 3]


def test_a_timeout_is_a_failed_attempt():
    """It ends when the limit says."""
    run = Virtual().run([(210, "a50")], timeout=20)
    assert run.told("rxpool.task.duration") == [(230, 20, bad("rxpool.errors.TaskTimeout"))]


def test_dropped():
    """By policy, and as an outcome."""
    items = [(210, "a30"), (211, "b5"), (212, "c5")]
    run = Virtual().run(items, max_pending=1, overflow="drop_oldest")
    assert run.told("rxpool.dropped") == [(212, 1, {"pool": "p", "policy": "drop_oldest"})]
    assert run.counted() == {"success": 2, "dropped": 1}


def test_a_limit_that_makes_items_wait():
    """The wait is told with the attempt."""
    run = Virtual(2).run([(210, "a5"), (211, "b5")], limit=Limit(1, per=10))
    assert [event[:2] for event in run.told("rxpool.limit.wait")] == [(225, 9)]


def test_results_that_wait_for_their_turn():
    """In input order the wait behind the head of the line."""
    run = Virtual(2).run([(210, "a30"), (211, "b10")], order="input")
    assert run.told("rxpool.reorder.wait") == [(240, 0, P), (240, 19, P)]


def test_a_breaker_that_two_flows_share_is_heard_once():
    """Changes and refusals; nothing of it once the flows have ended."""
    breaker = CircuitBreaker(
        name="b",
        minimum_number_of_calls=1,
        sliding_window_size=1,
        wait_duration_in_open_state=1000,
    )
    run = Virtual()
    other = run.pool.map(work, breaker=breaker)(rx.never()).subscribe()
    run.run([(210, "a5!"), (220, "b5")], breaker=breaker)
    change = {"breaker": "b", "from": "closed", "to": "open", "pool": "p"}
    half = {"breaker": "b", "from": "open", "to": "half_open", "pool": "p"}
    assert run.told("rxpool.breaker.transitions")[:1] == [(215, 1, change)]
    assert run.told("rxpool.breaker.transitions")[1:] in ([], [(1215, 1, half)])
    refused = {"breaker": "b", "state": "open", "pool": "p"}
    assert run.told("rxpool.breaker.rejected") == [(220, 1, refused)]
    assert run.counted() == {"failure": 2}
    other.dispose()
    run.sink.subscription.dispose()
    assert not breaker.events.heard


def test_a_breaker_is_heard_as_long_as_one_flow_has_it():
    """The end of another flow changes nothing."""
    breaker = CircuitBreaker(name="b", minimum_number_of_calls=1, sliding_window_size=1)
    run = Virtual()
    others = [run.pool.map(work, breaker=breaker)(rx.never()).subscribe() for _ in range(2)]
    others[0].dispose()
    breaker.force_open()
    assert len(run.told("rxpool.breaker.transitions")) == 1
    others[1].dispose()
    breaker.reset()
    assert len(run.told("rxpool.breaker.transitions")) == 1


def test_what_is_cancelled():
    """Disposed items count, and so does the attempt that was cut short."""
    run = Virtual()
    run.time.schedule_absolute(220, lambda *_: run.sink.subscription.dispose())
    run.run([(210, "a50"), (211, "b5")])
    assert run.counted() == {"cancelled": 2}
    assert [(r.started, r.ended, r.outcome) for r in run.attempts] == [(210, 220, "cancelled")]


def test_every_event_is_in_the_table():
    """Name, unit and attributes are those of `METRICS`."""
    items = [(210 + n, f"a{n}{'!' * (n % 2)}") for n in range(9)]
    run = Virtual(2).run(items, retry=Retry(max_attempts=2, delay=1), limit=Limit(1, per=2))
    assert len({event.name for event in run.events}) >= 7
    for event in run.events:
        metric = METRICS[event.name]
        assert event.unit == metric.unit
        assert set(event.attributes) <= set(metric.attributes), event


# -- who listens -------------------------------------------------------------------------


def test_nothing_is_noted_for_nobody():
    """The books take no notes, and none are left, unless somebody listens."""
    with WorkerPool(2) as pool:
        effects = pool._engine.effects
        assert not effects.recording
        subscription = pool.metrics.subscribe()
        assert effects.recording
        other = pool.attempts.subscribe()
        subscription.dispose()
        assert effects.recording
        other.dispose()
        assert not effects.recording
        assert list(pool.imap(abs, range(9))) is not None
        assert effects.notes == []


def test_subscribers_come_at_any_time_and_see_the_end():
    """The stream is hot, and completes when the pool is closed."""
    seen = Sink()
    with WorkerPool(2) as pool:
        seen.to(pool.metrics)
        collect(rx.range(10).pipe(pool.map(abs)))
    seen.wait()
    assert sum(event.name == "rxpool.tasks" for event in seen.values) == 10
    late = Sink().to(pool.metrics)
    assert late.wait() == []


def test_one_monitor_for_several_pools_sees_no_end():
    """A Subject that two pools share goes on when one is closed."""
    subject, seen = Subject(), Sink()
    seen.to(subject)
    for _ in range(2):
        with WorkerPool(1, monitor=subject) as pool:
            collect(rx.range(3).pipe(pool.map(abs)))
    assert sum(event.name == "rxpool.tasks" for event in seen.values) == 6
    assert not seen.completed


def test_a_monitor_that_raises_is_let_go_and_is_a_fault():
    """The work goes on, the exception is on `faults`, the others hear on."""

    def fail(event):
        raise Oops(event.name)

    seen, faults = [], []
    with WorkerPool(1, monitor=fail) as pool:
        pool.faults.subscribe(faults.append)
        pool.metrics.subscribe(seen.append)
        assert collect(rx.range(3).pipe(pool.map(abs))) == [0, 1, 2]
    assert [type(fault) for fault in faults] == [Oops]
    assert sum(event.name == "rxpool.tasks" for event in seen) == 3


@pytest.mark.parametrize("monitor", [3, "x", object()])
def test_what_is_no_monitor_is_refused(monitor):
    """With the value in the message."""
    with pytest.raises(InvalidArgument, match="monitor must be callable or have on_next"):
        WorkerPool(monitor=monitor)


def test_a_report_of_the_monitor():
    """`PerformanceMonitor` understands all of it."""
    monitor = PerformanceMonitor()
    with WorkerPool(2, monitor=monitor) as pool:
        collect(rx.range(100).pipe(pool.map(lambda x: 1 / (x % 10), on_failure="skip")))
    report = monitor.report("rxpool.tasks")
    assert (report.count, report.errors) == (100, 10)
    assert report.by_outcome == {"success": 90, "failure": 10}
    assert monitor.report("rxpool.task.duration").count == 100
    assert monitor.report("rxpool.task.active").last == 0


# -- it adds up --------------------------------------------------------------------------


@pytest.fixture
def impatient():
    """Threads are switched as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_who_comes_and_goes_at_once(impatient):
    """Whoever is left hears: caught is a look without the lock, which may come too late."""
    with WorkerPool(1) as pool:
        meter = pool._engine.telemetry
        for _ in range(300):
            gone = pool.metrics.subscribe()
            kept = []
            joined(
                started(gone.dispose),
                started(lambda kept=kept: kept.append(pool.attempts.subscribe())),
            )
            assert meter.heard
            assert pool._engine.effects.recording
            kept[0].dispose()
            assert not meter.heard


@pytest.mark.parametrize("options", [{}, {"order": "input"}, {"retry": Retry(2, delay=0)}])
def test_it_adds_up_under_load(impatient, options):
    """Four producers: every snapshot is balanced, every item is one event of its outcome."""
    events = []
    done = threading.Event()
    unbalanced = []
    with WorkerPool(4, max_pending=50, monitor=events.append) as pool:
        subjects = [Subject() for _ in range(4)]
        sinks = [
            Sink().to(each.pipe(pool.map(half, on_failure="skip", **options)))
            for each in subjects
        ]

        def watch():
            while not done.is_set():
                report = pool.report()
                ended = settled(report)
                if report.accepted != ended + report.in_flight or report.in_flight < 0:
                    unbalanced.append(report)

        def produce(subject):
            for number in range(500):
                subject.on_next(number)
            subject.on_completed()

        watcher = started(watch)
        joined(*(started(produce, subject) for subject in subjects))
        for sink in sinks:
            sink.wait()
        done.set()
        joined(watcher)
        report = pool.report()
    assert unbalanced == []
    sums = Counter()
    for event in events:
        if event.name == "rxpool.tasks":
            sums[event.attributes["outcome"]] += event.value
    assert sums == {"success": report.succeeded, "failure": report.failed}
    assert report.accepted == 2000 == sum(sums.values())
    assert sum(e.value for e in events if e.name == "rxpool.task.active") == 0
    attempts = sum(event.name == "rxpool.task.duration" for event in events)
    assert attempts == 2000 + ("retry" in options) * report.failed


def settled(report):
    """What is settled."""
    return report.succeeded + report.failed + report.dropped + report.cancelled


def half(number):
    """Fail for one in ten."""
    if number % 10 == 3:
        raise Oops(number)
    return number // 2


def test_events_are_events():
    """Frozen, with the pool's name."""
    events = []
    with WorkerPool(1, name="q", monitor=events.append) as pool:
        pool.submit(abs, -1).result()
    assert all(isinstance(event, MetricEvent) for event in events)
    assert {event.attributes["pool"] for event in events} == {"q"}
