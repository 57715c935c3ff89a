"""The environment variables of workers: those of their parent, at the time of their start."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import Any, Final

__all__ = ("Environment", "fork_server_with", "threads_each")

#: libraries that compute with threads of their own have one per CPU, unless these say less
_SHARED: Final = "OMP_NUM_THREADS"
_EACH: Final[tuple[str, ...]] = (
    _SHARED,
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def threads_each(cpus: int, workers: int, given: dict[str, str]) -> dict[str, str]:
    """The variables that have the workers share the CPUs; none that the user has *given*.

    Most of these libraries heed the first variable, too: who has set that has set all.
    """
    if _SHARED in given:
        return {}
    each = str(max(1, cpus // max(1, workers)))
    return {name: each for name in _EACH if name not in given}


@dataclass(frozen=True, slots=True)
class Environment:
    """All variables of a worker.  It takes them on when this is unpickled there.

    A fork server goes on with those that were set when it was started.
    """

    variables: dict[str, str]

    @classmethod
    def now(cls, cpus: int, workers: int) -> "Environment":
        """That of this process, for one of so many workers."""
        variables = dict(os.environ)
        return cls(variables | threads_each(cpus, workers, variables))

    def __reduce__(self) -> tuple[Callable[..., "Environment"], tuple[dict[str, str]]]:
        return _taken_on, (self.variables,)


def _taken_on(variables: dict[str, str]) -> Environment:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    for name, value in variables.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    return Environment(variables)


def fork_server_with(environment: Environment) -> None:
    """Start the fork server, unless it runs, with variables that this process lacks.

    It imports the main module, and with that the libraries that read them but once.
    """
    server: Any = getattr(forkserver, "_forkserver", None)
    if getattr(server, "_forkserver_pid", 0) is not None:
        return
    given = environment.variables
    missing = {each: given[each] for each in _EACH if each in given and each not in os.environ}
    with _set(missing):
        forkserver.ensure_running()


@contextmanager
def _set(variables: dict[str, str]) -> Generator[None, None, None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
