"""`ServingThreads`: each worker is served by a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Final, TypeAlias

from rxpool._forks import end_child
from rxpool._log import report_uncaught
from rxpool._threads import DaemonThread
from rxpool.backends.processes._process import PARTING
from rxpool.backends.processes._roster import Worker

__all__ = ("Serve", "ServingThreads", "join_all")

_LOOK: Final = 0.001  #: seconds between two looks at a thread that is being started

#: what a thread does for its worker until it ends
Serve: TypeAlias = Callable[[Worker], None]


class _Local(threading.local):
    worker: Worker | None = None  # that the thread serves


class ServingThreads:
    """Starts threads, and knows which worker one serves.

    The lock of the pool's processes guards every field.  *failed* is called with an error that
    came out of `Serve`, *ended* at the end of each thread; both without the lock.
    """

    def __init__(
        self,
        name: str,
        failed: Callable[[Worker, BaseException], None],
        ended: Callable[[], None],
    ) -> None:
        self._name = name
        self._failed = failed
        self._ended = ended
        self._started = 0
        self._local = _Local()
        self._foreign = False

    def forked(self) -> None:
        """A thread that goes on in a forked child is to end with it."""
        self._foreign = True

    def current(self) -> Worker | None:
        """The worker that this thread serves, or served last."""
        return self._local.worker

    def start(self, worker: Worker, serve: Serve, vital: bool = True) -> None:
        """Have *worker* served by a new thread.  The lock is held.

        Raises:
            RuntimeError: If there are no more threads; the old owner goes on then.
        """
        name = f"{self._name}-{self._started}"
        thread = DaemonThread(self._run, name, (worker, serve))
        before, worker.owner = worker.owner, thread
        try:
            thread.start(vital)
        except BaseException as error:
            if isinstance(error, RuntimeError) or not _came_up(thread):
                worker.owner = before
            raise
        self._started += 1

    def serve_here(self, worker: Worker, serve: Serve) -> None:
        """Have *worker*, whose owner this thread is, served by it now."""
        before = self._local.worker
        try:
            self._run(worker, serve)
        finally:
            self._local.worker = before

    def _run(self, worker: Worker, serve: Serve) -> None:
        self._local.worker = worker
        try:
            serve(worker)
        except BaseException as error:
            # The errors of users do not come out here; this one is ours.
            report_uncaught(threading.current_thread().name, error)
            if not self._foreign:
                self._failed(worker, error)
        if self._foreign:
            end_child()  # a subscriber forked, and this is the child
        self._ended()


def join_all(workers: Sequence[Worker], until: float | None) -> None:
    """Wait for the threads that serve *workers*, to an instant."""
    for worker in workers:
        owner = worker.owner
        while owner is not None:
            left = None if until is None else max(0.0, until - monotonic())
            try:
                owner.join(left)
                break
            except RuntimeError:  # Ctrl-C came while it was started: it has yet to come up
                if left == 0.0:
                    break
                sleep(_LOOK)


def _came_up(thread: threading.Thread) -> bool:
    """Whether *thread* runs although Ctrl-C has interrupted who started it."""
    until = monotonic() + PARTING
    while thread.ident is None and monotonic() < until:
        sleep(_LOOK)
    return thread.ident is not None
