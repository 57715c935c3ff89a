"""What an executor's worker does for a pool.

Like `_packing`, whose source goes before this one when it is sent, it needs the standard
library alone; what it answers with are tuples.
"""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import asyncio
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

from rxpool.backends._packing import pack_error

__all__ = (
    "ANSWER",
    "BATCH",
    "CALL",
    "ITEM",
    "LOT",
    "PLAIN",
    "SENT",
    "Sent",
    "apply",
    "perform",
    "perform_all",
)

#: mark what calls return: things as they are, or values in pickles and errors in parts
ANSWER, SENT = "rxpool answers", "rxpool sends"

#: how the function is called: with the item, with arguments, with a list of its own, with
#: each of several items
ITEM, CALL, BATCH, LOT = 0, 1, 2, 3

#: types whose values are sent as they are
PLAIN: Final = frozenset((type(None), bool, int, float, complex, str, bytes))

#: the value; whether that is the list of an Observable's items; when it began on this clock;
#: seconds; the error; and, if that is not the user's, what it has to do with
_Answer = tuple[str, Any, bool, float, float, Any, str]


def perform(
    function: Callable[..., Any], how: int, item: Any, run: Callable[[Any], Any]
) -> _Answer:
    """Call *function*, see to what it returns (*run* awaits it), and answer."""
    began, pid = monotonic(), os.getpid()
    value: Any = None
    several = False
    error: BaseException | None = None
    try:
        if how == CALL:
            value = function(*item[0], **item[1])
        else:
            value = function(list(item) if how == BATCH else item)
        if _is_observable(value):
            if how == BATCH:
                raise TypeError("a function of batches must return a list, not an Observable")
            value, error = _collect(value)
            several = True
        elif isinstance(value, Awaitable):
            value = run(value)
        if how == BATCH and hasattr(value, "__next__"):
            value = list(value)
    except BaseException as raised:
        value, several, error = None, False, raised
    if os.getpid() != pid:
        _leave(error)  # the function forked: this child is to go no further
    return ANSWER, value, several, began, monotonic() - began, error, ""


def perform_all(
    function: Callable[..., Any], items: list[Any], run: Callable[[Any], Any]
) -> list[_Answer]:
    """`perform` for each of *items*."""
    return [perform(function, ITEM, item, run) for item in items]


def apply(call: tuple[Callable[..., Any], Any, Any]) -> Any:
    """Make a call, wherever that is."""
    function, args, kwargs = call
    return function(*args, **kwargs)


class Sent:
    """A call that has come here in pickles, or is passed on by a scheduler."""

    def __init__(self, function: bytes, how: int, item: Any, again: Any) -> None:
        self._function = function
        self._how = how
        self._item = item
        self._again = again

    def __reduce__(self) -> Any:
        return self._again

    def __call__(self, *ident: str) -> Any:
        try:
            function = pickle.loads(self._function)
        except BaseException as reason:
            failed = _failed(reason, "the function")
            return [failed] * len(self._item) if self._how == LOT else failed
        if self._how == LOT:
            return [_answer(function, ITEM, item) for item in self._item]
        return _answer(function, self._how, self._item)


def _answer(function: Callable[..., Any], how: int, item: Any) -> _Answer:
    """Make one call, and answer in what can be sent home."""
    try:
        if type(item) is tuple:
            item = pickle.loads(item[0])
    except BaseException as reason:
        return _failed(reason, "the item")
    _, value, several, began, took, error, _ = perform(function, how, item, _await)
    failed, what = None if error is None else pack_error(error), ""
    if type(value) not in PLAIN:
        try:
            value = (_dumps(value),)
        except BaseException as reason:
            value, failed, what = None, pack_error(reason), "a result"
    return SENT, value, several, began, took, failed, what


def _failed(reason: BaseException, what: str) -> _Answer:
    return SENT, None, False, monotonic(), 0.0, pack_error(reason), what


_here: Final = threading.local()  # `loop`: what turns on this thread


def _stop_turning() -> None:
    """In a child: the next turn of the loop raises, as it waits with what is the parent's."""
    loop = getattr(_here, "loop", None)
    for name, give_up in (("_ready", "clear"), ("_selector", "close")):
        part = getattr(loop, name, None)
        if part is not None:
            getattr(part, give_up)()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stop_turning)


def _await(awaitable: Awaitable[Any]) -> Any:
    pid = os.getpid()

    async def run() -> Any:
        error = None
        _here.loop = asyncio.get_running_loop()
        try:
            return await awaitable
        except BaseException as raised:
            error = raised
            raise
        finally:
            if os.getpid() != pid:
                _leave(error)

    try:
        return asyncio.run(run())
    except BaseException:
        if os.getpid() != pid:
            _leave(RuntimeError("a coroutine that forked cannot wait in the child"))
        raise
    finally:
        _here.loop = None


def _dumps(value: Any) -> bytes:
    try:
        return pickle.dumps(value, 5)
    except Exception:
        try:
            import cloudpickle  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            pass
        else:
            data: bytes = cloudpickle.dumps(value, 5)
            return data
        raise


def _is_observable(value: Any) -> bool:
    module = sys.modules.get("reactivex.abc")
    return module is not None and isinstance(value, module.ObservableBase)


def _collect(work: Any) -> tuple[list[Any], BaseException | None]:
    items: list[Any] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def on_error(error: BaseException) -> None:
        errors.append(error)
        ended.set()

    with work.subscribe(items.append, on_error, ended.set):
        ended.wait()
    return items, errors[0] if errors else None


def _leave(error: BaseException | None) -> None:
    """End a child that a function has forked, as a program that ended with *error*."""
    code = 0
    try:
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)
