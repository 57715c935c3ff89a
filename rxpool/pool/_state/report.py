"""Snapshots of what became of the items."""

from dataclasses import dataclass, field

from rxpool.pool._state.ledger import FlowLedger

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

    def add(self, ledger: FlowLedger) -> None:
        """Add the counts of a flow."""
        for name, value in counts_of(ledger).items():
            self.sums[name] += value

    def copy(self) -> "Counts":
        """The sums so far."""
        return Counts(dict(self.sums))


def counts_of(ledger: FlowLedger) -> dict[str, int]:
    """The counts of one flow."""
    succeeded = ledger.succeeded  # once: workers count it without the lock
    ended = succeeded + ledger.failed + ledger.dropped + ledger.cancelled
    # Those of a worker's lot wait behind the one that runs.
    allotted = max(0, len(ledger.tasks) - ledger.running)
    return {
        "accepted": ledger.accepted,
        "succeeded": succeeded,
        "failed": ledger.failed,
        "dropped": ledger.dropped,
        "cancelled": ledger.cancelled,
        "in_flight": ledger.accepted - ended,
        "waiting": len(ledger.waiting) + len(ledger.parked) + allotted,
    }
