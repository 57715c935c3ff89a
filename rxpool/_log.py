"""The logger of the package: structlog in front of stdlib logging, with stdlib's manners.

Nothing is configured globally.  Unless the program configures logging, records below
WARNING are silent and the others reach standard error, as with any library.
"""

import logging
import sys
import threading
from collections.abc import MutableMapping
from typing import Any

import structlog

__all__ = ("log", "report_uncaught")


def _hand_over(
    _: Any, __: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """Turn an event into the arguments of a stdlib logging call."""
    exc_info = event.pop("exc_info", None)
    text = event.pop("event")
    fields = " ".join(f"{name}={value!r}" for name, value in event.items())
    text = f"{text} {fields}" if fields else str(text)
    return (text,), {"exc_info": exc_info, "extra": {"rxpool": event}}


log: Any = structlog.wrap_logger(
    logging.getLogger("rxpool"),
    processors=[structlog.stdlib.filter_by_level, _hand_over],
    wrapper_class=structlog.stdlib.BoundLogger,
    context_class=dict,
    cache_logger_on_first_use=True,
)


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
