"""How a worker process behaves: its group, signals, descriptors, and the end of its parent."""

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import forkserver, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, Final

from rxpool.backends.processes._pidfd import open_pidfd

__all__ = ("adopt_manners", "die_with_parent", "end_with_parent")

#: for the parent to act on
_NOT_OURS: Final = (signal.SIGINT, signal.SIGTERM)


def adopt_manners(conn: Connection, leads_group: bool) -> None:
    """Begin to be a worker: in a process group of its own, with *leads_group*."""
    if leads_group and sys.platform != "win32":
        with suppress(OSError):
            os.setpgid(0, 0)
    for number in _NOT_OURS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave_to_parent)
            if sys.platform != "win32":
                signal.siginterrupt(number, False)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_OURS)
        os.register_at_fork(
            before=_hold_signals,
            after_in_parent=_let_signals_come,
            after_in_child=_restore_signals,
        )
        _keep_descriptors(conn)


def _leave_to_parent(number: int, frame: FrameType | None) -> None:
    """Do nothing.  Programs that a task starts would inherit it that a signal is ignored."""


_masks = threading.local()


def _hold_signals() -> None:
    """A process that a task forks must not miss a signal while it has our handlers."""
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_OURS)


def _let_signals_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _restore_signals() -> None:
    """It may be ended, as any other."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, None)):
        if signal.getsignal(number) is _leave_to_parent:
            signal.signal(number, usual or signal.SIG_DFL)
    _let_signals_come()


def _keep_descriptors(conn: Connection) -> None:
    """What outlives the worker holds nothing that tells of the end of something by its own."""
    server: Any = getattr(forkserver, "_forkserver", None)
    tracker: Any = getattr(resource_tracker, "_resource_tracker", None)
    for fd in (conn.fileno(), getattr(tracker, "_fd", None)):
        if fd is not None:
            os.set_inheritable(fd, False)
    alive = getattr(server, "_forkserver_alive_fd", None)
    if alive is not None:  # the fork server ends with the parent
        server._forkserver_alive_fd = None
        os.close(alive)


def die_with_parent(leads_group: bool) -> None:
    """Wait for the end of the parent, and end this process then."""
    parent = parent_process()
    if parent is None:
        return
    signs = [parent.sentinel]
    # What the parent forks may hold the other end of the first.
    try:
        if parent.pid is not None and (pidfd := open_pidfd(parent.pid)) is not None:
            signs.append(pidfd)
    except ProcessLookupError:
        end_with_parent(leads_group)
    except OSError:  # no room for one
        pass
    wait(signs)
    end_with_parent(leads_group)


def end_with_parent(leads_group: bool) -> None:
    """End this process at once, and what its tasks have started if it leads a group."""
    if leads_group and sys.platform != "win32" and os.getpgrp() == os.getpid():
        with suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
