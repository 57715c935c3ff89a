"""How functions, items, results and exceptions travel between processes.

What is small and simple goes as it is; everything else is pickled by itself, so that one
item that cannot be pickled, or not unpickled, harms no other.  Large buffers (protocol 5)
stay out of the pickle, in shared memory.
"""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import pickle
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import c_char
from functools import partial
from io import BytesIO
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final
from weakref import ref

from rxpool.backends.processes._memory import Lane, Span
from rxpool.errors import NotPicklable, RemoteError

__all__ = (
    "ATOMS",
    "FIXED",
    "LARGE",
    "RemoteTraceback",
    "decode",
    "decode_error",
    "dumps",
    "encode",
    "encode_error",
    "spans_of",
)

#: types whose values are the same on the other side, whatever else travels with them
ATOMS: Final = frozenset((type(None), bool, int, float, complex, str, bytes))

#: those that are small whatever their value
FIXED: Final = frozenset((type(None), bool, int, float, complex))

#: bytes from which on a buffer travels through shared memory
LARGE: Final = 16 * 1024

_ERROR: Final = "e"  # an exception, with the text of its traceback
_PICKLED: Final = "p"
_BUFFERS: Final = "b"  # pickled, with buffers in shared memory
_BYTES: Final = "r"  # a bytes object in shared memory
_LONG: Final = "l"  # a pickle in shared memory


class RemoteTraceback(Exception):
    """The cause of an exception of a worker: the text of its traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def encode(value: Any, lane: Lane | None, what: str) -> Any:
    """What stands for *value* in a message; *what* it is is for the message of an error.

    Raises:
        NotPicklable: If it cannot be pickled.
    """
    kind = type(value)
    if kind in ATOMS:
        if lane is None or (kind is not bytes and kind is not str) or len(value) < LARGE:
            return value
        if kind is bytes:
            span = lane.put(memoryview(value))
            return value if span is None else (_BYTES, (span,))
    if lane is None:
        return _PICKLED, dumps(value, what)
    buffers: list[memoryview] = []
    data = dumps(value, what, buffers)
    if not buffers:
        if len(data) >= LARGE and (span := lane.put(memoryview(data))) is not None:
            return _LONG, (span,)
        return _PICKLED, data
    mark = lane.mark()
    spans: list[Span] = []
    for buffer in buffers:
        if (span := lane.put(buffer)) is None:  # no room
            lane.take_back(mark)
            return _PICKLED, dumps(value, what)
        spans.append(span)
    return _BUFFERS, tuple(spans), data


def spans_of(wire: Any) -> Sequence[Span]:
    """The shared memory that a message part takes."""
    if type(wire) is tuple and wire[0] in (_BUFFERS, _BYTES, _LONG):
        spans: Sequence[Span] = wire[1]
        return spans
    return ()


def decode(
    wire: Any, lane: Lane | None = None, borrow: list[Callable[[], Any]] | None = None
) -> Any:
    """The value that a message part stands for.

    With *borrow* its buffers stay in shared memory.  What is added to that list answers None
    when nothing refers to them any more.
    """
    if type(wire) is not tuple:
        return wire
    if wire[0] == _PICKLED:
        return pickle.loads(wire[1])
    assert lane is not None
    if wire[0] == _BYTES:
        return bytes(lane.view(wire[1][0]))
    if wire[0] == _LONG:
        return pickle.loads(lane.view(wire[1][0]))
    views = [lane.view(span) for span in wire[1]]
    if borrow is None:
        return pickle.loads(wire[2], buffers=[bytearray(view) for view in views])
    # Not every user of a buffer locks it, but all keep a reference to what owns it.
    loans = [(c_char * view.nbytes).from_buffer(view) for view in views]
    borrow.extend(ref(loan) for loan in loans)
    return pickle.loads(wire[2], buffers=[memoryview(loan).cast("B") for loan in loans])


def encode_error(error: BaseException) -> Any:
    """What stands for an exception; one that does not survive the way is replaced."""
    text = "".join(traceback.format_exception(error))
    try:
        data = pickle.dumps(error, 5)
        if type(pickle.loads(data)) is not type(error):
            raise TypeError("it becomes another")
    except BaseException:
        data = pickle.dumps(_stand_in(error), 5)
    stand_in = _stand_in(error)
    return _ERROR, data, text, stand_in.type_name, str(stand_in)


def decode_error(wire: Any) -> BaseException | None:
    """The exception that a message part stands for; None if that is a value."""
    if type(wire) is not tuple or wire[0] != _ERROR:
        return None
    _, data, text, name, message = wire
    error: BaseException
    try:
        error = pickle.loads(data)
        if not isinstance(error, BaseException):
            raise TypeError("no exception")
    except BaseException as reason:
        error = RemoteError(f"{message} (it cannot be unpickled here: {reason!r})", name)
    if isinstance(error, RemoteError) and not error.type_name:
        error.type_name = name
    error.__cause__ = RemoteTraceback(text)
    return error


def dumps(value: Any, what: str, buffers: list[memoryview] | None = None) -> bytes:
    """Pickle *value*, with cloudpickle if need be and it is there.

    With *buffers*, large ones are left out of the pickle, and go there.
    """

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < LARGE:
            return True
        assert buffers is not None
        buffers.append(raw)
        return False

    try:
        return pickle.dumps(value, 5, buffer_callback=None if buffers is None else keep_inside)
    except Exception as reason:
        first = reason
    if buffers is not None:
        buffers.clear()
    try:
        file = BytesIO()
        ForkingPickler(file, 5).dump(value)
        return file.getvalue()
    except Exception:
        pass
    try:
        return _by_value(value)
    except ImportError:
        hint = "; pip install 'rxpool[cloudpickle]' sends lambdas and local functions"
        hint = hint if _is_local(value) else ""
    except Exception:
        hint = ""
    raise NotPicklable(f"{what} cannot be pickled: {_culprit(value)}: {first}{hint}") from first


def _by_value(value: Any) -> bytes:
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    data: bytes = cloudpickle.dumps(value, 5)
    return data


def _can_be_pickled(value: Any) -> bool:
    for pickled in (partial(pickle.dumps, protocol=5), _by_value):
        with suppress(Exception):
            pickled(value)
            return True
    return False


def _is_local(value: Any) -> bool:
    return callable(value) or any(callable(each) for each in _inside(value).values())


def _stand_in(error: BaseException) -> RemoteError:
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except BaseException:
        message = "<its str() fails>"
    return RemoteError(f"{name}: {message}", name)


def _inside(value: Any) -> dict[str, Any]:
    """The parts of a value, by how they are reached."""
    if isinstance(value, dict):
        return {f"[{key!r}]": part for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return {f"[{index}]": part for index, part in enumerate(value)}
    return {f".{name}": part for name, part in getattr(value, "__dict__", {}).items()}


def _culprit(value: Any, path: str = "", depth: int = 4) -> str:
    """Where in *value* the part is that cannot be pickled."""
    if depth and not isinstance(value, type) and not callable(value):
        for name, part in _inside(value).items():
            if not _can_be_pickled(part):
                return _culprit(part, path + name, depth - 1)
    named = getattr(value, "__qualname__", None)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return (f"{path} is " if path else "") + (f"{kind} {named}" if named else kind)
