"""The journal: what was finished is found again, by the same function only."""

import functools
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.errors import (
    DamagedRecord,
    InvalidArgument,
    InvalidArgumentType,
    InvalidItem,
    NotPicklable,
    RxPoolError,
)
from rxpool.records import Journal, SqliteDeadLetters

SCRIPT = Path(__file__).with_name("sharing.py")


def double(n):
    """A function with a journal."""
    return 2 * n


def triple(n):
    """Another."""
    return 3 * n


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def stored(run, *ids):
    return [run.stored(id) for id in ids]


def test_results_are_found_again(path):
    """None too; what was not finished is told apart."""
    with Journal(path) as journal:
        run = journal.open(double, {})
        assert run.record("a", None) is None
        run.record("b", [1, (2, b"3")])
        assert stored(run, "a", "b", "c") == [(None,), ([1, (2, b"3")],), None]
        assert [run.finished(id) for id in "abc"] == [True, True, False]
    with Journal(path, emit="stored") as journal:
        run = journal.open(double, {})
        assert stored(run, "a", "b", "c") == [(None,), ([1, (2, b"3")],), None]
        assert run.emit == "stored"


def test_the_first_result_is_kept(path):
    """Whoever records a second one."""
    with Journal(path) as journal, Journal(path) as other:
        run = journal.open(double, {})
        run.record("a", 1)
        run.record("a", 2)
        other.open(double, {}).record("a", 3)
        other.open(double, {}).record_many([("a", 4), ("b", 5), ("b", 6)])
        assert stored(run, "a", "b") == [(1,), (5,)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["record", "many", "reopen", "stored"]),
            st.integers(0, 4),
            st.integers(),
            st.sampled_from([double, triple]),
        ),
        max_size=15,
    )
)
def test_it_is_a_dict_that_keeps_the_first(tmp_path_factory, steps):
    """Whatever is recorded, asked and reopened in whatever order."""
    path = tmp_path_factory.mktemp("journal") / "journal"
    model = {}
    journal = Journal(path)
    for what, item, value, fn in steps:
        run = journal.open(fn, {})
        id = run.identify(item)
        if what == "record":
            run.record(id, value)
            model.setdefault((fn, item), value)
        elif what == "many":
            run.record_many([(id, value), (id, value + 1)])
            model.setdefault((fn, item), value)
        elif what == "reopen":
            journal.close()
            journal = Journal(path)
        else:
            known = (fn, item) in model
            assert run.stored(id) == ((model[fn, item],) if known else None)
            assert run.finished(id) == known
    assert journal.finished() == len(model)
    assert journal.finished(triple) == sum(fn is triple for fn, _ in model)
    journal.close()


def test_results_are_of_a_function_with_its_settings(path):
    """Another function, or other settings: nothing is finished."""
    with Journal(path) as journal:
        journal.open(double, {"timeout": 1}).record("a", 1)
        for fn, set_to in (
            (triple, {"timeout": 1}),
            (double, {"timeout": 2}),
            (double, {}),
            (functools.partial(double), {"timeout": 1}),
        ):
            assert journal.open(fn, set_to).stored("a") is None
        assert journal.open(double, {"timeout": 1}).stored("a") == (1,)


def test_a_given_fingerprint_replaces_all(path):
    """Function and settings may change between runs; two functions in one run may not."""
    with Journal(path, fingerprint="v1") as journal:
        journal.open(double, {"a": 1}).record("a", 1)
        assert journal.open(double, {"a": 2}).stored("a") == (1,)
        with pytest.raises(
            InvalidArgument, match=r"fingerprint='v1' stands for .*double already"
        ):
            journal.open(triple, {})
    with Journal(path, fingerprint="v1") as journal:
        assert journal.open(triple, {}).stored("a") == (1,)
        assert journal.finished(double) == 1
    with Journal(path, fingerprint="v2") as journal:
        assert journal.open(double, {"a": 1}).stored("a") is None
        assert journal.finished(double) == 0
    with Journal(path) as journal:
        assert journal.open(double, {"a": 1}).stored("a") is None


def test_items_are_identified(path):
    """By themselves, or by the user's key, whose errors come out."""
    with Journal(path) as journal:
        run = journal.open(double, {})
        assert [run.identify(item) for item in (1, "1", {"b": 1, "a": 2})] == [
            "1",
            '"1"',
            '{"a":2,"b":1}',
        ]
        with pytest.raises(InvalidItem, match="needs key="):
            run.identify(object())
    with Journal(path, key=lambda item: item["id"]) as journal:
        run = journal.open(double, {})
        assert run.identify({"id": "x", "when": object()}) == '"x"'
        with pytest.raises(KeyError):
            run.identify({})


def test_what_cannot_be_stored_is_named(path):
    """Nothing of it, and nothing beside it, is stored."""
    with Journal(path) as journal:
        run = journal.open(double, {})
        with pytest.raises(NotPicklable, match=r'item "a" cannot be stored: <unlocked _thread'):
            run.record('"a"', threading.Lock())
        with pytest.raises(NotPicklable, match="item 2 cannot be stored"):
            run.record_many([("1", 1), ("2", threading.Lock())])
        assert journal.finished() == 0


def test_what_cannot_be_read_back_is_named(path):
    """Its class may have been renamed since."""
    with Journal(path) as journal:
        run = journal.open(double, {})
        run.record("a", double)
        connection = sqlite3.connect(path)
        connection.execute("UPDATE finished SET value = ?", (b"\x80\x05cnowhere\nnothing\n.",))
        connection.commit()
        connection.close()
        with pytest.raises(NotPicklable) as caught:
            run.stored("a")
        assert "result of item a cannot be unpickled here, in " in str(caught.value)
        assert str(path) in str(caught.value)
        assert run.finished("a")


def test_counting_and_forgetting(path):
    """In all, and of one function whatever its settings; runs that are open go on."""
    with Journal(path) as journal:
        runs = [journal.open(double, {"n": n}) for n in range(2)]
        runs.append(journal.open(triple, {}))
        for n, run in enumerate(runs):
            run.record_many([(str(item), item) for item in range(n + 1)])
        counts = journal.finished(), journal.finished(double), journal.finished(triple)
        assert counts == (6, 3, 3)
        assert journal.forget(triple) == 3
        assert (journal.finished(), runs[2].stored("0")) == (3, None)
        runs[2].record("0", "again")
        assert runs[2].stored("0") == ("again",)
        assert journal.forget() == 4
        assert journal.finished() == 0


def test_a_closed_journal_says_so(path):
    """Its runs too; closing again is allowed."""
    journal = Journal(path)
    run = journal.open(double, {})
    journal.close()
    journal.close()
    for call in (
        lambda: run.record("a", 1),
        lambda: run.record_many([]),
        lambda: run.stored("a"),
        lambda: journal.open(double, {}),
        journal.finished,
        journal.forget,
    ):
        with pytest.raises(RxPoolError, match=r"the journal .* is closed"):
            call()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"emit": "all"}, InvalidArgument, "emit must be one of skip, stored, got 'all'"),
        ({"key": 5}, InvalidArgumentType, "key must be callable, got 5"),
        ({"fingerprint": 5}, InvalidArgumentType, "fingerprint must be a str, got 5"),
        ({"fingerprint": ""}, InvalidArgument, "fingerprint must not be empty, got ''"),
    ],
)
def test_options_are_checked_at_once(path, options, error, message):
    """And no file is made."""
    with pytest.raises(error, match=message):
        Journal(path, **options)
    assert not path.exists()


def test_other_files_are_refused(tmp_path, path):
    """Text, other databases, dead letters, other versions; they are not changed."""
    path.write_text("Dear reader")
    with pytest.raises(InvalidArgument, match="no journal: it begins with b'Dear"):
        Journal(path)
    SqliteDeadLetters(tmp_path / "table").close()
    with pytest.raises(
        InvalidArgument, match=r"must hold a journal of version 1, got .*letters"
    ):
        Journal(tmp_path / "table")
    connection = sqlite3.connect(tmp_path / "mine")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = (tmp_path / "mine").read_bytes()
    with pytest.raises(InvalidArgument, match="no journal, but tables of other programs"):
        Journal(tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == before
    broken = tmp_path / "broken"
    broken.write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    with pytest.raises(InvalidArgument, match="no journal: it begins with b'SQLite"):
        Journal(broken)
    later = tmp_path / "later"
    Journal(later).close()
    connection = sqlite3.connect(later)
    connection.execute("UPDATE rxpool SET version = 2")
    connection.commit()
    connection.close()
    with pytest.raises(InvalidArgument, match=r"version 1, got .*2"):
        Journal(later)
    with pytest.raises(FileNotFoundError):
        Journal(tmp_path / "no" / "journal")


def test_the_file_is_written_ahead(path):
    """So that a commit costs no wait for the disk, and readers do not stop writers."""
    for _ in range(2):  # made, and opened again
        with Journal(path) as journal:
            assert journal._database.rows("PRAGMA journal_mode") == [("wal",)]
            assert journal._database.rows("PRAGMA synchronous") == [(1,)]


def test_many_threads(path, frantic):
    """All record all items: each is there once, with the result of one of them."""
    with Journal(path) as journal:
        errors = []

        def work(thread):
            try:
                run = journal.open(double, {})
                for n in range(60):
                    run.record(str(n), (thread, n))
                    assert run.stored(str(n))[0][1] == n
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert journal.finished() == 60


def test_many_processes(path):
    """They make one file at the same time: nobody is told that it is locked."""
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(path), name], stdin=pipe, stdout=pipe, env=env
        )
        for name in "abcd"
    ]
    for process in processes:
        assert process.stdout.readline().strip() == b"ready"
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 4
    with Journal(path, fingerprint="1") as journal:
        assert journal.finished() == 500


# -- damage ------------------------------------------------------------------------------------


def change(path, to):
    """Have the bytes of the only result be what *to* makes of them."""
    connection = sqlite3.connect(path)
    ((data,),) = connection.execute("SELECT value FROM finished").fetchall()
    with connection:
        connection.execute("UPDATE finished SET value = ?", (to(data),))
    connection.close()


def flipped(at):
    """A bit of the byte there is another."""

    def change(data):
        damaged = bytearray(data)
        damaged[at] ^= 4
        return bytes(damaged)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        *map(flipped, range(-8, 22)),
        lambda data: data[:-1],
        lambda data: data[:-8] + data[-7:],
        lambda data: data[1:],
        lambda data: b"",
        lambda data: None if data is None else "text",
        lambda data: 7,
    ],
)
def test_a_damaged_result_is_no_result(path, damage):
    """It is never taken for another one, and the message says where it is."""
    with Journal(path) as journal:
        run = journal.open(len, {})
        run.record("a", {"price": 123456})
        assert run.stored("a") == ({"price": 123456},)
        change(path, damage)
        with pytest.raises(DamagedRecord, match=r"item a in .*journal is damaged"):
            run.stored("a")


def test_the_result_of_another_item_is_none(path):
    """The checksum is over the id as well."""
    with Journal(path) as journal:
        run = journal.open(len, {})
        run.record("a", 1)
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE finished SET item = 'b'")
        connection.close()
        with pytest.raises(DamagedRecord, match="checksum"):
            run.stored("b")


def test_results_without_a_checksum_are_read(path):
    """Those of the first journals."""
    with Journal(path) as journal:
        run = journal.open(len, {})
        run.record("a", 1)
        change(path, lambda data: pickle.dumps([2], 5))
        assert run.stored("a") == ([2],)


def test_an_error_of_the_database_names_the_file(path):
    """As one program may have several journals."""
    with Journal(path) as journal:
        run = journal.open(len, {})
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE finished")
        connection.close()
        with pytest.raises(sqlite3.OperationalError, match=r"no such table.* in the journal /"):
            run.stored("a")
