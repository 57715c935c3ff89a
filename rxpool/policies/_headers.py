"""What HTTP headers say about when to come again.

Pure: text and the wall clock in, seconds out.  `Unreadable` is raised for what is not as it
should be, and nothing else.
"""

import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, Final

from rxpool.policies._structured import Unreadable, parse_list

__all__ = ("Headers", "pause_of", "wait_of")

_EPOCH: Final = 1e9  #: a reset above this is a time, in seconds since 1970
_EPOCH_MS: Final = 1e11  #: and above this in milliseconds
_LONGEST: Final = 1e9  #: seconds; whoever asks for more is not understood
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,15})?\Z")
_LEFT: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{0,15})?\Z")
_PART: Final = r"([0-9]{1,15}(?:\.[0-9]{0,15})?)(ns|us|µs|ms|s|m|h|d)"
_DURATION: Final = re.compile(rf"(?:{_PART})+\Z")
_PARTS: Final = re.compile(_PART)
_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
#: headers that say how much is left, and those that say until when
_PAIRS: Final = (
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
)


class Headers:
    """Those of a response: any mapping, or what has `items` like one; names in any case.

    Attributes:
        unreadable: How many of what was asked for could not be read.
    """

    __slots__ = ("_values", "unreadable")

    def __init__(self, headers: Any) -> None:
        self._values: dict[str, str] = {}
        self.unreadable = 0
        try:
            pairs: Iterable[Any] = headers.items()
            for name, value in pairs:
                key, text = _text(name).lower(), _text(value)
                # A header that comes several times is a list.
                known = self._values.get(key)
                self._values[key] = text if known is None else f"{known}, {text}"
        except Exception:
            self.unreadable += 1

    def get(self, name: str) -> str | None:
        """The text of a header, if there is one."""
        return self._values.get(name)

    def read(self, name: str, how: Any, *more: Any) -> Any:
        """What *how* makes of a header; None if it is not there, or cannot be read."""
        text = self._values.get(name)
        if text is None:
            return None
        try:
            return how(text, *more)
        except Unreadable:
            self.unreadable += 1
            return None


def wait_of(headers: Headers, wall: float) -> float | None:
    """Seconds that ``retry-after-ms`` or ``Retry-After`` ask to wait; *wall* is the time."""
    wait = headers.read("retry-after-ms", _milliseconds)
    if wait is None:
        wait = headers.read("retry-after", _seconds_or_date, wall)
    return wait  # type: ignore[no-any-return]


def pause_of(headers: Headers, wall: float) -> float | None:
    """Seconds until there is something left again; None: there is, or nobody knows.

    Of several that say so the longest holds.
    """
    waits: list[float | None] = [wait_of(headers, wall)]
    waits += headers.read("ratelimit", _structured, headers) or ()
    for left, reset in _PAIRS:
        remaining = headers.read(left, _remaining)
        if remaining is not None and remaining <= 0:
            waits.append(headers.read(reset, _reset, wall))
    return max((wait for wait in waits if wait is not None), default=None)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1").strip()
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(each) for each in value)  # pyright: ignore[reportUnknownVariableType]
    return str(value).strip()


def _bounded(seconds: float) -> float:
    if not isfinite(seconds) or seconds >= _LONGEST:
        raise Unreadable
    return max(0.0, seconds)


def _number(text: str, pattern: re.Pattern[str] = _NUMBER) -> float:
    if not pattern.match(text):
        raise Unreadable
    return float(text)


def _milliseconds(text: str) -> float:
    return _bounded(_number(text) / 1000)


def _seconds_or_date(text: str, wall: float) -> float:
    if _NUMBER.match(text):
        return _bounded(float(text))
    try:
        date = parsedate_to_datetime(text)
        at = (date.replace(tzinfo=UTC) if date.tzinfo is None else date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        raise Unreadable from None
    return _bounded(at - wall)


def _remaining(text: str) -> float:
    return _number(text, _LEFT)


def _reset(text: str, wall: float) -> float:
    """Seconds to go: a number, a time since 1970, or a duration such as ``6m0s``."""
    if _NUMBER.match(text):
        given = float(text)
        if given > _EPOCH_MS:
            given /= 1000
        return _bounded(given - wall if given > _EPOCH else given)
    if not _DURATION.match(text):
        raise Unreadable
    return _bounded(sum(float(size) * _UNITS[unit] for size, unit in _PARTS.findall(text)))


def _structured(text: str, headers: Headers) -> list[float]:
    """``"default";r=0;t=30``: what is used up, and until when.

    Without ``t`` it is the whole window of the policy of that name.
    """
    found: list[float] = []
    windows: dict[str, float] | None = None
    for name, parameters in parse_list(text):
        remaining: Any = parameters.get("r")
        reset: Any = parameters.get("t")
        if not _is_number(remaining):
            raise Unreadable
        if remaining > 0:
            continue
        if reset is None:
            if windows is None:
                windows = _windows_of(headers)
            reset = windows.get(name)
        elif not _is_number(reset):
            raise Unreadable
        if reset is not None:
            found.append(_bounded(reset))
    return found


def _windows_of(headers: Headers) -> dict[str, float]:
    found: dict[str, float] | None = headers.read("ratelimit-policy", _windows)
    return {} if found is None else found


def _windows(text: str) -> dict[str, float]:
    """By the name of a policy: the seconds of its window."""
    policies = parse_list(text)
    return {name: p["w"] for name, p in policies if _is_number(p.get("w"))}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
