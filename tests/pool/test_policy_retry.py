"""Retries of items in virtual time: when, how many, and who holds a worker meanwhile."""

import pytest
from reactivex import operators as ro

from rxpool import Limit, Retry, TaskTimeout
from tests.pool.marbles import Oops, Run, outcome
from tests.pool.plans import EXACT, Busy, Plan, run


@pytest.mark.parametrize(
    ("retry", "plan", "expected"),
    [
        (Retry(3, **EXACT), "5! 3! 2", "a@250 |@250"),  # waits 10, 20
        (Retry(3, backoff="linear", **EXACT), "5! 3! 2", "a@250 |@250"),
        (Retry(3, backoff="constant", **EXACT), "5! 3! 2", "a@240 |@240"),
        (Retry(3, backoff=lambda n: 7 * n, **EXACT), "5! 3! 2", "a@241 |@241"),
        (Retry(4, max_delay=15, **EXACT), "5! 3! 2! 1", "a@261 |@261"),
        (Retry(2, **EXACT), "5! 3!", "#Oops@228"),  # no wait after the last
        (Retry(1), "5!", "#Oops@215"),
        (Retry(3, delay=0), "5! 3! 2", "a@220 |@220"),
        (Retry(3, on=KeyError, **EXACT), "5!", "#Oops@215"),
        (Retry(3, on=(KeyError, Oops), **EXACT), "5! 1", "a@226 |@226"),
        (Retry(3, on=lambda error: "b" in str(error), **EXACT), "5!", "#Oops@215"),
    ],
)
def test_retries_at_their_ticks(retry, plan, expected):
    """A wait counts from the failure; the last error comes at once."""
    found = run(Plan(a=plan), "a@210 |@211", retry=retry)
    assert found.text == expected
    assert found.counts["accepted"] == 1


def test_a_number_is_a_number_of_attempts():
    """`retry=2` is `Retry(2)`."""
    plan = Plan(a="5! 5!")
    assert run(plan, "a@210 |@211", retry=2).text.startswith("#Oops@")
    assert len(plan.starts) == 2


def test_as_many_attempts_as_there_is_time_for():
    """The deadline ends them: with the last error if the next one would come too late."""
    retry = Retry(max_attempts=None, backoff="constant", **EXACT)
    plan = Plan(a="5! " * 6 + "5")
    assert run(plan, "a@210 |@211", retry=retry, deadline=100).text == "a@305 |@305"
    assert len(plan.starts) == 7
    plan = Plan(a="5! " * 30)
    assert run(plan, "a@210 |@211", retry=retry, deadline=70).text == "#Oops@275"
    assert plan.starts[-1] == "a@270"


def test_whoever_waits_for_a_retry_holds_no_worker():
    """One worker: the others pass."""
    plan = Plan(a="5! 5")
    found = run(plan, "a@210 b@211 c@212 |@213", retry=Retry(2, delay=100, jitter=0))
    assert found.text == "b@220 c@225 a@320 |@320"


def test_in_input_order_the_others_run_meanwhile():
    """Their results wait."""
    plan = Plan(a="5! 5")
    found = run(
        plan, "a@210 b@211 c@212 |@213", order="input", retry=Retry(2, delay=100, jitter=0)
    )
    assert found.text == "a@320 b@320 c@320 |@320"
    assert plan.starts == ["a@210", "b@215", "c@220", "a@315"]


def test_the_next_of_a_key_waits_for_the_retries():
    """Others do not."""
    plan = Plan(a="5! 5")
    found = run(
        plan,
        "a@210 A@211 b@212 |@213",
        order="key",
        key=str.lower,
        retry=Retry(2, delay=100, jitter=0),
    )
    assert found.text == "b@220 a@320 A@325 |@325"


def test_the_error_says_how_long_to_wait():
    """Also above `max_delay`."""
    found = run(Plan(Busy, a="5! 5"), "a@210 |@211", retry=Retry(2, max_delay=1, delay=0.5))
    assert found.text == "a@270 |@270"


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [
        (14, "-a:Oops*1@215 |@215"),
        (15, "-a:Oops*1@215 |@215"),  # the retry would start at 225
        (17, "-a:DeadlineExceeded*2@227 |@227"),  # at 225 it starts, for 3
        (20, "a@228 |@228"),
    ],
)
def test_a_retry_that_would_come_after_the_deadline(deadline, expected):
    """It is not waited for."""
    found = run(
        Plan(a="5! 3"),
        "a@210 |@211",
        method="outcomes",
        deadline=deadline,
        retry=Retry(2, **EXACT),
    )
    text = found.text
    records = [m.value.value for m in found.messages if m.value.kind == "N"]
    shown = f"{outcome(records[0])}@{found.messages[0].time:g} |@{found.messages[-1].time:g}"
    assert shown == expected, text


def test_the_deadline_ends_a_wait():
    """The item waits for a limit."""
    found = run(
        Plan(), "a@210 b@211 |@212", method="outcomes", deadline=20, limit=Limit(1, per=100)
    )
    assert [outcome(m.value.value) for m in found.messages[:-1]] == [
        "a",
        "-b:DeadlineExceeded*0",
    ]
    assert [m.time for m in found.messages] == [215, 231, 231]


def test_a_timeout_is_an_attempt_that_failed():
    """And the slot is free while the retry is waited for."""
    plan = Plan(a="50 5")
    found = run(
        plan,
        "a@210 b@211 |@212",
        timeout=10,
        retry=Retry(2, on=TaskTimeout, **EXACT),
    )
    assert found.text == "b@225 a@235 |@235"


def test_dispose_while_a_retry_is_waited_for():
    """No timer is left (`Run` looks), and nothing starts."""
    plan = Plan(a="5! 5")

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        return run.pool.map(plan, retry=Retry(2, delay=100, jitter=0))

    found = Run("a@210", operator, disposed=250.0)
    assert (found.text, plan.starts) == ("", ["a@210"])
    assert found.counts == {"accepted": 1, "cancelled": 1}


def test_terminate_while_a_retry_is_waited_for():
    """The item is cancelled, with its attempts."""
    plan = Plan(a="5! 5")

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        return run.pool.outcomes(plan, retry=Retry(2, delay=100, jitter=0))

    found = Run("a@210", operator, at={250: lambda run: run.pool.terminate()})
    (record,) = [m.value.value for m in found.messages if m.value.kind == "N"]
    assert outcome(record) == "-a:TaskCancelled*1"
    assert (record.took, record.waited) == (5, 35)


def test_times_of_an_outcome():
    """`took` is what the attempts took, `waited` all the rest."""
    found = run(Plan(a="5! 3! 2"), "a@210 |@211", method="outcomes", retry=Retry(3, **EXACT))
    record = found.messages[0].value.value
    assert (record.attempts, record.took, record.waited) == (3, 10, 30)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_budget_keeps_an_outage_small(share):
    """Few retries beside the first attempts; the rest fails at once."""
    items = [chr(97 + n) for n in range(26)]
    plan = Plan(**dict.fromkeys(items, "1! 1! 1! 1!"))
    source = " ".join(f"{item}@{210 + n}" for n, item in enumerate(items)) + " |@240"
    run(
        plan,
        source,
        method="outcomes",
        workers=50,
        retry=Retry(4, delay=1, jitter=0, budget=share),
    )
    retries = len(plan.starts) - len(items)
    assert 3 <= retries <= max(3, share * len(items))


def test_bisecting_comes_after_the_retries():
    """A batch is tried again as a whole first."""
    batches = []

    def work(batch):
        batches.append("".join(batch))
        if "x" in batch:
            raise Oops(batch)
        return batch

    def operator(run):
        mapped = run.pool.map_batches(work, bisect=True, retry=retry, on_failure="skip")
        return lambda xs: xs.pipe(ro.map(list), mapped)

    retry = Retry(2, delay=0)
    found = Run("abxd@210 |@211", operator)
    assert batches == ["abxd", "abxd", "ab", "xd", "xd", "x", "d", "x"]
    assert found.text == "a@210 b@210 d@210 |@211"
    assert found.counts == {"accepted": 3, "succeeded": 2, "failed": 1}
