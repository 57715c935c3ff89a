"""Which nodes an observer leads to, found by following its references.

What is seen while a chain is subscribed (`inlet`) does not show every way that items go: a
second subscriber of `share` or `replay`, a Subject that one stream pushes into and another
is subscribed to, a `merge` that subscribes later.  But whatever pushes items on has to know
where to, so the objects that it refers to lead there.  Subscriptions, and sources that are
not observers as well, lead upstream, and are not followed.

This may find a node to which no item ever goes.  It does not see ways through a queue that
another thread empties, nor what operators hold that are neither rxpool's nor `observe_on`,
`delay` or `debounce` of RxPY.
"""

import sys
import threading
from concurrent.futures import Future
from gc import get_referents
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from reactivex import abc
from reactivex.observer.scheduledobserver import ScheduledObserver

from rxpool._core.inlet import Node, flows, stages
from rxpool._forks import afresh, bury, heed

__all__ = (
    "Way",
    "inlet_from",
    "is_node",
    "leave_behind",
    "left_behind",
    "not_followed",
    "way_at_end",
    "way_from",
)

_MOST: Final = 20_000  #: objects looked at; a subscriber may refer to a whole program

#: the operators of RxPY that hold items and are known here; imported when they are used
_HOLDING: Final = frozenset(
    f"reactivex.operators.{name}" for name in ("_delay", "_debounce", "_observeon")
)
#: where `delay` and `debounce` of RxPY keep what they hand on later: lists
_KEPT: Final = frozenset(("queue", "active", "has_value"))
_HANDLE: Final = "cancelable"  #: what they call the subscription of their timer

#: lead nowhere, or everywhere
_leaves: tuple[type, ...] = (
    str,
    bytes,
    bytearray,
    int,
    float,
    complex,
    type,
    type(None),
    ModuleType,
    CodeType,
    threading.Thread,
    Future,
    abc.SchedulerBase,
)

# What is done about an object of a type.
_NODE, _END, _OBJECT, _HOLDER = "node", "end", "object", "holder"
_FUNCTION, _METHOD = "function", "method"
_KINDS: Final = 5_000  #: types that are remembered
_sorts: Final[dict[Any, str]] = {}

_guard: Final = afresh(threading.Lock())  #: of these; a leaf
_left: Final[list["Way"]] = []


class Way:
    """Where an observer leads to, and what may keep items on the way there."""

    __slots__ = ("everywhere", "holders", "nodes")

    def __init__(self, nodes: list[Node], holders: list[Any]) -> None:
        self.nodes = nodes  #: those that are reached without going through another one
        self.everywhere = False  #: it was not followed to its end
        self.holders = holders  #: parts of operators of RxPY that hand items on later

    @property
    def holds(self) -> bool:
        """Whether items, or the end behind them, are on their way to a node that lives."""
        return self.holds_still(True)

    def holds_still(self, in_hand: bool) -> bool:
        """The same; unless *in_hand*, not if somebody has the last one in hand, for good."""
        if all(node.ended for node in self.nodes):
            return False
        return any(_holds(each, in_hand) for each in self.holders)


def not_followed(*kinds: type) -> None:
    """Do not follow objects of these types: they belong to what has nodes, and lead to all."""
    global _leaves
    _leaves += kinds
    _sorts.clear()


def way_from(start: Any) -> Way:
    """Where items go that *start*, an observer, is given."""
    way = Way([], [])
    seen: dict[int, Any] = {}  # kept alive, as the numbers are those of the objects
    rest = [start]
    while rest:
        if len(seen) >= _MOST:
            way.everywhere = True  # for all that is known
            break
        each = rest.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        # Not asked of the object, which may be a proxy.
        kind = type(each)  # pyright: ignore[reportUnknownVariableType]
        sort = _sorts.get(kind) or _sort_of(kind)
        if sort is _NODE:
            way.nodes.append(each)
        elif sort is _FUNCTION:
            rest += _named_by(each)
            if _is_of_rxpy(each) and not _KEPT.isdisjoint(each.__code__.co_freevars):
                way.holders.append(each)
        elif sort is _METHOD:
            rest += (each.__self__, each.__func__, *_methods_named_by(each))
        elif sort is not _END:
            rest += get_referents(each)
            if sort is _HOLDER:
                way.holders.append(each)
    return way


def is_node(each: object) -> bool:
    """Whether it is a `Node`."""
    return _sort_of(type(each)) is _NODE


def _sort_of(kind: Any) -> str:
    try:
        sort = _sort_out(kind)
    except Exception:  # of its metaclass
        sort = _END
    if len(_sorts) >= _KINDS:
        _sorts.clear()
    _sorts[kind] = sort
    return sort


def _sort_out(kind: Any) -> str:
    sort = _OBJECT
    if getattr(kind, "rxpool_node", False) is True:
        sort = _NODE
    elif kind is FunctionType:
        sort = _FUNCTION
    elif kind is MethodType:
        sort = _METHOD
    elif issubclass(kind, ScheduledObserver):
        sort = _HOLDER
    elif issubclass(kind, _leaves):
        sort = _END
    elif issubclass(kind, (abc.DisposableBase, abc.ObservableBase)):
        # They lead upstream, but for Subjects, which are observers too.
        sort = _OBJECT if issubclass(kind, abc.ObserverBase) else _END
    return sort


def _is_of_rxpy(function: FunctionType) -> bool:
    return str(function.__module__).startswith("reactivex.")


def _is_of_ours(function: FunctionType) -> bool:
    """Whether its methods are known to lead nowhere that its object does not."""
    return str(function.__module__).startswith(("reactivex.", "rxpool."))


def _names(code: CodeType) -> set[str]:
    """What a function's code names, that of the functions inside it included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found


def _methods_named_by(method: MethodType) -> list[FunctionType]:
    """The methods and properties of its object that a method uses, directly or not."""
    kinds = type(method.__self__).__mro__
    found: dict[FunctionType, None] = {}
    rest: list[Any] = [method.__func__]
    while rest:
        function = rest.pop()
        if not isinstance(function, FunctionType) or function in found or _is_of_ours(function):
            continue
        found[function] = None
        for name in _names(function.__code__):
            used: Any = next((k.__dict__[name] for k in kinds if name in k.__dict__), None)
            rest.append(used.fget if isinstance(used, property) else used)
    return list(found)


def _named_by(function: FunctionType) -> list[Any]:
    """What a function refers to: of its module's variables only those that it names."""
    around = function.__globals__
    found = [around[name] for name in _names(function.__code__) if name in around]
    found += function.__closure__ or ()
    found += function.__defaults__ or ()
    found.append(function.__kwdefaults__)
    return found


def inlet_from(start: Any) -> Any:
    """The nearest `Inlet` that *start* leads to, or None.

    For a source that is subscribed when what it feeds no longer is being, as the second one of
    `concat` is.
    """
    found: dict[Node, None] = dict.fromkeys(way_from(start).nodes)
    rest = list(found)
    for node in rest:
        if hasattr(node, "on_room"):
            return node
        fresh = [each for each in way_from(node.feeds).nodes if each not in found]
        found.update(dict.fromkeys(fresh))
        rest += fresh
    return None


def way_at_end(node: Node) -> Way | None:
    """Where the items of a node went that is about to end, if operators may hold some.

    Asked before, as many an observer forgets its own when it is told the end.
    """
    if len(stages) + len(flows) <= 1 or _HOLDING.isdisjoint(sys.modules):
        return None
    return way_from(node.feeds)


def leave_behind(way: Way | None) -> None:
    """A node has ended from which items are still on their *way*."""
    if way is not None and way.holders and way.holds:
        with _guard:
            _left[:] = [each for each in _left if each.holds] + [way]


def left_behind() -> list[Way]:
    """The ways on which there still is what nodes gave that have ended."""
    with _guard:
        _left[:] = [each for each in _left if each.holds]
        return list(_left)


class _Left:
    """What a forked child lets go of."""

    def forked(self) -> None:
        """Items that were on their way at the fork are the parent's."""
        bury(_left)
        _left.clear()


_heedful: Final = _Left()
heed(_heedful)


def _holds(each: Any, in_hand: bool) -> bool:
    if isinstance(each, ScheduledObserver):
        if each.disposable.is_disposed or each.has_faulted:
            return False
        return bool(each.queue) or (in_hand and each.is_acquired)  # pyright: ignore[reportUnknownMemberType]
    kept: list[Any] = []
    for name, cell in zip(each.__code__.co_freevars, each.__closure__ or (), strict=True):
        if name in _KEPT or name == _HANDLE:
            try:
                value: Any = cell.cell_contents
            except ValueError:  # it is empty
                continue
            if name != _HANDLE:
                kept.append(value)
            elif getattr(value, "is_disposed", False):
                return False  # nothing comes out any more
    return any(isinstance(value, list) and bool(value) and bool(value[0]) for value in kept)  # pyright: ignore[reportUnknownArgumentType]
