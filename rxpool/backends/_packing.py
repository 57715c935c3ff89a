"""How exceptions leave a worker: as text, numbers and pickles of their parts.

The standard library is all that this needs: executors are sent its source, since their
workers may have no rxpool.
"""

# What users raise is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import pickle
import traceback
from io import BytesIO
from types import MemberDescriptorType
from typing import Any, Final

__all__ = ("ERROR", "NOTHING", "PARTS", "WHOLE", "Node", "native", "pack_error", "shown")

ERROR: Final = "e"  #: marks an exception among what stands for values

#: how a node holds its exception: in parts, pickled by itself, not at all
PARTS, WHOLE, NOTHING = 0, 1, 2

#: how, the pickles of class and arguments and of the fields, the number of its cause (or -1),
#: the names of its classes, its text, and how long it asks to wait
Node = tuple[int, bytes, bytes, int, tuple[str, ...], str, float | None]

#: what Python itself uses, whatever a class of exceptions makes of it
_OWN: Final[Any] = vars(BaseException)

_HEAP: Final = 1 << 9  #: the flag of classes that were made by programs
_DEEP: Final = 20  #: causes of causes, and groups in groups, that are kept as exceptions


def pack_error(error: BaseException) -> Any:
    """What stands for an exception in a message.

    That is its class, its arguments, attributes, slots and notes: it is built again without
    its ``__init__``, whose parameters nobody knows.  Exceptions that it refers to, as its
    cause or as a part of a group, are packed in the same way.  Of one that cannot be pickled
    the names of its classes and its text remain.
    """
    graph = _Graph()
    graph.add(error)
    return ERROR, tuple(graph.nodes), _traceback(error)


def native(kind: type[BaseException]) -> Any:
    """The class, built into Python, that an exception of *kind* is at its core."""
    base: Any = kind
    while base.__flags__ & _HEAP:
        base = base.__base__
    return base


def shown(error: BaseException) -> str:
    """Its `repr`; of a class that has none that works, the name."""
    try:
        return repr(error)
    except BaseException:
        return type(error).__qualname__


class _Graph:
    """Exceptions that refer to each other, by their numbers."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[BaseException] = []  # so that no other gets its id
        self._depth = 0

    def add(self, error: BaseException) -> int:
        number = self._numbers.get(id(error))
        if number is None:
            number = self._numbers[id(error)] = len(self.nodes)
            self._kept.append(error)
            names, text = _names(type(error)), _text(error)
            self.nodes.append((NOTHING, b"", b"", -1, names, text, _wait(error)))
            self._depth += 1
            if self._depth <= _DEEP:
                self._fill(number, error)
            self._depth -= 1
        return number

    def _fill(self, number: int, error: BaseException) -> None:
        first, second = self._in_parts, self._whole
        if _reduces_itself(type(error)):
            first, second = second, first
        for form in first, second:
            try:
                how, head, state = form(error)
                cause = _OWN["__cause__"].__get__(error)
                at = -1 if cause is None else self.add(cause)
                self.nodes[number] = (how, head, state, at, *self.nodes[number][4:])
                return
            except BaseException:
                continue

    def _in_parts(self, error: BaseException) -> tuple[int, bytes, bytes]:
        kind = type(error)
        args = _OWN["args"].__get__(error)
        if issubclass(kind, BaseExceptionGroup):
            group: Any = vars(BaseExceptionGroup)
            args = group["message"].__get__(error), list(group["exceptions"].__get__(error))
        head = self._dumps((kind, args))
        return PARTS, head, self._dumps((_OWN["__dict__"].__get__(error), _slots(error)))

    def _whole(self, error: BaseException) -> tuple[int, bytes, bytes]:
        """By what its class says how it is pickled."""
        data = pickle.dumps(error, 5)
        if type(pickle.loads(data)) is not type(error):
            raise TypeError("another one")
        return WHOLE, data, b""

    def _dumps(self, value: Any) -> bytes:
        try:
            file = BytesIO()
            _Pickler(file, self).dump(value)
            return file.getvalue()
        except Exception:  # such as of a class that has come here by value
            import cloudpickle  # type: ignore[import-untyped, unused-ignore]

            graph = self

            class ByValue(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
                def persistent_id(self, each: Any) -> int | None:
                    return graph.add(each) if _is_raised(each) else None

            file = BytesIO()
            ByValue(file, 5).dump(value)
            return file.getvalue()


class _Pickler(pickle.Pickler):
    """Leaves exceptions out, which have their own way."""

    def __init__(self, file: BytesIO, graph: _Graph) -> None:
        super().__init__(file, 5)
        self._graph = graph

    def persistent_id(self, each: Any) -> int | None:
        return self._graph.add(each) if _is_raised(each) else None


def _is_raised(value: Any) -> bool:
    return issubclass(type(value), BaseException)


def _reduces_itself(kind: type[BaseException]) -> bool:
    """Whether a program says how *kind* is to be pickled."""
    return any(
        name in vars(base)
        for base in kind.__mro__
        if base.__flags__ & _HEAP
        for name in ("__reduce__", "__reduce_ex__")
    )


def _slots(error: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in type(error).__mro__:
        if base is BaseException or base is BaseExceptionGroup:
            continue
        for name, member in vars(base).items():
            # An AttributeError has the object that lacks the attribute: that may be anything.
            if type(member) is MemberDescriptorType and name not in found and name != "obj":
                try:
                    value = member.__get__(error)
                except AttributeError:  # not set
                    continue
                if value is not None or base.__flags__ & _HEAP:  # else it may be unset too
                    found[name] = value
    return found


def _names(kind: type) -> tuple[str, ...]:
    """Those of all its classes; a worker calls the program's main module otherwise."""
    return tuple(
        f"{'__main__' if base.__module__ == '__mp_main__' else base.__module__}."
        f"{base.__qualname__}"
        for base in kind.__mro__
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "<its str() fails>"


def _wait(error: BaseException) -> float | None:
    try:
        asked: Any = getattr(error, "retry_after", None)
        return float(asked) if type(asked) in (int, float) else None
    except BaseException:
        return None


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException as reason:  # it has parts of its own making
        where = "".join(traceback.format_tb(_OWN["__traceback__"].__get__(error)))
        return (
            f"Traceback (most recent call last):\n{where}"
            f"{_names(type(error))[0]}: {_text(error)}\n({shown(reason)})"
        )
