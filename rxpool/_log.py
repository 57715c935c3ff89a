"""The logger of the package: structlog in front of stdlib logging, with stdlib's manners.

Nothing is configured globally.  Unless the program configures logging, records below
WARNING are silent and the others reach standard error, as with any library.
"""

import logging
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from rxpool._threads import exiting

__all__ = ("Log", "log", "report_uncaught")

_logger: Final = logging.getLogger("rxpool")
_home: Final = os.getpid()
_structured: Any = None  # structlog's logger, once there was something to say


def _hand_over(
    _: Any, __: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """Turn an event into the arguments of a stdlib logging call."""
    exc_info = event.pop("exc_info", None)
    text = event.pop("event")
    fields = " ".join(f"{name}={value!r}" for name, value in event.items())
    text = f"{text} {fields}" if fields else str(text)
    return (text,), {"exc_info": exc_info, "extra": {"rxpool": event}}


def _find_structlog() -> Any:
    """Its logger, or None where it is not imported any more.

    While the interpreter exits an import may fail, and one that compiles code makes Python
    forget that the program was ended by Ctrl-C, which its exit code says.  A forked child
    must not import what another thread of its parent may have been importing, as it would
    wait for ever.
    """
    global _structured
    if _structured is None and os.getpid() == _home and not exiting.begun:
        import structlog

        _structured = structlog.wrap_logger(
            _logger,
            processors=[structlog.stdlib.filter_by_level, _hand_over],
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        )
    return _structured


class Log:
    """Speaks as structlog does, which is imported when there is something to say.

    Importing that takes about as long as importing rxpool.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        self._fields = dict(fields or {})

    def bind(self, **fields: Any) -> "Log":
        """The same with more fields."""
        return Log({**self._fields, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        """Say it at DEBUG."""
        self._say(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Say it at INFO."""
        self._say(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Say it at WARNING."""
        self._say(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Say it at ERROR."""
        self._say(logging.ERROR, "error", event, fields)

    def _say(self, level: int, name: str, event: str, fields: Mapping[str, Any]) -> None:
        if not _logger.isEnabledFor(level):
            return
        fields = {**self._fields, **fields}
        if structured := _find_structlog():
            getattr(structured, name)(event, **fields)
        else:
            args, options = _hand_over(None, name, {"event": event, **fields})
            _logger.log(level, *args, **options)


log: Final = Log()


def report_uncaught(where: str, error: BaseException) -> None:
    """Report an exception that no caller is left to take.

    It goes to the log and to `threading.excepthook`, as an exception of a thread does.
    """
    log.error("uncaught exception", where=where, exc_info=error)
    if not sys.is_finalizing():
        threading.excepthook(
            threading.ExceptHookArgs(
                (type(error), error, error.__traceback__, threading.current_thread())
            )
        )
