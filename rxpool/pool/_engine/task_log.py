"""`TaskLog`: what happens to tasks and workers, in the log."""

import logging
from itertools import count
from typing import Any

from rxpool._log import log
from rxpool.pool._state.task import Task

__all__ = ("TaskLog",)


class TaskLog:
    """Logs by structlog's bound fields: pool, flow, task and attempt.

    What a program also learns by an outcome or an event is logged at INFO, the start of each
    attempt at DEBUG, so nothing is seen unless the program sets logging up.  Whether it has
    is looked up when flows and subscriptions begin, not for each task.
    """

    def __init__(self, name: str) -> None:
        self.wanted = False  # INFO
        self.detailed = False  # DEBUG
        self._log = log.bind(pool=name)
        self._numbers = count(1)

    def look(self) -> None:
        """See what the program wants to be told."""
        logger = logging.getLogger("rxpool")
        self.wanted = logger.isEnabledFor(logging.INFO)
        self.detailed = logger.isEnabledFor(logging.DEBUG)

    def started(self, task: Task) -> None:
        """An attempt is going to run."""
        if self.detailed:
            self._of(task).debug("task started")

    def failed(self, task: Task, error: BaseException, crashed: bool) -> None:
        """An attempt failed."""
        if not self.wanted:
            return
        said = self._of(task)
        if crashed:
            said.info("worker crashed", error=str(error))
        else:
            said.info("task failed", error=repr(error), exc_info=error)

    def retried(self, task: Task, error: BaseException, wait: float) -> None:
        """There will be another attempt."""
        if self.wanted:
            self._of(task).info("task retried", error=repr(error), wait=wait)

    def replaced(self, reason: str) -> None:
        """A worker is gone, and another takes its place."""
        self._log.info("worker replaced", reason=reason)

    def terminated(self, reason: str, cancelled: int) -> None:
        """The pool was ended with work in it."""
        self._log.warning("work was cancelled", reason=reason, cancelled=cancelled)

    def closed(self, totals: Any) -> None:
        """The pool has ended."""
        self._log.info("pool closed", **totals)

    def _of(self, task: Task) -> Any:
        number = task.extra.number
        if number is None:
            task.own().number = number = next(self._numbers)
        return self._log.bind(flow=task.flow.binding.name, task=number, attempt=task.attempts)
