"""The logger: structlog's manners, whether that can be imported or not."""

import logging
import os
import sys

import pytest

from rxpool import _log
from rxpool._log import log


@pytest.fixture(params=["structlog", "exiting", "forked"])
def somewhere(request, monkeypatch):
    """Where it can be imported, and where that must not be tried."""
    monkeypatch.setattr(_log, "_structured", None)
    if request.param == "exiting":
        monkeypatch.setattr(_log.exiting, "begun", True)
    elif request.param == "forked":
        monkeypatch.setattr(_log, "_home", os.getpid() + 1)
    if request.param != "structlog":
        monkeypatch.setitem(sys.modules, "structlog", None)  # so that an import fails


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
