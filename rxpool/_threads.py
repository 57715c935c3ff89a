"""`DaemonThread`: one that can also be started while the interpreter exits.

Python 3.12.0 to 3.12.2 start no thread any more when the main thread has ended, and that is
when open pools are closed, which may take a thread that was not needed before.  So there some
threads are kept in reserve from the first pool on.  They are no threads of `threading` until
they become one, and wait for a lock until then.
"""

import _thread
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

__all__ = ("DaemonThread", "Exiting", "exiting", "keep_reserve", "was_refused")

_REFUSES: Final = (3, 12, 0) <= sys.version_info[:3] < (3, 12, 3)
_MOST: Final = 64  #: threads in reserve
_EACH: Final = 2  #: for everything that is open: one for its work, one if that hangs


class Exiting:
    """Whether the interpreter exits: true from the end of the main thread on."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = False

    @property
    def frugally(self) -> bool:
        """Whether there are no threads any more but those in reserve."""
        return _REFUSES and self.begun


exiting = Exiting()


class DaemonThread(threading.Thread):
    """A daemon thread; while the interpreter exits it may be one of the reserve."""

    def __init__(
        self, target: Callable[..., object], name: str, args: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(target=target, name=name, args=args, daemon=True)

    def start(self, vital: bool = True) -> None:
        """Start; one that is not *vital* leaves the reserve to others.

        Raises:
            RuntimeError: If no thread can be started.
        """
        try:
            super().start()
        except RuntimeError as error:
            if not (vital and was_refused(error) and _start_in_reserve(self)):
                raise


def was_refused(error: RuntimeError) -> bool:
    """Whether no thread was started as the interpreter exits."""
    return _REFUSES and "at interpreter shutdown" in str(error)


#: takes what a thread in reserve is to run; only the end of the list is used
_reserve: list[Callable[[Callable[[], object]], None]] = []


def keep_reserve(things: int) -> None:
    """Have threads for so many things that are open, where they cannot be started later."""
    if not _REFUSES or exiting.begun:
        return
    with suppress(RuntimeError):  # there are no more
        while len(_reserve) < min(_MOST, _EACH * (things + 1)):
            _reserve.append(_wait())


def _wait() -> Callable[[Callable[[], object]], None]:
    """A thread that waits for something to run, and ends then."""
    gate = _thread.allocate_lock()
    gate.acquire()
    given: list[Callable[[], object]] = []

    def run() -> None:
        gate.acquire()
        given.pop()()

    def give(work: Callable[[], object]) -> None:
        given.append(work)
        gate.release()

    _thread.start_new_thread(run, ())
    return give


def _start_in_reserve(thread: threading.Thread) -> bool:
    """What `Thread.start` does, on a thread that is there; False if there is none."""
    threads: Any = threading
    inner: Any = thread
    try:
        give = _reserve.pop()
    except IndexError:
        return False
    with threads._active_limbo_lock:
        threads._limbo[thread] = thread
    give(inner._bootstrap)
    inner._started.wait()
    return True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reserve.clear)
