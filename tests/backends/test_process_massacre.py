"""The pool on processes under all faults at once, and while workers are killed at random."""

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest

from rxpool import Failure, Success, WorkerPool
from rxpool.errors import NotPicklable, TaskTimeout, WorkerCrashed
from tests.backends import process_jobs as jobs
from tests.backends.faulty_pools import healthy, outcomes, ready
from tests.backends.process_jobs import notes
from tests.backends.process_pools import pids
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("fork_server")


#: seconds of the test with `kill -9`; set it to 30 to be more certain
MASSACRE = float(os.environ.get("RXPOOL_MASSACRE", "4"))


def test_a_thousand_items_with_all_faults():
    """Ten die, ten hang, ten raise, ten give what cannot be pickled: 960 are good.

    Each failure names its cause, the pool is as good as new, no process or thread is left.
    """
    kinds = [kind for kind in ("dies", "hangs", "raises", "lock") for _ in range(10)]
    kinds += ["fine"] * 960
    random.Random(11).shuffle(kinds)
    before = set(psutil.Process().children(recursive=True))
    threads = set(threading.enumerate())
    with WorkerPool(2, on="processes") as pool:
        begun = time.monotonic()
        found = outcomes(pool, jobs.fate, enumerate(kinds), timeout=1.0)
        took = time.monotonic() - begun
        assert sorted(o.item[0] for o in found) == list(range(1000))
        assert took < 15  # ten seconds of hanging, shared by two
        causes = {
            "dies": WorkerCrashed,
            "hangs": TaskTimeout,
            "raises": ValueError,
            "lock": NotPicklable,
        }
        for o in found:
            number, kind = o.item
            assert o.attempts == 1, o
            if kind == "fine":
                assert (type(o), o.value) == (Success, number), o
            else:
                assert type(o.error) is causes[kind], o
        assert sum(isinstance(o, Success) for o in found) == 960
        assert {o.error.exitcode for o in found if o.item[1] == "dies"} == {1}
        assert healthy(pool).failed == 40
        assert ready(pool)
    eventually(lambda: set(psutil.Process().children(recursive=True)) <= before)
    eventually(
        lambda: {t for t in threading.enumerate() if t.name != "rxpool-timer"} <= threads
    )


class Killer:
    """Kills a random worker now and then."""

    def __init__(self, pool, every):
        self._pool, self._every = pool, every
        self._stop = threading.Event()
        self.killed = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        dice = random.Random(5)
        while not self._stop.wait(self._every):
            found = sorted(pids(self._pool))
            if found:
                with suppress(ProcessLookupError):
                    os.kill(dice.choice(found), signal.SIGKILL)
                    self.killed += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.timeout(60 + 2 * MASSACRE)
def test_kill_9_of_random_workers(tmp_path, short):
    """No item is lost, none comes out twice, none that succeeded was run twice.

    Only items that ran when a process was killed fail, and they are as many as kills at most.
    """
    record = str(tmp_path / "record")
    fn = jobs.record if short else jobs.record_slowly
    given = 0

    def source():
        nonlocal given
        until = time.monotonic() + MASSACRE / 2
        while time.monotonic() < until:
            yield given, record
            given += 1

    with WorkerPool(2, on="processes") as pool:
        ready(pool)
        with Killer(pool, 0.05) as killer:
            found = outcomes(pool, fn, source())
        assert sorted(o.item[0] for o in found) == list(range(given))
        good = {o.item[0] for o in found if isinstance(o, Success)}
        assert all(o.value == o.item[0] for o in found if isinstance(o, Success))
        failures = [o for o in found if isinstance(o, Failure)]
        assert {type(o.error) for o in failures} <= {WorkerCrashed}
        assert {o.attempts for o in found} <= {1}
        assert len(failures) <= killer.killed
        assert killer.killed >= 5 * MASSACRE
        ran = Counter(map(int, notes(record)))
        assert all(ran[number] == 1 for number in good)
        assert all(count == 1 for count in ran.values())
        healthy(pool)


def test_kill_9_under_all_faults(tmp_path):
    """The big run, while workers are killed: every item still has its one outcome."""
    kinds = [kind for kind in ("dies", "hangs", "raises", "lock") for _ in range(3)]
    kinds += ["fine"] * 988
    random.Random(12).shuffle(kinds)
    with WorkerPool(2, on="processes") as pool:
        ready(pool)
        with Killer(pool, 0.05) as killer:
            found = outcomes(pool, jobs.fate, enumerate(kinds), timeout=0.3)
        assert sorted(o.item[0] for o in found) == list(range(1000))
        assert sum(isinstance(o, Failure) for o in found) <= 12 + killer.killed
        healthy(pool)
