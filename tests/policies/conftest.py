"""Fixtures for these tests."""

import pytest

from tests.policies.calls import Async, Plain


@pytest.fixture(params=[Plain, Async])
def way(request):
    """Both kinds of functions."""
    return request.param()
