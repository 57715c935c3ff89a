"""The lane that a test of the contract runs in."""

import multiprocessing

import pytest

from tests.conformance.lanes import KINDS, LANES


@pytest.fixture(scope="session", autouse=True)
def _preload():
    """Worker processes begin with the modules that the work is in."""
    multiprocessing.set_forkserver_preload(["tests.jobs"])


@pytest.fixture(params=LANES)
def lane(request, tmp_path):
    """A place where work runs."""
    lane = KINDS[request.param](request.param, tmp_path)
    yield lane
    lane.end()
