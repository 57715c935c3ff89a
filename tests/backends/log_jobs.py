"""What workers log."""

import logging
import threading
from pathlib import PurePosixPath

import structlog

from tests.backends.error_jobs import ApiError

__all__ = (
    "NAME",
    "FarAway",
    "Mute",
    "as_dict",
    "by_structlog",
    "with_exception",
    "with_extras",
)

NAME = "rxpool.test.records"


class FarAway:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return int, ("x",)

    def __repr__(self):
        return "far away"


class Mute:
    """Can be neither pickled nor shown."""

    def __init__(self):
        self.lock = threading.Lock()

    def __repr__(self):
        raise RuntimeError("no words")


def with_extras(_):
    """Extras of many types."""
    extra = {
        "ids": [1, 2],
        "path": PurePosixPath("a"),
        "lock": threading.Lock(),
        "far": FarAway(),
        "nested": {"lock": threading.Lock(), "number": 1},
        "mute": Mute(),
        "error": ApiError(status=429),
    }
    logging.getLogger(NAME).warning("%s of %d", FarAway(), 3, extra=extra)


def with_exception(_):
    """As `logging` has it."""
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger(NAME).exception("failed")


def as_dict(_):
    """A message that is a dict."""
    logging.getLogger(NAME).warning({"event": "e", "ids": [1], "lock": threading.Lock()})


def by_structlog(_):
    """As the documentation of structlog has it, for a formatter of logging."""
    log = structlog.wrap_logger(
        logging.getLogger(NAME),
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    log.warning("hello", ids=[1])
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("failed", ids=[2])
