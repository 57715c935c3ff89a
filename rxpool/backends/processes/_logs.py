"""Log records of workers come home, and go to the parent's handlers."""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import logging
import pickle
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from rxpool.backends._packing import ERROR
from rxpool.backends._remote import decode_error, encode_error
from rxpool.backends.processes._codec import dumps
from rxpool.backends.processes._protocol import LOG

__all__ = ("levels", "relay_logs", "take_in")


def levels() -> dict[str, int]:
    """The levels that are set in this process, by the name of the logger; root: no name."""
    found = {"": logging.getLogger().level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            found[name] = logger.level
    return found


_PLAIN: Final = frozenset((type(None), bool, int, float, str))
_FORMATTER: Final = logging.Formatter()


class _Relay(logging.Handler):
    def __init__(self, send: Callable[..., None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record: what can be pickled as it is, of the rest the `repr`."""
        try:
            fields = dict(vars(record))
            message, args = record.msg, record.args
            if type(message) is dict and not args:  # what structlog passes on
                if message.get("exc_info") is True:
                    message = {**message, "exc_info": sys.exc_info()}
            elif type(message) is not str or not _all_plain(args):
                message, fields["args"] = record.getMessage(), None
            fields["msg"] = message
            if record.exc_info and not record.exc_text:
                fields["exc_text"] = _FORMATTER.formatException(record.exc_info)
            self._send(LOG, {name: _packed(value) for name, value in fields.items()})
        except Exception:
            self.handleError(record)


def _all_plain(args: Any) -> bool:
    values = args.values() if isinstance(args, dict) else args or ()
    return all(type(value) in _PLAIN for value in values)


def _packed(value: Any) -> Any:
    """What stands for *value*: itself if it is plain, else a tuple."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, BaseException):
        return encode_error(value)
    if type(value) is dict:
        try:
            return "d", [(_packed(key), _packed(each)) for key, each in value.items()]
        except RecursionError:
            pass
    elif _is_exc_info(value):
        return ("x", None if value[1] is None else encode_error(value[1]))
    try:
        data = dumps(value, "a part of a log record")
    except Exception:
        data = b""
    return "p", data, _shown(value)


def _is_exc_info(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and (value[1] is None or isinstance(value[1], BaseException))
        and (value[2] is None or isinstance(value[2], TracebackType))
        and (value[0] is None or isinstance(value[0], type))
    )


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__qualname__}>"


def _unpacked(wire: Any) -> Any:
    """The value that `_packed` made *wire* of, or else its `repr`."""
    if type(wire) is not tuple:
        return wire
    if wire[0] == ERROR:
        return decode_error(wire)
    if wire[0] == "d":
        return {_unpacked(key): _unpacked(each) for key, each in wire[1]}
    if wire[0] == "x":
        error = decode_error(wire[1]) if wire[1] is not None else None
        return None if error is None else (type(error), error, error.__traceback__)
    try:
        return pickle.loads(wire[1])
    except Exception:
        return wire[2]


def relay_logs(send: Callable[..., None], known: dict[str, int]) -> logging.Handler:
    """In a worker: send home what is logged, at the levels that hold there.

    Answers the handler that does it.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    relay = _Relay(send)
    root.addHandler(relay)
    for name, level in known.items():
        logging.getLogger(name or None).setLevel(level)
    return relay


def take_in(fields: dict[str, Any]) -> None:
    """At home: log a record of a worker."""
    record = logging.makeLogRecord({name: _unpacked(wire) for name, wire in fields.items()})
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
