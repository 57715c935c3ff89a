"""`Kept`: a value in the form in which it is kept on disk."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from rxpool.errors import InvalidItem

__all__ = ("KINDS", "Kept", "Kind", "keep", "kind_of", "shown", "writable")

Kind: TypeAlias = Literal["json", "pickle", "repr"]
KINDS: Final = ("json", "pickle", "repr")

#: nesting that JSON is trusted with, wherever it is read: readers are recursive
_DEEPEST: Final = 100
_SHOWN: Final = 200  #: characters of a value in a message


@dataclass(frozen=True, slots=True)
class Kept:
    """A value as text or bytes."""

    kind: Kind
    data: str | bytes  #: JSON or a repr as text, a pickle as bytes

    def load(self, what: str, allow_pickle: bool) -> Any:
        """The value.

        Raises:
            InvalidItem: If only its repr is there, if it is a pickle and those are not
                allowed, or if it cannot be unpickled here; the message begins with *what*.
        """
        if self.kind == "json":
            return json.loads(self.data)
        if self.kind == "repr":
            raise InvalidItem(
                f"{what} could not be kept, only its repr was: {shown(self.data, str)}"
            )
        if not allow_pickle:
            raise InvalidItem(
                f"{what} is pickled, and unpickling can run any code that whoever wrote the "
                "file put there: say allow_pickle=True only if you trust it"
            )
        try:
            return pickle.loads(cast(bytes, self.data))
        except Exception as error:
            raise InvalidItem(f"{what} cannot be unpickled here: {error!r}") from error


def keep(value: Any) -> Kept:
    """As JSON if that gives exactly *value* back, else pickled, else as its repr."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        if _same(value, json.loads(text), _DEEPEST):
            return Kept("json", text)
    except Exception:
        pass  # there is no JSON for it
    try:
        data = pickle.dumps(value, 5)
        pickle.loads(data)  # what cannot be read back is of no use
    except Exception:
        return Kept("repr", writable(_safely(repr, value)))
    return Kept("pickle", data)


def _same(one: Any, other: Any, depth: int) -> bool:
    """Whether two values are equal in all that JSON might change."""
    kind = kind_of(one)
    if kind is not kind_of(other) or not depth:
        return False
    if kind is list:
        return len(one) == len(other) and all(
            _same(a, b, depth - 1) for a, b in zip(one, other, strict=True)
        )
    if kind is dict:
        return all(type(key) is str for key in one) and (
            list(one) == list(other) and all(_same(one[k], other[k], depth - 1) for k in one)
        )
    return bool(one == other)


def kind_of(value: Any) -> Any:
    """The type of *value*; checkers then leave the value alone, which they would narrow."""
    return cast(Any, type(value))


def writable(text: str) -> str:
    """*text* with what UTF-8 has no bytes for (lone surrogates) escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(value: Any, show: Callable[[Any], str] = repr) -> str:
    """*value* in a message: its repr, or what *show* gives, cut off when it is long."""
    text = _safely(show, value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _safely(show: Callable[[Any], str], value: Any) -> str:
    try:
        return show(value)
    except Exception as error:
        return f"<{type(value).__qualname__}, which has no repr: {type(error).__name__}>"
