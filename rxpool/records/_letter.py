"""`DeadLetter`: an item that failed, with all that is kept of it."""

import base64
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

from rxpool._log import log
from rxpool.errors import InvalidArgument
from rxpool.outcomes import Failure
from rxpool.records._kept import KINDS, Kept, keep, writable

__all__ = ("BEGINNING", "DeadLetter", "Encode", "from_line", "letter_of", "seconds", "to_line")

#: gives what is to be kept in place of an item
Encode = Callable[[Any], Any]

_VERSION: Final = 1
BEGINNING: Final = b'{"rxpool_letter":'  #: of each line


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A failed item as it was kept; `read` gives these."""

    error: str  #: type of the error, with its module, such as ``builtins.ValueError``
    message: str  #: text of the error
    traceback: str  #: as Python prints it, causes included
    attempts: int  #: runs of the function; 0 for an item that was not started
    waited: float  #: seconds from acceptance to the start of the last attempt, or to the end
    took: float  #: seconds that the last attempt ran
    time: datetime  #: when it was kept, UTC
    kept: Kept = field(repr=False)  #: the item; `item` reads it
    allow_pickle: bool = field(default=False, repr=False, compare=False)

    @property
    def item(self) -> Any:
        """The item, read anew each time.

        Raises:
            InvalidItem: If only its repr is there, if it is pickled and `read` was not told
                ``allow_pickle=True``, or if it cannot be unpickled here.
        """
        what = f"the item of the dead letter of {self.time.isoformat()} ({self.error})"
        return self.kept.load(what, self.allow_pickle)


def seconds(value: Any) -> float:
    """A number that was kept; ValueError or OverflowError if it is no finite one."""
    found = float(value)
    if not isfinite(found):
        raise ValueError(f"{value!r} is not finite")
    return found


def letter_of(failure: Failure[Any], time: datetime, encode: Encode | None) -> DeadLetter:
    """What is kept of *failure*.  User code runs here: *encode*, pickling, reprs."""
    item, error = failure.item, failure.error
    if encode is not None:
        try:
            item = encode(item)
        except Exception as reason:  # the letter matters more than its form
            log.error("encode failed, so the item is kept as it is", exc_info=reason)
    kind = type(error)
    try:
        message = str(error)
    except Exception as reason:
        message = f"<no text: {type(reason).__name__}>"
    return DeadLetter(
        error=writable(f"{kind.__module__}.{kind.__qualname__}"),
        message=writable(message),
        traceback=writable("".join(traceback.format_exception(error))),
        attempts=failure.attempts,
        waited=failure.waited,
        took=failure.took,
        time=time,
        kept=keep(item),
    )


def to_line(letter: DeadLetter) -> bytes:
    """One line of JSON, its end included."""
    head = {
        "rxpool_letter": _VERSION,
        "time": letter.time.astimezone(UTC).isoformat(),
        "error": letter.error,
        "message": letter.message,
        "attempts": letter.attempts,
        "waited": letter.waited,
        "took": letter.took,
        "traceback": letter.traceback,
        "kind": letter.kept.kind,
    }
    data = letter.kept.data
    if isinstance(data, bytes):
        item = json.dumps(base64.b64encode(data).decode())
    else:
        item = data if letter.kept.kind == "json" else json.dumps(data)
    # The JSON of the item goes in as it is: it was found to be good.
    return f'{json.dumps(head, separators=(",", ":"))[:-1]},"item":{item}}}\n'.encode()


def from_line(line: bytes, allow_pickle: bool) -> DeadLetter | None:
    """The letter of a line; None if the line is broken.

    Raises:
        InvalidArgument: If the line is whole, but no letter.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    try:
        version, kind, item = fields["rxpool_letter"], fields["kind"], fields["item"]
        if version != _VERSION or kind not in KINDS:
            raise InvalidArgument(f"a dead letter of version {version!r}, {kind=}, is unknown")
        if kind == "json":
            data: str | bytes = json.dumps(item, separators=(",", ":"))
        else:
            data = base64.b64decode(item, validate=True) if kind == "pickle" else str(item)
        return DeadLetter(
            error=str(fields["error"]),
            message=str(fields["message"]),
            traceback=str(fields["traceback"]),
            attempts=int(fields["attempts"]),
            waited=seconds(fields["waited"]),
            took=seconds(fields["took"]),
            time=datetime.fromisoformat(fields["time"]),
            kept=Kept(kind, data),
            allow_pickle=allow_pickle,
        )
    except InvalidArgument:
        raise
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(f"this is JSON, but no dead letter: {line[:80]!r}") from error
