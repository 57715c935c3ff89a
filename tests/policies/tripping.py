"""Circuit breakers that trip easily."""

from rxpool.policies import CircuitBreaker
from rxpool.policies._breaker import breaker_door as door

BOOM = ValueError("boom")


def tripping(**options):
    """A breaker that one failure opens."""
    options.setdefault("minimum_number_of_calls", 1)
    return CircuitBreaker(**options)


def trip(breaker, now=0.0, error=BOOM):
    """Have a call fail, and tell of it."""
    door(breaker).failed(door(breaker).admit(now), now, 0.0, error)
    door(breaker).publish()


def seen(breaker):
    """The changes that a subscriber is told of, as they come."""
    changes = []
    breaker.events.subscribe(lambda e: changes.append((e.before, e.after, e.at)))
    return changes
