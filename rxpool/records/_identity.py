"""`identity`: the id under which an item is found again."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final

from rxpool.errors import InvalidItem
from rxpool.records._kept import kind_of, shown

__all__ = ("identify_with", "identity")

_LONGEST: Final = 200  #: characters of an id that is kept as it is
_encode: Final = json.JSONEncoder(
    sort_keys=True, allow_nan=False, separators=(",", ":")
).encode  #: made once: it costs more than what it does with a small item


def identify_with(key: Callable[[Any], str | int], item: Any) -> str:
    """The id of *item* by the user's function, whose errors come out."""
    given: Any = key(item)
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise InvalidItem(
            f"key must give a str or an int, got {shown(given)} for {shown(item)}"
        )
    return identity(given)


def identity(item: Any) -> str:
    """The canonical JSON of *item*, as ASCII; of a long one, a hash.

    A tuple counts as a list.  What JSON cannot tell apart is refused: an id that stood for
    two items would have one of them left out.
    """
    try:
        if type(item) is int:
            text = str(item)
        else:
            if not isinstance(item, (str, int)):
                _check(item)
            text = _encode(item)
        if isinstance(item, str) and not item.isascii() and json.loads(text) != item:
            raise ValueError("it has two halves of a surrogate pair as two characters")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidItem(
            f"a journal needs key=, a function that gives each item a str or an int, for "
            f"items such as {shown(item)}: {error}"
        ) from error
    if len(text) > _LONGEST:
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return text


def _check(value: Any) -> None:
    """Raises `TypeError` for dicts whose keys JSON would change."""
    kind = kind_of(value)
    if issubclass(kind, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys must be str, got {shown(key)}")
            _check(inner)
    elif issubclass(kind, (list, tuple)):
        for inner in value:
            _check(inner)
