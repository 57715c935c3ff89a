"""How the starts of worker processes end: late, refused, killed or hanging ones."""

import errno
import mmap
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import textwrap
import threading
import time
from contextlib import suppress
from multiprocessing import forkserver
from types import ModuleType

import psutil
import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import Failure, TaskCancelled, WorkerPool
from rxpool.backends.processes import (
    _backend,
    _channel,
    _launch,
    _process,
    _serving_threads,
    _starts,
    _supervisor,
)
from rxpool.backends.processes._assigner import Assigner
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._main_module import MainModule
from rxpool.backends.processes._shared_block import SharedBlock
from rxpool.backends.processes._starts import NO_GUARD, Fails, Starts, Step
from rxpool.backends.processes._starts import Failure as NoStart
from rxpool.backends.processes._supervisor import Supervisor
from rxpool.errors import (
    DeadlineExceeded,
    TaskTimeout,
    WorkerCrashed,
    WorkerStartError,
    WouldBlock,
)
from rxpool.timing import TimerScheduler
from tests.ends import starting_jobs as jobs
from tests.ends.programs import ROOT, run
from tests.waiting import WAIT, eventually


@pytest.fixture(scope="module", autouse=True)
def fork_server():
    """Started before the tests: what they measure is without its descriptors."""
    with WorkerPool(1, on="processes") as pool:
        assert pool.submit(jobs.double, 1).result(WAIT) == 2


@pytest.fixture
def hasty(monkeypatch):
    """Starts are tried again after a moment."""
    for name in ("_BACK_OFF", "_REST", "_LONGEST"):
        monkeypatch.setattr(_starts, name, 0.005)


def descriptors():
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def keeper(no_leak):
    """What is in this list is kept until after the look for leaks."""
    kept = []
    yield kept
    eventually(lambda: descriptors() <= no_leak)


@pytest.fixture
def no_leak():
    """As many descriptors and mappings afterwards as before."""
    before = descriptors()
    yield before
    eventually(lambda: descriptors() <= before)
    assert all("rxpool" not in each.path for each in psutil.Process().memory_maps())


def is_gone(pid):
    """Whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def collect(pool, fn, items, **options):
    """The outcomes of *items*."""
    found, ended, errors = [], threading.Event(), []

    def on_error(error):
        errors.append(error)
        ended.set()

    stream = rx.from_iterable(items).pipe(pool.outcomes(fn, **options))
    stream.subscribe(found.append, on_error, ended.set)
    assert ended.wait(WAIT), f"no end after {len(found)}"
    assert not errors
    return found


def pids_of_both(pool):
    """Wait until both workers of a pool run; their processes."""

    def both():
        collect(pool, jobs.nap, [0.02, 0.02])
        return len(pool._engine.backend.pids()) == 2

    eventually(both)
    return set(pool._engine.backend.pids())


def works(pool, items=20):
    """The pool is as good as new."""
    found = collect(pool, jobs.double, range(items))
    assert sorted(o.value for o in found) == [2 * n for n in range(items)]
    report = pool.report()
    assert (report.in_flight, report.waiting) == (0, 0)
    return True


# -- after the last line (E5) ---------------------------------------------------------------

LATE = """
    import os, sys, time
    import reactivex as rx
    from rxpool import WorkerPool

    class Pair:
        def __init__(self, n):
            self.n = n

    def set_up():
        global ready
        ready = os.getpid()

    def fn(pair):
        time.sleep(0.01)
        assert ready == os.getpid()
        return Pair(2 * pair.n)

    def main():
        global pool
        pool = WorkerPool(2, on="processes", initializer=set_up, {options})
        values = []
        rx.from_iterable(map(Pair, range(20))).pipe(pool.map(fn)).subscribe(
            lambda pair: values.append(pair.n),
            lambda error: print("error", repr(error)),
            lambda: print(sorted(values) == [2 * n for n in range(20)]),
        )

    if __name__ == "__main__":
        {before}
        main()
        {after}
"""


def late(options="", before="", after=""):
    """The program, with additions."""
    return LATE.format(options=options, before=before, after=after)


ANOTHER = """
    another = type(sys)("__main__")
    vars(another).update(fn=fn, Pair=Pair, set_up=set_up)
    sys.modules["__main__"] = another
"""


@pytest.mark.parametrize(
    "text",
    [
        late(),
        late(options="max_tasks_per_worker=3"),
        late(after="os.chdir('/')"),
        late(after="sys.argv[:] = ['other.py']; del sys.modules['__main__'].__file__"),
        late(after=ANOTHER.replace("\n", "\n    ")),
    ],
    ids=["plain", "replaced", "moved", "no file", "another main module"],
)
def test_workers_started_after_the_last_line(tmp_path, text):
    """They know the functions and classes of the script, as those before it do."""
    ended = run(tmp_path, text)
    assert (ended.code, ended.lines, ended.err, ended.left) == (0, ["True"], "", ())


def test_a_worker_dies_after_the_last_line(tmp_path):
    """The one that takes its place does the rest."""
    text = """
        import os, sys
        from rxpool import WorkerPool

        def fn(n):
            return os._exit(3) if n == 7 else n

        if __name__ == "__main__":
            pool = WorkerPool(1, on="processes")
            values, failures = [], []
            pool.pull(range(200)).pipe(
                pool.outcomes(fn, max_pending=1000)
            ).subscribe(
                lambda o: (values if hasattr(o, "value") else failures).append(o),
                print,
                lambda: print(len(values), [repr(f.error) for f in failures]),
            )
    """
    ended = run(tmp_path, text)
    crashed = "WorkerCrashed('the worker process ended while it ran this: exit code 3')"
    assert (ended.code, ended.err, ended.left) == (0, "", ())
    assert ended.lines == [f"199 {[crashed]}"]


def test_the_first_work_comes_after_the_last_line(tmp_path):
    """A batch that the end of the program flushes starts the first worker."""
    text = """
        from reactivex import Subject
        from rxpool import WorkerPool, operators as ops

        def fn(batch):
            return sum(batch)

        if __name__ == "__main__":
            pool = WorkerPool(2, on="processes")
            source = Subject()
            source.pipe(ops.batch(4, 60), pool.map(fn)).subscribe(
                print, print, lambda: print("completed")
            )
            for n in range(3):
                source.on_next(n)
    """
    ended = run(tmp_path, text)
    assert (ended.code, ended.lines, ended.err) == (0, ["3", "completed"], "")
    assert ended.left == ()


def test_the_first_work_comes_after_the_last_line_and_hangs(tmp_path):
    """Its limit holds."""
    text = """
        import time
        from reactivex import Subject
        from rxpool import WorkerPool, operators as ops

        def fn(batch):
            time.sleep(1000)

        if __name__ == "__main__":
            pool = WorkerPool(2, on="processes")
            source = Subject()
            source.pipe(ops.batch(4), pool.outcomes(fn, timeout=0.2)).subscribe(
                lambda o: print(type(o.error).__name__), print, lambda: print("completed")
            )
            source.on_next(1)
    """
    ended = run(tmp_path, text)
    assert (ended.code, ended.lines, ended.err) == (0, ["TaskTimeout", "completed"], "")
    assert ended.left == ()


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("package/module.py", ("-m", "package.module")),
        ("package/script.py", ("package/script.py",)),
    ],
    ids=["a module", "a relative path"],
)
def test_a_main_module_of_another_kind(tmp_path, file, arguments):
    """Run by its name, or by a relative path, and the program has gone elsewhere since."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / file).write_text(textwrap.dedent(late(before="os.chdir('/')")))
    launcher = f"""
        import os, sys
        os.execv(sys.executable, [sys.executable, "-W", "error", *{arguments!r}])
    """
    ended = run(tmp_path, launcher, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"})
    assert (ended.code, ended.lines, ended.err, ended.left) == (0, ["True"], "", ())


def test_a_script_that_another_runs(tmp_path):
    """A pool that it leaves open keeps to the main module that made it."""
    (tmp_path / "script.py").write_text(textwrap.dedent(late()))
    launcher = """
        import runpy
        if __name__ == "__main__":
            kept = runpy.run_path("script.py", run_name="__main__")
            globals().update((name, kept[name]) for name in ("fn", "Pair", "set_up"))
    """
    ended = run(tmp_path, launcher)
    assert (ended.code, ended.lines, ended.err, ended.left) == (0, ["True"], "", ())


def test_a_program_without_a_main_module(monkeypatch):
    """At a prompt, or where it has no file, nothing is remembered."""
    for main in (None, ModuleType("__main__"), object()):
        monkeypatch.setitem(sys.modules, "__main__", main)
        assert MainModule.now() == MainModule()
    monkeypatch.delitem(sys.modules, "__main__")
    assert MainModule.now() == MainModule()
    stdin = ModuleType("__main__")
    stdin.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "__main__", stdin)
    assert MainModule.now() == MainModule()


# -- the system refuses (E17) ----------------------------------------------------------------


class Refused:
    """Calls are refused, as long as there are refusals left."""

    def __init__(self, call, error):
        self.call, self.error = call, error
        self.left, self.made = 0, 0
        self.only = lambda *_: True

    def __call__(self, *arguments, **options):
        """Refuse, or call."""
        if self.left > 0 and self.only(*arguments):
            self.left -= 1
            self.made += 1
            raise type(self.error)(*self.error.args)
        return self.call(*arguments, **options)


NO_ROOM = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
NO_MEMORY = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
TOO_LARGE = OSError(errno.EFBIG, os.strerror(errno.EFBIG))
NO_SERVER = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
NO_THREAD = RuntimeError("can't start new thread")

REFUSALS = {
    "no descriptor for memory": (os, "memfd_create", NO_ROOM),
    "file size limit": (os, "ftruncate", TOO_LARGE),
    "no addresses": (mmap, "mmap", NO_MEMORY),
    "no connection": (multiprocessing.connection, "Pipe", NO_ROOM),
    "too few descriptors": (os, "dup", NO_ROOM),
    "fork server": (forkserver, "connect_to_new_process", NO_SERVER),
    "fork server dies meanwhile": (forkserver, "read_signed", EOFError("unexpected EOF")),
    "not to be watched": (os, "pidfd_open", NO_ROOM),
    "no memory": (_launch, "Settings", MemoryError("no memory")),
    "no thread": (threading.Thread, "start", NO_THREAD),
}


@pytest.fixture
def refusal(request, monkeypatch):
    """One of the ways in which a start can be refused."""
    place, name, error = REFUSALS[request.param]
    refused = Refused(getattr(place, name), error)
    if name == "start":
        refused.only = lambda thread: thread.name.startswith("crew")
        monkeypatch.setattr(place, name, lambda thread: refused(thread))
    else:
        refused.only = lambda *_: threading.current_thread().name.startswith("crew")
        monkeypatch.setattr(place, name, refused)
    return refused


@pytest.fixture
def refusal_of_memory(monkeypatch):
    """There is no memory for workers to share."""
    refused = Refused(os.memfd_create, NO_ROOM)
    monkeypatch.setattr(os, "memfd_create", refused)
    return refused


every_refusal = pytest.mark.parametrize("refusal", REFUSALS, indirect=True)


@every_refusal
def test_a_start_that_is_refused_for_a_while(refusal, hasty, no_leak):
    """It is tried again; no item knows."""
    with WorkerPool(2, on="processes", name="crew") as pool:
        refusal.left = 4
        assert pool.submit(jobs.double, 4).result(WAIT) == 8
        assert refusal.made == 4
        works(pool)


@every_refusal
def test_starts_that_are_refused(refusal, hasty, no_leak):
    """Those who were tried for fail with the reason; once it has gone the pool works."""
    with WorkerPool(1, on="processes", name="crew") as pool:
        refusal.left = 10**9
        for _ in range(2):
            error = pool.submit(jobs.double, 4).exception(WAIT)
            assert isinstance(error, WorkerStartError)
            assert str(error) == f"workers do not start: {refusal.error}"
            assert repr(error.__cause__) == repr(refusal.error)
        refusal.left = 0
        works(pool)


@every_refusal
def test_an_end_while_starts_are_refused(refusal, no_leak):
    """`terminate` cancels what waits, and returns."""
    pool = WorkerPool(1, on="processes", name="crew")
    refusal.left = 10**9
    futures = [pool.submit(jobs.double, n) for n in range(5)]
    eventually(lambda: refusal.made)
    pool.terminate()
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(0), TaskCancelled)


@every_refusal
def test_a_deadline_while_starts_are_refused(refusal, no_leak):
    """Items are not waited for any longer."""
    with WorkerPool(1, on="processes", name="crew") as pool:
        refusal.left = 10**9
        found = collect(pool, jobs.double, range(5), deadline=0.05)
        assert [type(o.error) for o in found] == [DeadlineExceeded] * 5
        refusal.left = 0
        works(pool)


def test_a_dead_worker_that_is_refused_a_successor(refusal_of_memory, hasty):
    """The other does its work, and attempts go on until there is one."""
    refusal = refusal_of_memory
    with WorkerPool(2, on="processes", name="crew") as pool:
        pids = pids_of_both(pool)
        refusal.left = 30
        os.kill(pids.pop(), signal.SIGKILL)
        while refusal.left:  # attempts go on only as long as somebody waits
            works(pool, 50)
        eventually(lambda: works(pool, 50) and len(pool._engine.backend.processes) == 2)


def test_no_thread_at_all(monkeypatch, hasty):
    """Not even to try again later: all that waits fails, and what comes once there are some
    is done.
    """
    refused = Refused(lambda call, *arguments: call(*arguments), NO_THREAD)
    with WorkerPool(2, on="processes") as pool:
        for kind, name in ((threading.Thread, "start"), (TimerScheduler, "at")):
            method = getattr(kind, name)
            monkeypatch.setattr(kind, name, lambda *those, m=method: refused(m, *those))
        found, ended = [], threading.Event()
        with monkeypatch.context() as patch:  # so that there are items behind the first ones
            patch.setattr(Supervisor, "spawn", lambda _: None)
            rx.from_iterable(range(5000)).pipe(
                pool.outcomes(jobs.double, max_pending=5000)
            ).subscribe(found.append, print, ended.set)
        assert not found
        refused.left = 10**9
        pool._engine.backend._supervisor._spawn_again()
        assert ended.wait(WAIT)
        assert {str(o.error) for o in found} == {"workers do not start: can't start new thread"}
        assert len(found) == 5000
        refused.left = 0
        works(pool)


@pytest.mark.parametrize("came_up", [True, False])
@pytest.mark.parametrize("goes_on", [True, False])
def test_ctrl_c_while_a_thread_is_started(monkeypatch, no_leak, came_up, goes_on):
    """The thread is there or not: its work is done, and the pool ends."""
    start, interrupted = threading.Thread.start, []
    monkeypatch.setattr(_serving_threads, "PARTING", 0.05)

    def started(thread, *_):
        if thread.name.startswith("crew") and not interrupted:
            interrupted.append(thread)
            if came_up:
                start(thread)
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", started)
    pool = WorkerPool(1, on="processes", name="crew")
    with pytest.raises(KeyboardInterrupt):
        pool.submit(jobs.double, 1)
    if goes_on:
        assert pool.close(WAIT) is True
        assert pool.report().succeeded == 1
    else:
        pool.terminate()
        assert pool.report().in_flight == 0


def test_a_thread_that_is_only_just_coming_up(monkeypatch, no_leak):
    """An end waits for it."""
    pool = WorkerPool(1, on="processes")
    pool.submit(jobs.double, 1).result(WAIT)
    (owner,) = [worker.owner for worker in pool._engine.backend._roster.workers]
    join, left = owner.join, [3]

    def not_yet(timeout=None):
        if left[0]:
            left[0] -= 1
            raise RuntimeError("cannot join thread before it is started")
        join(timeout)

    monkeypatch.setattr(owner, "join", not_yet)
    pool.terminate()
    assert not left[0]
    assert not owner.is_alive()


def test_a_subscriber_waits_where_no_thread_can_be_started():
    """It hears that it cannot, and the worker goes on."""
    refused = Refused(threading.Thread.start, NO_THREAD)
    heard = []
    with WorkerPool(1, on="processes") as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: refused(thread))

        def waiting(value):
            future = pool.submit(jobs.double, value)
            refused.left = 10**9
            try:
                heard.append(future.result(0))
            except Exception as error:
                heard.append(error)
            finally:
                refused.left = 0

        ended = threading.Event()
        rx.of(1, 2, 3).pipe(pool.map(jobs.double)).subscribe(waiting, print, ended.set)
        assert ended.wait(WAIT)
    assert [type(each) for each in heard] == [WouldBlock] * 3


def test_a_timer_set_by_a_timer_where_no_thread_can_be_started(monkeypatch):
    """The thread that runs the first one sees to it."""
    refused = Refused(threading.Thread.start, NO_THREAD)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: refused(thread))
    scheduler, rang = TimerScheduler(), threading.Event()

    def first():
        refused.left = 10**9
        scheduler.at(time.monotonic() + 0.01, rang.set)

    scheduler.at(time.monotonic(), first)
    assert rang.wait(WAIT)
    refused.left = 0
    eventually(lambda: not scheduler._threads)
    refused.left = 10**9
    with pytest.raises(RuntimeError, match="start new thread"):
        scheduler.at(time.monotonic(), rang.clear)
    assert scheduler.pending == 0


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_FSIZE"])
def test_a_limit_of_the_system(tmp_path, limit):
    """Real ones: for a while nobody notices, else items fail; nothing is left open."""
    text = f"""
        import os, resource, threading
        from rxpool import WorkerPool
        from rxpool.backends.processes import _starts
        from rxpool.errors import WorkerStartError

        LIMIT = resource.{limit}
        before = resource.getrlimit(LIMIT)

        def tighten():
            low = int(os.listdir("/proc/self/fd")[-1]) + 1 if "NOFILE" in "{limit}" else 2**20
            resource.setrlimit(LIMIT, (low, before[1]))

        def loosen():
            resource.setrlimit(LIMIT, before)

        if __name__ == "__main__":
            import logging
            logging.disable(logging.WARNING)
            with WorkerPool(1, on="processes") as pool:
                pool.submit(abs, -1).result(20)
            open_before = len(os.listdir("/proc/self/fd"))
            with WorkerPool(2, on="processes") as pool:
                tighten()
                threading.Timer(0.3, loosen).start()
                print(pool.submit(abs, -1).result(20))
            with WorkerPool(2, on="processes") as pool:
                _starts._BACK_OFF = 0.005
                tighten()
                error = pool.submit(abs, -1).exception(20)
                loosen()
                print(type(error).__name__, type(error.__cause__).__name__)
                print(pool.submit(abs, -1).result(20))
            print(len(os.listdir("/proc/self/fd")) - open_before)
    """
    ended = run(tmp_path, text)
    assert ended.lines == ["1", "WorkerStartError OSError", "1", "0"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


def test_any_number_of_descriptors(tmp_path):
    """However many there are left, a start succeeds or leaves none behind."""
    text = """
        import os, resource
        from rxpool.backends.processes._launch import Starter
        from rxpool.backends.processes._starts import Failure
        from rxpool.timing import Clock, TimerScheduler

        def start():
            clock = Clock(TimerScheduler.singleton())
            started = Starter(clock, "x", None, (), None, None, True).start(1)
            if isinstance(started, Failure):
                return started.error
            process, conn, block = started
            conn.close()
            process.kill()
            assert process.ended(20)
            process.close()
            block.release()

        def count():
            return len(os.listdir("/proc/self/fd"))

        if __name__ == "__main__":
            assert start() is None
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            before, results = count(), []
            for spare in range(30):
                resource.setrlimit(resource.RLIMIT_NOFILE, (before + spare, hard))
                results.append(start())
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert count() == before, (spare, count(), before)
            print(results[0], results[-1])
    """
    ended = run(tmp_path, text)
    assert ended.lines == ["[Errno 24] Too many open files None"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


# -- processes die before they are ready (E18) -----------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_storm_of_kills(tmp_path, hasty, number):
    """Only those fail that were tried for; the thousands behind them are done later."""
    (tmp_path / "storm").touch()
    options = {"initializer": jobs.storm, "initargs": (str(tmp_path), number)}
    failures = []

    def end_of_storm(outcome):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            (tmp_path / "storm").unlink(missing_ok=True)

    with WorkerPool(2, on="processes", **options) as pool:
        ended, values = threading.Event(), []
        rx.from_iterable(range(5000)).pipe(
            pool.outcomes(jobs.double, max_pending=5000),
            ro.do_action(end_of_storm),
        ).subscribe(values.append, lambda _: None, ended.set)
        assert ended.wait(WAIT)
        assert 1 <= len(failures) <= 3
        name = signal.Signals(number).name
        for failure in failures:
            assert (
                str(failure.error)
                == f"workers do not start: the process ended (killed by {name})"
            )
        assert len(values) == 5000
        assert len({outcome.item for outcome in values}) == 5000
        assert len(jobs.noted(tmp_path)) >= 6
        works(pool)


def test_a_storm_without_end(tmp_path, hasty, monkeypatch):
    """Everything that waits fails when the patience is at an end, however much that is."""
    monkeypatch.setattr(_starts, "_PATIENCE", 0.2)
    (tmp_path / "storm").touch()
    options = {"initializer": jobs.storm, "initargs": (str(tmp_path), signal.SIGKILL)}
    with WorkerPool(2, on="processes", **options) as pool:
        found = collect(pool, jobs.double, range(3000), max_pending=3000)
        assert [type(o.error) for o in found] == [WorkerStartError] * 3000
        assert len(jobs.noted(tmp_path)) < 1000
        (tmp_path / "storm").unlink()
        works(pool)


def test_a_process_that_ends_by_itself_before_it_is_ready(tmp_path, hasty):
    """That does not pass: all fail.  A child that has its descriptors keeps nobody waiting."""
    options = {"initializer": jobs.leave_with_child, "initargs": (str(tmp_path),)}
    with WorkerPool(1, on="processes", **options) as pool:
        found = collect(pool, jobs.double, range(100), max_pending=100)
    reason = "workers do not start: the process ended (exit code 7)"
    assert {str(o.error) for o in found} == {reason}
    assert len(found) == 100
    assert len(jobs.noted(tmp_path)) == 6
    for child in psutil.process_iter():
        with suppress(psutil.Error):
            if child.ppid() in jobs.noted(tmp_path):
                child.kill()


def test_an_initializer_that_cannot_be_sent(no_leak, keeper):
    """Who keeps the error keeps no descriptor and no memory of the start."""
    for _ in range(3):
        options = {"initializer": print, "initargs": (threading.Lock(),)}
        with WorkerPool(1, on="processes", **options) as pool:
            keeper.append(pool.submit(jobs.double, 1).exception(WAIT))
    assert {type(error) for error in keeper} == {WorkerStartError}
    assert all("cannot pickle" in str(error) for error in keeper)


def test_what_a_worker_left_makes_no_sense(monkeypatch, no_leak):
    """What it had fails, and the next one goes on."""

    def unreadable(*_):
        raise ZeroDivisionError

    with WorkerPool(1, on="processes") as pool:
        faults = []
        pool.faults.subscribe(faults.append)
        hung = Hung(pool)
        at_work(pool)
        with monkeypatch.context() as patch:
            patch.setattr(WorkerChannel, "recover_results", unreadable)
            os.kill(pool._engine.backend.pids()[0], signal.SIGKILL)
            assert isinstance(hung.outcome().error, WorkerCrashed)
        works(pool)
        assert [type(fault) for fault in faults] == [ZeroDivisionError]
        hung.subscription.dispose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("kind", "where"), [(Assigner, "idle"), (Supervisor, "_start_process")]
)
def test_a_fault_of_ours(monkeypatch, kind, where):
    """Whatever goes wrong in the thread of a worker, nobody waits for it."""
    method, left = getattr(kind, where), ["once"]

    def faulty(owner, worker):
        if left:
            left.clear()
            raise ZeroDivisionError
        return method(owner, worker)

    monkeypatch.setattr(kind, where, faulty)
    with WorkerPool(1, on="processes") as pool:
        futures = [pool.submit(jobs.double, n) for n in range(10)]
        errors = [future.exception(WAIT) for future in futures]
        assert sum(error is not None for error in errors) <= 1
        assert all(error is None or isinstance(error, WorkerCrashed) for error in errors)
        works(pool)


def starts(*times):
    """A state with a clock that gives these times, the last one for ever."""
    left = list(times)
    return Starts(lambda: left.pop(0) if len(left) > 1 else left[0])


KILLED = NoStart.died(-9, "killed by SIGKILL")
LOST = NoStart.died(255, "exit code 255")
UNKNOWN = NoStart.died(None, "exit code unknown")
LEFT = NoStart.died(1, "exit code 1")
RAISED = NoStart.told(RuntimeError("no database"))
REFUSED = NoStart.raised(NO_ROOM)
HUNG = NoStart.hung(60)
UNGUARDED = NoStart.died(NO_GUARD, "exit code 94")


@pytest.mark.parametrize(
    ("failure", "tries"),
    [(KILLED, 6), (LOST, 6), (UNKNOWN, 6), (REFUSED, 6), (HUNG, 2)],
    ids=["killed", "lost", "unknown", "refused", "hung"],
)
def test_what_may_pass_fails_one(failure, tries):
    """After its attempts, with pauses that double; all of them after half a minute."""
    state = starts(0.0)
    state.begins()
    steps = [state.failed(failure, n, False) for n in range(1, tries + 1)]
    assert [step.fails for step in steps] == [Fails.NONE] * (tries - 1) + [Fails.ONE]
    assert [step.pause for step in steps[:-1]] == [0.05 * 2**n for n in range(tries - 1)]
    assert steps[-1].pause > 0
    late = starts(0.0, 31.0)
    late.begins()
    assert late.failed(failure, tries - 1, False).fails is Fails.NONE
    assert late.failed(failure, tries, False) == Step(Fails.ALL, 0.0)


@pytest.mark.parametrize(
    ("failure", "tries"),
    [(LEFT, 6), (RAISED, 3), (UNGUARDED, 1)],
    ids=["left", "raised", "unguarded"],
)
def test_what_does_not_pass_fails_all(failure, tries):
    """At once when the attempts are at an end."""
    state = starts(0.0)
    state.begins()
    steps = [state.failed(failure, n, False) for n in range(1, tries + 1)]
    assert [step.fails for step in steps] == [Fails.NONE] * (tries - 1) + [Fails.ALL]


def test_nobody_fails_as_long_as_others_work():
    """Attempts go on, every few seconds at last."""
    state = starts(0.0, 1000.0)
    state.begins()
    steps = [state.failed(RAISED, n, True) for n in range(1, 2000)]
    assert {step.fails for step in steps} == {Fails.NONE}
    pauses = [step.pause for step in steps]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5.0


def test_patience_begins_anew():
    """When a worker is ready, or nobody waits."""
    now = [0.0]
    state = Starts(lambda: now[0])
    state.begins()
    now[0] = 100.0
    state.settled()
    state.begins()
    now[0] = 110.0
    state.begins()  # another worker, meanwhile
    assert state.failed(KILLED, 6, False).fails is Fails.ONE
    now[0] = 131.0
    assert state.failed(KILLED, 6, False).fails is Fails.ALL


# -- what hangs, and the fork server (E19) ---------------------------------------------------


def fork_server_pid():
    """The process that the pools' processes are children of."""
    return forkserver._forkserver._forkserver_pid


@pytest.fixture
def fork_server_killed():
    """Kills it when called, and has `multiprocessing` notice."""

    def kill():
        victim = fork_server_pid()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: is_gone(victim))
        multiprocessing.active_children()  # asks for everybody's exit code

    return kill


class Hung:
    """A pool of one, with an item that is at its worker and goes on for ever."""

    def __init__(self, pool, **options):
        self.pool = pool
        self.ended, self.found = threading.Event(), []
        self.source = Subject()
        self.subscription = self.source.pipe(pool.outcomes(jobs.nap, **options)).subscribe(
            self.found.append, lambda _: self.ended.set(), self.ended.set
        )
        self.source.on_next(10**6)

    def outcome(self):
        """Wait for it."""
        return eventually(lambda: self.found)[0]


def at_work(pool):
    """Wait until an item runs."""

    def runs():
        channels = [worker.channel for worker in pool._engine.backend._roster.workers]
        return any(c is not None and c.in_flight.running() is not None for c in channels)

    eventually(runs)


def stopped(pid):
    """Stop a process, and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


@pytest.fixture(params=["fork server killed", "stopped while idle", "stopped at work"])
def wedged(request, fork_server_killed, no_leak, monkeypatch):
    """Makes a pool whose worker cannot be talked to, and an item for it; the process too."""
    monkeypatch.setattr(_backend, "_UNHEEDED", 0.3)
    pools = []

    def make(**options):
        pool = WorkerPool(1, on="processes")
        pools.append(pool)
        pid = pool.submit(jobs.nap, 0).result(WAIT)
        eventually(lambda: pool._engine.backend._roster.idle)
        if request.param == "stopped while idle":
            stopped(pid)
        hung = Hung(pool, **options)
        if request.param != "stopped while idle":
            at_work(pool)
        if request.param == "stopped at work":
            stopped(pid)
        if request.param == "fork server killed":
            fork_server_killed()
        return pool, pid, hung

    yield make
    for pool in pools:
        pool.terminate()


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"timeout": 0.1}, TaskTimeout), ({"deadline": 0.2}, DeadlineExceeded)],
    ids=["timeout", "deadline"],
)
def test_limits_hold_for_a_worker_that_hangs(wedged, options, kind):
    """It is killed and replaced; the item has its error."""
    pool, pid, hung = wedged(**options)
    outcome = hung.outcome()
    assert isinstance(outcome.error, kind)
    eventually(lambda: is_gone(pid))
    hung.subscription.dispose()
    works(pool)
    assert pool.close(WAIT) is True


def test_a_worker_that_hangs_is_disposed_of(wedged):
    """When nobody wants its item any more."""
    pool, pid, hung = wedged()
    hung.subscription.dispose()
    eventually(lambda: is_gone(pid))
    works(pool)
    assert pool.close(WAIT) is True


@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_is_disposed_of_where_no_thread_can_be_started(monkeypatch, no_leak, busy):
    """Then it is not waited for at all."""
    refused = Refused(TimerScheduler.at, NO_THREAD)
    with WorkerPool(1, on="processes") as pool:
        pid = pool.submit(jobs.nap, 0).result(WAIT)
        eventually(lambda: pool._engine.backend._roster.idle)
        if not busy:
            stopped(pid)
        hung = Hung(pool)
        if busy:
            at_work(pool)
        with monkeypatch.context() as patch:
            patch.setattr(TimerScheduler, "at", lambda *those: refused(*those))
            refused.left = 10**9
            hung.subscription.dispose()
            eventually(lambda: is_gone(pid))
        works(pool)


@pytest.mark.parametrize("how", ["terminate", "close"])
def test_a_worker_that_hangs_does_not_outlive_its_pool(wedged, how):
    """Nor does it keep it from ending."""
    pool, pid, hung = wedged()
    if how == "close":
        assert pool.close(0.05) is False
    else:
        pool.terminate()
    assert is_gone(pid)
    assert hung.ended.wait(WAIT)
    assert isinstance(hung.outcome().error, TaskCancelled)


def test_idle_workers_that_are_stopped_keep_no_pool_open(monkeypatch, no_leak):
    """`close` kills them."""
    monkeypatch.setattr(_supervisor, "_LEAVING", 0.2)
    pool = WorkerPool(2, on="processes")
    pids = pids_of_both(pool)
    for pid in pids:
        stopped(pid)
    assert pool.close() is True
    assert all(map(is_gone, pids))


def test_a_worker_that_has_had_enough_and_is_stopped(monkeypatch):
    """It is not waited for for ever, though nothing comes from it, not even its end."""
    monkeypatch.setattr(_channel, "_LEAVING", 0.01)
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        block = SharedBlock()
        channel = WorkerChannel(None, ours, block)
        channel.leaving = True
        assert channel.serve(print, lambda: True) is True
        assert not ours.closed
        block.release()


@pytest.fixture(params=["with", "without"])
def descriptor_of_process(request, monkeypatch):
    """The system has descriptors of processes, or not."""
    if request.param == "without":
        missing = OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        refused = Refused(os.pidfd_open, missing)
        refused.left = 10**9
        monkeypatch.setattr(os, "pidfd_open", refused)


def test_the_fork_server_is_killed(descriptor_of_process, fork_server_killed, no_leak):
    """Processes are started by a new one; those of the old one work on, and end."""
    with WorkerPool(2, on="processes") as pool:
        before = pids_of_both(pool)
        for _ in range(3):
            fork_server_killed()
            works(pool)
            assert set(pool._engine.backend.pids()) == before
        victim = before.pop()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in pool._engine.backend.pids())
        assert before <= pids_of_both(pool)
    assert all(map(is_gone, before))


def test_the_fork_server_is_killed_and_forgotten(tmp_path):
    """Also in a program that waits for all its children itself."""
    text = """
        import os, signal
        from multiprocessing import forkserver
        from rxpool import WorkerPool

        def reap(*_):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass

        def is_there(pid):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return False
            return True

        if __name__ == "__main__":
            import logging
            logging.disable(logging.WARNING)
            signal.signal(signal.SIGCHLD, reap)
            with WorkerPool(1, on="processes") as pool:
                for _ in range(3):
                    worker = pool.submit(os.getpid).result(20)
                    victim = forkserver._forkserver._forkserver_pid
                    os.kill(victim, signal.SIGKILL)
                    while is_there(victim):
                        signal.sigtimedwait([], 0.001)
                    os.kill(worker, signal.SIGKILL)
                    while worker in pool._engine.backend.pids():
                        signal.sigtimedwait([], 0.001)
                    print(pool.submit(abs, -2).result(20))
    """
    ended = run(tmp_path, text)
    assert ended.lines == ["2"] * 3
    assert (ended.code, ended.err, ended.left) == (0, "", ())


@pytest.fixture(params=["initializer", "fork server"])
def hanging(request, tmp_path, no_leak):
    """Makes a pool whose starts hang: its initializer, or the fork server is stopped."""
    pools, gate = [], tmp_path / "hang"
    server = fork_server_pid()

    def make():
        gate.touch()
        if request.param == "fork server":
            stopped(server)
        options = {"initializer": jobs.hang, "initargs": (str(tmp_path),)}
        pools.append(WorkerPool(1, on="processes", **options))
        return pools[-1]

    def answer():
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGCONT)

    def go_on():
        gate.unlink(missing_ok=True)
        answer()

    make.go_on, make.answer = go_on, answer
    yield make
    go_on()
    for pool in pools:
        pool.terminate()
    eventually(lambda: all(map(is_gone, jobs.noted(tmp_path))))


def test_a_deadline_while_a_start_hangs(hanging):
    """The item fails in time; when the start goes on the pool works."""
    pool = hanging()
    found = collect(pool, jobs.double, range(3), deadline=0.1)
    assert [type(o.error) for o in found] == [DeadlineExceeded] * 3
    hanging.go_on()
    works(pool)


@pytest.mark.parametrize("how", ["terminate", "close"])
def test_an_end_while_a_start_hangs(hanging, how, tmp_path):
    """It returns, and the process is killed as soon as it is there."""
    pool = hanging()
    future = pool.submit(jobs.double, 1)
    eventually(lambda: pool._engine.backend._roster.workers[0].starting or jobs.noted(tmp_path))
    if how == "close":
        assert pool.close(0.05) is False
    else:
        pool.terminate()
    assert future.cancelled() or isinstance(future.exception(0), TaskCancelled)
    hanging.answer()
    eventually(lambda: not pool._engine.backend._roster.workers)


@pytest.mark.parametrize("hanging", ["initializer"], indirect=True)
def test_a_start_takes_too_long(hanging, hasty, monkeypatch):
    """It is ended, and tried again; then the item fails.  The pool recovers."""
    monkeypatch.setattr(_launch, "_READY", 0.5)
    pool = hanging()
    future = pool.submit(jobs.double, 1)
    error = future.exception(WAIT)
    assert str(error) == "workers do not start: the process was not ready in 0.5 s"
    hanging.go_on()
    monkeypatch.setattr(_launch, "_READY", 60.0)
    works(pool)


def test_a_start_that_hangs_holds_up_no_other_pool(monkeypatch, no_leak):
    """Its processes are ended, though nobody tells their exit codes."""
    monkeypatch.setattr(_process, "_TURN", 0.05)
    monkeypatch.setattr(_process, "PARTING", 0.05)
    server = fork_server_pid()
    with WorkerPool(1, on="processes") as pool, WorkerPool(1, on="processes") as other:
        faults = []
        pool.faults.subscribe(faults.append)
        hung = Hung(pool, timeout=0.3)
        at_work(pool)
        try:
            stopped(server)
            future = other.submit(jobs.double, 1)
            eventually(lambda: other._engine.backend._roster.workers[0].starting)
            assert isinstance(hung.outcome().error, TaskTimeout)
        finally:
            os.kill(server, signal.SIGCONT)
        assert future.result(WAIT) == 2
        hung.subscription.dispose()
        works(pool)
        assert not faults


@pytest.mark.parametrize("hanging", ["fork server"], indirect=True)
def test_the_fork_server_takes_too_long(hanging, monkeypatch, tmp_path):
    """It is killed, and the start succeeds with a new one."""
    monkeypatch.setattr(_launch, "_ANSWER", 8.0)
    pool = hanging()
    server = fork_server_pid()
    (tmp_path / "hang").unlink()
    assert pool.submit(jobs.double, 1).result(WAIT) == 2
    assert is_gone(server)
    assert fork_server_pid() != server


ENDS = """
    import os, signal, time
    import multiprocessing
    from multiprocessing import forkserver
    from rxpool import WorkerPool
    from reactivex import Subject

    def hang():
        time.sleep(1000)

    def nap(seconds):
        time.sleep(seconds)
        return os.getpid()

    def wedge(pool):
        pid = pool.submit(nap, 0).result(20)
        {wedge}

    if __name__ == "__main__":
        pool = WorkerPool(1, on="processes", {options})
        {first}
        source = Subject()
        source.pipe(pool.outcomes(nap, {limit})).subscribe(
            lambda o: print(type(o.error).__name__), print, lambda: print("completed")
        )
        source.on_next(1000)
        {last}
"""

HANGS = {
    "initializer": {"options": "initializer=hang", "limit": "deadline=0.2"},
    "stopped": {"wedge": "os.kill(pid, signal.SIGSTOP)", "first": "wedge(pool)"},
    "fork server killed": {
        "wedge": "os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)"
        "; time.sleep(0.1); multiprocessing.active_children()",
        "first": "wedge(pool)",
    },
}


@pytest.mark.parametrize("last", ["", "1 / 0"])
@pytest.mark.parametrize("hang", HANGS)
def test_the_program_ends_while_a_worker_hangs(tmp_path, hang, last):
    """In bounded time, and nothing is left."""
    values = {"options": "", "wedge": "", "first": "", "limit": "timeout=0.2", "last": last}
    ended = run(tmp_path, ENDS.format(**{**values, **HANGS[hang]}))
    expected = "DeadlineExceeded" if hang == "initializer" else "TaskTimeout"
    assert ended.lines == [expected, "completed"]
    assert ended.left == ()
    if last == "1 / 0":
        assert ended.code == 1
        assert "ZeroDivisionError" in ended.err
    else:
        assert (ended.code, ended.err) == (0, "")
