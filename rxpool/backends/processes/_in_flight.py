"""`InFlight`: which items are at a worker, and what can be seen of them from outside."""

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any

from rxpool import _forks
from rxpool.backends.processes._shared_block import LIMIT, NEVER, RESUME, RUNNING, STARTED

__all__ = ("InFlight", "not_begun")


class InFlight:
    """The items at one worker, beside the numbers it shares.

    The items are numbered; ``sent`` has their tasks, beginning with number ``first``, and None
    for those that were taken back.  They are added and taken out by the thread that serves
    the worker, and added by whoever gives an idle worker a task.

    ``lock`` guards every field; who holds it calls nothing foreign.  The thread that serves
    reads ``sent`` and ``first`` without it: nobody else takes anything out.
    """

    def __init__(self, numbers: "memoryview[float]") -> None:
        self.lock = _forks.afresh(threading.Lock())
        self.sent: deque[Any] = deque()
        self.first = 0
        self.verdict: tuple[Any, BaseException] | None = None  # see `condemn`
        self._numbers = numbers
        self._closed = False  # nothing can be sent any more
        self._quiet = 0.0  # since when the worker could have begun what it was given
        self._stop_acknowledged = False  # it has surely not begun what is beyond the limit

    # -- on the way there and back ------------------------------------------------------

    def add(self, tasks: Sequence[Any], note: Any, idle: bool = False) -> int | None:
        """*tasks*, with this *note*, are going to be sent: the number of the first.

        None if the worker has ended.  *idle*: it can begin with them at once.
        """
        with self.lock:
            if self._closed:
                return None
            if idle:
                self._quiet = monotonic()
            first = self.first + len(self.sent)
            self.sent.extend(tasks)
            for task in tasks:
                task.handed(note)
        return first

    def done(
        self, items: int, at: float | None, what: str = "results came for"
    ) -> tuple[list[Any], int]:
        """So many have ended, the last one *at*: their tasks, and how many others are there.

        Raises:
            ValueError: If the worker has not been given so many.
        """
        sent, tasks = self.sent, list[Any]()
        with self.lock:
            if items > len(sent):
                raise ValueError(f"{items} {what} {len(sent)} items")
            self.first += items
            for _ in range(items):
                tasks.append(sent.popleft())
            if at is not None:
                self._quiet = at
            return tasks, len(sent)

    def skipped(self, items: int) -> tuple[list[Any], int]:
        """So many were left out: their tasks, and how many others are left there.

        Raises:
            ValueError: If the worker has not been given so many.
        """
        tasks, left = self.done(items, None, "were left out of")
        return [task for task in tasks if task is not None], left

    def rest(self) -> Sequence[Any]:
        """Those that are there now."""
        return [task for task in self.sent if task is not None]

    # -- what the worker is at ----------------------------------------------------------

    def task(self, item: float) -> Any:
        """The task of an item; None if it has none."""
        index = item - self.first
        return self.sent[int(index)] if 0 <= index < len(self.sent) else None

    def number(self) -> float:
        """That of the item that runs, or ran last."""
        return self._numbers[RUNNING]

    def running(self) -> Any:
        """The task that the worker runs; the lock is held."""
        return self.task(self._numbers[RUNNING])

    def unbegun(self) -> Any:
        """The task that the worker is to begin, while it runs none.  The lock is held."""
        return self.sent[0] if self.sent and self._numbers[RUNNING] < self.first else None

    def is_at(self, task: Any) -> bool:
        """Whether the worker runs *task*, or begins it next.  The lock is held."""
        return self.running() is task or self.unbegun() is task

    def running_since(self) -> tuple[Any, float]:
        """That task, and when it began."""
        with self.lock:
            return self.running(), self._numbers[STARTED]

    def unanswered(self, seconds: float) -> tuple[Any, float]:
        """The task that the worker has not begun for so long, and since when; else None."""
        with self.lock:
            task, since = self.unbegun(), self._quiet
        return (task if monotonic() - since >= seconds else None), since

    def has_ended(self, task: Any) -> bool:
        """Whether the worker has done *task* already; its result is on its way."""
        with self.lock:
            at = self.sent.index(task) if task in self.sent else -1
            return at >= 0 and self.first + at < self._numbers[RUNNING]

    # -- what it is not to run ----------------------------------------------------------

    def stop_before_next(self) -> bool:
        """Have the worker leave out all that it has not begun; False if that is so already.

        The lock is held.
        """
        numbers = self._numbers
        if numbers[LIMIT] != NEVER and self.first < numbers[RESUME]:
            return False
        numbers[LIMIT] = NEVER
        numbers[RESUME] = self.first + len(self.sent)
        numbers[LIMIT] = limit = max(numbers[RUNNING] + 1, self.first)
        self._stop_acknowledged = numbers[RUNNING] < limit
        return True

    def take_back(self) -> list[Any]:
        """Take back what the worker has surely not begun; that may need another call.

        In two steps: first the limit is set; the next time, when that has surely been seen by
        a worker that is about to begin an item, it shows whether one was begun.
        """
        taken: list[Any] = []
        with self.lock:
            if self.stop_before_next():
                return taken
            numbers, sent = self._numbers, self.sent
            limit, end = numbers[LIMIT], numbers[RESUME]
            if numbers[RUNNING] >= limit:
                self._stop_acknowledged = False
                return taken
            for index in range(max(0, int(limit) - self.first), int(end) - self.first):
                if sent[index] is not None:
                    taken.append(sent[index])
                    sent[index] = None
        return not_begun(taken)

    def stop_cancelled(self) -> tuple[Any, bool]:
        """Have the worker leave out what was cancelled.

        Answers the cancelled task that it is at, and whether it has begun with that; None if
        it is at none.
        """
        with self.lock:
            task = self.running()
            if task is not None and task.settled:
                self.stop_before_next()
                return task, True
            task = self.unbegun()
            if self.sent and self.sent[-1] is not None and self.sent[-1].settled:
                self.stop_before_next()
            return (task if task is not None and task.settled else None), False

    def condemn(self, task: Any, error: BaseException) -> bool:
        """Whether the worker is at *task*: it is going to be killed, which is then *error*."""
        with self.lock:
            self.stop_before_next()  # if it ends just now, no other dies in its place
            if not self.is_at(task):
                return False
            self.verdict = task, error
            return True

    # -- the worker has ended -----------------------------------------------------------

    def close(self) -> None:
        """Nothing can be sent any more."""
        with self.lock:
            self._closed = True

    def stranded(self) -> list[Any]:
        """Tasks that the worker had done, and of which no result has come."""
        with self.lock:
            done = self._numbers[RUNNING] - self.first
            # It may have written anything there, if it died of that.
            known = max(0, int(done)) if done < len(self.sent) else len(self.sent)
            tasks = [self.sent.popleft() for _ in range(known)]
            self.first += known
        return [task for task in tasks if task is not None]

    def split_unfinished(self) -> tuple[Any, list[Any]]:
        """The task that the worker was running, and those it had not begun."""
        with self.lock:
            if not self.sent:
                return None, []
            numbers, running = self._numbers, self.running()
            begun = int(numbers[RUNNING]) - self.first + 1
            if self._stop_acknowledged and numbers[LIMIT] <= numbers[RUNNING] < numbers[RESUME]:
                # It was going to leave that one out.
                running, begun = None, begun - 1
            if running is not None:
                running.began(numbers[STARTED])
            unbegun = [task for task in list(self.sent)[max(0, begun) :] if task is not None]
            # Given to a worker that had not begun with them.
            self.first += len(self.sent)
            self.sent.clear()
        return running, not_begun(unbegun)

    def give_up(self) -> list[Any]:
        """All that is at the worker, for which nothing can be done any more."""
        with self.lock:
            self._closed = True
            tasks = [task for task in self.sent if task is not None]
            self.sent.clear()
        return tasks

    def detach(self) -> None:
        """What is asked from now on is answered without the worker's memory."""
        with self.lock:
            self._numbers = memoryview(bytearray(self._numbers)).cast("d")


def not_begun(tasks: list[Any]) -> list[Any]:
    """*tasks* that were not begun after all."""
    for task in tasks:
        task.began(None)  # else its time would run while it waits
    return tasks
