"""`resources`: what processes use of CPU and memory."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from rxpool import _checks as checks

__all__ = ("Resources", "resources")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process uses."""

    cpu: float  #: seconds of CPU time since it started, in user and system mode
    memory: int  #: its resident set, in bytes


def resources(pids: Iterable[int]) -> dict[int, Resources]:
    """What each of the processes *pids* uses now.

    Processes that have ended, whether or not somebody waited for them, and those that may
    not be looked at, are left out.

    Raises:
        InvalidArgument: If a pid is not a whole number above 0.
        ImportError: If the system has no ``/proc`` and psutil is missing; the message says
            how to install it.
    """
    wanted = [checks.count("a pid", pid, least=1) for pid in pids]
    try:
        import psutil  # type: ignore[import-untyped, unused-ignore]  # noqa: F401

        look = _ask_psutil
    except ImportError:
        if not os.path.exists("/proc/self/stat"):
            raise ImportError(
                "resources() needs psutil on this system: pip install 'rxpool[psutil]'"
            ) from None
        look = _read_proc
    found = {pid: look(pid) for pid in wanted}
    return {pid: used for pid, used in found.items() if used is not None}


def _ask_psutil(pid: int) -> Resources | None:
    import psutil  # type: ignore[import-untyped, unused-ignore]

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            times = process.cpu_times()
            return Resources(float(times.user + times.system), int(process.memory_info().rss))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _read_proc(pid: int) -> Resources | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The second field is the name in brackets, which may hold anything.
    state, *fields = text[text.rindex(b")") + 2 :].split()
    if state in (b"Z", b"X"):
        return None
    ticks = int(fields[10]) + int(fields[11])
    pages = int(fields[20])
    return Resources(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))
