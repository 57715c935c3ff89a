"""`StructlogSink`: metric events as log records."""

from typing import Any, Final

from rxpool import _checks as checks
from rxpool._log import log
from rxpool.events import MetricEvent
from rxpool.metrics._sink import Sink

__all__ = ("StructlogSink",)

_LEVELS: Final = ("debug", "info", "warning", "error")
_TAKEN: Final = frozenset({"event", "self", "value", "unit", "exc_info", "stack_info"})


class StructlogSink(Sink):
    """Logs each event: its name is the message; value, unit and attributes are fields.

    Args:
        logger: A structlog logger; None means the one of rxpool, which hands over to
            ``logging.getLogger("rxpool")``.  So with the default level nothing is seen
            until the program configures logging, as with any library.
        level: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.

    An attribute whose name is that of a field of its own gets a ``_`` behind it.

    Raises:
        InvalidArgument: If `level` is none of those.
    """

    def __init__(self, logger: Any = None, *, level: str = "debug") -> None:
        self._logger = log if logger is None else logger
        self._level = checks.one_of("level", level, _LEVELS)

    def on_next(self, value: MetricEvent, /) -> None:
        """Log one event."""
        fields = {
            f"{name}_" if name in _TAKEN else name: text
            for name, text in value.attributes.items()
        }
        write = getattr(self._logger, self._level)
        write(value.name, value=value.value, unit=value.unit, **fields)
