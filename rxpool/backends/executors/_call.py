"""Calls on their way to an executor, and what it means if they fail there."""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import importlib
import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from functools import cache
from hashlib import sha256
from itertools import count
from typing import Any, Final
from uuid import uuid4

from rxpool import _checks as checks
from rxpool.backends import _errand, _packing
from rxpool.backends._awaiting import run_here_once
from rxpool.backends._errand import (
    ANSWER,
    BATCH,
    CALL,
    ITEM,
    LOT,
    PLAIN,
    SENT,
    apply,
    perform,
    perform_all,
)
from rxpool.backends._remote import decode_error, shown
from rxpool.errors import NotPicklable, RxPoolError, WorkerCrashed

__all__ = ("Arrived", "Errand", "Payload", "explain", "is_of_batches")

#: of other executors, by name, as they are not imported: a worker died
_CRASHES: Final = {"KilledWorker", "WorkerCrashedError", "RayActorError"}

_here: Final = uuid4().hex
_numbers: Final = count()

#: run by the worker, which keeps the module for the calls that follow
_BOOT: Final = """
import sys, types
module = sys.modules.get(name)
if module is None:
    module = types.ModuleType(name)
    exec(compile(source, "<" + name + ">", "exec"), module.__dict__)
    sys.modules[name] = module
space = dict(name=name, source=source, boot=boot, parts=parts, ident=ident)
call = module.Sent(*parts, (eval, ("exec(boot) or call", space)))
"""


def is_of_batches(function: Any) -> bool:
    """Whether the pool has put checks around a user's function of batches.

    These are made here then, before and after the call.
    """
    return getattr(type(function), "of_batches", False) is True


class Payload:
    """The function of the last calls, pickled once."""

    def __init__(self, executor: Executor) -> None:
        self._plain = _pickles_plainly(executor)
        self._function: Any = None
        self._pickled = b""

    def pickled(self, function: Any) -> bytes:
        """*function* as bytes."""
        if self._function is not function or not self._pickled:
            self._pickled = self.dumps(function, "the function")
            self._function = function
        return self._pickled

    def dumps(self, value: Any, what: str) -> bytes:
        """*value* as the workers can unpickle it."""
        try:
            return _dumper(self._plain)(value)
        except Exception as reason:
            raise NotPicklable(
                f"{what} {checks.shown(value)} cannot be sent to a worker: {reason}"
            ) from reason


class Errand:
    """A call, for an executor: each is another one, whatever it calls with what.

    Of several *items* the function is called with each.

    In this process it is called as it is.  Elsewhere nothing of rxpool need be there: it
    pickles as source and bytes, which are only looked at when it is called, so that what is
    missing there is the failure of one item.
    """

    def __init__(
        self, payload: Payload, function: Callable[..., Any], items: list[Any], named: Any
    ) -> None:
        self.ident = f"{_here}-{next(_numbers)}"
        #: shown by some executors
        self.__name__ = getattr(named, "__name__", type(named).__name__)
        self._payload = payload
        item = items[0]
        self._how, self._function, self._item = ITEM, function, item
        if len(items) > 1:
            self._how, self._item = LOT, items
        elif function is apply:
            self._how, self._function, self._item = CALL, item[0], item[1:]
        elif is_of_batches(function):
            self._how, self._function = BATCH, function.__wrapped__  # type: ignore[attr-defined]

    def __call__(self, *_: Any) -> Any:
        if self._how == LOT:
            return perform_all(self._function, self._item, run_here_once)
        return perform(self._function, self._how, self._item, run_here_once)

    def __dask_tokenize__(self) -> str:
        return self.ident

    def __reduce__(self) -> Any:
        item: Any = self._item
        item = [self._packed(each) for each in item] if self._how == LOT else self._packed(item)
        name, source = _source()
        parts = self._payload.pickled(self._function), self._how, item
        space = {"name": name, "source": source, "boot": _BOOT, "parts": parts}
        return eval, ("exec(boot) or call", {**space, "ident": self.ident})

    def _packed(self, item: Any) -> Any:
        return item if type(item) in PLAIN else (self._payload.dumps(item, "the item"),)


@cache
def _source() -> tuple[str, str]:
    """What is sent, and the name of the module that it becomes."""
    texts: list[str] = []
    for module in (_packing, _errand):
        loader: Any = module.__loader__
        text: str | None = loader.get_source(module.__name__)
        if text is None:
            raise NotPicklable(f"the source of {module.__name__} is missing: it is to be sent")
        lines = text.splitlines()
        texts.extend(line for line in lines if not line.startswith("from rxpool."))
    source = "\n".join(texts)
    return "_rxpool_" + sha256(source.encode()).hexdigest()[:16], source


def _pickles_plainly(executor: Executor) -> bool:
    """Whether workers are those of `ProcessPoolExecutor`, which have the main module."""
    return getattr(type(executor), "submit", None) is ProcessPoolExecutor.submit


def _dumper(plain: bool) -> Callable[[Any], bytes]:
    """How values are pickled: as `ProcessPoolExecutor` does, or as Dask, loky and Ray do."""
    if not plain:
        try:
            return importlib.import_module("cloudpickle").dumps  # type: ignore[no-any-return]
        except ImportError:
            pass
    return lambda value: pickle.dumps(value, 5)


class Arrived:
    """What a call has answered with.

    Raises:
        TypeError: If it is no answer.
    """

    def __init__(self, name: str, given: Any) -> None:
        if not (type(given) is tuple and len(given) == 7 and given[0] in (ANSWER, SENT)):
            raise TypeError(f"no answer: {given!r}")
        self.several: bool
        self.began: float
        self.took: float
        mark, value, self.several, self.began, self.took, error, what = given
        self.value: Any = None
        self.error: BaseException | None = error
        if mark == SENT:
            self.error = decode_error(error)
            if what:
                how = "be sent home by" if what == "a result" else "be unpickled in"
                self._refuse(f"pool {name!r}: {what} cannot {how} the worker", self.error)
            elif type(value) is tuple:
                try:
                    value = pickle.loads(value[0])
                except BaseException as reason:
                    value = None
                    self._refuse(f"pool {name!r}: a result cannot be unpickled here", reason)
        self.value = value

    def _refuse(self, why: str, reason: BaseException | None) -> None:
        self.error = NotPicklable(f"{why}: {shown(reason) if reason else ''}")
        self.error.__cause__ = reason


def explain(
    name: str,
    executor: Executor,
    function: Callable[..., Any],
    item: Any,
    error: BaseException,
    refused: bool,
) -> BaseException:
    """What *error* of an executor means for the item; *refused*: by `submit`."""
    if isinstance(error, RxPoolError):
        return error
    broken = isinstance(error, BrokenExecutor) or type(error).__name__ in _CRASHES
    if broken or (refused and isinstance(error, RuntimeError)):
        crash = WorkerCrashed(f"pool {name!r}: the executor is broken: {error}")
        crash.__cause__ = error
        return crash
    if isinstance(error, pickle.PicklingError) or (
        isinstance(error, (TypeError, AttributeError, ValueError))
        and any(word in str(error).lower() for word in ("pickle", "serialize"))
    ):
        refusal = NotPicklable(
            f"pool {name!r}: {_culprit(executor, function, item)} cannot be sent to a worker: "
            f"{error}"
        )
        refusal.__cause__ = error
        return refusal
    return error


def _culprit(executor: Executor, function: Callable[..., Any], item: Any) -> str:
    """What cannot be pickled: the function, the item, or else something of the executor's."""
    dumps = _dumper(_pickles_plainly(executor))
    for what, value in (("function", function), ("item", item)):
        try:
            dumps(value)
        except Exception:
            return f"the {what} {checks.shown(value)}"
    return "a call"
