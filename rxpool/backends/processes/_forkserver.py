"""Imported by the fork server, last: workers are copies of a process that has all modules."""

import multiprocessing
import os
import signal
import sys
from types import FrameType

from rxpool.backends.processes._worker import main

__all__ = ()


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Ctrl-C is not for the server, nor for workers, not even while they start."""
    if multiprocessing.parent_process() is None:
        return  # the server, or a process that is just being started
    if getattr(multiprocessing.current_process(), "_target", None) is not main:
        signal.default_int_handler(number, frame)


_stays = False


def _end_as_usual() -> None:
    """In what the server forks: a process that is no worker may be ended by it."""
    global _stays
    if _stays:
        _stays = False
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _settle_in() -> None:
    """The server ends with its parent, and leaves signals to it."""
    global _stays
    # Who stops the parent may send this to all processes.  A handler would for a moment be that
    # of the processes the server forks, and they must not miss the signal.
    if hasattr(os, "register_at_fork"):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        _stays = signal.SIGTERM not in blocked
        os.register_at_fork(after_in_child=_end_as_usual)
    # The parent blocks Ctrl-C while it starts the server: none gets in its way until now.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupted)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


# Who else imports this keeps its signals.
if any("multiprocessing.forkserver" in word for word in sys.orig_argv):
    _settle_in()
