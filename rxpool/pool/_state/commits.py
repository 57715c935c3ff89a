"""Results that wait to be written to a journal, and who may write them."""

from collections import deque
from typing import Any, Final, TypeAlias

from rxpool.pool._state.task import Task

__all__ = ("MOST", "CommitQueue", "Unwritten")

MOST: Final = 64  #: results to be written at once, and that may wait meanwhile
_SHORT: Final = 0.0002  #: seconds: a task that took longer is worth a transaction of its own
_SOON: Final = 0.002  #: seconds that a result may wait for others
_LONGEST: Final = 0.1  #: seconds to wait for who is writing

#: a task whose function is done, and its result as it is written
Unwritten: TypeAlias = tuple[Task, Any]


class CommitQueue:
    """Whoever has a result puts it here, and writes what is here unless another does.

    Who is writing looks again when it has given the token, a lock, back: so nothing is left
    behind.  The others need not wait for that, unless there is much already: what is here
    when the program is killed is done again.
    """

    __slots__ = ("_token", "_unwritten", "armed")

    def __init__(self, token: Any) -> None:
        self._unwritten: deque[Unwritten] = deque()
        self._token = token
        self.armed = False  #: an alarm is set for what waits

    def may_wait(self, task: Task) -> bool:
        """Whether the result of *task*, which is here, may wait for others that come soon."""
        return task.took < _SHORT and len(self._unwritten) < MOST

    def due(self) -> float | None:
        """When what waits is to be written at the latest, if something does."""
        try:
            first = self._unwritten[0][0]
        except IndexError:
            return None
        return first.started + first.took + _SOON

    def put(self, task: Task, row: Any) -> None:
        """The result of *task* waits here, be it that others write it."""
        self._unwritten.append((task, row))

    def claim(self) -> list[Unwritten] | None:
        """What waits, to be written by the caller, who says `written` then.

        None: there is nothing, or another writes, and will look again.
        """
        unwritten, token = self._unwritten, self._token
        while unwritten:
            # Not for ever: it may be a finaliser that came while this thread writes.
            waits = len(unwritten) >= MOST
            if not token.acquire(waits, _LONGEST if waits else -1):
                return None
            group: list[Unwritten] = []
            while unwritten and len(group) < MOST:
                group.append(unwritten.popleft())
            if group:
                return group
            token.release()  # the one before has taken it; look again, as others did not
        return None

    def written(self) -> None:
        """Another may write."""
        self._token.release()
