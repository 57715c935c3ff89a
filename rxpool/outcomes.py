"""How a task ended: exactly one `Success` or `Failure` per accepted item."""

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

__all__ = ("Failure", "Outcome", "Success")

_T_co = TypeVar("_T_co", covariant=True)
_R_co = TypeVar("_R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Success(Generic[_T_co, _R_co]):
    """The function returned; `value` is what it returned, None included."""

    item: _T_co
    value: _R_co
    attempts: int  #: runs of the function, 1 or more
    waited: float  #: seconds from acceptance to the start of the last attempt
    took: float  #: seconds that the last attempt ran


@dataclass(frozen=True, slots=True)
class Failure(Generic[_T_co]):
    """The function raised, or the item never got that far."""

    item: _T_co
    error: BaseException
    attempts: int  #: runs of the function; 0 for an item that was not started
    waited: float  #: seconds from acceptance to the start of the last attempt, or to the end
    took: float  #: seconds that the last attempt ran


Outcome: TypeAlias = Success[_T_co, _R_co] | Failure[_T_co]
