"""Circuit breakers of a flow in virtual time."""

import reactivex as rx
from reactivex import operators as ro

from rxpool import CircuitOpen, Limit, Retry
from tests.pool.marbles import Run, outcome
from tests.pool.plans import Plan, breaker, run


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
