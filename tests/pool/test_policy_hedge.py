"""Second runs of slow items in virtual time."""

import pytest

from rxpool import Hedge, Limit, Retry
from tests.pool.marbles import Run, outcome
from tests.pool.plans import Plan, run


@pytest.mark.parametrize(
    ("steps", "expected", "attempts"),
    [
        ("50 5", "a@225 |@225", 2),  # the second wins
        ("15 50", "a@225 |@225", 2),  # the first wins
        ("5 5", "a@215 |@215", 1),  # there is no second
        ("50 5!", "a@260 |@260", 2),  # the second fails, the first is left
        ("15! 20", "a@240 |@240", 2),  # the first fails
        ("15! 2!", "#Oops@225", 2),  # both do; the last error counts
    ],
)
@pytest.mark.parametrize("order", ["completion", "input"])
def test_a_second_run(steps, expected, attempts, order):
    """It starts after 10 ticks; the first to end well wins, the other is cancelled."""
    plan = Plan(a=steps)
    found = run(plan, "a@210 |@211", workers=2, order=order, hedge=Hedge(10, budget=None))
    assert found.text == expected
    assert len(plan.starts) == attempts
    assert found.counts["accepted"] == 1
    outcomes = run(
        Plan(a=steps),
        "a@210 |@211",
        method="outcomes",
        workers=2,
        order=order,
        hedge=Hedge(10, budget=None),
    )
    (record,) = [m.value.value for m in outcomes.messages if m.value.kind == "N"]
    assert record.attempts == attempts


def test_no_second_run_without_a_worker_to_spare():
    """Nobody is displaced."""
    plan = Plan(a="50 1")
    assert run(plan, "a@210 |@211", hedge=Hedge(10)).text == "a@260 |@260"
    assert plan.starts == ["a@210"]


def test_second_runs_are_few():
    """The budget has a floor of 3."""
    items = [chr(97 + n) for n in range(20)]
    plan = Plan(**dict.fromkeys(items, "50 50"))
    source = " ".join(f"{item}@{210 + n}" for n, item in enumerate(items)) + " |@240"
    run(plan, source, workers=50, hedge=Hedge(5, budget=0.05))
    assert len(plan.starts) == len(items) + 3


def test_both_runs_failed_and_then_a_retry():
    """The retry is of the item, not of a run."""
    plan = Plan(a="15! 15! 2")
    found = run(
        plan,
        "a@210 |@211",
        workers=2,
        hedge=Hedge(10),
        retry=Retry(3, delay=5, jitter=0, backoff="constant"),
    )
    assert found.text == "a@242 |@242"
    assert plan.starts == ["a@210", "a@220", "a@240"]


def test_both_runs_are_cancelled_as_one():
    """One outcome, nothing left."""
    plan = Plan(a="500 500 500 500")

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        return run.pool.outcomes(plan, hedge=Hedge(10))

    found = Run("a@210", operator, workers=2, at={250: lambda run: run.pool.terminate()})
    records = [m.value.value for m in found.messages if m.value.kind == "N"]
    assert [outcome(record) for record in records] == ["-a:TaskCancelled*2"]
    assert found.counts == {"accepted": 1, "cancelled": 1}
    found = Run("a@210", operator, workers=2, disposed=250.0)
    assert found.counts == {"accepted": 1, "cancelled": 1}


def test_a_second_run_takes_a_token_and_a_permit():
    """Without a token there is none."""
    plan = Plan(a="50 1", b="50 1")
    run(
        plan,
        "a@210 b@211 |@212",
        workers=4,
        hedge=Hedge(10),
        limit=Limit(1, per=1000, burst=3),
    )
    assert plan.starts == ["a@210", "b@211", "a@220"]
