"""`HandOver`: jobs go to an executor, one after another."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from rxpool.backends.executors._window import Window

__all__ = ("HandOver",)


class HandOver:
    """Hands jobs over, and those that get a slot or come by the way.

    One that is refused fails, and its end may bring another: that one's turn comes here too,
    not inside the first one's.  For one thread; *lock*, that of the backend, guards *window*.
    """

    __slots__ = ("_left", "_lock", "_window")

    def __init__(self, lock: threading.Lock, window: Window) -> None:
        self._lock = lock
        self._window = window
        self._left: deque[Any] = deque()

    def offer(self, jobs: Iterable[Any]) -> None:
        """*jobs* are handed over too, if there are slots; else they wait for one."""
        with self._lock:
            self._left.extend([job for job in jobs if self._window.admit(job)])

    def add(self, admitted: Iterable[Any]) -> None:
        """These have slots."""
        self._left.extend(admitted)

    def go_on(self, job: Any) -> None:
        """A job has ended; *job* is next, if there is one."""
        if job is not None:
            self.offer((job,))

    def run(self, submit: Callable[[Any, "HandOver"], object]) -> None:
        """Have *submit* hand over each."""
        while self._left:
            submit(self._left.popleft(), self)
