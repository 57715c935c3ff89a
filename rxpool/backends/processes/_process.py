"""`WorkerProcess`: a process that is watched by itself, not by the fork server."""

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import monotonic, sleep
from typing import Any, Final

from rxpool._forks import afresh
from rxpool.backends.processes._pidfd import open_pidfd

__all__ = ("PARTING", "WorkerProcess", "polling")

PARTING: Final = 1.0  #: seconds for a process that was told to end

#: Whoever starts a process asks for the exit codes of all others too, and of two who ask for
#: the same one at once only one is told.
polling: Final = afresh(threading.Lock())

_TURN: Final = 5.0  #: seconds to wait for a start that is under way, before one asks

_LOOK: Final = 0.01  #: seconds between two looks, where the system does not tell of an end


class WorkerProcess:
    """What `multiprocessing` started, and the process group that it leads, if it does.

    `multiprocessing` has it from the fork server whether a process is there: once that is
    dead, all of its processes count as ended, and are not killed any more; while it hangs,
    none does.  So the system is asked.  The methods are called by the thread that serves the
    process; `kill` also by others, as long as the process is not closed.

    Raises:
        OSError: If there are no more descriptors.
    """

    def __init__(self, process: BaseProcess, leads_group: bool) -> None:
        pid = process.pid
        assert pid is not None
        self.pid: int = pid
        self.name = process.name
        self.exitcode: int | None = None  #: known once it has `ended`, if anybody knows it
        self._process = process
        self._leads_group = leads_group and hasattr(os, "killpg")
        self._gone = False
        self._pidfd: int | None = None
        with suppress(ProcessLookupError):  # it has ended: that is told already
            self._pidfd = open_pidfd(pid)

    @property
    def sentinel(self) -> int:
        """What `multiprocessing.connection.wait` is given to wait for its end."""
        return self._process.sentinel if self._pidfd is None else self._pidfd

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.exitcode is not None and self.exitcode < 0:
            try:
                return f"killed by {signal.Signals(-self.exitcode).name}"
            except ValueError:
                return f"killed by signal {-self.exitcode}"
        return f"exit code {'unknown' if self.exitcode is None else self.exitcode}"

    def kill(self) -> None:
        """End it, whatever it is doing, and with it what it has started."""
        self.end_group()
        self.kill_alone()

    def kill_alone(self) -> None:
        """End it; what it has started goes on."""
        with suppress(ProcessLookupError, PermissionError):
            if sys.platform == "linux" and self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            elif sys.platform == "win32":
                self._process.kill()
            elif not self._gone:
                os.kill(self.pid, signal.SIGKILL)

    def end_group(self) -> None:
        """End all that is in its group."""
        if not self._leads_group or sys.platform == "win32":
            return
        # The number of the group is that of the process.  It is nobody else's before the
        # process is reaped, nor after that as long as anybody is in the group.
        if self._is_reaped() and _exists(self.pid):
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _is_reaped(self) -> bool:
        if sys.platform == "linux" and self._pidfd is not None:
            try:
                signal.pidfd_send_signal(self._pidfd, 0)
            except ProcessLookupError:
                return True
            return False
        return self._gone or bool(wait([self._process.sentinel], 0))

    def ended(self, seconds: float) -> bool:
        """Wait until it has ended; whether it has."""
        until = monotonic() + seconds
        if self._gone:
            return True
        if not wait([self.sentinel], seconds):
            return False
        self.exitcode = self._ask()
        # Without a descriptor of its own, that may have been the end of the fork server.
        while self.goes_on():
            if monotonic() >= until:
                return False
            sleep(_LOOK)
        self._gone = True
        return True

    def goes_on(self) -> bool:
        """Whether it is there although the sentinel has told of an end."""
        return self._pidfd is None and _exists(self.pid)

    def _ask(self) -> int | None:
        """The exit code, from who has started it."""
        wait([self._process.sentinel], PARTING)
        if not polling.acquire(timeout=_TURN):
            return None  # a start hangs
        try:
            self._process.join(0)
            return self._process.exitcode
        finally:
            polling.release()

    def close(self) -> None:
        """Give up its descriptors; it has ended, or nothing more can be done about it."""
        pidfd, self._pidfd, self._gone = self._pidfd, None, True
        if pidfd is not None:
            os.close(pidfd)
        popen: Any = getattr(self._process, "_popen", None)
        if popen is not None and popen.returncode is None:
            popen.returncode = 255  # nobody is to wait for a word of the fork server any more
        self._process.close()


def _exists(pid: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
