"""Dead letters as a stream or an iterator of items."""

import threading

import pytest
from reactivex import operators as ro
from reactivex.testing import ReactiveTest, TestScheduler

from rxpool import Failure, WorkerPool
from rxpool.errors import InvalidArgument, InvalidArgumentType, InvalidItem
from rxpool.records import JsonLinesDeadLetters, SqliteDeadLetters, read, read_items, replay

on_next, on_completed = ReactiveTest.on_next, ReactiveTest.on_completed
sinks = pytest.mark.parametrize("sink", [JsonLinesDeadLetters, SqliteDeadLetters])


def keep(sink, path, *items):
    with sink(path) as letters:
        for item in items:
            letters.on_next(Failure(item, ValueError("bad"), 1, 0.0, 0.0))
    return path


def told(stream):
    """All that a subscriber is told, synchronously."""
    seen = []
    stream.subscribe(seen.append, lambda error: seen.append(error), lambda: seen.append("end"))
    return seen


@sinks
def test_items_come_back(tmp_path, sink):
    """In order, then the end; for each subscription anew."""
    path = keep(sink, tmp_path / "letters", 1, "two", [3])
    stream = replay(path)
    assert told(stream) == [1, "two", [3], "end"]
    keep(sink, path, 4)
    assert told(stream) == [1, "two", [3], 4, "end"]


@sinks
def test_in_virtual_time(tmp_path, sink):
    """On the subscriber's scheduler, at the instant of the subscription."""
    path = keep(sink, tmp_path / "letters", 1, 2)
    results = TestScheduler().start(lambda: replay(path))
    assert results.messages == [on_next(200, 1), on_next(200, 2), on_completed(200)]


@sinks
def test_what_is_added_meanwhile_is_left(tmp_path, sink):
    """Items that fail again go into the same file, and reading still ends."""
    path = keep(sink, tmp_path / "letters", *range(150))
    seen = []

    def fail_again(item):
        seen.append(item)
        letters.on_next(Failure(item, ValueError("again"), 1, 0.0, 0.0))

    with sink(path) as letters:
        replay(path).subscribe(fail_again)
    assert seen == list(range(150))
    assert [letter.message for letter in read(path)] == ["bad"] * 150 + ["again"] * 150


@sinks
def test_nothing_is_read_for_a_subscriber_that_left(tmp_path, sink, caplog):
    """Nobody is told of the item behind the last one that it took."""
    path = keep(sink, tmp_path / "letters", 0, 1, 2, threading.Lock())
    stream = replay(path, skip_unreadable=True).pipe(ro.take(3))
    assert told(stream) == [0, 1, 2, "end"]
    assert not caplog.records


@sinks
def test_unreadable_items(tmp_path, sink, caplog):
    """They end the stream with an error, unless they are to be skipped; that is logged."""
    path = keep(sink, tmp_path / "letters", 1, threading.Lock(), 2)
    first, error = told(replay(path))
    assert first == 1
    assert isinstance(error, InvalidItem)
    assert "only its repr" in str(error)
    assert not caplog.records
    assert told(replay(path, skip_unreadable=True)) == [1, 2, "end"]
    assert "only its repr" in caplog.text


@sinks
def test_pickles_need_permission(tmp_path, sink):
    """To skip what cannot be read is none."""
    path = keep(sink, tmp_path / "letters", 1, (2, b"3"))
    for skip in (False, True):
        first, error = told(replay(path, skip_unreadable=skip))
        assert first == 1
        assert isinstance(error, InvalidItem)
        assert "any code" in str(error)
    assert told(replay(path, allow_pickle=True)) == [1, (2, b"3"), "end"]


@sinks
def test_a_pool_pulls_them(tmp_path, sink):
    """The iterator reads on while there is room; failures go back where they came from."""
    path = keep(sink, tmp_path / "letters", *range(300))

    def some_fail(n):
        if n % 100 == 0:
            raise ValueError("again")
        return n

    with WorkerPool(2, max_pending=4) as pool, sink(path) as letters:
        stream = pool.pull(read_items(path)).pipe(pool.map(some_fail, on_failure=letters))
        values = stream.pipe(ro.to_list()).run()
    assert sorted(values) == [n for n in range(300) if n % 100]
    again = [letter.item for letter in read(path)][300:]
    assert sorted(again) == [0, 100, 200]


def test_mistakes_are_told(tmp_path):
    """Of options at once, of files when they are read."""
    path = tmp_path / "letters"
    (error,) = told(replay(path))
    assert isinstance(error, FileNotFoundError)
    path.write_text("Dear reader")
    (error,) = told(replay(path))
    assert isinstance(error, InvalidArgument)
    with pytest.raises(InvalidArgument):
        read_items(path)
    for call in (replay, read_items):
        with pytest.raises(InvalidArgumentType, match="allow_pickle must be True or False"):
            call(path, allow_pickle=1)
        with pytest.raises(InvalidArgumentType, match="skip_unreadable must be True or False"):
            call(path, skip_unreadable="yes")
    with pytest.raises(InvalidArgumentType, match="scheduler must be"):
        replay(path, scheduler=5)
