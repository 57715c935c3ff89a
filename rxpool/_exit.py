"""What is open, and the hook that ends it when the interpreter exits.

Pools and faces are known here weakly from when they are made, and are held while they have
work: who drops one that works loses no work by that.  The hook is called by the main thread
when that has run the program, before the interpreter waits for other threads; whatever is
opened later, by threads that go on, is ended by a second hook when they have ended too.
"""

import atexit
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from rxpool._forks import bury, heed
from rxpool._log import log
from rxpool._threads import exiting, keep_reserve

__all__ = ("EXITING", "Ending", "hold", "let_go", "open_things", "stay_first", "watch")

EXITING: Final = ": the interpreter exits"  #: for messages: why something is closed


class Ending(Protocol):
    """A pool or a face: what is to be ended in order."""

    #: those with less end first
    rank: int

    def end_at_exit(self, hard: bool) -> None:
        """The interpreter exits: finish what was accepted, or cancel it if that is *hard*.

        Returns when nothing is left to do.
        """


# No lock: each of these is changed by single atomic operations, also by finalisers.
_known: WeakValueDictionary[int, Ending] = WeakValueDictionary()  # in the order of making
_held: set[Ending] = set()
_numbers = count()


def watch(thing: Ending) -> None:
    """*thing* is open: end it at exit, if it is still there."""
    _known[next(_numbers)] = thing
    keep_reserve(len(_known))
    stay_first()
    if exiting.begun:
        atexit.unregister(_end_in_time)
        atexit.register(_end_in_time)  # before the hooks of what it may have imported


def hold(thing: Ending) -> None:
    """*thing* has work: keep it, whether anybody else does or not."""
    _held.add(thing)


def let_go(thing: Ending) -> None:
    """*thing* has no work any more."""
    _held.discard(thing)


def open_things() -> Sequence[Ending]:
    """All that is known, in the order in which it is to be ended: faces, then newest first."""
    known = [thing for ref in reversed(_known.valuerefs()) if (thing := ref()) is not None]
    return sorted(known, key=lambda thing: thing.rank)


def _end(hard: bool) -> None:
    for thing in open_things():
        try:
            thing.end_at_exit(hard)
        except Exception as error:
            log.error("uncaught exception", where="the end of the interpreter", exc_info=error)


def _end_all() -> None:
    if not exiting.begun:  # it may be registered more than once
        exiting.begun = True
        _end_in_time()
        atexit.register(_end_in_time)


def _end_in_time() -> None:
    # Who pressed Ctrl-C does not want to wait for what was accepted.
    hard = isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
    try:
        _end(hard)
    except BaseException:  # Ctrl-C while this waits, or the handler of another signal exits
        _end(True)


class _Held:
    """What a forked child lets go of."""

    def forked(self) -> None:
        """Work that was under way at the fork is the parent's; faces go on, without theirs."""
        bury(_held)
        bury(*_held)
        _held.clear()
        exiting.begun = False


_heedful: Final = _Held()
heed(_heedful)


# -- before others -----------------------------------------------------------------------------

# The hooks of executors refuse work from then on, and the last one registered is called first.
_register: Callable[[Callable[[], None]], Any] = getattr(
    threading, "_register_atexit", atexit.register
)
_hooks: Any = getattr(threading, "_threading_atexits", None)
_registered = -1  # so many hooks there were when ours became the last one


def stay_first() -> None:
    """Be called before the hooks that others have registered until now."""
    global _registered
    if exiting.begun or (_hooks is not None and len(_hooks) == _registered):
        return
    try:
        _register(_end_all)
    except RuntimeError:  # the interpreter exits, and this is imported only now
        exiting.begun = True
        atexit.register(_end_in_time)
        return
    _registered = -1 if _hooks is None else len(_hooks)


stay_first()
