"""`PartlyFailed`: a batch that ran, and some of whose results are exceptions.

No clock, no thread, no Rx and no user code.
"""

from itertools import groupby
from typing import Any, TypeAlias

__all__ = ("Group", "PartlyFailed", "groups_of")

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
