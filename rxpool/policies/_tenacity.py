"""tenacity's objects, for those who have them; it is never imported from here.

Who holds one of its objects has imported it, so it is looked up among the loaded modules.
"""

import sys
from typing import Any

__all__ = ("call_state", "stops", "waits")


def waits(value: object) -> bool:
    """Whether *value* is a ``wait_*`` object."""
    return _is(value, "tenacity.wait", "wait_base")


def stops(value: object) -> bool:
    """Whether *value* is a ``stop_*`` object."""
    return _is(value, "tenacity.stop", "stop_base")


def call_state(
    attempts: int, error: BaseException, elapsed: float, upcoming: float = 0.0
) -> Any:
    """What such an object is called with, after so many attempts and seconds."""
    tenacity = sys.modules["tenacity"]
    state = tenacity.RetryCallState(None, None, (), {})
    state.attempt_number = attempts
    state.outcome = tenacity.Future(attempts)
    state.outcome.set_exception(error)
    # On a clock that starts when the item is accepted.
    state.start_time, state.outcome_timestamp = 0.0, elapsed
    state.upcoming_sleep = upcoming
    return state


def _is(value: object, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))
