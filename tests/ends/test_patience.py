"""Who fails when starts of worker processes fail, and when."""

import pytest

from rxpool.backends.processes._starts import NO_GUARD, Fails, Starts, Step
from rxpool.backends.processes._starts import Failure as NoStart
from tests.ends.starts import NO_ROOM

pytestmark = pytest.mark.usefixtures("fork_server")


def starts(*times):
    """A state with a clock that gives these times, the last one for ever."""
    left = list(times)
    return Starts(lambda: left.pop(0) if len(left) > 1 else left[0])


KILLED = NoStart.died(-9, "killed by SIGKILL")
LOST = NoStart.died(255, "exit code 255")
UNKNOWN = NoStart.died(None, "exit code unknown")
LEFT = NoStart.died(1, "exit code 1")
RAISED = NoStart.told(RuntimeError("no database"))
REFUSED = NoStart.raised(NO_ROOM)
HUNG = NoStart.hung(60)
UNGUARDED = NoStart.died(NO_GUARD, "exit code 94")


@pytest.mark.parametrize(
    ("failure", "tries"),
    [(KILLED, 6), (LOST, 6), (UNKNOWN, 6), (REFUSED, 6), (HUNG, 2)],
    ids=["killed", "lost", "unknown", "refused", "hung"],
)
def test_what_may_pass_fails_one(failure, tries):
    """After its attempts, with pauses that double; all of them after half a minute."""
    state = starts(0.0)
    state.begins()
    steps = [state.failed(failure, n, False) for n in range(1, tries + 1)]
    assert [step.fails for step in steps] == [Fails.NONE] * (tries - 1) + [Fails.ONE]
    assert [step.pause for step in steps[:-1]] == [0.05 * 2**n for n in range(tries - 1)]
    assert steps[-1].pause > 0
    late = starts(0.0, 31.0)
    late.begins()
    assert late.failed(failure, tries - 1, False).fails is Fails.NONE
    assert late.failed(failure, tries, False) == Step(Fails.ALL, 0.0)


@pytest.mark.parametrize(
    ("failure", "tries"),
    [(LEFT, 6), (RAISED, 3), (UNGUARDED, 1)],
    ids=["left", "raised", "unguarded"],
)
def test_what_does_not_pass_fails_all(failure, tries):
    """At once when the attempts are at an end."""
    state = starts(0.0)
    state.begins()
    steps = [state.failed(failure, n, False) for n in range(1, tries + 1)]
    assert [step.fails for step in steps] == [Fails.NONE] * (tries - 1) + [Fails.ALL]


def test_nobody_fails_as_long_as_others_work():
    """Attempts go on, every few seconds at last."""
    state = starts(0.0, 1000.0)
    state.begins()
    steps = [state.failed(RAISED, n, True) for n in range(1, 2000)]
    assert {step.fails for step in steps} == {Fails.NONE}
    pauses = [step.pause for step in steps]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5.0


def test_patience_begins_anew():
    """When a worker is ready, or nobody waits."""
    now = [0.0]
    state = Starts(lambda: now[0])
    state.begins()
    now[0] = 100.0
    state.settled()
    state.begins()
    now[0] = 110.0
    state.begins()  # another worker, meanwhile
    assert state.failed(KILLED, 6, False).fails is Fails.ONE
    now[0] = 131.0
    assert state.failed(KILLED, 6, False).fails is Fails.ALL
