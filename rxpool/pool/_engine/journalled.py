"""`JournalOfFlow`: what a flow's journal knows of an item, and is told of its result."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rxpool._core.causes import as_failure, ends_program
from rxpool.errors import InvalidItem
from rxpool.pool._engine.binding import NO_VALUE
from rxpool.pool._state.task import Task
from rxpool.pool._state.verdicts import Known

if TYPE_CHECKING:
    from rxpool.records import Journal
    from rxpool.records._finished import Row

__all__ = ("JournalOfFlow",)


class JournalOfFlow:
    """Asks the journal of one flow; what it answered is kept with each task.

    `prepare`, `row` and `write` call functions of the user and use the file, so no lock may
    be held; `answer` does not.
    """

    __slots__ = ("_find", "_identify", "_items", "_stored")

    def __init__(self, journal: "Journal", fn: Callable[..., Any]) -> None:
        from rxpool.records._journal import items_of  # who has a journal has imported it

        run = journal.open(fn, {})
        self._identify = run.identify
        self._items = items_of(run)
        self._items.prepare()
        self._stored = run.emit == "stored"
        self._find = self._items.entries if self._stored else self._items.known

    def prepare(self, tasks: Sequence[Task]) -> None:
        """Look for *tasks*, before they are accepted."""
        names: list[str] = []
        named: list[Task] = []
        for task in tasks:
            try:
                names.append(self._identify(task.item))
                named.append(task)
            except BaseException as error:
                _refuse(task, error)
        try:
            some = self._items.candidates(names)
            found = self._find(some) if some else ()
        except BaseException as error:
            for task in named:
                _refuse(task, error)
            return
        if not found:
            for name, task in zip(names, named, strict=True):
                task.own().journalled = name, None
            return
        for name, task in zip(names, named, strict=True):
            try:
                task.own().journalled = name, self._known(name, found)
            except BaseException as error:
                _refuse(task, error)

    def _known(self, name: str, found: Any) -> tuple[Any] | None:
        """What is known of the item, in a tuple; *found* is what there is of several."""
        if name not in found:
            return None
        return self._items.read(name, found[name]) if self._stored else (NO_VALUE,)

    def answer(self, task: Task) -> Known | BaseException | None:
        """The result of *task*, if that is known, or why it cannot be asked for."""
        found = task.extra.journalled[1]
        return Known(found[0]) if isinstance(found, tuple) else found

    def row(self, task: Task, value: Any) -> "Row | BaseException":
        """The result of *task* as it is written; the error if it cannot be."""
        if value is NO_VALUE:
            return InvalidItem("a journal keeps one result of each item, no Observable's")
        try:
            return self._items.row(task.extra.journalled[0], value)
        except BaseException as error:
            return error

    def write(self, rows: "Sequence[Row]") -> list[BaseException | None] | None:
        """Write results, in one transaction; the error of each, if there is one.

        If that fails they are written one by one, so that each has an error of its own.
        """
        error = self._written(rows)
        if error is None:
            return None
        if len(rows) == 1 or not isinstance(error, Exception):
            return [error for _ in rows]
        return [self._written((row,)) for row in rows]

    def _written(self, rows: "Sequence[Row]") -> BaseException | None:
        try:
            self._items.write(rows)
        except BaseException as error:
            return error
        return None


def _refuse(task: Task, error: BaseException) -> None:
    """*task* cannot be asked for: it is going to fail with *error*."""
    if ends_program(error):
        raise error
    task.own().journalled = None, as_failure(error)
