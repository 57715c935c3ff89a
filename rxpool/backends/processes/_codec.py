"""How functions, items and results travel between processes; for exceptions see `_remote`.

What is small and simple goes as it is; everything else is pickled by itself, so that one
item that cannot be pickled, or not unpickled, harms no other.  Large buffers (protocol 5)
stay out of the pickle, in shared memory.
"""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import c_char
from functools import partial
from io import BytesIO
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final
from weakref import ref

from rxpool.backends.processes._buffer_ring import LARGE, BufferRing, Span
from rxpool.backends.processes._main_module import is_out_of_reach
from rxpool.backends.processes._pickling import Pickling, pickling_into
from rxpool.backends.processes._reducers import Reducers
from rxpool.errors import NotPicklable

__all__ = (
    "ATOMS",
    "FIXED",
    "LARGE",
    "decode",
    "dumps",
    "encode",
    "reachable",
    "size_of",
    "spans_of",
)

#: types whose values are the same on the other side, whatever else travels with them
ATOMS: Final = frozenset((type(None), bool, int, float, complex, str, bytes))

#: those that are small whatever their value
FIXED: Final = frozenset((type(None), bool, int, float, complex))

#: a tuple of no more parts, as arguments are, is looked through before it is pickled
_FEW: Final = 8

_reducers: Final = Reducers()

_PICKLED: Final = "p"
_BUFFERS: Final = "b"  # pickled, with buffers in shared memory
_BYTES: Final = "r"  # a bytes object in shared memory
_LONG: Final = "l"  # a pickle in shared memory


def encode(value: Any, ring: BufferRing | None, what: str) -> Any:
    """What stands for *value* in a message; *what* it is is for the message of an error.

    Raises:
        NotPicklable: If it cannot be pickled.
    """
    kind = type(value)
    if kind in ATOMS:
        if ring is None or (kind is not bytes and kind is not str) or len(value) < LARGE:
            return value
        if kind is bytes:
            span = ring.put(memoryview(value))
            return value if span is None else (_BYTES, (span,))
    if ring is None:
        return _PICKLED, dumps(value, what)
    if kind is tuple and len(value) <= _FEW and ATOMS.issuperset(map(type, value)):
        data = pickle.dumps(value, 5)  # nothing in it has a buffer, a reducer or a module
        return _kept_apart(data, ring)
    pickling = pickling_into(ring)
    placed = pickling.placed
    try:
        data = dumps(value, what, pickling)
        if placed.missed:
            placed.take_back()
            return _PICKLED, dumps(value, what)
    except BaseException:
        placed.take_back()
        raise
    spans = placed.spans
    pickling.done(len(data))
    if spans:
        return _BUFFERS, tuple(spans), data
    return _kept_apart(data, ring)


def _kept_apart(data: bytes, ring: BufferRing) -> Any:
    """A part of a message for a pickle without buffers."""
    if len(data) >= LARGE and (span := ring.put(memoryview(data))) is not None:
        return _LONG, (span,)
    return _PICKLED, data


def spans_of(wire: Any) -> Sequence[Span]:
    """The shared memory that a message part takes."""
    if type(wire) is tuple and wire[0] in (_BUFFERS, _BYTES, _LONG):
        spans: Sequence[Span] = wire[1]
        return spans
    return ()


def size_of(wire: Any) -> int:
    """The bytes of a part of a message that was pickled, wherever they are."""
    inside = len(wire[-1]) if type(wire[-1]) is bytes else 0
    return inside + sum(span[1] for span in spans_of(wire))


def decode(
    wire: Any, ring: BufferRing | None = None, borrow: list[Callable[[], Any]] | None = None
) -> Any:
    """The value that a message part stands for.

    With *borrow* its buffers stay in shared memory.  What is added to that list answers None
    when nothing refers to them any more.
    """
    if type(wire) is not tuple:
        return wire
    if wire[0] == _PICKLED:
        return pickle.loads(wire[1])
    assert ring is not None
    if wire[0] == _BYTES:
        return bytes(ring.view(wire[1][0]))
    if wire[0] == _LONG:
        return pickle.loads(ring.view(wire[1][0]))
    views = [ring.view(span) for span in wire[1]]
    if borrow is None:
        return pickle.loads(wire[2], buffers=[bytearray(view) for view in views])
    # Not every user of a buffer locks it, but all keep a reference to what owns it.
    loans = [(c_char * view.nbytes).from_buffer(view) for view in views]
    borrow.extend(ref(loan) for loan in loans)
    return pickle.loads(wire[2], buffers=[memoryview(loan).cast("B") for loan in loans])


def dumps(value: Any, what: str, pickling: Pickling | None = None) -> bytes:
    """Pickle *value*, with cloudpickle if need be and it is there.

    Large buffers go where *pickling* puts them; without it they are in the pickle.
    """
    if pickling is None:
        pickling = Pickling()
    first: Exception | None = None
    try:
        data = pickling.dumps(value, _reducers.table())
        if not is_out_of_reach(data):
            return data
    except Exception as reason:
        first = reason
    pickling.placed.take_back()
    if first is not None:
        try:
            file = BytesIO()
            ForkingPickler(file, 5).dump(value)
            if not is_out_of_reach(file.getvalue()):
                return file.getvalue()
        except Exception:
            pass
    try:
        return _by_value(value, pickling.placed.stays_inside)
    except ImportError:
        if first is None:
            part = _of_main(value) or "something"
            raise NotPicklable(
                f"{what} needs {part} of the main module, and workers cannot import that one; "
                "pip install 'rxpool[cloudpickle]' sends what is in it, or define it in a "
                "module of its own"
            ) from None
        hint = "; pip install 'rxpool[cloudpickle]' sends lambdas and local functions"
        hint = hint if _is_local(value) else ""
    except Exception as reason:
        first, hint = first or reason, ""
    raise NotPicklable(f"{what} cannot be pickled: {_culprit(value)}: {first}{hint}") from first


class _Reachable:
    """Pickles as a value that needs the main module, for workers that cannot import it."""

    def __init__(self, value: Any, what: str) -> None:
        self._value = value
        self._what = what

    def __reduce__(self) -> Any:
        return pickle.loads, (dumps(self._value, self._what),)


def reachable(value: Any, what: str) -> Any:
    """*value*, or what becomes it in a worker."""
    try:
        out_of_reach = is_out_of_reach(pickle.dumps(value, 5))
    except Exception:  # locks and queues of `multiprocessing` pickle at a start alone
        return value
    return _Reachable(value, what) if out_of_reach else value


def _by_value(
    value: Any, callback: Callable[[pickle.PickleBuffer], bool] | None = None
) -> bytes:
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    file = BytesIO()
    kind: Any = _reducers.taught(cloudpickle.Pickler)
    kind(file, 5, buffer_callback=callback).dump(value)
    return file.getvalue()


def _can_be_pickled(value: Any) -> bool:
    for pickled in (partial(pickle.dumps, protocol=5), _by_value):
        with suppress(Exception):
            pickled(value)
            return True
    return False


def _is_local(value: Any) -> bool:
    return callable(value) or any(callable(each) for each in _inside(value).values())


def _inside(value: Any) -> dict[str, Any]:
    """The parts of a value, by how they are reached."""
    if isinstance(value, dict):
        return {f"[{key!r}]": part for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return {f"[{index}]": part for index, part in enumerate(value)}
    return {f".{name}": part for name, part in getattr(value, "__dict__", {}).items()}


def _of_main(value: Any, depth: int = 4) -> str:
    """The name of a function or class of the main module in *value*; empty if none is found."""
    for each in value, type(value):
        if getattr(each, "__module__", None) == "__main__" and hasattr(each, "__qualname__"):
            return f"{each.__qualname__!r}"
    parts = _inside(value).values() if depth else ()
    return next((name for part in parts if (name := _of_main(part, depth - 1))), "")


def _culprit(value: Any, path: str = "", depth: int = 4) -> str:
    """Where in *value* the part is that cannot be pickled."""
    if depth and not isinstance(value, type) and not callable(value):
        for name, part in _inside(value).items():
            if not _can_be_pickled(part):
                return _culprit(part, path + name, depth - 1)
    named = getattr(value, "__qualname__", None)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return (f"{path} is " if path else "") + (f"{kind} {named}" if named else kind)
