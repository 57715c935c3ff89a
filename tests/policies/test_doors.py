"""What users see of the policies; the engine has doors of its own."""

import pytest

from rxpool import AdaptiveConcurrency, CircuitBreaker, Limit

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
