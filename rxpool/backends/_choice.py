"""`backend_for`: what the user writes as ``on=`` becomes a backend."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypedDict

from reactivex import abc

from rxpool import _checks as checks
from rxpool.backends._base import Backend
from rxpool.backends._scheduler import SchedulerBackend
from rxpool.backends._threads import ThreadBackend
from rxpool.errors import InvalidArgument, InvalidArgumentType

__all__ = ("ProcessKeywords", "backend_for")


class ProcessKeywords(TypedDict, total=False):
    """The keywords of `WorkerPool` that are for processes only."""

    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_worker: int | None
    max_memory_per_worker: int | None
    poison_after: int


def backend_for(on: Any, name: str, options: Mapping[str, Any]) -> Backend:
    """The backend that *on* stands for; *options* are for processes only."""
    for option in options:
        if option not in ProcessKeywords.__annotations__:
            raise InvalidArgumentType(f"WorkerPool() has no option {option!r}")
    if on == "processes":
        # Imported where it is used: most programs have no processes.
        from rxpool.backends.processes import ProcessBackend

        return ProcessBackend(name, **_checked(options))
    if options:
        raise InvalidArgument(f"{next(iter(options))} needs on='processes', got on={on!r}")
    if on == "threads":
        return ThreadBackend(name)
    if on == "asyncio":
        from rxpool.backends._asyncio import AsyncioBackend

        return AsyncioBackend(name)
    if isinstance(on, Executor):
        if isinstance(on, ThreadPoolExecutor):
            from rxpool.backends._executor_threads import ThreadExecutorBackend

            return ThreadExecutorBackend(on, name)
        from rxpool.backends._executor import ExecutorBackend

        return ExecutorBackend(on, name)
    if isinstance(on, abc.SchedulerBase):
        return SchedulerBackend(on)
    if not isinstance(on, (str, type)) and all(
        callable(getattr(on, method, None))
        for method in ("bind", "start", "abandon", "resize", "stop")
    ):
        return on  # type: ignore[no-any-return]
    raise InvalidArgumentType(
        "on must be 'threads', 'processes', 'asyncio', an executor, a reactivex scheduler or "
        f"a backend object, got {on!r}"
    )


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    checked = dict(options)
    if (initializer := options.get("initializer")) is not None:
        checks.call("initializer", initializer)
    if not isinstance(initargs := options.get("initargs", ()), (tuple, list)):
        raise InvalidArgumentType(f"initargs must be a tuple, got {initargs!r}")
    for name in ("max_tasks_per_worker", "max_memory_per_worker"):
        if options.get(name) is not None:
            checks.count(name, options[name], least=1)
    if "poison_after" in options:
        checks.count("poison_after", options["poison_after"], least=1)
    return checked
