"""How worker processes are started."""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Final
from weakref import WeakSet

from rxpool._forks import heed
from rxpool.backends._base import cpus
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._codec import reachable
from rxpool.backends.processes._environment import Environment, fork_server_with
from rxpool.backends.processes._logs import levels
from rxpool.backends.processes._main_module import MainModule, no_false_path
from rxpool.backends.processes._process import PARTING, WorkerProcess, polling
from rxpool.backends.processes._protocol import Settings
from rxpool.backends.processes._shared_block import SharedBlock
from rxpool.backends.processes._starts import NO_GUARD, SYSTEM, Failure
from rxpool.backends.processes._worker import main
from rxpool.timing import Clock

__all__ = ("Starter", "wait_until_ready")

_ANSWER: Final = 60.0  #: seconds in which the fork server has made a process
_READY: Final = 300.0  #: seconds in which that is ready: initializers may load a lot

#: what the fork server imports: the second comes last
_PRELOAD: Final = ("rxpool._whole", "rxpool.backends.processes._forkserver")
_ROOM: Final = 12  #: descriptors that a start needs for a moment, with that of the fork server


class Starter:
    """Starts the processes of one pool, all with the same settings and the same main module."""

    def __init__(
        self,
        clock: Clock,
        name: str,
        initializer: Callable[..., object] | None,
        initargs: Sequence[Any],
        max_tasks: int | None,
        max_memory: int | None,
        process_groups: bool,
    ) -> None:
        self._clock = clock
        self._name = name
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._max_tasks = max_tasks
        self._max_memory = max_memory
        self._process_groups = process_groups
        self._main = MainModule.now()
        self._main.note()

    def start(self, workers: int) -> tuple[WorkerProcess, Connection, SharedBlock] | Failure:
        """A new process, the connection to it and the memory shared with it; or why not.

        It is one of so many *workers*.
        """
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            # This is a worker that is importing the main module, which wants to start workers.
            os._exit(NO_GUARD)
        try:
            settings = Settings(
                self._name,
                Environment.now(cpus(), workers),
                self._main,
                reachable(self._initializer, "the initializer"),
                tuple(reachable(each, "an argument of it") for each in self._initargs),
                self._max_tasks,
                self._max_memory,
                levels(),
                self._process_groups,
            )
            with polling:
                block = SharedBlock()
                try:
                    return *self._begin(settings, block), block
                except BaseException:
                    block.release()
                    raise
                finally:
                    block.close()
        except BaseException as error:
            _let_go(error)
            return Failure.raised(error)

    def _begin(
        self, settings: Settings, block: SharedBlock
    ) -> tuple[WorkerProcess, Connection]:
        context: Any = _context()
        _ours.settle_in()
        ours, theirs = context.Pipe()
        _ours.connections.update((ours, theirs))
        try:
            process = context.Process(
                target=main, args=(theirs, block, settings), name=settings.name
            )
            _ours.processes.add(process)
            _check_room(ours)
            with self._in_time(), _no_interrupts(), no_false_path():
                if context.get_start_method() == "forkserver":
                    fork_server_with(settings.environment)
                process.start()
            return _watched(process, settings.process_groups), ours
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    @contextmanager
    def _in_time(self) -> Generator[None, None, None]:
        """The fork server is killed if it does not answer; the next start has a new one."""
        alarm = None
        with suppress(RuntimeError):  # no more threads, or the interpreter is exiting
            due = self._clock.now() + _ANSWER
            alarm = self._clock.alarm(due, lambda _: _kill_fork_server())
        try:
            yield
        except ChildProcessError:
            _forget_fork_server()
            raise
        finally:
            if alarm is not None:
                alarm.dispose()


def wait_until_ready(channel: WorkerChannel, process: WorkerProcess) -> Failure | None:
    """Wait for a process that was started, and its initializer; why it is not ready."""
    try:
        error = channel.await_ready(_READY)
    except TimeoutError:
        process.kill()
        return Failure.hung(_READY)
    except (EOFError, OSError):
        if not process.ended(PARTING):
            process.kill()
            process.ended(PARTING)
        return Failure.died(process.exitcode, process.ending)
    except Exception as reason:  # it talks nonsense
        process.kill()
        return Failure.told(reason)
    return None if error is None else Failure.told(error)


class _Ours:
    """What this process has started: a forked child closes its copies, and tells nobody.

    As long as a child has a connection open, or what the workers know the parent by, they
    do not see that the parent has ended.
    """

    def __init__(self) -> None:
        self.connections: WeakSet[Connection] = WeakSet()
        self.processes: WeakSet[BaseProcess] = WeakSet()
        self._strange = False  # the folder for the sockets of fork servers is the parent's
        heed(self)

    def forked(self) -> None:
        """All of it is the parent's."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.close()
        for process in list(self.processes):
            _disown(process)
        self._strange = True
        for each in (forkserver, "_forkserver"), (resource_tracker, "_resource_tracker"):
            lock = getattr(getattr(*each, None), "_lock", None)
            if lock is not None:
                lock._at_fork_reinit()
        server: Any = getattr(forkserver, "_forkserver", None)
        # It cannot be waited for here, so `multiprocessing` would not get on with it.
        if getattr(server, "_forkserver_pid", None) is not None:
            os.close(server._forkserver_alive_fd)
            server._forkserver_alive_fd = server._forkserver_address = None
            server._forkserver_pid = None

    def settle_in(self) -> None:
        """Before a process is started in a child: the folder has to outlive the parent."""
        if self._strange:
            self._strange = False
            present: Any = multiprocessing.current_process()
            present._config.pop("tempdir", None)


def _disown(process: Any) -> None:
    """*process* is the parent's: forget it, and close the descriptors."""
    popen, process._popen, process._closed = process._popen, None, True
    multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
    finalizer = getattr(popen, "finalizer", None)
    if finalizer is not None and finalizer.still_active():
        with suppress(OSError):
            finalizer._callback(*finalizer._args)
        finalizer.cancel()


_ours: Final = _Ours()


def _context() -> BaseContext:
    """A fork server where there is one: never a fork of a process with threads."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server: Any = getattr(forkserver, "_forkserver", None)
    modules = list(getattr(server, "_preload_modules", ["__main__"]))
    if _PRELOAD[-1] not in modules:
        # Has no effect on a server that runs already; workers start more slowly then.
        forkserver.set_forkserver_preload([*modules, *_PRELOAD])
    return multiprocessing.get_context("forkserver")


def _watched(process: Any, leads_group: bool) -> WorkerProcess:
    try:
        return WorkerProcess(process, leads_group)
    except BaseException:
        process.kill()
        process.join(PARTING)
        raise


def _check_room(conn: Connection) -> None:
    """Raise OSError if there are too few descriptors: `multiprocessing` would lose some."""
    if sys.platform == "win32":
        return
    taken: list[int] = []
    try:
        for _ in range(_ROOM):
            taken.append(os.dup(conn.fileno()))
    finally:
        for fd in taken:
            os.close(fd)


def _let_go(error: BaseException | None) -> None:
    """Whoever keeps *error* does not keep what its frames hold: descriptors, memory."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, SYSTEM):
            error.__traceback__ = None  # it says nothing that the message does not
        error = error.__cause__ or error.__context__


def _kill_fork_server() -> None:
    server: Any = getattr(forkserver, "_forkserver", None)
    pid = getattr(server, "_forkserver_pid", None)
    if pid is not None and sys.platform != "win32":
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _forget_fork_server() -> None:
    """It is dead, and the program has waited for all its children itself.

    `multiprocessing` asks for its end in vain then, at every start.
    """
    server: Any = getattr(forkserver, "_forkserver", None)
    pid = getattr(server, "_forkserver_pid", None)
    if pid is None or sys.platform == "win32":
        return
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        os.close(server._forkserver_alive_fd)
        server._forkserver_address = server._forkserver_alive_fd = None
        server._forkserver_pid = None


@contextmanager
def _no_interrupts() -> Generator[None, None, None]:
    """Ctrl-C does not reach the fork server while it is not ready; see `_forkserver`."""
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
