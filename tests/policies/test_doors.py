"""What users see of the policies; the engine has doors of its own."""

import pytest
from reactivex.disposable import Disposable

from rxpool import AdaptiveConcurrency, CircuitBreaker, Limit
from rxpool.policies._limit import limit_door

LIMIT = "acquire acquire_async all observe pause unreadable update"
SEEN = [
    (Limit(1), LIMIT),
    (Limit.all(Limit(1), Limit(2)), LIMIT),
    (AdaptiveConcurrency(), f"{LIMIT} limit"),
    (
        CircuitBreaker(),
        "close disable events force_open metrics name reset retry_after state "
        "transition_to_metrics_only",
    ),
]


@pytest.mark.parametrize(("policy", "names"), SEEN, ids=["limit", "all", "adaptive", "breaker"])
def test_a_policy_shows_what_is_for_users(policy, names):
    """And nothing that only the engine calls."""
    shown = [name for name in dir(policy) if not name.startswith("_")]
    assert shown == sorted(names.split())


class Coarse:
    """A clock that reads a trifle less than what it has just rung for, as datetimes do."""

    virtual = True

    def __init__(self):
        self.time, self.alarms = 0.0, []

    def now(self):
        return self.time

    def alarm(self, due, ring):
        self.alarms.append((due, ring))
        return Disposable()


@pytest.mark.parametrize("options", [{"burst": 1}, {"burst": 1, "strict": True}])
def test_who_was_woken_has_waited_long_enough(options):
    """Else a clock that rounds would ring again and again, and no time would pass."""
    clock, woken = Coarse(), []
    door = limit_door(Limit(3, per=1, **options))
    for _ in range(4):
        ticket = door.ticket(None, lambda: woken.append(1), clock)
        if not door.enter(ticket, clock.now()):
            break
    door.arm()
    ((due, ring),) = clock.alarms
    clock.time = due - 4e-7
    ring(due)
    assert woken
    assert door.enter(ticket, clock.now())
