"""`Http`: what calls over HTTP end with, told by what it looks like.

No HTTP client is imported: errors of transport are known by the module and the name of their
classes, statuses and headers by the attributes that clients give to errors and responses.
"""

from collections.abc import Collection
from dataclasses import dataclass
from time import time
from typing import Any, Final

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument, InvalidArgumentType, RemoteError, RxPoolError
from rxpool.policies._headers import Headers, wait_of

__all__ = ("STATUSES", "BadResponse", "Http", "statuses_of")

STATUSES: Final = (408, 425, 429, 500, 502, 503, 504)

#: by the package of the client: errors that say that no answer came, with all derived ones
_TRANSPORT: Final = {
    "httpx": {
        "TransportError",
        "ConnectError",
        "ConnectTimeout",
        "ReadError",
        "ReadTimeout",
        "WriteError",
        "WriteTimeout",
        "PoolTimeout",
        "CloseError",
        "RemoteProtocolError",
    },
    "requests": {"ConnectionError", "Timeout", "ChunkedEncodingError"},
    "aiohttp": {"ClientConnectionError", "ClientPayloadError"},
    "urllib": {"URLError"},
    "urllib3": {"HTTPError"},
    "http": {"IncompleteRead", "BadStatusLine"},
    "socket": {"gaierror"},
    "builtins": {"ConnectionError", "TimeoutError"},
}
#: those of them that another attempt does not mend
_NEVER: Final = {
    "httpx": {"UnsupportedProtocol", "LocalProtocolError"},
    "requests": {"SSLError"},
    "aiohttp": {"ClientSSLError", "ClientConnectorCertificateError", "InvalidURL"},
    "urllib3": {"SSLError", "LocationValueError", "LocationParseError"},
    "ssl": {"SSLCertVerificationError"},
}
_ATTRIBUTES: Final = ("status_code", "status", "code")


class BadResponse(RxPoolError):
    """What an attempt has failed with that returned a bad response."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"the status of the response is {_status(response)}")
        self.response = response


@dataclass(frozen=True, slots=True)
class Http:
    """Which errors, and which responses, are worth another attempt."""

    statuses: frozenset[int]
    on_result: bool

    def __call__(self, error: BaseException) -> bool:
        """Whether the call is worth another attempt after *error*."""
        if not isinstance(error, Exception):  # SystemExit has a code too
            return False
        status = _status_of(error)
        return _is_transport(error) if status is None else status in self.statuses

    def asked(self, error: BaseException) -> float | None:
        """The seconds to wait that the headers of the response ask for."""
        if not self(error):
            return None
        for place in (getattr(error, "response", None), error):
            headers = getattr(place, "headers", None)
            if headers is not None:
                return wait_of(Headers(headers), time())
        return None

    def looks_at(self, value: Any) -> BadResponse | None:
        """What an attempt that returned *value* has failed with, if it has."""
        if not self.on_result or _status(value) not in self.statuses:
            return None
        return BadResponse(value)


def statuses_of(statuses: Any) -> frozenset[int]:
    """Statuses of HTTP, as users give them."""
    if isinstance(statuses, (str, bytes)) or not isinstance(statuses, Collection):
        raise InvalidArgumentType(
            f"statuses must be a collection of numbers, got {checks.shown(statuses)}"
        )
    given: list[Any] = list(statuses)  # pyright: ignore[reportUnknownArgumentType]
    for status in given:
        if checks.count("statuses", status, least=100) > 599:
            raise InvalidArgument(
                f"statuses must be from 100 to 599, got {checks.shown(status)}"
            )
    return frozenset(map(int, given))


def _status(answer: Any) -> int | None:
    """The status of a response, or of an error that has one."""
    for name in _ATTRIBUTES:
        status = getattr(answer, name, None)
        if isinstance(status, int) and not isinstance(status, bool):
            return int(status) if 100 <= status <= 599 else None
    return None


def _status_of(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return _status(error if response is None else response)


def _is_transport(error: BaseException) -> bool:
    reason = getattr(error, "reason", None)  # of urllib: it wraps what happened
    if isinstance(reason, BaseException) and _named(_NEVER, _names(reason)):
        return False
    names = _names(error)
    return _named(_TRANSPORT, names) and not _named(_NEVER, names)


def _names(error: BaseException) -> list[tuple[str, str]]:
    """The packages and names of the classes of *error*; of a remote one that of its own."""
    if isinstance(error, RemoteError):
        package, _, name = error.type_name.rpartition(".")
        return [(package.partition(".")[0], name)]
    return [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]


def _named(table: dict[str, set[str]], names: list[tuple[str, str]]) -> bool:
    return any(name in table.get(package, ()) for package, name in names)
