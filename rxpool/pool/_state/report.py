"""Snapshots of what became of the items."""

from dataclasses import dataclass, field

from rxpool.pool._state.flow_state import FlowState

__all__ = ("Counts", "FlowReport", "PoolReport", "counts_of")

_TERMS = ("accepted", "succeeded", "failed", "dropped", "cancelled", "in_flight", "waiting")


@dataclass(frozen=True, slots=True)
class FlowReport:
    """What became of the items of one flow.

    At every instant ``accepted == succeeded + failed + dropped + cancelled + in_flight``.
    """

    name: str
    accepted: int
    succeeded: int
    failed: int
    dropped: int  #: by an overflow policy
    cancelled: int  #: disposed or terminated before they ended
    in_flight: int  #: waiting or running
    waiting: int  #: accepted and not started


@dataclass(frozen=True, slots=True)
class PoolReport(FlowReport):
    """The sums of all flows, the ended ones included, and the live flows one by one."""

    flows: tuple[FlowReport, ...] = ()
    #: slots, or threads, busy with work that is over for the pool and could not be ended
    abandoned: int = 0


@dataclass(slots=True)
class Counts:
    """Running sums over flows."""

    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TERMS, 0))

    def add(self, flow: FlowState) -> None:
        """Add the counts of a flow."""
        for name, value in counts_of(flow).items():
            self.sums[name] += value

    def copy(self) -> "Counts":
        """The sums so far."""
        return Counts(dict(self.sums))


def counts_of(flow: FlowState) -> dict[str, int]:
    """The counts of one flow."""
    counts = flow.counts
    succeeded = counts.succeeded  # once: workers count it without the lock
    ended = succeeded + counts.failed + counts.dropped + counts.cancelled
    # Those of a worker's chunk wait behind the one that runs.
    reserved = max(0, len(flow.tasks) - flow.running)
    return {
        "accepted": counts.accepted,
        "succeeded": succeeded,
        "failed": counts.failed,
        "dropped": counts.dropped,
        "cancelled": counts.cancelled,
        "in_flight": counts.accepted - ended,
        "waiting": len(flow.waiting) + len(flow.parked) + reserved,
    }
