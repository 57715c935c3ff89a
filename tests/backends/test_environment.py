"""Which environment variables workers have."""

import os
from pathlib import Path

import pytest

from rxpool import WorkerPool
from rxpool.backends._base import cpus
from rxpool.backends.processes._environment import threads_each
from tests.ends.programs import run
from tests.waiting import WAIT

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("count", "workers", "each"), [(8, 2, "4"), (8, 3, "2"), (2, 16, "1"), (4, 0, "4")]
)
def test_workers_share_the_cpus(count, workers, each):
    """Each has as many threads as there are CPUs for it, and at least one."""
    assert set(threads_each(count, workers, {}).values()) == {each}


def test_what_the_user_has_set_stays():
    """One variable by itself; or all, by the one that most libraries heed."""
    found = threads_each(8, 2, {"MKL_NUM_THREADS": "7"})
    assert "MKL_NUM_THREADS" not in found
    assert found["OMP_NUM_THREADS"] == "4"
    assert threads_each(8, 2, {"OMP_NUM_THREADS": "3"}) == {}


def test_variables_set_after_the_first_pool(monkeypatch):
    """Later workers see them, and do not see those that are gone."""
    monkeypatch.setenv("RXPOOL_TEST_OLD", "old")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with WorkerPool(1, on="processes") as pool:
        assert pool.submit(os.getenv, "RXPOOL_TEST_OLD").result(WAIT) == "old"
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result(WAIT) == str(cpus())
    monkeypatch.setenv("RXPOOL_TEST_NEW", "new")
    monkeypatch.delenv("RXPOOL_TEST_OLD")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with WorkerPool(2, on="processes") as pool:
        assert pool.submit(os.getenv, "RXPOOL_TEST_NEW").result(WAIT) == "new"
        assert pool.submit(os.getenv, "RXPOOL_TEST_OLD").result(WAIT) is None
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result(WAIT) == "5"


PROGRAM = """
import os
SEEN = os.environ.get("OMP_NUM_THREADS")

def seen(_):
    return SEEN

if __name__ == "__main__":
    from rxpool import WorkerPool
    with WorkerPool(64, on="processes") as pool:
        print(pool.submit(seen, 0).result(20.0), "OMP_NUM_THREADS" in os.environ)
"""


def test_the_main_module_finds_them_when_it_is_imported(tmp_path, monkeypatch):
    """As do the libraries that it imports, which ask but once; the parent has none of them."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ended = run(tmp_path, PROGRAM)
    assert (ended.out, ended.err) == ("1 False\n", "")
