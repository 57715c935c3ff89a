"""What a worker process and its parent say to each other."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rxpool.backends.processes._environment import Environment
from rxpool.backends.processes._main_module import MainModule

__all__ = (
    "BYE",
    "EXIT",
    "FAILED",
    "HEADER",
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

#: before all that goes to the worker: the process that it comes from, and the first item.  A
#: worker heeds its parent alone, not what a forked copy of the parent might say.
HEADER: Final = struct.Struct("<qQ")

#: to the worker, instead of items: end
EXIT: Final = b""

#: as a value: the results of the item went home as parts
SEVERAL_PARTS: Final = ("s",)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told when it starts."""

    name: str
    #: before all that is imported
    environment: Environment = field(default_factory=lambda: Environment.now(1, 1))
    #: before whatever may be a function of the main module
    main: MainModule = field(default_factory=MainModule)
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    max_tasks: int | None = None
    max_memory: int | None = None
    log_levels: dict[str, int] = field(default_factory=dict[str, int])
    process_groups: bool = False
    parent: int = field(default_factory=os.getpid)  #: the process that it works for
