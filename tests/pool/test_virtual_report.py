"""The report of a pool at every tick of virtual time."""

import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import WorkerPool
from rxpool.errors import ItemDropped
from tests.pool.marbles import conserved, row, work
from tests.pool.virtual import at


def test_the_report_shows_every_term_at_every_tick():
    """What waits, runs and is done is in the report, of the pool and of the flow."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler, name="p")
    xs = scheduler.create_hot_observable(*row("a10@210 b10!@211 c10@212 d10@213 e50@245 |@300"))
    seen = {}
    for tick in range(205, 265, 10):
        at(scheduler, tick, lambda tick=tick: seen.update({tick: conserved(pool)}))
    options = {"max_pending": 2, "overflow": "drop_newest", "on_failure": "skip"}
    scheduler.start(lambda: xs.pipe(pool.map(work, **options)), disposed=260)

    def terms(report):
        return (
            report.accepted, report.succeeded, report.failed,
            report.dropped, report.cancelled, report.in_flight, report.waiting,
        )  # fmt: skip

    assert {tick: terms(report) for tick, report in seen.items()} == {
        205: (0, 0, 0, 0, 0, 0, 0),
        215: (4, 0, 0, 1, 0, 3, 2),
        225: (4, 1, 0, 1, 0, 2, 1),
        235: (4, 1, 1, 1, 0, 1, 0),
        245: (5, 2, 1, 1, 0, 1, 0),
        255: (5, 2, 1, 1, 0, 1, 0),
    }
    for report in seen.values():
        (flow,) = report.flows
        assert flow.name == "p.map"
        assert terms(flow) == terms(report)
    assert terms(pool.report()) == (5, 2, 1, 1, 1, 0, 0)


def test_the_report_sums_live_and_ended_flows():
    """Ended flows stay in the sums, live ones are listed one by one."""
    scheduler = TestScheduler()
    pool = WorkerPool(4, on=scheduler, name="p")
    live = Subject()
    live.pipe(pool.outcomes(work)).subscribe()
    rx.of("a10", "b10!").pipe(pool.map(work, on_failure="skip")).subscribe()
    live.on_next("c100")
    assert pool.submit(int, "7") is not None
    scheduler.advance_to(50.0)
    report = conserved(pool)
    assert (report.name, report.accepted, report.succeeded, report.failed) == ("p", 4, 2, 1)
    assert [(flow.name, flow.accepted, flow.in_flight) for flow in report.flows] == [
        ("p.outcomes", 1, 1)
    ]


def test_an_item_dropped_outcome_names_the_policy():
    """The error of a dropped item says which policy dropped it, and the bound."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a10@210 b10@211 |@215"))
    results = scheduler.start(
        lambda: xs.pipe(pool.outcomes(work, max_pending=0, overflow="drop_newest"))
    )
    error = results.messages[0].value.value.error
    assert isinstance(error, ItemDropped)
    assert "drop_newest" in str(error)
    assert "max_pending=0" in str(error)


def test_a_future_in_virtual_time():
    """`submit` runs when time passes; its future does not wait, it is looked at."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    future = pool.submit(work, "a10")
    scheduler.advance_to(5.0)
    assert not future.done()
    scheduler.advance_to(15.0)
    assert future.result(0) == ["a"]
