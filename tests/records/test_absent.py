"""What a journal knows to be absent without a look into the file."""

import time

import pytest

from rxpool import Journal, WorkerPool
from rxpool.records import _absent
from rxpool.records._database import Database
from rxpool.records._journal import items_of


def same(item):
    return item


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def known(run):
    """The items of *run*, ready for many looks."""
    items = items_of(run)
    items.prepare()
    return items


def test_only_what_may_be_there_is_looked_for(path):
    """What was there, and what this connection has written, by whatever flow."""
    with Journal(path) as journal:
        journal.open(same, {}).record("a", 1)
        items = known(journal.open(same, {}))
        assert items.candidates(["a", "b", "c"]) == ["a"]
        journal.open(same, {}).record_many([("b", 2)])
        assert items.candidates(["a", "b", "c"]) == ["a", "b"]
        other = known(journal.open(same, {"timeout": 1}))
        assert other.candidates(["a", "b", "c"]) == []
        assert items_of(journal.open(same, {"timeout": 2})).candidates(["a"]) == ["a"]


def test_once_another_connection_has_written_all_is_looked_for(path, monkeypatch):
    """It is noticed at the next look at that, which is milliseconds later."""
    monkeypatch.setattr(_absent, "_AGAIN", 0.0)
    with Journal(path) as journal, Journal(path) as other:
        items = known(journal.open(same, {}))
        assert items.candidates(["a", "b"]) == []
        other.open(same, {}).record("a", 1)
        assert items.candidates(["a", "b"]) == ["a", "b"]
        assert items.known(["a", "b"]) == {"a"}


def test_where_there_is_much_already_all_is_looked_for(path, monkeypatch):
    """It is not all read for that."""
    monkeypatch.setattr(_absent, "_MOST", 3)
    with Journal(path) as journal:
        run = journal.open(same, {})
        run.record_many([(str(n), n) for n in range(4)])
        assert known(run).candidates(["9"]) == ["9"]


def test_a_mark_is_there_before_the_row(path, monkeypatch):
    """So who looks meanwhile looks into the file."""
    with Journal(path) as journal:
        items = known(journal.open(same, {}))
        seen = []
        real = Database.insert_many

        def insert_many(self, into, rows):
            seen.extend(items.candidates(["a"]))
            real(self, into, rows)

        monkeypatch.setattr(Database, "insert_many", insert_many)
        journal.open(same, {}).record("a", 1)
        assert seen == ["a"]


def test_a_run_sees_what_another_process_has_finished(path):
    """Though its flow was open before that."""
    ran = []
    with (
        Journal(path, fingerprint="1") as journal,
        Journal(path, fingerprint="1") as other,
        WorkerPool(1) as pool,
        pool.worker(lambda n: ran.append(n) or n, journal=journal) as worker,
    ):
        assert worker.execute(1).result(20) == 1
        other.open(same, {}).record("2", 2)
        time.sleep(_absent._AGAIN * 2)
        assert worker.execute(2).result(20) == 2
    assert ran == [1]
