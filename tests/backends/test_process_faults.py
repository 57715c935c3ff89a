"""The pool on processes under faults: nothing is lost, nothing is run twice, nobody waits.

Limits in time are several times what is promised where other work on the machine counts.
"""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil
import pytest
import reactivex as rx

from rxpool import Failure, Success, WorkerPool
from rxpool.errors import (
    NotPicklable,
    PoisonItem,
    RemoteError,
    TaskTimeout,
    WorkerCrashed,
    WorkerStartError,
)
from tests.backends import process_jobs as jobs
from tests.backends.process_jobs import notes
from tests.waiting import WAIT, eventually

ROOT = Path(__file__).resolve().parents[2]

#: seconds of the test with `kill -9`; set it to 30 to be more certain
MASSACRE = float(os.environ.get("RXPOOL_MASSACRE", "4"))


class Sink:
    """A subscriber that keeps what it is given, and when, and can be waited for."""

    def __init__(self):
        self.values, self.error, self._ended = [], None, threading.Event()

    def on_next(self, value):
        """Keep a value."""
        self.values.append(value)

    def on_error(self, error):
        """Keep the error."""
        self.error = error
        self._ended.set()

    def on_completed(self):
        """Note the completion."""
        self._ended.set()

    def to(self, stream):
        """Subscribe to *stream*."""
        self.subscription = stream.subscribe(self.on_next, self.on_error, self.on_completed)
        return self

    def wait(self, seconds=WAIT):
        """Wait for the end; give the values or raise the error."""
        assert self._ended.wait(seconds), f"no end after {len(self.values)} values"
        if self.error is not None:
            raise self.error
        return self.values


def outcomes(pool, fn, items, **options):
    """The outcomes of *items*, as they come."""
    return Sink().to(rx.from_iterable(items).pipe(pool.outcomes(fn, **options))).wait()


def pids(pool):
    """The processes of *pool* that are alive."""
    return {process.pid for process in pool._engine.backend.processes}


def is_gone(pid):
    """Whether there is no such process, or nothing is left of it but its exit code."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(processes):
    """Wait until none of them is left; they are given twice the time that is promised."""
    eventually(lambda: all(is_gone(process.pid) for process in processes), 4)


def ready(pool):
    """Wait until all workers of a pool of two run; their processes."""
    Sink().to(rx.of(0.05, 0.05).pipe(pool.map(jobs.nap))).wait()
    eventually(lambda: len(pids(pool)) == 2)
    return pids(pool)


def healthy(pool, workers=2):
    """The books balance, nothing is inside, and as many items run at once as there should."""
    r = pool.report()
    assert r.accepted == r.succeeded + r.failed + r.dropped + r.cancelled + r.in_flight
    assert (r.in_flight, r.waiting, r.flows) == (0, 0, ())
    assert pool.workers == workers
    assert pool.submit(jobs.double, 21).result(WAIT) == 42
    eventually(lambda: len(pool._engine.backend._roster.idle) == len(pids(pool)))
    assert pool._engine.slots.free == workers
    return r


@pytest.fixture(scope="module", autouse=True)
def fork_server():
    """Started before the tests: it is no part of what they measure."""
    with WorkerPool(1, on="processes") as pool:
        pool.submit(jobs.double, 1).result(WAIT)


# -- the table -------------------------------------------------------------------------------


def test_one_item_ends_its_process():
    """999 good, one `WorkerCrashed`, in well under a second; the pool works on."""
    with WorkerPool(2, on="processes") as pool:
        ready(pool)
        begun = time.monotonic()
        found = outcomes(pool, jobs.die_if, [(n, n == 500) for n in range(1000)])
        assert time.monotonic() - begun < 1.5  # 0.5 promised
        good = [o for o in found if isinstance(o, Success)]
        (bad,) = [o for o in found if isinstance(o, Failure)]
        assert sorted(o.value for o in good) == [n for n in range(1000) if n != 500]
        assert {o.attempts for o in good} == {1}
        assert type(bad.error) is WorkerCrashed
        assert (bad.item, bad.attempts, bad.error.exitcode) == ((500, True), 1, 7)
        assert "exit code 7" in str(bad.error)
        healthy(pool)


@pytest.mark.parametrize(
    ("fn", "kind", "named"),
    [
        (jobs.give_lock, NotPicklable, "_thread.lock"),
        (jobs.raise_two_arguments, jobs.TwoArguments, "one and two"),
        (jobs.raise_works_there, RemoteError, "WorksThere"),
        (jobs.raise_holding, RemoteError, "Holding"),
        (jobs.give_explosive, NotPicklable, "unpacked"),
    ],
)
def test_one_item_gives_what_does_not_survive(fn, kind, named):
    """999 good, one failure that names it; no process ends."""
    with WorkerPool(2, on="processes") as pool:
        before = ready(pool)
        begun = time.monotonic()
        work = jobs.Bad500(fn)
        found = outcomes(pool, work, range(1000))
        assert time.monotonic() - begun < 1.5
        assert sum(isinstance(o, Success) for o in found) == 999
        (bad,) = [o for o in found if isinstance(o, Failure)]
        assert bad.item == 500
        assert type(bad.error) is kind
        assert named in str(bad.error)
        assert fn.__name__ in str(bad.error.__cause__) or kind is NotPicklable
        assert pids(pool) == before
        healthy(pool)


def test_one_item_never_ends():
    """`TaskTimeout` at its time; 999 good, none of which waited for it."""
    with WorkerPool(2, on="processes") as pool:
        before = ready(pool)
        begun = time.monotonic()
        items = [(n, "hangs" if n == 500 else "fine") for n in range(1000)]
        sink = Sink().to(rx.from_iterable(items).pipe(pool.outcomes(jobs.fate, timeout=1.0)))
        eventually(lambda: len(sink.values) == 999)
        assert time.monotonic() - begun < 0.9
        found = sink.wait()
        assert 1.0 <= time.monotonic() - begun < 2
        (bad,) = [o for o in found if isinstance(o, Failure)]
        assert type(bad.error) is TaskTimeout
        assert bad.item[0] == 500
        assert 1.0 <= bad.took < 1.2
        healthy(pool)
        eventually(lambda: len(pids(pool)) == 2 and not before <= pids(pool))
        assert len(pids(pool) & before) == 1


def test_the_source_fails():
    """500 results, then that error."""

    def source():
        yield from range(500)
        raise LookupError("no more")

    with WorkerPool(2, on="processes") as pool:
        ready(pool)
        sink = Sink().to(rx.from_iterable(source()).pipe(pool.map(jobs.double)))
        with pytest.raises(LookupError, match="no more"):
            sink.wait()
        assert sorted(sink.values) == [2 * n for n in range(500)]
        healthy(pool)


def test_a_plain_error():
    """999 good, one failure with its error."""
    with WorkerPool(2, on="processes") as pool:
        items = [(n, "raises" if n == 500 else "fine") for n in range(1000)]
        found = outcomes(pool, jobs.fate, items)
        (bad,) = [o for o in found if isinstance(o, Failure)]
        assert (type(bad.error), str(bad.error)) == (ValueError, "item 500")


def test_a_signal_is_named():
    """A process that was killed says by what."""
    with WorkerPool(1, on="processes") as pool:
        (bad,) = outcomes(pool, jobs.kill_self, [signal.SIGSEGV])
        assert bad.error.exitcode == -signal.SIGSEGV
        assert "SIGSEGV" in str(bad.error)
        (bad,) = outcomes(pool, jobs.kill_self, [signal.SIGKILL])
        assert "SIGKILL" in str(bad.error)


def test_poison():
    """`poison_after=1`: the first death is enough."""
    with WorkerPool(1, on="processes", poison_after=1) as pool:
        (bad,) = outcomes(pool, jobs.die, [3])
        assert type(bad.error) is PoisonItem
        assert bad.error.exitcode == 3
        assert bad.attempts == 1


def test_an_exit_without_an_error():
    """A process that ends with code 0 in the midst of an item has died as well."""
    with WorkerPool(1, on="processes") as pool:
        (bad,) = outcomes(pool, jobs.die, [0])
        assert type(bad.error) is WorkerCrashed
        assert bad.error.exitcode == 0


def test_an_observable_whose_process_dies():
    """Its results so far come out, then the failure."""
    with WorkerPool(1, on="processes") as pool:
        sink = Sink().to(rx.of(3).pipe(pool.map(jobs.several_then_die)))
        with pytest.raises(WorkerCrashed):
            sink.wait()
        assert sink.values == [0, 1, 2]


def test_every_item_ends_its_process():
    """Each has its own failure; in their order too."""
    with WorkerPool(2, on="processes") as pool:
        found = outcomes(pool, jobs.die, range(1, 21), order="input")
        assert [o.error.exitcode for o in found] == list(range(1, 21))
        assert {o.attempts for o in found} == {1}
        healthy(pool)


def test_a_worker_that_dies_while_idle():
    """Nobody knows."""
    with WorkerPool(2, on="processes") as pool:
        for _ in range(5):
            before = ready(pool)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            found = outcomes(pool, jobs.double, range(100))
            assert all(isinstance(o, Success) for o in found)
            eventually(lambda before=before: not before & pids(pool))
        healthy(pool)


def test_a_submit_to_a_worker_that_is_just_dying():
    """The call goes to another worker, or is the one that died; it is never lost."""
    with WorkerPool(2, on="processes") as pool:
        ready(pool)
        for _ in range(60):
            victim = next(iter(eventually(lambda: pids(pool))))
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            futures = [pool.submit(jobs.double, n) for n in range(3)]
            for n, future in enumerate(futures):
                error = future.exception(WAIT)
                # Six that die before they are ready, and no worker left: that is given up.
                assert error is None or isinstance(error, (WorkerCrashed, WorkerStartError))
                assert error or future.result() == 2 * n
        healthy(pool)


def test_the_fork_server_dies():
    """Workers are started by a new one."""
    with WorkerPool(1, on="processes") as pool:
        pool.submit(jobs.double, 1).result(WAIT)
        (worker,) = pids(pool)
        os.kill(psutil.Process(worker).ppid(), signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: is_gone(worker))
        found = outcomes(pool, jobs.double, range(20))
        assert sum(isinstance(o, Success) for o in found) >= 19
        healthy(pool, 1)


# -- all at once -----------------------------------------------------------------------------


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


# -- times -------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_at_once():
    """In under 100 ms, from the kill to the next result of a pool of one."""
    with WorkerPool(1, on="processes") as pool:
        pool.submit(jobs.double, 1).result(WAIT)
        times = []
        for _ in range(9):
            (before,) = pids(pool)
            begun = time.monotonic()
            os.kill(before, signal.SIGKILL)
            eventually(lambda before=before: pids(pool) - {before})
            assert pool.submit(jobs.double, 1).exception(WAIT) is None
            times.append(time.monotonic() - begun)
        print(f"replaced in {1000 * median(times):.0f} ms")
        assert min(times) < 0.5


def test_the_slot_of_a_hung_item_is_free_at_once(tmp_path):
    """Soon after its timeout another item has run there; benchmarks measure how soon."""
    with WorkerPool(1, on="processes") as pool:
        pool.submit(jobs.double, 1).result(WAIT)
        times = []
        for n in range(7):
            path = str(tmp_path / str(n))
            stream = rx.of(path).pipe(pool.outcomes(jobs.doze, timeout=0.2))
            sink = Sink().to(stream)
            following = pool.submit(jobs.double, 4)
            assert following.result(WAIT) == 8
            ended = time.monotonic()
            (bad,) = sink.wait()
            assert type(bad.error) is TaskTimeout
            times.append(ended - os.stat(path).st_mtime + time.time() - time.monotonic() - 0.2)
        print(f"slot free after {1000 * median(times):.0f} ms")
        assert min(times) < 0.5


# -- Ctrl-C and the parent's death -------------------------------------------------------------

INTERRUPTED = """
    import sys, time
    import reactivex as rx
    from rxpool import WorkerPool
    from tests.backends import process_jobs as jobs

    def main():
        with WorkerPool(2, on="processes") as pool:
            pool.submit(jobs.double, 1).result()
            print("ready", flush=True)
            for _ in pool.imap(getattr(jobs, sys.argv[1]), forever(sys.argv[2])):
                pass

    def forever(item):
        item = float(item) if sys.argv[1] == "nap" else item
        while True:
            yield item

    main()
"""

WAITING = """
    import faulthandler, itertools, sys
    faulthandler.dump_traceback_later(15)
    import reactivex as rx
    from rxpool import WorkerPool
    from tests.backends import process_jobs as jobs

    with WorkerPool(2, on="processes") as pool:
        print("ready", flush=True)
        source = rx.from_iterable(itertools.repeat(sys.argv[2]))
        source.pipe(pool.map(getattr(jobs, sys.argv[1]))).run()
"""


class Program:
    """A program in a process group of its own."""

    def __init__(self, text, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text), *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def is_ready(self):
        """Wait until it says so; all processes that it has started."""
        assert self.process.stdout.readline() == "ready\n"
        return self

    def family(self):
        """The processes that it has started."""
        return jobs.children_of(self.pid)

    def end(self):
        """Wait for the end; seconds that took, and what was said."""
        begun = time.monotonic()
        try:
            self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.process.communicate()[1]) from None
        took = time.monotonic() - begun
        # Nobody of its family holds these open any more.
        out, err = self.process.communicate(timeout=WAIT)
        return took, out, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.family():
            process.kill()
        self.process.kill()
        self.process.communicate(timeout=WAIT)


@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize(
    ("text", "fn"), [(INTERRUPTED, "nap"), (INTERRUPTED, "doze"), (WAITING, "doze")]
)
def test_ctrl_c(tmp_path, text, fn, group):
    """The program ends at once, with one traceback and nobody left."""
    path = tmp_path / "pids"
    with Program(text, fn, 0.001 if fn == "nap" else path) as program:
        program.is_ready()
        if fn != "nap":
            eventually(lambda: len(notes(path)) == 2)
        family = eventually(lambda: len(found := program.family()) >= 4 and found)
        if group:
            os.killpg(program.pid, signal.SIGINT)
        else:
            os.kill(program.pid, signal.SIGINT)
        took, _, err = program.end()
        print(f"exit after {1000 * took:.0f} ms")
        assert took < 2  # 0.5 promised
        assert err.count("Traceback (most recent call last)") == 1, err
        assert err.rstrip().endswith("KeyboardInterrupt"), err
        assert "rxpool-watch" not in err
        assert program.process.returncode in (-signal.SIGINT, 1, 130)
        all_gone(family)


def test_ctrl_c_at_any_moment():
    """While workers start too there is one traceback, none of theirs, and nobody left.

    Catches a fork server that is started with Ctrl-C not blocked, or acts on it.
    """
    dice = random.Random(3)
    text = INTERRUPTED.replace("pool.submit(jobs.double, 1).result()", "")
    for _ in range(4):
        # Results go on coming: the interpreter can miss a signal at the very moment when its
        # main thread begins to wait, and sees to it when that wakes up.
        with Program(text, "nap", 0.001) as program:
            program.is_ready()
            threading.Event().wait(dice.uniform(0.0, 0.4))
            family = program.family()
            os.killpg(program.pid, signal.SIGINT)
            took, _, err = program.end()
            assert took < 10
            assert err.count("Traceback (most recent call last)") == 1, err
            assert "spawn" not in err, err
            assert "did not start" not in err, err
            all_gone(family)


@pytest.mark.parametrize("fn", ["doze", "spin"])
def test_kill_9_of_the_parent(tmp_path, fn):
    """All its workers are gone within two seconds, and what started them."""
    path = tmp_path / "pids"
    with Program(WAITING, fn, path) as program:
        program.is_ready()
        eventually(lambda: len(notes(path)) == 2)
        family = program.family()
        assert {int(pid) for pid in notes(path)} <= {process.pid for process in family}
        assert len(family) >= 3
        program.process.kill()
        begun = time.monotonic()
        all_gone(family)
        print(f"all gone after {1000 * (time.monotonic() - begun):.0f} ms")
        assert time.monotonic() - begun < 4  # 2 promised
        program.end()


def test_kill_9_of_the_parent_while_a_worker_starts(tmp_path):
    """One that is in its initializer ends too."""
    path = tmp_path / "pids"
    text = """
        import sys
        from rxpool import WorkerPool
        from tests.backends import process_jobs as jobs

        options = {"initializer": jobs.doze, "initargs": (sys.argv[1],)}
        with WorkerPool(1, on="processes", **options) as pool:
            print("ready", flush=True)
            pool.submit(jobs.double, 1).result()
    """
    with Program(text, path) as program:
        program.is_ready()
        (pid,) = eventually(lambda: notes(path))
        family = program.family()
        program.process.kill()
        all_gone(family)
        assert is_gone(int(pid))
        program.end()
