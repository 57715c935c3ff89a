"""Forks: what a forked child must not share with its parent, and how it ends.

A child has copies of all objects, but of all threads only the one that forked.  A lock that
another thread held stays locked there for ever; what talked to a worker would talk to that of
the parent; and a worker's thread that returned would go on serving the parent's work.  So
whatever has a lock, a thread or a connection says so here when it is made, and is told in the
child.  Nothing of that costs anything where nobody forks.
"""

import gc
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, NoReturn, Protocol, TypeVar
from weakref import WeakSet

__all__ = (
    "NO_LOOP",
    "Heedful",
    "afresh",
    "bury",
    "by_main",
    "end_child",
    "free",
    "gate",
    "generation",
    "heed",
    "held",
    "inside",
    "keep",
    "kept",
)

_T = TypeVar("_T")
_DEEP: Final = 4  #: so many objects of ours within one another hold the items of a state
_BOXES: Final = (dict, list, tuple, set, deque)
_RLock: Final[Any] = type(threading.RLock())

#: with what a child ends if a coroutine that forked waits for something there
NO_LOOP: Final = "a coroutine that forked cannot wait in the child, which has no event loop"

#: how many forks this process is away from the one that imported this module: whoever runs a
#: function of the user sees by this that it returned in another process than it was called in
generation: int = 0

#: in a child: whether the main thread of the parent forked, which may go on in the program
by_main: bool = True


class Heedful(Protocol):
    """What is told of forks."""

    def forked(self) -> None:
        """This is a forked child now; no other thread runs yet."""


_afresh: Final[WeakSet[Any]] = WeakSet()
_held: Final[WeakSet[Any]] = WeakSet()
_gates: Final[WeakSet[Any]] = WeakSet()
_kept: Final[WeakSet[Any]] = WeakSet()
_heedful: Final[WeakSet[Any]] = WeakSet()

_forking: Final[Any] = threading.RLock()  # so that of two threads that fork one is first
_buried: Final[list[Any]] = []
_taken: Final[list[Any]] = []  # those of `_held`, while a fork is under way


def afresh(lock: _T) -> _T:
    """*lock* (or a Condition, or an Event) is free in a forked child, whoever held it."""
    _afresh.add(lock)
    return lock


def held(lock: _T) -> _T:
    """*lock*, an RLock, is taken before each fork, so what it guards is whole in the child.

    Only for a lock that is held for an instant, and under which no other of these is taken.
    Re-entrant, as a signal handler may fork while this thread has it.
    """
    _held.add(lock)
    return lock


def gate() -> threading.Lock:
    """A lock to wait at until another thread releases it.

    Where a signal handler forks while this thread waits, and returns, it goes on in the child.
    """
    lock = threading.Lock()
    lock.acquire()
    _gates.add(lock)
    return lock


def heed(thing: Heedful) -> None:
    """Call ``thing.forked()`` in each forked child; to be said when *thing* is all made."""
    _heedful.add(thing)


def kept(thing: _T) -> _T:
    """*thing* is never finalised in a forked child, not even at its end.

    The finaliser of an event loop, or of a connection to a database, would tell the system
    something that holds for the parent too.
    """
    # Imported here, as a child must not wait for a thread that was just importing it.
    with suppress(ImportError):  # not on this system: then it is finalised
        import ctypes  # noqa: F401  # pyright: ignore[reportUnusedImport]
    _kept.add(thing)
    return thing


def keep(thing: object) -> None:
    """In a child: never finalise *thing*."""
    ctypes: Any = sys.modules.get("ctypes")
    if ctypes is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def bury(*things: Any) -> None:
    """In a child: *things*, and what is in lines and the like among them, are not finalised.

    To be said before they are let go of: they are in use in the parent, and a finaliser might
    remove the file that one stands for.
    """
    _buried.extend(things)
    for thing in things:
        if isinstance(thing, _BOXES):
            _buried.extend(thing)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(thing, dict):
            _buried.extend(thing.values())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def inside(state: Any) -> list[Any]:
    """What *state*, an object of ours, holds, also in objects and lines of its own."""
    found: list[Any] = []
    seen: set[int] = set()
    layer = [state]
    for _ in range(_DEEP):
        ours: list[Any] = [each for each in layer if type(each).__module__.startswith("rxpool")]
        parts = gc.get_referents(*ours)
        parts += gc.get_referents(*[part for part in parts if isinstance(part, _BOXES)])
        layer = [part for part in parts if id(part) not in seen]
        seen.update(map(id, layer))
        found += layer
    return found


def end_child(error: BaseException | None = None) -> NoReturn:
    """End this process: a child in which there is nobody left to return to.

    Its exit code is that of a program that ended with *error*.  Finalisers and exit
    functions are the parent's, and are not called.
    """
    code = 0
    try:
        if isinstance(error, SystemExit):
            code = _exit_code(error.code)
        elif error is not None:
            code = 1
            sys.excepthook(type(error), error, error.__traceback__)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        os._exit(code)


def _exit_code(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _all(things: WeakSet[Any]) -> list[Any]:
    while True:
        with suppress(RuntimeError):  # another thread has just added one
            return list(things)


def _before() -> None:
    global by_main
    _forking.acquire()
    by_main = threading.current_thread() is threading.main_thread()
    for lock in _all(_held):
        lock.acquire()
        _taken.append(lock)


def _release() -> None:
    while _taken:
        _taken.pop().release()
    _forking.release()


def free(lock: Any) -> None:
    """In a child: free *lock*, unless this thread has it, and let in whoever waits.

    Both may be this thread, if it was a signal handler that forked.
    """
    condition = getattr(lock, "_cond", lock)
    inner = getattr(condition, "_lock", condition)
    if isinstance(inner, _RLock) and inner._is_owned():
        return
    _let_in(getattr(condition, "_waiters", ()))
    lock._at_fork_reinit()


def _let_in(gates: Iterable[Any]) -> None:
    for each in list(gates):
        if each.locked():
            each.release()


def _in_child() -> None:
    global generation
    generation += 1
    if _forking._is_owned():
        _release()
    # Else a server written in C has forked, and called this alone.
    for lock in [_forking, *_held, *_afresh]:
        free(lock)
    _let_in(_gates)
    for thing in [*_kept, _buried]:
        keep(thing)
    errors: list[Exception] = []
    for thing in list(_heedful):
        try:
            thing.forked()
        except Exception as error:  # the others are to be told all the same
            errors.append(error)
    if errors:
        raise ExceptionGroup("in a forked child", errors)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_release, after_in_child=_in_child)
