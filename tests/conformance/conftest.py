"""The lane that a test of the contract runs in."""

import importlib
import multiprocessing

import pytest

from tests.conformance.lanes import KINDS, LANES

#: what a lane needs that may not be there
NEEDS = {
    "asyncio": "rxpool.backends._asyncio",
    "running-loop": "rxpool.backends._asyncio",
    "thread-executor": "rxpool.backends._executor",
    "process-executor": "rxpool.backends._executor",
}


@pytest.fixture(scope="session", autouse=True)
def _preload():
    """Worker processes begin with the modules that the work is in."""
    multiprocessing.set_forkserver_preload(["tests.jobs"])


@pytest.fixture(params=LANES)
def lane(request, tmp_path):
    """A place where work runs."""
    name = request.param
    if name in NEEDS:
        try:
            importlib.import_module(NEEDS[name])
        except ImportError:
            pytest.skip(f"{NEEDS[name]} is not there yet")
    lane = KINDS[name](name, tmp_path)
    yield lane
    lane.end()
