"""Lists of structured fields (RFC 9651), as far as rate limits use them. Pure."""

import re
from typing import Any, Final, TypeAlias

__all__ = ("Item", "Unreadable", "parse_list")

#: the bare value of an item, as text, and its parameters
Item: TypeAlias = tuple[str, dict[str, Any]]

_SPACE: Final = re.compile(r"[ \t]*")
_BLANK: Final = re.compile(r" *")
_KEY: Final = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_NUMBER: Final = re.compile(r"-?(?:[0-9]{1,12}\.[0-9]{1,3}|[0-9]{1,15}(?![0-9.]))")
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_BYTES: Final = re.compile(r":[A-Za-z0-9+/=]*:")
_FLAG: Final = re.compile(r"\?[01]")


class Unreadable(Exception):
    """A header is not as it should be."""


def parse_list(text: str) -> list[Item]:
    """The items of a list, each with its parameters.

    Raises:
        Unreadable: If it is no list of items, or there are lists inside.
    """
    items: list[Item] = []
    at = _skip(_SPACE, text, 0)
    if at == len(text):
        return items
    while True:
        value, at = _bare(text, at)
        parameters, at = _parameters(text, at)
        items.append((str(value), parameters))
        at = _skip(_SPACE, text, at)
        if at == len(text):
            return items
        if text[at] != ",":
            raise Unreadable
        at = _skip(_SPACE, text, at + 1)


def _parameters(text: str, at: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while at < len(text) and text[at] == ";":
        key = _KEY.match(text, _skip(_BLANK, text, at + 1))
        if key is None:
            raise Unreadable
        at = key.end()
        value: Any = True
        if at < len(text) and text[at] == "=":
            value, at = _bare(text, at + 1)
        found[key.group()] = value
    return found, at


def _bare(text: str, at: int) -> tuple[Any, int]:
    """A string, number, token, byte sequence or flag, and where it ends."""
    if match := _STRING.match(text, at):
        return re.sub(r'\\(["\\])', r"\1", match.group(1)), match.end()
    if match := _NUMBER.match(text, at):
        number = match.group()
        return float(number) if "." in number else int(number), match.end()
    for pattern in (_TOKEN, _BYTES):
        if match := pattern.match(text, at):
            return match.group(), match.end()
    if match := _FLAG.match(text, at):
        return match.group() == "?1", match.end()
    raise Unreadable


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None  # it matches nothing as well
    return match.end()
