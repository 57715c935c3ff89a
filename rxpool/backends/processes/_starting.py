"""How worker processes are started."""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Final

from rxpool.backends.processes._memory import Block
from rxpool.backends.processes._messages import Settings
from rxpool.backends.processes._worker import main

__all__ = ("ended", "start_worker")

#: Whoever starts a process asks for the exit codes of all others too, and of two who ask for
#: the same one at once only one is told.
_polling: Final = threading.Lock()

_PRELOAD: Final = "rxpool.backends.processes._preloaded"


def _context() -> BaseContext:
    """A fork server where there is one: never a fork of a process with threads."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server: Any = getattr(forkserver, "_forkserver", None)
    modules = list(getattr(server, "_preload_modules", ["__main__"]))
    if _PRELOAD not in modules:
        # Has no effect on a server that runs already; workers start more slowly then.
        forkserver.set_forkserver_preload([*modules, _PRELOAD])
    return multiprocessing.get_context("forkserver")


def start_worker(settings: Settings, block: Block) -> tuple[BaseProcess, Connection]:
    """A new process and the connection to it."""
    context: Any = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=main, args=(theirs, block, settings), name=settings.name)
    try:
        with _polling, _no_interrupts():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def ended(process: BaseProcess, seconds: float) -> bool:
    """Wait until *process* has ended; then its exit code is known."""
    if not wait([process.sentinel], seconds):
        return False
    with _polling:
        process.join(seconds)
        return process.exitcode is not None


@contextmanager
def _no_interrupts() -> Generator[None, None, None]:
    """Ctrl-C does not reach the fork server while it is not ready; see `_preloaded`."""
    if sys.platform == "win32":
        yield
        return
    # It unblocks Ctrl-C when it starts, and would do so before the fork server has started.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
