"""Trials in processes of their own: memory is their own, and what hangs can be ended.

Such a process runs ``python -m benchmarks.trial MODULE ARGUMENTS…``, which calls the module's
`child`.  Worker processes import what was run as the main program once more: it is this file
and not *module*, which imports rxpool and more, so that peers' processes start fast.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import Any

__all__ = ("answer_by", "command", "end_session", "session_of", "trial")


def command(module: str, *arguments: object) -> list[str]:
    """What starts a process that calls the `child` of *module*."""
    return [sys.executable, "-m", "benchmarks.trial", module, *map(str, arguments)]


def trial(module: str, *arguments: object, limit: float) -> dict[str, Any]:
    """Call `child` of *module* in a process; answers what it printed last, as JSON.

    The process and all that it started are ended afterwards.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command(module, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(limit + 10)
        end_session(process)
        out.seek(0)
        for line in reversed(out.read().splitlines()):
            with suppress(ValueError):
                return dict(json.loads(line))
        err.seek(0)
        last = (err.read().strip().splitlines() or ["no answer"])[-1]
        return {"failed": last[:80]}


def answer_by(limit: float, state: dict[str, Any]) -> Callable[[], None]:
    """Have *state* printed at the latest after *limit* seconds, then end.

    What it answers prints the state and ends the process at once: no pool is waited for.
    """

    def end(hung: bool = False) -> None:
        print(json.dumps({**state, "hung": hung}), flush=True)
        os._exit(0)

    timer = Timer(limit, end, (True,))
    timer.daemon = True
    timer.start()
    return end


def session_of(leader: int) -> list[int]:
    """The processes, zombies aside, of the session that *leader* began."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found


def end_session(process: "subprocess.Popen[Any]") -> None:
    """Kill *process* and all that it started, and wait until they are gone."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid in session_of(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        if process.returncode is not None and not session_of(process.pid):
            return
        time.sleep(0.02)


if __name__ == "__main__":
    import_module(sys.argv[1]).child(*sys.argv[2:])
