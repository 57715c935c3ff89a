"""How input is read ahead: several items between two looks at anything else."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextvars import copy_context
from itertools import islice
from time import perf_counter
from typing import Any, Final

from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("READ_FOR", "READ_MOST", "at_hand", "read_ahead", "tasks_of")

READ_MOST: Final = 512  #: items read between two looks at anything else
READ_FOR: Final = 0.0005  #: seconds that input is read for before results are looked at again
_READ_AT_ONCE: Final = 32  #: items read between two looks at the clock

_KNOWN: Final[Any] = (
    [],
    (),
    set(),
    {},
    {}.values(),
    {}.items(),
    "",
    b"",
    range(1),
    range(1 << 70),
    deque(),
)
#: iterators that have their items already: nobody waits for the next one
_AT_HAND: Final[frozenset[Any]] = frozenset(map(type, map(iter, _KNOWN)))


def at_hand(items: Iterator[Any]) -> bool:
    """Whether *items* has them all, so that nobody waits for the next one."""
    return type(items) in _AT_HAND


def read_ahead(items: Iterator[Any], room: int, ahead: list[Any]) -> bool:
    """Read *room* items into *ahead*, or fewer; False: that was all.

    Several only where all are there already.  Anything else may wait before the next item, for
    ever if need be, and what was read is to be handed over first: so that is read one by one.
    What *items* raises comes out; *ahead* has what was read before.
    """
    if not at_hand(items):
        for item in items:
            ahead.append(item)
            return True
        return False
    until = perf_counter() + READ_FOR
    while room > 0:
        some = min(room, _READ_AT_ONCE)
        before = len(ahead)
        ahead.extend(islice(items, some))
        if len(ahead) - before < some:
            return False
        room -= some
        if perf_counter() > until:
            break
    return True


def tasks_of(state: FlowState, items: Iterable[Any], now: float) -> list[Task]:
    """Tasks for *items*, each with the variables of the caller, and looked at by the gate."""
    if len(context := copy_context()):
        tasks = [Task(state, item, now, context.copy()) for item in items]
    else:
        tasks = [Task(state, item, now) for item in items]
    if state.gate is not None:
        state.gate.prepare(*tasks)
    return tasks
