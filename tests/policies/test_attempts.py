"""``AttemptPolicies``: one set of rules for pools, functions and streams, as numbers alone."""

from contextlib import nullcontext
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpool import (
    AdaptiveConcurrency,
    CircuitOpen,
    InvalidArgument,
    Limit,
    Retry,
)
from rxpool.policies._attempts import NO_BREAKER, AttemptPolicies, Verdict
from rxpool.policies._http import BadResponse
from rxpool.policies._options import MISSING, AttemptOptions
from rxpool.timing import Clock, TimerScheduler
from tests.policies.calls import Busy, Oops, breaker

REFUSED, WAIT = Verdict.REFUSED, Verdict.WAIT


def policies(*, refusals_count=False, **options):
    """They, with no jitter by chance."""
    made = AttemptPolicies(
        AttemptOptions(**options),
        nullcontext(),
        refusals_count=refusals_count,
        draw=lambda: 0.0,
    )
    made.follow(Clock(TimerScheduler.singleton()))
    return made


def ticket(rules, item=None, woken=lambda: None):
    """A place in the line of their limit."""
    return rules.limit.ticket(item, woken, Clock(TimerScheduler.singleton()))


def under_way(limit):
    """Calls at once, as an `AdaptiveConcurrency` counts them."""
    return limit._capacity.running


# -- which policies there are, and what is asked of them ---------------------------------------

KINDS = [
    # options                                     asks   lock_free  on_result  counts
    ({}, (False, False, False, False)),
    ({"fallback": None}, (False, False, False, False)),
    ({"retry": Retry(3)}, (False, False, False, False)),
    ({"retry": Retry(3, budget=0.1)}, (False, False, False, True)),
    ({"retry": Retry.http(on_result=True)}, (False, False, True, False)),
    ({"breaker": breaker()}, (True, True, False, False)),
    ({"limit": Limit(2)}, (True, True, False, False)),
    ({"limit": Limit(2, strict=True)}, (True, False, False, False)),
    ({"limit": Limit(2, key=str)}, (True, False, False, False)),
    ({"limit": Limit(2, cost=len)}, (True, False, False, False)),
    ({"limit": AdaptiveConcurrency()}, (True, False, False, False)),
    ({"limit": Limit.all(Limit(2), Limit(3))}, (True, True, False, False)),
    ({"limit": Limit.all(Limit(2), Limit(3, strict=True))}, (True, False, False, False)),
    ({"breaker": breaker(), "limit": Limit(2)}, (True, True, False, False)),
]


@pytest.mark.parametrize(("options", "found"), KINDS)
def test_what_has_to_be_asked(options, found):
    """Each kind of policy says when it wants to be."""
    rules = policies(**options)
    seen = (rules.asks, rules.lock_free, rules.on_result, rules.counts)
    assert seen == found


# -- before an attempt ------------------------------------------------------------------------


def test_an_attempt_without_a_breaker_has_no_permit():
    """Nor has one of a limit."""
    assert policies().ask(None, 0.0) == NO_BREAKER
    rules = policies(limit=Limit(2))
    assert rules.ask(ticket(rules), 0.0) == NO_BREAKER


def opened():
    """A breaker that refuses."""
    made = breaker()
    made.force_open()
    return made


def test_whom_the_breaker_refuses_takes_nothing_from_the_limit():
    """The breaker is outside, and functions of the limit are not called."""
    limit = AdaptiveConcurrency()
    rules = policies(breaker=opened(), limit=limit)
    assert rules.ask(lambda: pytest.fail("it made a ticket"), 0.0) is REFUSED
    assert isinstance(rules.refusal(0.0), CircuitOpen)
    assert under_way(limit) == 0


def half_open():
    """A breaker whose next call is its one probe."""
    made = breaker(wait_duration_in_open_state=0)
    rules = policies(breaker=made)
    for _ in range(2):
        rules.failed(rules.ask(None, 0.0), Oops(), [Oops()], 0.0, 0.0)
    return made


def raises():
    """No ticket."""
    raise Oops


PLACES = [
    # why the limit has nothing to give                         what is answered
    (lambda rules: ticket(rules), WAIT),
    (lambda rules: lambda: ticket(rules), WAIT),
    (lambda rules: InvalidArgument("no such cost"), InvalidArgument),
    (lambda rules: raises, Oops),
]


@pytest.mark.parametrize(("place", "answer"), PLACES)
def test_who_does_not_start_holds_no_permit(place, answer):
    """The probe is another's then."""
    limit = Limit(1, per=1e6)
    guard = half_open()
    rules = policies(breaker=guard, limit=limit)
    taken = policies(limit=limit)
    assert taken.ask(ticket(taken), 0.0) == NO_BREAKER
    try:
        found = rules.ask(place(rules), 0.0)
    except Oops as error:
        found = error
    assert found is answer or isinstance(found, answer)
    assert policies(breaker=guard).ask(None, 0.0) >= 0


# -- after it ----------------------------------------------------------------------------------


ENDS = [
    # how an attempt of one probe ended              the breaker     calls at once
    (lambda rules, permit: rules.succeeded(permit, 0.0, 0.0), "closed", 0),
    (lambda rules, permit: rules.failed(permit, Oops(), [Oops()], 0.0, 0.0), "open", 0),
    (lambda rules, permit: rules.cancelled(permit, None), "half_open", 0),
    # of a batch: most of it decides
    (lambda rules, permit: rules.failed(permit, None, [1, 1, Oops()], 0.0, 0.0), "closed", 0),
    (lambda rules, permit: rules.failed(permit, Oops(), [1, Oops()], 0.0, 0.0), "open", 0),
    # not told yet, or told of another attempt: there was none
    (lambda rules, permit: rules.succeeded(None, 0.0, 0.0), "half_open", 1),
    (lambda rules, permit: rules.failed(None, Oops(), [Oops()], 0.0, 0.0), "half_open", 1),
    (lambda rules, permit: rules.cancelled(None, None), "half_open", 1),
]


@pytest.mark.parametrize(("end", "state", "calls"), ENDS)
def test_how_an_attempt_ended(end, state, calls):
    """Both the breaker and the limit are told, once."""
    limit = AdaptiveConcurrency(initial=2, least=2)
    guard = half_open()
    rules = policies(breaker=guard, limit=limit)
    permit = rules.ask(ticket(rules), 0.0)
    assert permit >= 0
    end(rules, permit)
    assert guard.state == state
    assert under_way(limit) == calls


@pytest.mark.parametrize("end", ["leave", "cancelled", "failed"])
def test_who_waits_in_line_can_leave_it(end):
    """However that is said, the next one is not behind it any more."""
    limit = Limit(1, per=1, key=lambda item: item)
    rules = policies(limit=limit)
    rules.ask(ticket(rules, "a"), 0.0)
    place = ticket(rules, "a")
    assert rules.ask(place, 0.0) is WAIT
    assert rules.limit.state.lines
    if end == "leave":
        rules.leave(place)
    elif end == "cancelled":
        rules.cancelled(None, place)
    else:
        rules.failed(None, Oops(), [Oops()], 0.0, 0.0, place)
    assert not rules.limit.state.lines


def test_a_wait_that_is_asked_for_pauses_the_limit():
    """The longest of those of a batch."""
    rules = policies(limit=AdaptiveConcurrency())
    permit = rules.ask(ticket(rules), 0.0)
    short = Busy()
    short.retry_after = 10.0
    rules.failed(permit, Busy(), [Busy(), 1, short, Oops()], 0.0, 0.0)
    place = ticket(rules)
    assert rules.ask(place, 49.0) is WAIT
    assert rules.ask(place, 50.0) == NO_BREAKER


def test_what_a_predicate_raises_comes_out():
    """The call was counted, as was the limit's."""

    def predicate(error):
        raise Busy

    limit = AdaptiveConcurrency()
    rules = policies(breaker=breaker(record_exceptions=predicate), limit=limit)
    permit = rules.ask(ticket(rules), 0.0)
    with pytest.raises(Busy):
        rules.failed(permit, Oops(), [Oops()], 0.0, 0.0)
    assert under_way(limit) == 0


# -- the next one ------------------------------------------------------------------------------

OPEN = CircuitOpen("open", None)
ON = {"on": (Oops, CircuitOpen), "delay": 1.0, "jitter": 0, "backoff": "linear"}

ATTEMPTS = [
    # most  error  made  refused  the wait in a pool  and where a refusal is an attempt
    (3, Oops(), 1, 0, 1.0, 1.0),
    (3, Oops(), 2, 0, 2.0, 2.0),
    (3, Oops(), 3, 0, None, None),
    (3, OPEN, 0, 1, 1.0, 1.0),
    (3, OPEN, 0, 2, 2.0, 2.0),
    (3, OPEN, 0, 3, 2.0, None),  # it waits for the breaker, having an attempt left
    (3, OPEN, 0, 9, 2.0, None),
    (3, OPEN, 1, 1, 2.0, 2.0),
    (3, OPEN, 1, 9, 2.0, None),
    (3, OPEN, 3, 1, None, None),
    (3, Oops(), 1, 5, 1.0, None),  # refusals before it are no attempts
    (3, Oops(), 0, 0, 1.0, 1.0),  # it failed before it began
    (1, OPEN, 0, 1, None, None),
    (None, OPEN, 2, 5, 7.0, 7.0),  # no end: the wait grows with the refusals too
    (None, Oops(), 2, 5, 7.0, 7.0),
]


@pytest.mark.parametrize(("most", "error", "made", "refused", "pooled", "waited"), ATTEMPTS)
def test_what_counts_as_an_attempt(most, error, made, refused, pooled, waited):
    """In a pool, and where the caller waits."""
    for counts, wait in ((False, pooled), (True, waited)):
        rules = policies(retry=Retry(most, **ON), refusals_count=counts)
        assert rules.wait(error, made, 0.0, 0.0, refused=refused) == wait


def test_without_a_retry_there_is_no_other_attempt():
    """Whatever else there is."""
    rules = policies(breaker=breaker(), fallback=1)
    assert rules.wait(Oops(), 1, 0.0, 0.0) is None


BUDGETS = [
    # error    deposits  told   retries that are granted of ten
    (Oops(), 0, None, 3),  # the floor
    (Oops(), 50, None, 5),
    (Oops(), 0, 50, 5),
    (Oops(), 50, 0, 5),
    (Busy(), 0, None, 10),  # it was asked for
    (OPEN, 0, None, 10),  # nobody is burdened
]


@pytest.mark.parametrize(("error", "deposits", "told", "granted"), BUDGETS)
def test_a_budget_bounds_retries(error, deposits, told, granted):
    """First attempts are told one by one, or in all."""
    rules = policies(retry=Retry(99, budget=0.1, on=(Oops, CircuitOpen)))
    for _ in range(deposits):
        rules.deposit(0.0)
    waits = [rules.wait(error, 1, 0.0, 0.0, firsts=told) for _ in range(10)]
    assert sum(wait is not None for wait in waits) == granted


def test_a_batch_asks_its_budget_once():
    """And the others of it are as the first."""
    rules = policies(retry=Retry(9, delay=1, jitter=0, budget=0.1))
    results = [Oops(), 1, Oops(), Busy(), KeyboardInterrupt()]
    for _ in range(3):
        assert rules.waits(results, 1, 0.0, 0.0, 0) == [(0, 1.0), (2, 1.0), (3, 50.0)]
    assert rules.waits(results, 1, 0.0, 0.0, 0) == [(3, 50.0)]


def test_each_of_a_batch_is_told_what_its_predicate_raised():
    """The others are asked all the same."""
    raised = ZeroDivisionError()

    def on(error):
        if error.args:
            raise raised
        return True

    rules = policies(retry=Retry(9, delay=1, jitter=0, on=on))
    found = rules.waits([Oops(), Oops("!")], 1, 0.0, 0.0, 0)
    assert found == [(0, 1.0), (1, raised)]


REPLACED = [
    # fallback        the item is told  what stands in
    (None, (), None),
    (7, ("item",), 7),
    (lambda error: error.args, (), ("why",)),
    (lambda item, error: (item, *error.args), ("item",), ("item", "why")),
]


@pytest.mark.parametrize(("fallback", "item", "value"), REPLACED)
def test_a_fallback_stands_in(fallback, item, value):
    """A value, or what a function returns."""
    rules = policies(fallback=fallback)
    error = Oops("why")
    assert rules.replaces(error)
    assert rules.replacement(error, *item) == value


def test_a_bad_response_is_the_result():
    """There is nothing better, and a fallback is for errors."""
    for fallback in (MISSING, 7):
        rules = policies(fallback=fallback)
        error = BadResponse("response")
        assert rules.replaces(error)
        assert rules.replacement(error) == "response"
    assert not policies().replaces(Oops())


# -- a model: nothing is lost, nothing is held twice -------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "good", "bad", "cancel", "time"]), st.integers(0, 9)
        ),
        max_size=60,
    )
)
def test_permits_and_places_are_given_back(steps):
    """Calls at once never exceed the limit, and at the end nobody holds anything."""
    limit = AdaptiveConcurrency(initial=3, least=3, most=3)
    guard = breaker(wait_duration_in_open_state=2, sliding_window_size=3)
    rules = policies(breaker=guard, limit=limit)
    now = 0.0
    waiting, running = [], []
    for step, which in steps:
        if step == "time":
            now += which / 4
        elif step == "begin":
            place = (
                waiting.pop(which % len(waiting)) if which % 2 and waiting else ticket(rules)
            )
            found = rules.ask(place, now)
            if found is WAIT:
                waiting.append(place)
            elif found is REFUSED:
                assert guard.state in ("open", "half_open")
                rules.failed(None, rules.refusal(now), [OPEN], now, 0.0, place)
            else:
                running.append((found, place, now))
        elif running:
            permit, place, began = running.pop(which % len(running))
            if step == "good":
                rules.succeeded(permit, now, now - began)
            elif step == "bad":
                rules.failed(permit, Oops(), [Oops()], now, now - began, place)
            else:
                rules.cancelled(permit, place)
        assert under_way(limit) == len(running) <= 3
        line = [place for each in rules.limit.state.lines.values() for place in each.places]
        assert sorted(line) == sorted(waiting)
    for permit, place, _ in running:
        rules.cancelled(permit, place)
    for place in waiting:
        rules.cancelled(None, place)
    assert under_way(limit) == 0
    assert not rules.limit.state.lines
    guard.close()
    assert rules.ask(ticket(rules), now) >= 0


ALONE = {"breaker": breaker, "limit": lambda: Limit(1)}


def test_each_policy_of_attempts_is_asked_when_it_is_the_only_one():
    """Whatever there is but the retry and the fallback, which come after attempts."""
    names = {field.name for field in fields(AttemptOptions)} - {"retry", "fallback"}
    assert names == set(ALONE)
    for name, make in ALONE.items():
        rules = policies(**{name: make()})
        assert rules.asks
        assert rules.lock_free
