"""The outcomes of items in virtual time."""

import pytest
from reactivex.testing import TestScheduler

from rxpool import Success, WorkerPool
from tests.pool.marbles import Oops, conserved, row, shown, work
from tests.pool.virtual import outcome

OUTCOMES = {
    "successes and failures, in completion order": (
        2, {}, "a30@210 b10!@210 c20@211 |@215",
        "-b10!:Oops@220 a@240 c@240 |@240",
    ),
    "in input order": (
        2, {"order": "input"}, "a30@210 b10!@210 c20@211 |@215",
        "a@240 -b10!:Oops@240 c@240 |@240",
    ),
    "a dropped item as it happens": (
        1, {"max_pending": 1, "overflow": "drop_oldest"}, "a30@210 b10@211 c10@212 |@215",
        "-b10:ItemDropped@212 a@240 c@250 |@250",
    ),
    "a dropped item as it happens, in input order": (
        1, {"max_pending": 1, "overflow": "drop_newest", "order": "input"},
        "a30@210 b10@211 c10@212 |@215",
        "-c10:ItemDropped@212 a@240 b@250 |@250",
    ),
    "before an Overflow": (
        1, {"max_pending": 1, "overflow": "error"}, "a30!@210 b10@211 c10@212 |@215",
        "-a30!:Oops@240 b@250 #Overflow@250",
    ),
    "before the error of the source": (
        1, {}, "a30!@210 b10@211 #@215", "-a30!:Oops@240 b@250 #RuntimeError@250",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "options", "source", "expected"), OUTCOMES.values(), ids=OUTCOMES
)
def test_outcomes(workers, options, source, expected):
    """Every accepted item has exactly one outcome."""
    scheduler = TestScheduler()
    pool = WorkerPool(workers, on=scheduler)
    xs = scheduler.create_hot_observable(*row(source))
    results = scheduler.start(lambda: xs.pipe(pool.outcomes(work, **options)))
    assert shown(results.messages, outcome) == expected
    assert conserved(pool).in_flight == 0


def test_an_outcome_knows_its_times():
    """`waited` is from acceptance to the start, `took` from there to the end."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a30@210 b10!@215 |@220"))
    results = scheduler.start(lambda: xs.pipe(pool.outcomes(work)))
    first, second = (m.value.value for m in results.messages[:2])
    assert first == Success("a30", ["a"], 1, 0, 30)
    assert isinstance(second.error, Oops)
    assert (second.item, second.attempts, second.waited, second.took) == ("b10!", 1, 25, 10)
