"""The logger: structlog's manners, whether that can be imported or not."""

import logging
import os
import sys

import pytest

from rxpool import _log
from rxpool._log import log


@pytest.fixture(params=["structlog", "no structlog", "forked"])
def somewhere(request, monkeypatch):
    """Where it can be imported, where it cannot, and in a child that must not try."""
    monkeypatch.setattr(_log, "_structured", None)
    if request.param == "no structlog":
        monkeypatch.setitem(sys.modules, "structlog", None)
    elif request.param == "forked":
        monkeypatch.setattr(_log, "_home", os.getpid() + 1)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_record(somewhere, caplog, level):
    """Text with fields, the fields as a dict, and the exception."""
    caplog.set_level(logging.DEBUG, "rxpool")
    error = ValueError("no")
    say = getattr(log.bind(pool="p").bind(flow="f"), level)
    say("it failed", task=1, exc_info=error)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("rxpool", level.upper())
    assert record.getMessage() == "it failed pool='p' flow='f' task=1"
    assert record.rxpool == {"pool": "p", "flow": "f", "task": 1}
    assert record.exc_info[1] is error


def test_what_is_not_wanted_is_not_said(somewhere, caplog):
    """And nothing is imported for it."""
    caplog.set_level(logging.ERROR, "rxpool")
    log.warning("100 % of nothing")
    assert not caplog.records
    assert _log._structured is None


def test_percents_are_no_formats(somewhere, caplog):
    """Nor is what stands in fields."""
    log.error("100 %s", share="5 %d")
    assert caplog.records[0].getMessage() == "100 %s share='5 %d'"
