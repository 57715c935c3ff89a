"""`Lifecycle`: from open to closed, and which node is to be cut next on the way."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Generic, Literal, TypeAlias, TypeVar

__all__ = ("Lifecycle", "State", "circles")

_N = TypeVar("_N")

State: TypeAlias = Literal["open", "draining", "terminated", "closed"]

#: what may follow what
_NEXT: Final[dict[State, tuple[State, ...]]] = {
    "open": ("draining", "terminated", "closed"),
    "draining": ("terminated", "closed"),
    "terminated": ("closed",),
    "closed": (),
}


class Lifecycle(Generic[_N]):
    """The state of a pool: open → draining → closed, or → terminated → closed.

    No clock, no thread, no Rx.  A pool that drains is cut from the top: a node (a flow, or
    what is upstream of one) once nothing that lives feeds it, so that whatever another node
    still holds has come out by then, and what is fed by others is completed by them.
    """

    def __init__(self) -> None:
        self.state: State = "open"
        self.hard = False  #: it was terminated, be it closed by now or not
        self._cut: set[_N] = set()

    def enter(self, state: State) -> bool:
        """Go on to *state*; False if that is, or is behind, the present one."""
        if state not in _NEXT[self.state]:
            return False
        self.state = state
        self.hard = self.hard or state == "terminated"
        return True

    def has_cut(self, nodes: Iterable[_N]) -> bool:
        """Whether all *nodes* were answered by `to_cut`, so that they end by themselves."""
        return self._cut.issuperset(nodes)

    def to_cut(
        self,
        feeders: Mapping[_N, Collection[_N]],
        held_up: Collection[_N] = (),
        busy: Collection[_N] = (),
        patient: bool = True,
    ) -> list[_N]:
        """The nodes to cut now, each of which is answered once.

        Those that only feed one another, as far as is known, are cut together once none of
        them is busy; without patience the first of them is cut even so.

        Args:
            feeders: The nodes that live, the oldest first, each with those that may feed it.
            held_up: Those to which something is on its way that nothing live gave.
            busy: Those that hold something, or are at it.
            patient: Whether a circle is waited for.
        """
        if self.state != "draining":
            return []
        chosen: set[_N] = set()
        for circle in circles(feeders):
            above = {each for node in circle for each in feeders[node] if each in feeders}
            if above - circle or not circle.isdisjoint(held_up):
                continue
            if len(circle) == 1 or circle.isdisjoint(busy):
                chosen |= circle
            elif not patient and circle.isdisjoint(self._cut):
                chosen.add(next(node for node in feeders if node in circle))
        chosen -= self._cut
        self._cut |= chosen
        return [node for node in feeders if node in chosen]


def circles(feeders: Mapping[_N, Collection[_N]]) -> list[set[_N]]:
    """Sets of nodes that feed one another, directly or not; most have one node.

    Tarjan's strongly connected components, without recursion: those above come first.
    """
    numbers: dict[_N, int] = {}
    lowest: dict[_N, int] = {}
    stack: list[_N] = []
    found: list[set[_N]] = []
    inside: set[_N] = set()
    for start in feeders:
        if start in numbers:
            continue
        work = [(start, iter(feeders[start]))]
        numbers[start] = lowest[start] = len(numbers)
        stack.append(start)
        inside.add(start)
        while work:
            node, rest = work[-1]
            for above in rest:
                if above not in feeders:
                    continue
                if above not in numbers:
                    numbers[above] = lowest[above] = len(numbers)
                    stack.append(above)
                    inside.add(above)
                    work.append((above, iter(feeders[above])))
                    break
                if above in inside:
                    lowest[node] = min(lowest[node], numbers[above])
            else:
                work.pop()
                if work:
                    below = work[-1][0]
                    lowest[below] = min(lowest[below], lowest[node])
                if lowest[node] == numbers[node]:
                    circle: set[_N] = set()
                    while node not in circle:
                        each = stack.pop()
                        inside.discard(each)
                        circle.add(each)
                    found.append(circle)
    return found
