"""`JsonLinesDeadLetters`: failed items as lines of JSON."""

import os
from collections.abc import Iterator

from rxpool import _checks as checks
from rxpool._log import log
from rxpool.errors import InvalidArgument
from rxpool.records._database import is_database
from rxpool.records._letter import BEGINNING, DeadLetter, Encode, from_line, to_line
from rxpool.records._sink import DeadLetters, Path

__all__ = ("JsonLinesDeadLetters", "check_lines", "read_lines")


class JsonLinesDeadLetters(DeadLetters):
    """Appends each failed item to a file, as one line of JSON.

    Give it to ``pool.map(fn, on_failure=letters)``; `read`, `read_items` and `replay` give
    the items back.  The file can be looked at with ``less`` and ``jq``, and several
    processes may append to the same one.

    A line is written with one write and is in the file when `on_next` returns: a program
    that is killed loses no letter that was kept, and leaves at most one broken line, which
    reading skips and the next letter does not touch.  It is not forced onto the disk, so a
    power failure may cost the last ones.

    Args:
        path: The file; made when it is not there.
        encode: Gives what is to be kept in place of an item, such as `dataclasses.asdict`
            does; an item for which it raises is kept as it is, and that is logged.

    An item is kept as JSON if that gives back exactly the same, as with numbers, strings,
    None, lists and dicts of strings; else pickled, as base64; else as its repr, which can
    be read, but not replayed.

    Raises:
        InvalidArgument: If the file has other content, or `encode` cannot be called.
        OSError: If the file cannot be opened.
    """

    def __init__(self, path: Path, *, encode: Encode | None = None) -> None:
        if encode is not None:
            checks.call("encode", encode)
        super().__init__(os.path.abspath(path), encode)
        if os.path.exists(self.path) and is_database(self.path):
            raise InvalidArgument(
                f"{self.path} holds no lines of dead letters: it is a database"
            )
        # Unbuffered, and each write goes to the end, wherever others have moved that.
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115
        try:
            self._file.seek(0)
            check_lines(self.path, self._file.read(len(BEGINNING)))
        except BaseException:
            self._file.close()
            raise

    def _write(self, letter: DeadLetter) -> None:
        line = to_line(letter)
        # Somebody who was killed, here or in another process, may have left half a line.
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                line = b"\n" + line
        written = self._file.write(line)
        while written < len(line):  # a disk that is full says so to the next write
            written += self._file.write(line[written:])

    def _release(self) -> None:
        self._file.close()


def check_lines(path: str, head: bytes) -> None:
    """Raises `InvalidArgument` if a file that begins with *head* cannot be of letters."""
    head = head.lstrip()
    if head and not head.startswith(b"{"):
        raise InvalidArgument(f"{path} holds no dead letters: it begins with {head!r}")


def read_lines(path: str, allow_pickle: bool) -> Iterator[DeadLetter]:
    """The letters that are in the file now; broken lines are logged and skipped."""
    with open(path, "rb") as file:
        # What replayed items add to the same file is left for the next time.
        end = os.fstat(file.fileno()).st_size
        number = position = 0
        while position < end and (line := file.readline()):
            number += 1
            position += len(line)
            if line.isspace():
                continue
            letter = from_line(line, allow_pickle)
            if letter is not None:
                yield letter
            else:
                log.warning("a broken dead letter is skipped", path=path, line=number)
