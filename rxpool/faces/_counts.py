"""`Counts`: how many calls of a face are where."""

__all__ = ("Counts",)


class Counts:
    """Each call that was taken waits, runs, or has ended in one way.

    Whoever takes a call adds it to those that wait; all else is done here.
    """

    __slots__ = ("cancelled", "failed", "running", "succeeded", "waiting")

    def __init__(self) -> None:
        self.waiting: int = 0
        self.running: int = 0
        self.succeeded: int = 0
        self.failed: int = 0
        self.cancelled: int = 0

    @property
    def accepted(self) -> int:
        """All calls that were taken."""
        return self.waiting + self.running + self.succeeded + self.failed + self.cancelled

    @property
    def idle(self) -> bool:
        """Whether all have ended."""
        return not (self.waiting or self.running)

    def begin(self, count: int) -> None:
        """So many that waited run."""
        self.waiting -= count
        self.running += count

    def end(self, count: int, failed: int) -> None:
        """So many that ran have ended, some of them with an error."""
        self.running -= count
        self.succeeded += count - failed
        self.failed += failed

    def cancel(self, count: int) -> None:
        """So many that waited were taken back."""
        self.waiting -= count
        self.cancelled += count

    def cut(self, failed: bool) -> None:
        """Nothing goes on; whether what waited has failed, or was cancelled."""
        if failed:
            self.failed += self.waiting
        else:
            self.cancelled += self.waiting
        self.failed += self.running
        self.waiting = self.running = 0
