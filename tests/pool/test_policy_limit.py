"""Limits of a flow in virtual time: which attempts start when."""

import pytest
import reactivex as rx
from reactivex import operators as ro

from rxpool import AdaptiveConcurrency, Journal, Limit, Retry
from tests.pool.marbles import Run, outcome
from tests.pool.plans import EXACT, Busy, Plan, run


@pytest.mark.parametrize(
    ("limit", "starts"),
    [
        (Limit(1, per=10), "a@210 b@220 c@230 d@240"),
        (Limit(1, per=10, burst=2), "a@210 b@211 c@220 d@230"),
        (Limit(1, per=10, burst=0), "a@220 b@230 c@240 d@250"),
        (Limit(2, per=10, strict=True), "a@210 b@211 c@220 d@221"),
        (Limit(1, per=10, cost=2, burst=2), "a@210 b@230 c@250 d@270"),
        (Limit(1, per=10, cost=lambda item: float(item == "b")), "a@210 b@211 c@212 d@213"),
        (Limit(1, per=10, key=lambda item: item in "ab"), "a@210 c@212 b@220 d@222"),
        (
            Limit.all(Limit(1, per=4), Limit(2, per=20, burst=2)),
            "a@210 b@214 c@220 d@230",
        ),
    ],
)
def test_a_limit_lets_attempts_start_at_its_ticks(limit, starts):
    """First come, first served, but for keys that have tokens left."""
    plan = Plan()
    found = run(plan, "a@210 b@211 c@212 d@213 |@214", workers=4, limit=limit)
    assert " ".join(plan.starts) == starts
    assert found.counts == {"accepted": 4, "succeeded": 4}


def test_the_next_of_a_key_starts_after_a_final_failure():
    """The one before it was tried again in vain."""
    plan = Plan(a="5! 5!")
    found = run(
        plan,
        "a@210 A@211 |@213",
        order="key",
        key=str.lower,
        on_failure="skip",
        retry=Retry(2, **EXACT),
    )
    assert found.text == "A@235 |@235"


def test_retries_take_tokens_too():
    """Each attempt does."""
    plan = Plan(a="1! 1", b="1")
    run(plan, "a@210 b@211 |@214", workers=4, limit=Limit(1, per=10), retry=Retry(2, delay=0))
    assert plan.starts == ["a@210", "b@220", "a@230"] or plan.starts == [
        "a@210",
        "a@220",
        "b@230",
    ]


def test_whoever_waits_for_a_token_holds_no_worker():
    """One worker, two flows: the other one goes on."""
    limit, plan = Limit(1, per=100), Plan()

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        slow, quick = run.pool.map(plan, limit=limit), run.pool.map(plan)
        return lambda xs: rx.merge(
            xs.pipe(ro.filter(str.islower), slow), xs.pipe(ro.filter(str.isupper), quick)
        )

    found = Run("a@210 b@211 A@212 B@213 |@214", operator)
    assert found.text == "a@215 A@220 B@225 b@315 |@315"


def test_flows_share_a_limit_in_turn():
    """Whoever asked first is first, whichever flow it is of."""
    limit, plan = Limit(1, per=10), Plan()

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        one, two = (run.pool.map(plan, limit=limit) for _ in range(2))
        return lambda xs: rx.merge(
            xs.pipe(ro.filter(str.islower), one), xs.pipe(ro.filter(str.isupper), two)
        )

    Run("a@210 b@211 A@212 c@213 B@214 C@215 |@216", operator, workers=6)
    assert plan.starts == ["a@210", "b@220", "A@230", "c@240", "B@250", "C@260"]


def test_parts_of_a_limit_are_shared():
    """One flow takes from the part alone, the other from both; none starves."""
    part, plan = Limit(1, per=10), Plan()
    both = Limit.all(part, Limit(100))

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        one, two = run.pool.map(plan, limit=part), run.pool.map(plan, limit=both)
        return lambda xs: rx.merge(
            xs.pipe(ro.filter(str.islower), one), xs.pipe(ro.filter(str.isupper), two)
        )

    Run("a@210 b@211 A@212 c@213 B@214 C@215 |@216", operator, workers=6)
    assert plan.starts == ["a@210", "b@220", "A@230", "c@240", "B@250", "C@260"]


def test_an_error_pauses_all_who_share_the_limit():
    """What one is told, all obey."""
    limit = Limit(100, burst=100, jitter=0)
    plan = Plan(Busy, a="5! 5")
    run(plan, "a@210 b@216 c@217 |@218", workers=3, limit=limit, retry=2)
    first, *others = plan.starts
    assert first == "a@210"
    assert sorted(each[0] for each in others) == ["a", "b", "c"]
    assert [each[1:] for each in others] == ["@265", "@265.01", "@265.02"]  # no burst


def test_a_pause_by_hand():
    """A later end wins."""
    limit, plan = Limit(100, burst=100, jitter=0), Plan()

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        return run.pool.map(plan, limit=limit)

    def pause(run):
        limit.pause(30)
        limit.pause(10)

    Run("a@210 b@220 |@221", operator, at={215: pause}, workers=3)
    assert plan.starts == ["a@210", "b@245"]


def test_figures_can_be_changed_while_it_runs():
    """What was taken stays taken."""
    limit, plan = Limit(1, per=100), Plan()

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        return run.pool.map(plan, limit=limit)

    Run(
        "a@210 b@211 c@212 |@221",
        operator,
        at={220: lambda run: limit.update(1, per=20)},
        workers=3,
    )
    assert plan.starts[0] == "a@210"
    assert [float(start[2:]) for start in plan.starts[1:]] == [230, 250]


def test_a_cost_that_raises_fails_its_item():
    """When its turn comes, in input order too."""

    def cost(item):
        if item == "b":
            raise KeyError(item)
        return 1

    found = run(
        Plan(),
        "a@210 b@211 c@212 |@213",
        method="outcomes",
        order="input",
        limit=Limit(10, burst=10, cost=cost),
    )
    assert [outcome(m.value.value) for m in found.messages[:-1]] == ["a", "-b:KeyError*0", "c"]


@pytest.mark.parametrize("what", ["cost", "key", "id"])
def test_an_item_that_cannot_be_judged_is_not_tried_again(tmp_path, what):
    """Its cost, its key or its id raises; that is the failure, once."""

    def bad(item):
        raise KeyError(item)

    with Journal(tmp_path / "journal", key=bad if what == "id" else None) as journal:
        limit = None if what == "id" else Limit(10, **{what: bad})
        plan = Plan()
        found = run(
            plan,
            "a@210 |@211",
            method="outcomes",
            retry=Retry(3, delay=0),
            limit=limit,
            journal=journal if what == "id" else None,
        )
    assert [outcome(m.value.value) for m in found.messages[:-1]] == ["-a:KeyError*0"]
    assert not plan.starts


def test_dropped_items_take_no_token():
    """The newest is kept while a limit is waited for."""
    plan = Plan()
    found = run(
        plan,
        "a@210 b@211 c@212 d@213 |@214",
        limit=Limit(1, per=20),
        max_pending=1,
        overflow="drop_oldest",
    )
    assert plan.starts == ["a@210", "d@230"]
    assert found.counts == {"accepted": 4, "succeeded": 2, "dropped": 2}


def test_a_higher_priority_comes_first_when_there_is_a_token():
    """Though another waited for it."""
    plan = Plan()
    run(plan, "b@210 d@211 c@212 a@213 |@214", limit=Limit(1, per=20), priority=ord)
    assert plan.starts == ["b@210", "a@230", "c@250", "d@270"]


def test_calls_at_once_grow_only_while_they_are_what_limits():
    """One at a time finds no reason to grow; a crowd does, and a failure shrinks it."""
    limit = AdaptiveConcurrency(initial=2, most=3, decrease=0.5)
    run(Plan(), "a@210 b@220 c@230 d@240 |@250", workers=9, limit=limit)
    assert limit.limit == 2
    plan = Plan()
    run(plan, "a@210 b@210 c@210 d@210 e@210 f@210 |@250", workers=9, limit=limit)
    assert plan.starts == ["a@210", "b@210", "c@215", "d@215", "e@215", "f@220"] or (
        limit.limit == 3
    )
    run(Plan(a="5!", b="5!"), "a@210 b@210 |@250", workers=9, limit=limit, on_failure="skip")
    assert limit.limit == 1
