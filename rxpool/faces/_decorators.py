"""``@batched``, ``@throttled``, ``@debounced``: the faces around one function."""

from collections.abc import Callable, Coroutine, Sequence
from functools import update_wrapper
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

from reactivex import abc

from rxpool import _checks as checks
from rxpool._core.functions import is_async
from rxpool.faces._batch import BatchProcessor
from rxpool.faces._debounce import DebounceManager
from rxpool.faces._face import Face
from rxpool.faces._records import BatchProgress, RetryPolicy
from rxpool.faces._throttle import ThrottleManager
from rxpool.pool import PoolFuture, WorkerPool

__all__ = (
    "Batched",
    "BatchedAsync",
    "Managed",
    "ManagedAsync",
    "batched",
    "debounced",
    "throttled",
)

_P = ParamSpec("_P")
_T = TypeVar("_T")
_R = TypeVar("_R")
_T_contra = TypeVar("_T_contra", contravariant=True)
_R_co = TypeVar("_R_co", covariant=True)
_M_co = TypeVar("_M_co", covariant=True)


class Batched(Protocol[_T_contra, _R]):
    """A plain function of one item, made in batches."""

    @property
    def processor(self) -> BatchProcessor[Any, Any]:
        """What makes the batches."""
        ...

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Close the processor."""
        ...

    def __call__(self, item: _T_contra, /) -> PoolFuture[_R]: ...


class BatchedAsync(Protocol[_T_contra, _R_co]):
    """A coroutine function of one item, made in batches."""

    @property
    def processor(self) -> BatchProcessor[Any, Any]:
        """What makes the batches."""
        ...

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Close the processor; on its event loop, ``await processor.aclose()``."""
        ...

    def __call__(self, item: _T_contra, /) -> Coroutine[Any, Any, _R_co]: ...


class Managed(Protocol[_P, _R, _M_co]):
    """A plain function, throttled or debounced: a call gives a future."""

    @property
    def manager(self) -> _M_co:
        """What makes the calls."""
        ...

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Close the manager."""
        ...

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> PoolFuture[_R]: ...


class ManagedAsync(Protocol[_P, _R_co, _M_co]):
    """A coroutine function, throttled or debounced."""

    @property
    def manager(self) -> _M_co:
        """What makes the calls."""
        ...

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Close the manager; on its event loop, ``await manager.aclose()``."""
        ...

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _R_co]: ...


class _BatchedBy(Protocol):
    @overload
    def __call__(
        self, fn: Callable[[list[_T]], Coroutine[Any, Any, Sequence[_R]]], /
    ) -> BatchedAsync[_T, _R]: ...

    @overload
    def __call__(self, fn: Callable[[list[_T]], Sequence[_R]], /) -> Batched[_T, _R]: ...


class _ManagedBy(Protocol[_M_co]):
    # The first one that fits is meant: a coroutine is a result like any other to the second.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[_P, Coroutine[Any, Any, _R]], /
    ) -> ManagedAsync[_P, _R, _M_co]: ...

    @overload
    def __call__(self, fn: Callable[_P, _R], /) -> Managed[_P, _R, _M_co]: ...


def _dress(wrapper: Any, fn: Any, name: str, face: Face) -> Any:
    update_wrapper(wrapper, fn)
    setattr(wrapper, name, face)
    wrapper.close = face.close
    return wrapper


def batched(
    *,
    max_size: int = 100,
    max_delay: checks.Seconds = 0.01,
    max_in_flight: int = 1,
    max_pending: int = 10_000,
    retry: int | RetryPolicy | None = None,
    bisect: bool = False,
    on_progress: Callable[[BatchProgress], object] | None = None,
    pool: WorkerPool | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> _BatchedBy:
    """Make a function of a list a function of one item, whose calls are made in batches.

    ::

        @batched(max_size=32, max_delay=0.005)
        async def embed(texts: list[str]) -> list[Vector]: ...

        vector = await embed("one text")

    A coroutine function stays one, and waits for room; a plain function gives a future of
    the item's result.  Neither may be a method.  The options are those of
    `BatchProcessor`; it is the ``processor`` of the function, and ``close`` closes it.

    Raises:
        InvalidArgument: If an option is out of range, when the function is decorated.
    """

    def decorate(fn: Any) -> Any:
        processor: BatchProcessor[Any, Any] = BatchProcessor(
            fn,
            max_size=max_size,
            max_delay=max_delay,
            max_in_flight=max_in_flight,
            max_pending=max_pending,
            retry=retry,
            bisect=bisect,
            on_progress=on_progress,
            pool=pool,
            scheduler=scheduler,
        )

        async def later(item: Any, /) -> Any:
            return await (await processor.add_async(item))

        def now(item: Any, /) -> Any:
            return processor.add(item)

        return _dress(later if is_async(fn) else now, fn, "processor", processor)

    return cast(_BatchedBy, decorate)


def throttled(
    rate: float,
    *,
    per: checks.Seconds = 1.0,
    burst: float = 1,
    cooldown: checks.Seconds = 0.0,
    max_concurrent: int | None = None,
    strict: bool = False,
    max_pending: int = 1024,
    pool: WorkerPool | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> _ManagedBy[ThrottleManager]:
    """Start the calls of a function at a rate, first in, first out.

    ::

        @throttled(10, max_concurrent=3)
        async def fetch(url: str) -> bytes: ...

    A coroutine function stays one, and waits for room; a plain function runs on a worker
    thread and gives a future.  All instances of a class share the throttle of a method.
    The options are those of `ThrottleManager`; it is the ``manager`` of the function, and
    ``close`` closes it.

    Raises:
        InvalidArgument: If an option is out of range, when the function is decorated.
    """

    def decorate(fn: Any) -> Any:
        checks.call("fn", fn)
        manager = ThrottleManager(
            rate,
            per=per,
            burst=burst,
            cooldown=cooldown,
            max_concurrent=max_concurrent,
            strict=strict,
            max_pending=max_pending,
            pool=pool,
            scheduler=scheduler,
        )

        async def later(*args: Any, **kwargs: Any) -> Any:
            return await (await manager.execute_async(fn, *args, **kwargs))

        def now(*args: Any, **kwargs: Any) -> Any:
            return manager.execute(fn, *args, **kwargs)

        return _dress(later if is_async(fn) else now, fn, "manager", manager)

    return cast(_ManagedBy[ThrottleManager], decorate)


def debounced(
    wait: checks.Seconds,
    *,
    max_wait: checks.Seconds | None = None,
    leading: bool = False,
    trailing: bool = True,
    max_pending: int = 100_000,
    pool: WorkerPool | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> _ManagedBy[DebounceManager]:
    """Make one call per burst of calls of a function.

    ::

        @debounced(0.3)
        def save(document: Document) -> None: ...

    A coroutine function stays one; a plain function runs on a worker thread and gives a
    future.  Superseded calls get the result of the call that is made.  All instances of a
    class share the bursts of a method.  The options are those of `DebounceManager`; it is
    the ``manager`` of the function, and ``close`` closes it.

    Raises:
        InvalidArgument: If an option is out of range, when the function is decorated.
    """

    def decorate(fn: Any) -> Any:
        checks.call("fn", fn)
        manager = DebounceManager(
            wait,
            max_wait=max_wait,
            leading=leading,
            trailing=trailing,
            max_pending=max_pending,
            pool=pool,
            scheduler=scheduler,
        )

        async def later(*args: Any, **kwargs: Any) -> Any:
            return await manager.execute(fn, *args, **kwargs)

        def now(*args: Any, **kwargs: Any) -> Any:
            return manager.execute(fn, *args, **kwargs)

        return _dress(later if is_async(fn) else now, fn, "manager", manager)

    return cast(_ManagedBy[DebounceManager], decorate)
