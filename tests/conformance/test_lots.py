"""The contract where items travel in lots, whatever the size of these.

The tests are those of the other files that say in which order items start and come out, what
bounds them and what policies make of them; here lots are as large as they are told to be.
"""

from importlib import import_module

import pytest

from rxpool.backends._chunk_size import ChunkSize
from rxpool.backends.event_loop import _slot
from tests.conformance.lanes import KINDS

SIZES = (1, 2, 7, 1000)
WHERE = ("processes", "asyncio")
SUBJECTS = ("order", "bounds", "limits", "policies", "parked")


def chooses_lanes(test):
    """Whether a test says itself in which lanes it runs."""
    marks = getattr(test, "pytestmark", ())
    return any(mark.name == "parametrize" and "lane" in mark.args[0] for mark in marks)


for subject in SUBJECTS:
    module = import_module(f"tests.conformance.test_{subject}")
    for name, each in vars(module).items():
        if name.startswith("test_") and not chooses_lanes(each):
            globals()[f"test_{subject}_{name.removeprefix('test_')}"] = each


@pytest.fixture(params=[f"{name}-{size}" for name in WHERE for size in SIZES])
def lane(request, tmp_path, monkeypatch):
    """A place where items travel in lots of so many."""
    name, size = request.param.split("-")
    most = int(size)
    monkeypatch.setattr(ChunkSize, "chunk", lambda chunk: most)
    monkeypatch.setattr(ChunkSize, "more", lambda chunk, left: most if most > 1 else 0)
    monkeypatch.setattr(_slot, "_MOST", most - 1)  # behind the one that asks
    monkeypatch.setattr(_slot, "_FIRST", most - 1)
    lane = KINDS[name](name, tmp_path)
    yield lane
    lane.end()
