"""`AttemptRecord`: what is told of an attempt when it has ended."""

from dataclasses import dataclass
from typing import Literal

__all__ = ("AttemptRecord",)


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One run of a function; times are seconds on one clock."""

    worker: str  #: where it ran: the name of its lane
    name: str  #: of the function
    accepted: float  #: when the pool took the item
    started: float
    ended: float
    attempt: int = 1  #: the how many-th of the item, from 1
    outcome: Literal["success", "failure", "cancelled", "crashed"] = "success"
    error: str | None = None  #: the class of the exception, or the exception as text
