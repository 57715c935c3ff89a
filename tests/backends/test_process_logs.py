"""Records of workers reach the handlers of the parent as they are."""

import io
import json
import logging
from pathlib import PurePosixPath

import pytest
import structlog

from rxpool import WorkerPool
from tests.backends import log_jobs as jobs
from tests.backends.error_jobs import ApiError
from tests.waiting import WAIT


@pytest.fixture(scope="module")
def pool():
    """One worker."""
    with WorkerPool(1, on="processes") as pool:
        pool.submit(int).result(WAIT)
        yield pool


@pytest.fixture(name="records")
def _records(caplog):
    return lambda: [record for record in caplog.records if record.name == jobs.NAME]


def test_extras(pool, records):
    """All keys stay; what cannot be sent is its `repr`."""
    pool.submit(jobs.with_extras, 0).result(WAIT)
    (record,) = records()
    assert record.getMessage() == "far away of 3"
    assert (record.ids, record.path, record.far) == ([1, 2], PurePosixPath("a"), "far away")
    assert record.lock.startswith("<unlocked _thread.lock")
    assert record.nested["number"] == 1
    assert record.nested["lock"].startswith("<unlocked _thread.lock")
    assert record.mute == "<Mute>"
    assert (type(record.error), record.error.status) == (ApiError, 429)


def formatted(pool, job, formatter):
    """What *formatter* makes of the records of a job."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger(jobs.NAME)
    logger.addHandler(handler)
    try:
        pool.submit(job, 0).result(WAIT)
    finally:
        logger.removeHandler(handler)
    return stream.getvalue()


def test_a_formatter_that_needs_an_extra(pool):
    """It finds it."""
    formatter = logging.Formatter("%(ids)s %(message)s")
    assert formatted(pool, jobs.with_extras, formatter) == "[1, 2] far away of 3\n"


def test_an_exception(pool, records):
    """It comes home, and its text is that of the worker."""
    text = formatted(pool, jobs.with_exception, logging.Formatter("%(message)s"))
    (record,) = records()
    assert (record.exc_info[0], record.exc_info[1].args) == (KeyError, ("lost",))
    lines = text.splitlines()
    assert lines[:2] == ["failed", "Traceback (most recent call last):"]
    assert lines[-1] == "KeyError: 'lost'"
    assert "in with_exception" in text
    assert text.count("Traceback") == 1


def test_a_dict_as_message(pool, records):
    """It stays one."""
    pool.submit(jobs.as_dict, 0).result(WAIT)
    (record,) = records()
    assert (record.msg["event"], record.msg["ids"]) == ("e", [1])
    assert record.msg["lock"].startswith("<unlocked")


def test_structlog_with_a_formatter(pool):
    """Its event dict is rendered at home, with the traceback of the worker."""
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    )
    text = formatted(pool, jobs.by_structlog, formatter)
    first, second = map(json.loads, text.splitlines())
    assert first == {"event": "hello", "level": "warning", "ids": [1]}
    assert (second["event"], second["ids"]) == ("failed", [2])
    assert "KeyError: 'lost'" in second["exception"]
    assert "in by_structlog" in second["exception"]
