"""`TraceLanes`: names for places where work ran side by side, where workers have none."""

__all__ = ("TraceLanes",)

_MANY = 10_000  #: lanes that are kept


class TraceLanes:
    """Gives each span of time a lane in which nothing else ran meanwhile.

    No clock, no thread: spans come in as they end.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._busy: list[float] = []  # until when each was, as far as is known

    def lane(self, started: float, ended: float) -> str:
        """The first lane that was free since *started*."""
        for number, until in enumerate(self._busy):
            if until <= started:
                self._busy[number] = ended
                return f"{self._name}-{number}"
        if len(self._busy) < _MANY:
            self._busy.append(ended)
        return f"{self._name}-{len(self._busy) - 1}"
