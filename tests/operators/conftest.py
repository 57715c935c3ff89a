"""Fixtures for these tests."""

import pytest


@pytest.fixture(name="spied")
def _spied(monkeypatch):
    """Puts a display in the place of all others."""

    def spied(display):
        def opened(_):
            if "open" in display.fails:
                raise OSError("open failed")
            return display

        monkeypatch.setattr(
            "rxpool.operators._progress.make_display", lambda *_: opened, raising=True
        )

    return spied
