"""`Policies`: those of a flow, as they were given."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rxpool.policies._options import AttemptOptions

if TYPE_CHECKING:
    from rxpool.policies import Hedge
    from rxpool.records import Journal

__all__ = ("NO_POLICIES", "Policies")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies(AttemptOptions):
    """The policies of a flow: those of its attempts, and those of its items."""

    hedge: "Hedge | None" = None
    journal: "Journal | None" = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self != NO_POLICIES


NO_POLICIES: Final = Policies()
