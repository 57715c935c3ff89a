"""What an executor's worker does for a pool, and what its errors mean."""

import asyncio
import importlib
import pickle
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from time import monotonic
from typing import Any, Final, NamedTuple

from reactivex import abc

from rxpool.backends._awaiting import as_coroutine
from rxpool.errors import NotPicklable, RemoteError, RxPoolError, WorkerCrashed

__all__ = ("Answer", "call", "explain")

#: of other executors, by name, as they are not imported: a worker died
_CRASHES: Final = {"KilledWorker", "WorkerCrashedError", "RayActorError"}


class Answer(NamedTuple):
    """What a worker sends home."""

    value: Any
    several: bool  #: the value is the list of an Observable's items
    began: float  #: on the worker's monotonic clock
    took: float
    error: BaseException | None = None  #: of an Observable, after its items


def call(function: Callable[[Any], Any], item: Any) -> Answer:
    """Call ``function(item)`` in a worker, and see to what it returns there."""
    began = monotonic()
    try:
        value = function(item)
        if isinstance(value, abc.ObservableBase):
            items, failure = _collect(value)  # pyright: ignore[reportUnknownArgumentType]
            if failure is not None:
                failure = _substitute(failure) or failure
            return Answer(items, True, began, monotonic() - began, failure)
        if isinstance(value, Awaitable):
            with asyncio.Runner() as runner:
                value = runner.run(as_coroutine(value))  # pyright: ignore[reportUnknownArgumentType]
    except BaseException as error:
        if (substitute := _substitute(error)) is not None:
            raise substitute from error
        raise
    return Answer(value, False, began, monotonic() - began)


def _collect(work: abc.ObservableBase[Any]) -> tuple[list[Any], BaseException | None]:
    items: list[Any] = []
    errors: list[Exception] = []
    ended = threading.Event()

    def on_error(error: Exception) -> None:
        errors.append(error)
        ended.set()

    with work.subscribe(items.append, on_error, ended.set):
        ended.wait()
    return items, errors[0] if errors else None


def _substitute(error: BaseException) -> RemoteError | None:
    """What stands for *error* if that does not survive being sent home.

    One that cannot be built again breaks a `ProcessPoolExecutor`; one that is no Exception
    may end the worker.
    """
    try:
        again = pickle.loads(pickle.dumps(error))
        if isinstance(error, Exception) and type(again) is type(error):
            return None
    except Exception:
        pass
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return RemoteError(f"{type(error).__qualname__}: {error}", kind)


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
        what = _culprit(executor, function, item)
        if what is not None:
            refusal = NotPicklable(f"pool {name!r}: {what} cannot be sent to a worker: {error}")
            refusal.__cause__ = error
            return refusal
    return error


def _culprit(executor: Executor, function: Callable[..., Any], item: Any) -> str | None:
    """What cannot be pickled: the function, the item, or else it is the result."""
    dumps: Callable[[Any], Any] = pickle.dumps
    if not isinstance(executor, ProcessPoolExecutor):
        try:
            dumps = importlib.import_module("cloudpickle").dumps  # as Dask, loky and Ray do
        except ImportError:
            return None
    for what, value in (("function", function), ("item", item)):
        try:
            dumps(value)
        except Exception:
            return f"the {what} {value!r}"
    return "a result"
