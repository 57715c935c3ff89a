"""`JournalOfFlow`: what a flow's journal knows of an item, and is told of its result."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rxpool._core.causes import as_failure, ends_program
from rxpool.errors import InvalidItem
from rxpool.pool._engine.binding import NO_VALUE
from rxpool.pool._state.task import Task
from rxpool.pool._state.verdicts import Known

if TYPE_CHECKING:
    from rxpool.records import Journal

__all__ = ("JournalOfFlow",)


class JournalOfFlow:
    """Asks the journal of one flow; what it answered is kept with each task.

    `prepare` and `keep` call functions of the user and read and write the file, so no lock
    may be held; `answer` does not.
    """

    __slots__ = ("_run",)

    def __init__(self, journal: "Journal", fn: Callable[..., Any]) -> None:
        self._run = journal.open(fn, {})

    def prepare(self, task: Task) -> None:
        """Look for *task*, before it is accepted."""
        run = self._run
        try:
            name = run.identify(task.item)
            if run.emit == "stored":
                found = run.stored(name)
            else:
                found = (NO_VALUE,) if run.finished(name) else None
            task.own().journalled = name, found
        except BaseException as error:
            if ends_program(error):
                raise
            task.own().journalled = None, as_failure(error)

    def answer(self, task: Task) -> Known | BaseException | None:
        """The result of *task*, if that is known, or why it cannot be asked for."""
        found = task.extra.journalled[1]
        return Known(found[0]) if isinstance(found, tuple) else found

    def keep(self, task: Task, value: Any) -> BaseException | None:
        """Remember the result of *task*; the error if that cannot be."""
        if value is NO_VALUE:
            return InvalidItem("a journal keeps one result of each item, no Observable's")
        try:
            self._run.record(task.extra.journalled[0], value)
        except BaseException as error:
            return error
        return None
