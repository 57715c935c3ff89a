"""`backend_for`: what the user writes as ``on=`` becomes a backend."""

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final, TypedDict, TypeGuard

from reactivex import abc

from rxpool import _checks as checks
from rxpool._log import log
from rxpool.backends._base import Backend
from rxpool.backends._initializer import Initializer
from rxpool.backends._scheduler import SchedulerBackend
from rxpool.backends._threads import ThreadBackend
from rxpool.errors import InvalidArgument, InvalidArgumentType

__all__ = ("ProcessKeywords", "backend_for")


class ProcessKeywords(TypedDict, total=False):
    """The keywords of `WorkerPool` that are for processes, some for threads too."""

    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_worker: int | None
    max_memory_per_worker: int | None
    max_bytes: int | None
    poison_after: int
    process_groups: bool


_NAMES: Final = ("workers", "on", "max_pending", "name", "monitor")

#: names that others have for the same
_MEANT: Final = {
    "max_workers": "workers",
    "n_workers": "workers",
    "num_workers": "workers",
    "n_jobs": "workers",
    "processes": "workers=..., on='processes'",
    "threads": "workers=..., on='threads'",
    "concurrency": "workers",
    "executor": "on",
    "backend": "on",
    "mp_context": "on='processes'",
    "thread_name_prefix": "name",
    "maxtasksperchild": "max_tasks_per_worker",
    "max_tasks_per_child": "max_tasks_per_worker",
    "queue_size": "max_pending",
}

#: those that threads have too
_OF_THREADS: Final = ("initializer", "initargs")


def backend_for(on: Any, name: str, options: Mapping[str, Any]) -> Backend:  # noqa: C901 - one branch for each kind of place
    """The backend that *on* stands for; *options* are for processes, some for threads too."""
    for option in options:
        if option not in ProcessKeywords.__annotations__:
            known = (*_NAMES, *ProcessKeywords.__annotations__)
            meant = checks.hint(option, known, _MEANT)
            raise InvalidArgumentType(f"WorkerPool() has no option {option!r}{meant}")
    if on == "processes":
        # Imported where it is used: most programs have no processes.
        from rxpool.backends.processes import ProcessBackend

        _warn_of_gevent(name)
        return ProcessBackend(name, **_checked(options))
    on_threads = on in ("threads", "inline") if isinstance(on, str) else False
    for option in options:
        if not (on_threads and option in _OF_THREADS):
            places = (
                "'processes', 'threads' or 'inline'" if option in _OF_THREADS else "'processes'"
            )
            raise InvalidArgument(f"{option} needs on={places}, got on={checks.shown(on)}")
    if on == "threads":
        return ThreadBackend(name, _initializer(_checked(options)))
    if on == "inline":
        from rxpool.backends._inline import InlineBackend

        return InlineBackend(_initializer(_checked(options)))
    if on == "asyncio":
        from rxpool.backends.event_loop import AsyncioBackend

        return AsyncioBackend(name)
    if isinstance(on, Executor):
        from rxpool.backends.executors import ExecutorBackend, ThreadExecutorBackend

        if _runs_on_its_threads(on):
            return ThreadExecutorBackend(on, name)
        return ExecutorBackend(on, name)
    if isinstance(on, abc.SchedulerBase):
        return SchedulerBackend(on)
    if isinstance(on, Backend):
        return on
    raise InvalidArgumentType(
        "on must be 'threads', 'processes', 'asyncio', 'inline', an executor, a reactivex "
        f"scheduler or a backend object, got {checks.shown(on)}"
    )


def _initializer(options: Mapping[str, Any]) -> Initializer | None:
    function = options.get("initializer")
    return None if function is None else Initializer(function, options.get("initargs", ()))


def _warn_of_gevent(name: str) -> None:
    """With its threads and its `select`, one worker that is waited for holds up the others."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and any(map(monkey.is_module_patched, ("threading", "select"))):
        log.warning(
            "gevent has replaced threads and select, so that workers wait for each other: call "
            "monkey.patch_all(thread=False, select=False)",
            pool=name,
        )


#: what says how a `ThreadPoolExecutor` runs calls
_MECHANICS = ("submit", "_adjust_thread_count", "prepare_context")


def _runs_on_its_threads(executor: Executor) -> TypeGuard[ThreadPoolExecutor]:
    """Whether calls are run by threads of this process, as they are.

    A class that is derived from `ThreadPoolExecutor` may run them elsewhere, as the one of
    interpreters does: then it has other mechanics.  What hands calls on to the threads after
    all is served as any executor is.
    """
    if not isinstance(executor, ThreadPoolExecutor):
        return False
    derived = type(executor).__mro__[: type(executor).__mro__.index(ThreadPoolExecutor)]
    spaces = (vars(executor), *map(vars, derived))
    return not any(name in space for name in _MECHANICS for space in spaces)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    checked = dict(options)
    if (initializer := options.get("initializer")) is not None:
        checks.call("initializer", initializer)
    if not isinstance(initargs := options.get("initargs", ()), (tuple, list)):
        raise InvalidArgumentType(f"initargs must be a tuple, got {checks.shown(initargs)}")
    for name in ("max_tasks_per_worker", "max_memory_per_worker", "max_bytes"):
        if options.get(name) is not None:
            checks.count(name, options[name], least=1)
    if "poison_after" in options:
        checks.count("poison_after", options["poison_after"], least=1)
    if "process_groups" in options:
        checks.flag("process_groups", options["process_groups"])
    return checked
