"""Dead letters: what is kept of a failure, and in which order; broken files."""

import json
import logging
import sqlite3
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool import Failure, Success, WorkerPool
from rxpool.errors import InvalidArgument, InvalidArgumentType, InvalidItem, RxPoolError
from rxpool.records import DeadLetter, JsonLinesDeadLetters, SqliteDeadLetters, read
from rxpool.records._kept import keep
from rxpool.records._letter import from_line, letter_of, to_line

SINKS = [JsonLinesDeadLetters, SqliteDeadLetters]
sinks = pytest.mark.parametrize("sink", SINKS)
ON = datetime(2024, 2, 29, 12, 0, 0, 125, UTC)

texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=10)
items = st.none() | st.integers() | texts | st.lists(st.integers()) | st.tuples(texts)


def failure(item, error=None, attempts=2):
    return Failure(item, error or ValueError("bad"), attempts, 1.5, 0.25)


def raised():
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise RuntimeError("the effect") from cause
    except RuntimeError as error:
        return error


class Mute(Exception):
    """Has no text."""

    def __str__(self):
        raise RuntimeError("no")


@sinks
def test_all_is_kept(tmp_path, sink):
    """Item, error, traceback with causes, attempts, times."""
    before = datetime.now(UTC)
    with sink(tmp_path / "letters") as letters:
        assert letters.on_next(failure({"a": 1}, raised(), attempts=3)) is None
        # It is in the file already.
        (letter,) = read(tmp_path / "letters")
    assert before <= letter.time <= datetime.now(UTC)
    assert letter.time.utcoffset() == timedelta(0)
    assert letter.item == {"a": 1}
    assert (letter.error, letter.message) == ("builtins.RuntimeError", "the effect")
    assert (letter.attempts, letter.waited, letter.took) == (3, 1.5, 0.25)
    assert "KeyError: 'the cause'" in letter.traceback
    assert "in raised" in letter.traceback
    assert letter.traceback.index("KeyError") < letter.traceback.index("RuntimeError")


@sinks
def test_letters_come_in_order_after_reopening(tmp_path, sink):
    """A second writer goes on behind the first; more than a page of them."""
    for start in (0, 130):
        with sink(tmp_path / "letters") as letters:
            for n in range(start, start + 130):
                letters.on_next(failure(n))
    assert [letter.item for letter in read(tmp_path / "letters")] == list(range(260))


@sinks
def test_two_writers_share_a_file(tmp_path, sink):
    """As two processes do."""
    with sink(tmp_path / "letters") as one, sink(tmp_path / "letters") as other:
        for n in range(10):
            (one if n % 2 else other).on_next(failure(n))
    assert [letter.item for letter in read(tmp_path / "letters")] == list(range(10))


@sinks
def test_strange_errors_and_items_are_kept(tmp_path, sink):
    """Lone surrogates, NULs, errors without a text, items without a form."""
    with sink(tmp_path / "letters") as letters:
        letters.on_next(failure("\udcff\0", ValueError("\udcff\0")))
        letters.on_next(failure(("a", b"\xff"), Mute()))
        letters.on_next(failure(threading.Lock()))
    plain, pickled, lost = read(tmp_path / "letters", allow_pickle=True)
    assert (plain.item, plain.message) == ("\udcff\0", "\\udcff\0")
    assert (pickled.item, pickled.message) == (("a", b"\xff"), "<no text: RuntimeError>")
    assert pickled.error.endswith("test_letters.Mute")
    assert [letter.kept.kind for letter in (plain, pickled, lost)] == ["json", "pickle", "repr"]
    with pytest.raises(
        InvalidItem, match=r"\(builtins.ValueError\) .*repr.*: <unlocked _thread"
    ):
        _ = lost.item
    _, refused, _ = read(tmp_path / "letters")
    with pytest.raises(InvalidItem, match="allow_pickle=True only if you trust it"):
        _ = refused.item


@sinks
def test_what_else_an_observer_is_told(tmp_path, sink, caplog):
    """Successes pass, other values are refused, an error is logged; the file stays open."""
    with sink(tmp_path / "letters") as letters:
        letters.on_next(Success(1, 2, 1, 0.0, 0.0))
        with pytest.raises(InvalidArgumentType, match="Failures, got 5"):
            letters.on_next(5)
        letters.on_completed()
        letters.on_error(ValueError("of the stream"))
        letters.on_next(failure(3))
    assert [letter.item for letter in read(tmp_path / "letters")] == [3]
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
    letters.close()
    with pytest.raises(RxPoolError, match="letters are closed"):
        letters.on_next(failure(4))


@sinks
def test_a_pool_keeps_its_failures(tmp_path, sink):
    """As the observer of a flow on threads, and as a subscriber of outcomes."""

    def odd_fails(n):
        if n % 2:
            raise ValueError(n)
        return n

    import reactivex as rx

    with sink(tmp_path / "letters") as letters, WorkerPool(4) as pool:
        source = rx.from_iterable(range(50))
        good = source.pipe(pool.map(odd_fails, on_failure=letters)).run()
        assert good in range(0, 50, 2)
        kept = [letter.item for letter in read(tmp_path / "letters")]
        assert sorted(kept) == list(range(1, 50, 2))
        done = threading.Event()
        outcomes = source.pipe(pool.outcomes(odd_fails))
        outcomes.subscribe(letters)
        outcomes.subscribe(on_completed=done.set)
        assert done.wait(10)
    assert len(list(read(tmp_path / "letters"))) == 50


class Bits:
    """A file that takes a few bytes at a time, so that lines could mix."""

    def __init__(self, file):
        self.file = file
        self.seek, self.read, self.close = file.seek, file.read, file.close

    def write(self, data):
        return self.file.write(data[:100])


@sinks
def test_many_threads(tmp_path, sink, frantic):
    """No letter is lost, doubled or mixed with another."""
    with sink(tmp_path / "letters") as letters:
        if sink is JsonLinesDeadLetters:
            letters._file = Bits(letters._file)

        def write(thread):
            for n in range(40):
                letters.on_next(failure([thread, n, "x" * (n * 7)]))

        threads = [threading.Thread(target=write, args=(t,)) for t in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [tuple(letter.item[:2]) for letter in read(tmp_path / "letters")]
    assert len(found) == len(set(found)) == 160
    for t in range(4):
        assert [n for thread, n in found if thread == t] == list(range(40))


# -- lines -----------------------------------------------------------------------------------


@given(items, texts, st.integers(0, 99), st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_line_gives_its_letter_back(item, text, attempts, waited, took):
    """All fields, to the last digit, and it is one line of ASCII."""
    letter = letter_of(Failure(item, ValueError(text), attempts, waited, took), ON, None)
    line = to_line(letter)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert from_line(line, False) == letter
    assert json.loads(line)["time"] == "2024-02-29T12:00:00.000125+00:00"


@settings(max_examples=60, deadline=None)
@given(st.lists(items, min_size=1, max_size=3), st.data())
def test_a_cut_file_loses_the_last_letter_at_most(tmp_path_factory, given_items, data):
    """Cut at any byte: the whole lines are there, and the next writer harms none."""
    path = tmp_path_factory.mktemp("cut") / "letters"
    lines = [to_line(letter_of(failure(item), ON, None)) for item in given_items]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])

    expected, end = [], 0
    for line in lines:
        end += len(line)
        if cut >= end - 1:  # the end of the line is not needed
            expected.append(from_line(line, False))
    assert list(read(path)) == expected

    with JsonLinesDeadLetters(path) as letters:
        letters.on_next(failure("next"))
    *before, last = read(path)
    assert before == expected
    assert last.item == "next"


def test_every_cut_of_one_file(tmp_path):
    """The same, byte by byte."""
    path = tmp_path / "letters"
    lines = [to_line(letter_of(failure(n), ON, None)) for n in range(2)]
    whole = b"".join(lines)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        count = (cut >= len(lines[0]) - 1) + (cut >= len(whole) - 1)
        assert [letter.item for letter in read(path)] == list(range(count))


def test_broken_lines_are_logged(tmp_path, caplog):
    """With the number of the line."""
    path = tmp_path / "letters"
    line = to_line(letter_of(failure(1), ON, None))
    path.write_bytes(line + line[:30] + b"\n\n\xff\0\n" + line)
    assert len(list(read(path))) == 2
    numbers = [record.rxpool["line"] for record in caplog.records]
    assert numbers == [2, 4]


def test_a_letter_is_one_write(tmp_path, monkeypatch):
    """Together with the repair, so that other processes' letters do not come between."""
    path = tmp_path / "letters"
    path.write_bytes(b'{"rxpool_let')
    writes = []
    with JsonLinesDeadLetters(path) as letters:
        file = letters._file

        class Watched:
            seek, read, close = file.seek, file.read, file.close

            def write(self, data):
                writes.append(data)
                return file.write(data)

        letters._file = Watched()
        letters.on_next(failure("x" * 100_000))
        letters.on_next(failure(2))
    assert [(w[:1], w[-1:], w.strip().count(b"\n")) for w in writes] == [
        (b"\n", b"\n", 0),
        (b"{", b"\n", 0),
    ]
    assert [letter.item for letter in read(path)] == ["x" * 100_000, 2]


def test_a_full_disk_is_told_and_costs_only_its_letter(tmp_path):
    """The error comes out, and the next letter begins on a line of its own."""
    with JsonLinesDeadLetters(tmp_path / "letters") as letters:
        file = letters._file

        class Full:
            seek, read, close = file.seek, file.read, file.close
            room = 40

            def write(self, data):
                if not self.room:
                    raise OSError(28, "No space left on device")
                written = file.write(data[: self.room])
                self.room -= written
                return written

        letters._file = Full()
        with pytest.raises(OSError, match="No space"):
            letters.on_next(failure(1))
        letters._file = file
        letters.on_next(failure(2))
    assert [letter.item for letter in read(tmp_path / "letters")] == [2]


def test_encode_gives_what_is_kept(tmp_path, caplog):
    """In place of the item; where it raises, the item itself is kept, and that is logged."""
    with JsonLinesDeadLetters(tmp_path / "letters", encode=lambda n: {"n": 1 / n}) as letters:
        letters.on_next(failure(4))
        letters.on_next(failure(0))
    assert [letter.item for letter in read(tmp_path / "letters")] == [{"n": 0.25}, 0]
    assert "encode failed" in caplog.text
    with pytest.raises(InvalidArgumentType, match="encode must be callable, got 5"):
        JsonLinesDeadLetters(tmp_path / "letters", encode=5)


# -- other files -----------------------------------------------------------------------------

FOREIGN = {
    "text": b"Dear reader",
    "binary": b"\x89PNG\r\n",
    "half a database": b"SQLite form",
}


@sinks
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_other_files_are_refused(tmp_path, sink, content):
    """By writers and by readers; they are not touched."""
    path = tmp_path / "letters"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match="letters: it begins with"):
        sink(path)
    with pytest.raises(InvalidArgument, match="dead letters: it begins with"):
        read(path)
    assert path.read_bytes() == content


def test_the_other_kind_is_refused(tmp_path):
    """Lines are no table, a table is no lines, another table is no table of letters."""
    lines, table, other = (tmp_path / name for name in ("lines", "table", "other"))
    with JsonLinesDeadLetters(lines) as letters:
        letters.on_next(failure(1))
    SqliteDeadLetters(table).close()
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    for sink, path in (
        (SqliteDeadLetters, lines),
        (SqliteDeadLetters, other),
        (JsonLinesDeadLetters, table),
        (JsonLinesDeadLetters, other),
    ):
        before = path.read_bytes()
        with pytest.raises(InvalidArgument, match=str(path)):
            sink(path)
        assert path.read_bytes() == before
    with pytest.raises(InvalidArgument, match="tables of other programs"):
        list(read(other))


@pytest.mark.parametrize(
    "line",
    [b"{}\n", b'{"rxpool_letter": 2, "kind": "json", "item": 1}\n', b"[1]\n", b"1\n"],
)
def test_json_that_is_no_letter_is_refused(line):
    """Unlike half a line, it did not come from a writer that was killed."""
    with pytest.raises(InvalidArgument, match="letter"):
        from_line(line, False)


NUMBERS = ["Infinity", "-Infinity", "NaN", "1e999", "1" + "0" * 400, '"x"', "null", "[]"]


@pytest.mark.parametrize("field", ["attempts", "waited", "took"])
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_no_letter_has_are_refused(tmp_path, field, number):
    """Infinite ones, and those that no float holds."""
    if field == "attempts" and number.startswith("10"):
        number = "1e400"  # as a whole number it would be one
    path = tmp_path / "letters"
    with JsonLinesDeadLetters(path) as letters:
        letters.on_next(failure(1))
    line = path.read_text()
    fields = json.loads(line)
    changed = line.replace(f'"{field}":{json.dumps(fields[field])}', f'"{field}":{number}')
    assert changed != line
    path.write_text(changed)
    with pytest.raises(InvalidArgument, match="no dead letter"):
        list(read(path))


@pytest.mark.parametrize("field", ["attempts", "waited", "took"])
def test_rows_with_such_numbers_are_refused(tmp_path, field):
    """The message says where."""
    path = tmp_path / "letters"
    with SqliteDeadLetters(path) as letters:
        letters.on_next(failure(1))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"UPDATE letters SET {field} = 9e999")
    connection.close()
    with pytest.raises(InvalidArgument, match=r"row 1 in .*letters is no dead letter"):
        list(read(path))


@sinks
def test_files_that_cannot_be_opened(tmp_path, sink):
    """In Python's words."""
    with pytest.raises(FileNotFoundError):
        sink(tmp_path / "no" / "letters")
    with pytest.raises(IsADirectoryError if sys.platform != "win32" else OSError):
        sink(tmp_path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")


def test_no_letters(tmp_path):
    """Nothing was written yet."""
    for sink in SINKS:
        sink(tmp_path / sink.__name__).close()
        assert list(read(tmp_path / sink.__name__)) == []


def test_a_letter_is_a_value():
    """Frozen, slotted, equal to another with the same content, with a short repr."""
    letter = DeadLetter("E", "m", "t", 1, 0.0, 0.0, ON, keep(5))
    assert letter == DeadLetter("E", "m", "t", 1, 0.0, 0.0, ON, keep(5), allow_pickle=True)
    assert letter.item == 5
    assert not hasattr(letter, "__dict__")
    with pytest.raises(AttributeError):
        letter.attempts = 2
