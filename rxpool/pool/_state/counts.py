"""`FlowCounts`: what became of the items of a flow."""

__all__ = ("FlowCounts",)


class FlowCounts:
    """At every instant each item that was accepted is in one of these counts, or in flight.

    Workers that go on without the lock count successes in cells of their own.
    """

    __slots__ = ("accepted", "cancelled", "dropped", "failed", "local", "succeeded_locked")

    def __init__(self) -> None:
        self.accepted = self.failed = self.dropped = self.cancelled = 0
        self.succeeded_locked = 0  #: successes that were counted under the lock
        #: successes counted by workers that go on without the lock, a cell for each
        self.local: list[list[int]] = []

    @property
    def succeeded(self) -> int:
        """How many tasks ended well."""
        return self.succeeded_locked + sum(cell[0] for cell in tuple(self.local))

    @property
    def in_flight(self) -> int:
        """Accepted and not settled."""
        return self.accepted - self.succeeded - self.failed - self.dropped - self.cancelled

    def one_more(self) -> None:
        """One is accepted."""
        self.accepted += 1

    def divided(self, parts: int) -> None:
        """One that was accepted is so many now."""
        self.accepted += parts - 1

    def one_succeeded(self) -> None:
        """One has a result, and did not run for it."""
        self.succeeded_locked += 1

    def one_failed(self) -> None:
        """One has failed, and does not run."""
        self.failed += 1

    def one_dropped(self) -> None:
        """One is dropped."""
        self.dropped += 1

    def one_cancelled(self) -> None:
        """One is cancelled."""
        self.cancelled += 1

    def close(self, cell: list[int]) -> None:
        """A worker that went from task to task without the lock stops doing so."""
        for index, open_cell in enumerate(self.local):
            if open_cell is cell:
                del self.local[index]
                self.succeeded_locked += cell[0]
                return
