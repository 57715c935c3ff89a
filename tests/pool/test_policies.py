"""Policies of flows in virtual time: what comes out, when, and who holds a worker meanwhile.

An item is a letter; a plan says for each attempt how long it lasts, and with ``!`` that it
fails then.
"""

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as ro

from rxpool import (
    AdaptiveConcurrency,
    CircuitBreaker,
    CircuitOpen,
    DeadlineExceeded,
    Failure,
    Hedge,
    InvalidArgument,
    Journal,
    Limit,
    NotPicklable,
    Retry,
    Success,
    TaskTimeout,
)
from tests.pool.marbles import Oops, Run, outcome


class Busy(Oops):
    """Comes with the time that the other side asks to wait."""

    retry_after = 50.0


class Plan:
    """Work that goes as planned; `starts` tells when attempts were made."""

    def __init__(self, error=Oops, /, **attempts):
        self.error = error
        self.left = {item: plan.split() for item, plan in attempts.items()}
        self.starts = []
        self.clock = lambda: None

    def __call__(self, item):
        """One attempt."""
        self.starts.append(f"{item}@{self.clock():g}")
        step = self.left[item].pop(0) if item in self.left else "5"

        def end(_):
            if step.endswith("!"):
                raise self.error(item)
            return item

        return rx.timer(float(step.rstrip("!"))).pipe(ro.map(end))


def run(plan, source, *, method="map", workers=1, **options):
    """Run *plan* with these options of the flow."""

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        return getattr(run.pool, method)(plan, **options)

    return Run(source, operator, workers=workers)


EXACT = {"jitter": 0, "delay": 10}


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


# -- fallback ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("z", "z@228 |@228"),
        (None, "None@228 |@228"),
        (lambda item, error: f"{item}{type(error).__name__}", "aOops@228 |@228"),
    ],
)
def test_a_fallback_stands_in_when_all_attempts_failed(fallback, expected):
    """It is outermost."""
    found = run(Plan(a="5! 3!"), "a@210 |@211", retry=Retry(2, **EXACT), fallback=fallback)
    assert found.text == expected
    assert found.counts == {"accepted": 1, "succeeded": 1}


def test_a_fallback_that_raises():
    """Its error is the failure, the one before is the cause."""

    def fallback(item, error):
        raise KeyError(item)

    found = run(Plan(a="5!"), "a@210 |@211", fallback=fallback)
    error = found.messages[0].value.exception
    assert isinstance(error, KeyError)
    assert isinstance(error.__cause__, Oops)


@pytest.mark.parametrize("broken", ["on", "backoff"])
def test_a_function_of_a_retry_that_raises(broken):
    """Its error is the failure, the one before is the cause."""

    def bad(_):
        raise KeyError("bad")

    found = run(Plan(a="5!"), "a@210 |@211", retry=Retry(3, **{broken: bad}))
    error = found.messages[0].value.exception
    assert isinstance(error, KeyError)
    assert isinstance(error.__cause__, Oops)


def test_a_fallback_for_an_item_that_never_ran():
    """Its deadline is over."""
    found = run(Plan(), "a@210 b@210 |@212", deadline=7, fallback="late")
    assert found.text == "a@215 late@217 |@217"


# -- limits ------------------------------------------------------------------------------------


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


# -- breakers ----------------------------------------------------------------------------------


def breaker(**options):
    """One that opens after two bad calls of two, for 50 ticks."""
    return CircuitBreaker(
        **{
            "sliding_window_size": 2,
            "minimum_number_of_calls": 2,
            "permitted_number_of_calls_in_half_open_state": 1,
            "wait_duration_in_open_state": 50,
            **options,
        }
    )


def test_a_breaker_refuses_and_recovers():
    """What it refuses fails at once, and is no attempt."""
    plan, circuit = Plan(a="5!", b="5!", e="5!"), breaker()
    events = []
    circuit.events.subscribe(lambda event: events.append((event.after, event.at)))
    found = run(
        plan,
        "a@210 b@220 c@230 d@240 e@280 f@290 g@340 h@350 |@351",
        method="outcomes",
        breaker=circuit,
    )
    assert [outcome(m.value.value) for m in found.messages[:-1]] == [
        "-a:Oops*1",
        "-b:Oops*1",
        "-c:CircuitOpen*0",
        "-d:CircuitOpen*0",
        "-e:Oops*1",
        "-f:CircuitOpen*0",
        "g",
        "h",
    ]
    assert [m.time for m in found.messages] == [215, 225, 230, 240, 285, 290, 345, 355, 355]
    assert events == [
        ("open", 225),
        ("half_open", 280),
        ("open", 285),
        ("half_open", 340),
        ("closed", 345),
    ]


def test_what_a_breaker_refuses_takes_no_token():
    """And does not wait for one."""
    plan, circuit = Plan(a="5!", b="5!"), breaker()
    limit = Limit(1, per=100, burst=3)
    run(
        plan,
        "a@210 b@220 c@230 d@240 e@280 |@281",
        breaker=circuit,
        limit=limit,
        on_failure="skip",
    )
    assert plan.starts == ["a@210", "b@220", "e@280"]


def test_a_retry_waits_for_a_breaker_only_if_asked():
    """Without a worker; `retry_after` says how long."""
    plan, circuit = Plan(a="5!", b="5!"), breaker()
    found = run(
        plan,
        "a@210 b@220 c@230 |@231",
        breaker=circuit,
        on_failure="skip",
        retry=Retry(2, on=CircuitOpen),
    )
    assert found.text == "c@280 |@280"
    assert plan.starts == ["a@210", "b@220", "c@275"]


def test_a_probe_that_is_cancelled_gives_its_permit_back():
    """The next item is the probe then."""
    plan, circuit = Plan(a="5!", b="5!", c="500"), breaker()
    found = run(
        plan,
        "a@210 b@220 c@280 d@300 |@301",
        method="outcomes",
        workers=2,
        breaker=circuit,
        deadline=15,
    )
    assert [outcome(m.value.value) for m in found.messages[:-1]][2] in (
        "-c:DeadlineExceeded*1",
    )
    assert circuit.state in ("open", "closed")


def test_a_shared_breaker():
    """Two flows, one service."""
    circuit, plan = breaker(), Plan(a="5!", b="5!")

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        options = {"breaker": circuit, "on_failure": "skip"}
        one, two = (run.pool.map(plan, **options) for _ in range(2))
        return lambda xs: rx.merge(
            xs.pipe(ro.filter(str.islower), one), xs.pipe(ro.filter(str.isupper), two)
        )

    found = Run("a@210 b@220 A@230 B@290 |@291", operator)
    assert found.text == "B@295 |@295"


# -- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"retry": 0},
        {"retry": "3"},
        {"retry": True},
        {"limit": 5},
        {"breaker": "open"},
    ],
)
def test_bad_policies_are_refused_at_once(options):
    """With the value in the message."""
    with pytest.raises(InvalidArgument) as raised:
        run(Plan(), "|@210", **options)
    (value,) = options.values()
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limit(0),
        lambda: Limit(float("nan")),
        lambda: Limit(1, per=0),
        lambda: Limit(1, burst=-1),
        lambda: Limit(1, cost=-1),
        lambda: Limit(1, key=3),
        lambda: Limit(1, jitter=2),
        lambda: Limit.all(),
        lambda: Limit.all(3),
        lambda: Limit(1).pause(-1),
        lambda: Limit.all(Limit(1), Limit(2)).update(3),
        lambda: AdaptiveConcurrency(least=0),
        lambda: AdaptiveConcurrency(initial=5, most=4),
        lambda: AdaptiveConcurrency(decrease=1),
        lambda: AdaptiveConcurrency(slow=0),
        lambda: AdaptiveConcurrency(errors=3),
    ],
)
def test_bad_limits_are_refused_at_once(make):
    """Where they are written."""
    with pytest.raises(InvalidArgument):
        make()


# -- laws --------------------------------------------------------------------------------------

STEPS = st.lists(st.sampled_from(["1", "3!", "7", "2!"]), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(STEPS, min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["completion", "input", "key"]),
    st.booleans(),
    st.booleans(),
)
def test_one_item_one_outcome(plans, workers, attempts, order, keyed, replaced):
    """Whatever fails; attempts stay within the policy, starts within a strict limit."""
    items = [chr(97 + n) for n in range(len(plans))]
    plan = Plan(
        **{item: " ".join([*steps, "1"]) for item, steps in zip(items, plans, strict=True)}
    )
    options = {"fallback": "z"} if replaced else {}
    if order == "key":
        options["key"] = lambda item: ord(item) % 2
    found = run(
        plan,
        " ".join(f"{item}@{210 + n}" for n, item in enumerate(items)) + " |@230",
        method="outcomes",
        workers=workers,
        order=order,
        retry=Retry(attempts, delay=3, jitter=0),
        limit=Limit(
            2, per=10, strict=True, key=(lambda item: ord(item) % 3) if keyed else None
        ),
        breaker=breaker(
            sliding_window_size=4,
            minimum_number_of_calls=3,
            permitted_number_of_calls_in_half_open_state=2,
            wait_duration_in_open_state=9,
        ),
        **options,
    )
    records = [m.value.value for m in found.messages if m.value.kind == "N"]
    if order == "input":
        assert [record.item for record in records] == items
    assert sorted(record.item for record in records) == items
    assert all(record.attempts <= attempts for record in records)
    assert all(record.took >= 0 and record.waited >= 0 for record in records)
    for record in records:
        made = [start for start in plan.starts if start[0] == record.item]
        assert record.attempts == len(made)
        if isinstance(record, Failure):
            assert not replaced
            assert isinstance(record.error, (Oops, CircuitOpen, DeadlineExceeded))
        else:
            assert isinstance(record, Success)
    for key in range(3) if keyed else [None]:
        times = [float(start[2:]) for start in plan.starts if key in (None, ord(start[0]) % 3)]
        assert all(late - early >= 10 for early, late in zip(times, times[2:], strict=False))


# -- hedging ---------------------------------------------------------------------------------


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


# -- the journal -----------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("emit", ["skip", "stored"])
@pytest.mark.parametrize("method", ["map", "outcomes"])
def test_what_a_run_before_finished(tmp_path, order, emit, method):
    """It is left out, or its stored result comes out in its place; failures run again."""
    path = tmp_path / "journal"
    calls = []

    def work(item):
        calls.append(item)
        if item == "b" and calls.count("b") == 1:
            raise Oops(item)
        return item.upper()

    def once(source):
        with Journal(path, emit=emit, fingerprint="1") as journal:
            extra = {"on_failure": "skip"} if method == "map" else {}
            found = Run(
                source,
                lambda run: getattr(run.pool, method)(
                    work, journal=journal, order=order, **extra
                ),
            )
        return [
            outcome(m.value.value) if method == "outcomes" else m.value.value
            for m in found.messages
            if m.value.kind == "N"
        ], found.counts

    first, counts = once("a@210 b@211 c@212 |@213")
    assert first == (["A", "-b:Oops*1", "C"] if method == "outcomes" else ["A", "C"])
    assert counts == {"accepted": 3, "succeeded": 2, "failed": 1}
    again, counts = once("a@210 b@211 c@212 d@213 |@214")
    assert again == (["B", "D"] if emit == "skip" else ["A", "B", "C", "D"])
    assert counts == {"accepted": 4, "succeeded": 4}
    assert calls == ["a", "b", "c", "b", "d"]


def test_a_result_that_cannot_be_kept(tmp_path):
    """It is the failure of its item."""
    with Journal(tmp_path / "journal") as journal:
        found = Run(
            "a@210 |@211",
            lambda run: run.pool.outcomes(lambda item: lambda: item, journal=journal),
        )
    (record,) = [m.value.value for m in found.messages if m.value.kind == "N"]
    assert isinstance(record.error, NotPicklable)


def test_results_of_observables_are_not_kept(tmp_path):
    """That is said."""
    with Journal(tmp_path / "journal") as journal:
        found = run(Plan(), "a@210 |@211", journal=journal)
    assert "Observable" in str(found.messages[-1].value.exception)
