"""How much memory pools of processes hold, and whose it is."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rxpool import WorkerPool
from rxpool.backends.processes import _idle_memory
from rxpool.backends.processes._rss import of_status
from rxpool.backends.processes._shared_block import SharedBlock
from tests.backends import memory_jobs as jobs
from tests.waiting import WAIT, eventually

MIB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="it is asked of /proc")


def shared():
    """The bytes of shared memory that this process can see in memory."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssShmem:")[2].split()[0])


def read(ring, span):
    """A copy of a buffer."""
    return bytes(ring.view(span))


def test_own_memory():
    """What is shared is taken off."""
    assert of_status("Name:\tx\nVmRSS:\t  900 kB\nRssShmem:\t 300 kB\n") == 600 * 1024
    assert of_status("VmRSS:\t  900 kB\n") == 900 * 1024


@linux
def test_large_items_do_not_make_a_worker_large():
    """They lie in memory that is the pool's, so no worker is replaced for them."""
    with WorkerPool(1, on="processes") as pool:
        own = pool.submit(jobs.size).result(WAIT)
    with WorkerPool(1, on="processes", max_memory_per_worker=own + 60 * MIB) as pool:
        arrays = [np.ones(40 * MIB, np.uint8) for _ in range(3)]
        assert len(set(pool.imap(jobs.total, arrays))) == 1


@linux
def test_idle_workers_give_memory_back(monkeypatch):
    """That of items and that of results; the next ones find it as before."""
    monkeypatch.setattr(_idle_memory, "_RESTING", 2.0)
    before = shared()
    with WorkerPool(2, on="processes") as pool:
        arrays = [np.full(40 * MIB, n, np.uint8) for n in range(2)]
        for _ in range(2):
            most = 0
            for array, found in zip(
                arrays, pool.imap(jobs.same, arrays, order="input"), strict=True
            ):
                assert (array == found).all()
                most = max(most, shared() - before)
            assert most > 30 * MIB
            eventually(lambda: shared() - before < 8 * MIB)


@linux
@pytest.mark.parametrize("name", ["items", "results"])
def test_one_large_lane_is_enough(name):
    """Items may be large and results small, or the other way round."""
    block = SharedBlock()
    try:
        lane = getattr(block, name)
        lane.free(lane.put(memoryview(bytes(5 * MIB)))[2])
        assert block.is_large
        block.shrink()
        assert not block.is_large
    finally:
        block.release()


@linux
def test_what_is_in_use_is_kept():
    """A ring with a buffer that the worker has not freed stays as it is."""
    block = SharedBlock()
    try:
        data = bytes(range(256)) * (5 * MIB // 256)
        span = block.items.put(memoryview(data))
        result = block.results.put(memoryview(data))
        block.results.free(result[2])
        assert block.is_large
        block.shrink()
        assert block.is_large
        assert read(block.items, span) == data
        assert read(block.results, result)[MIB:] == bytes(4 * MIB)
        block.items.free(span[2])
        block.shrink()
        assert not block.is_large
        assert read(block.items, span)[MIB:] == bytes(4 * MIB)
        assert read(block.items, span)[:1000] == data[:1000]
    finally:
        block.release()
