"""What a pool writes to the log, and that it writes nothing unless it is asked."""

import logging

import pytest

from rxpool import Retry, WorkerPool
from tests.backends.process_jobs import die
from tests.pool.crew import Oops


def fail_once():
    """A function that fails at its first call."""
    calls = []

    def function(item):
        calls.append(item)
        if len(calls) == 1:
            raise Oops("first")
        return item

    return function


def lines(caplog):
    """Level and message of each record, and its fields."""
    return [
        (record.levelname, record.getMessage().split(" pool=")[0], record.rxpool)
        for record in caplog.records
        if record.name == "rxpool"
    ]


def test_a_task_from_start_to_end(caplog):
    """Pool, flow, task and attempt are fields of each line."""
    caplog.set_level(logging.DEBUG, logger="rxpool")
    with WorkerPool(1, name="p") as pool:
        retry = Retry(max_attempts=2, delay=0)
        assert list(pool.imap(fail_once(), ["x"], retry=retry)) == ["x"]
    said = lines(caplog)
    assert [(level, text) for level, text, _ in said] == [
        ("DEBUG", "task started"),
        ("INFO", "task failed"),
        ("INFO", "task retried"),
        ("DEBUG", "task started"),
        ("INFO", "pool closed"),
    ]
    for _, _, fields in said[:4]:
        assert (fields["pool"], fields["flow"], fields["task"]) == ("p", "imap", 1)
    assert [fields["attempt"] for _, _, fields in said[:4]] == [1, 1, 1, 2]
    totals = {name: said[4][2][name] for name in ("accepted", "succeeded", "failed")}
    assert totals == {"accepted": 1, "succeeded": 1, "failed": 0}
    failed = next(record for record in caplog.records if "task failed" in record.getMessage())
    assert isinstance(failed.exc_info[1], Oops)
    assert failed.exc_info[2].tb_next is not None
    assert "'x'" not in caplog.text  # never an item


def test_a_worker_that_crashes(caplog):
    """The line names the cause."""
    caplog.set_level(logging.INFO, logger="rxpool")
    with WorkerPool(1, on="processes", name="p") as pool:
        list(pool.imap(die, [3], on_failure="skip"))
    said = {text: fields for _, text, fields in lines(caplog)}
    assert "exit code" in said["worker crashed"]["error"]
    assert said["pool closed"]["failed"] == 1


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_silence(caplog, level):
    """Above INFO nothing is said, and the books take no notes for the log."""
    caplog.set_level(level, logger="rxpool")
    with WorkerPool(1) as pool:
        list(pool.imap(fail_once(), ["x"], on_failure="skip"))
        assert not pool._engine.effects.recording
    assert lines(caplog) == []


def test_set_up_later(caplog):
    """Whether the program logs is looked up when a flow begins."""
    with WorkerPool(1) as pool:
        list(pool.imap(abs, [1]))
        caplog.set_level(logging.INFO, logger="rxpool")
        list(pool.imap(fail_once(), ["x"], on_failure="skip"))
    assert [text for _, text, _ in lines(caplog)] == ["task failed", "pool closed"]
