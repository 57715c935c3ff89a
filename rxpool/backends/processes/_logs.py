"""Log records of workers come home, and go to the parent's handlers."""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import copy
import logging
from collections.abc import Callable
from typing import Any

from rxpool.backends.processes._messages import LOG

__all__ = ("levels", "relay_logs", "take_in")


def levels() -> dict[str, int]:
    """The levels that are set in this process, by the name of the logger; root: no name."""
    found = {"": logging.getLogger().level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            found[name] = logger.level
    return found


class _Relay(logging.Handler):
    def __init__(self, send: Callable[..., None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record, with all its text made here."""
        try:
            message = self.format(record)
            record = copy.copy(record)
            record.message = record.msg = message
            record.args = record.exc_info = record.exc_text = record.stack_info = None
            fields = {key: value for key, value in vars(record).items() if _is_plain(value)}
            self._send(LOG, fields)
        except Exception:
            self.handleError(record)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    return value is None or isinstance(value, (str, int, float, bool))


def relay_logs(send: Callable[..., None], known: dict[str, int]) -> None:
    """In a worker: send home what is logged, at the levels that hold there."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_Relay(send))
    for name, level in known.items():
        logging.getLogger(name or None).setLevel(level)


def take_in(fields: dict[str, Any]) -> None:
    """At home: log a record of a worker."""
    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
