"""Batches as items: those that fail as a whole are halved, or tried again in part."""

from itertools import groupby
from typing import Any, TypeAlias

from rxpool.errors import DeadlineExceeded
from rxpool.pool._state.task import Task, again_in_part, done_in_part

__all__ = ("Group", "PartlyFailed", "can_be_halved", "groups_of", "halves", "part_of")

#: items of a batch, and their results; None: they are to be tried again
Group: TypeAlias = tuple[list[Any], list[Any] | None]


class PartlyFailed(Exception):
    """What an attempt failed with of which some results are exceptions; nobody sees it.

    One that is no `Exception` is not looked at: it is that item's failure, as it is.
    """

    def __init__(self, results: list[Any]) -> None:
        failed = sum(isinstance(result, Exception) for result in results)
        super().__init__(f"{failed} of {len(results)} items failed")
        self.results = results

    @property
    def first(self) -> Exception:
        """The error of the first item that has failed."""
        return next(result for result in self.results if isinstance(result, Exception))

    @property
    def whole(self) -> Exception | None:
        """What the call ended with, if at least half of it has failed: the first error."""
        failed = [result for result in self.results if isinstance(result, Exception)]
        return failed[0] if 2 * len(failed) >= len(self.results) else None


def groups_of(
    items: list[Any], results: list[Any], again: set[int], ordered: bool
) -> list[Group]:
    """What is done and what is to be tried again, which are the items at *again*.

    Where results come out in the order of the input, those in a row stay together; else
    there are at most two groups.
    """
    places = list(range(len(items)))
    if not ordered:
        places.sort(key=again.__contains__)
    groups: list[Group] = []
    for repeated, places_in in groupby(places, again.__contains__):
        where = list(places_in)
        done = None if repeated else [results[place] for place in where]
        groups.append(([items[place] for place in where], done))
    return groups


def can_be_halved(task: Task, error: BaseException) -> bool:
    """Whether it takes a smaller batch to know what is wrong, and there is time for it."""
    if not task.flow.bisect or isinstance(error, DeadlineExceeded):
        return False
    return isinstance(task.item, list) and len(task.item) > 1  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def halves(task: Task) -> list[Task]:
    """Two tasks for the two halves of a batch."""
    middle = len(task.item) // 2
    context = task.context
    parts = [
        Task(task.flow, half, task.accepted, None if context is None else context.copy())
        for half in (task.item[:middle], task.item[middle:])
    ]
    for part in parts:
        if task.flow.gate is not None:
            task.flow.gate.inherit(task, part)
    return parts


def part_of(task: Task, number: int, items: list[Any], results: list[Any] | None) -> Task:
    """Some items of a batch as a task of their own; with *results* they are done."""
    make = again_in_part if results is None else done_in_part
    part = make(task, items, number)
    if task.flow.gate is not None:
        task.flow.gate.inherit(task, part)
    return part
