"""What a worker process and its parent say to each other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = (
    "BYE",
    "EXIT",
    "FAILED",
    "LOG",
    "PART",
    "PROGRESS",
    "READY",
    "RESULTS",
    "SEVERAL_PARTS",
    "SKIPPED",
    "Settings",
)

# From the worker, each in a tuple with what belongs to it.
READY: Final = 0  #: the initializer has run
FAILED: Final = 1  #: it raised: the exception
RESULTS: Final = 2  #: first item, values or errors, when the first began, when each ended
SKIPPED: Final = 3  #: so many items were not run, as they were not to be
PART: Final = 4  #: item, one of its results
PROGRESS: Final = 5  #: item, fraction
LOG: Final = 6  #: a record of the logging module
BYE: Final = 7  #: the worker has done enough, or has become too large

#: to the worker, instead of items: end
EXIT: Final = b""

#: as a value: the results of the item went home as parts
SEVERAL_PARTS: Final = ("s",)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told when it starts."""

    name: str
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    max_tasks: int | None = None
    max_memory: int | None = None
    log_levels: dict[str, int] = field(default_factory=dict[str, int])
