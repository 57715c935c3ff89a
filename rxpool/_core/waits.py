"""Waiting on a thread: whether that is possible, and so that Ctrl-C is heard.

A signal that comes in the instant before a thread goes to sleep does not wake it (CPython looks
for signals, then sleeps), and on Windows none wakes a thread that waits for a lock.  So who
waits looks up now and then.
"""

import asyncio
import threading
from typing import Final

from rxpool.timing import Clock

__all__ = ("LOOK", "at_most", "can_wait", "pass_gate")

LOOK: Final = 1.0  #: seconds between two looks for signals


def at_most(left: float | None) -> float:
    """How long to sleep when *left* seconds may pass in all; None: for ever."""
    return LOOK if left is None else min(left, LOOK)


def pass_gate(gate: threading.Lock) -> None:
    """Wait until another thread releases *gate*."""
    while not gate.acquire(timeout=LOOK):
        pass


def can_wait(clock: Clock | None = None) -> bool:
    """Whether this thread may block: not in virtual time, not on a running event loop."""
    if clock is not None and clock.virtual:
        return False
    return asyncio._get_running_loop() is None  # cheap, and None outside loops
