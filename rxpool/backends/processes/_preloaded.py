"""Imported by the fork server, last: workers are copies of a process that has all modules."""

import multiprocessing
import signal
from types import FrameType

from rxpool.backends.processes._worker import main

__all__ = ()


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Ctrl-C is not for the server, nor for workers, not even while they start."""
    if multiprocessing.parent_process() is None:
        return  # the server, or a process that is just being started
    if getattr(multiprocessing.current_process(), "_target", None) is not main:
        signal.default_int_handler(number, frame)


# The parent blocks Ctrl-C while it starts the server, so that none gets in its way until now.
signal.signal(signal.SIGINT, _interrupted)
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
