"""How exceptions come home from elsewhere: with their type, and the text of their traceback."""

# What users raise is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import pickle
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any, Final

from rxpool._core.causes import set_cause
from rxpool.backends._packing import ERROR, NOTHING, WHOLE, Node, native, pack_error, shown
from rxpool.errors import RemoteError

__all__ = ("RemoteTraceback", "decode_error", "encode_error", "shown")

encode_error: Final = pack_error

_OWN: Final[Any] = vars(BaseException)


class RemoteTraceback(Exception):
    """The first cause of an exception of a worker: the text of its traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def decode_error(wire: Any) -> BaseException | None:
    """The exception that a message part stands for; None if that is a value.

    Its cause is the one that it had, built again, and the cause of the last of these is the
    text of its traceback.
    """
    if type(wire) is not tuple or wire[0] != ERROR:
        return None
    _, nodes, text = wire
    error = _Builder(nodes).get(0)
    last, seen = error, {id(error)}
    while (cause := _OWN["__cause__"].__get__(last)) is not None and id(cause) not in seen:
        last = cause
        seen.add(id(cause))
    set_cause(last, RemoteTraceback(text))
    return error


class _Builder:
    """Builds the exceptions of a graph, each one once."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._built: dict[int, BaseException] = {}
        self._begun: set[int] = set()

    def get(self, number: int) -> BaseException:
        if number not in self._built:
            how, head, state, cause, names, text, wait = self._nodes[number]
            error: BaseException
            try:
                if how == NOTHING or number in self._begun:
                    raise ValueError
                self._begun.add(number)
                error = pickle.loads(head) if how == WHOLE else self._build(number, head, state)
                if not isinstance(error, BaseException):  # pyright: ignore
                    raise TypeError("no exception")
            except BaseException as reason:
                error = _stand_in(names, text, wait, None if how == NOTHING else reason)
                cause = -1
            self._built[number] = error
            if cause >= 0:
                set_cause(error, self.get(cause))
        return self._built[number]

    def _build(self, number: int, head: bytes, state: bytes) -> BaseException:
        kind, args = self._loads(head)
        base = native(kind)
        error: BaseException = base.__new__(kind, *args)
        with suppress(TypeError):  # it had never been initialised
            base.__init__(error, *args)
        if not issubclass(base, BaseExceptionGroup):
            _OWN["args"].__set__(error, args)
        self._built[number] = error  # what follows may refer to it
        attributes, slots = self._loads(state)
        for name, value in slots.items():
            owner = next(each for each in kind.__mro__ if name in vars(each))
            with suppress(AttributeError, TypeError):  # read only, as few built in are
                vars(owner)[name].__set__(error, value)
        if attributes:
            _OWN["__dict__"].__get__(error).update(attributes)
        return error

    def _loads(self, data: bytes) -> Any:
        return _Unpickler(data, self).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, builder: _Builder) -> None:
        super().__init__(BytesIO(data))
        self._builder = builder

    def persistent_load(self, pid: Any) -> BaseException:
        return self._builder.get(pid)


def _stand_in(
    names: tuple[str, ...], text: str, wait: float | None, reason: BaseException | None
) -> RemoteError:
    why = "" if reason is None else f" (it cannot be unpickled here: {shown(reason)})"
    error = RemoteError(f"{names[0]}: {text}{why}", names[0], names)
    if wait is not None:
        vars(error)["retry_after"] = wait
    return error
