"""All policies of a flow: their arguments, and that each item has one outcome."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool import (
    AdaptiveConcurrency,
    CircuitOpen,
    DeadlineExceeded,
    Failure,
    InvalidArgument,
    Limit,
    Retry,
    Success,
)
from tests.pool.marbles import Oops
from tests.pool.plans import Plan, breaker, run

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
