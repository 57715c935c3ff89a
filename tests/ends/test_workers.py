"""Worker processes while they run and die: forks, programs that tasks start, signals."""

import multiprocessing
import os
import signal
import struct
import subprocess
import textwrap
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import closing, suppress
from types import SimpleNamespace

import psutil
import pytest
import reactivex as rx

from rxpool import Failure, Success, WorkerPool
from rxpool.backends.processes import _manners
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._inbox import Inbox
from rxpool.backends.processes._process import WorkerProcess
from rxpool.backends.processes._shared_block import SharedBlock
from rxpool.backends.processes._supervisor import Supervisor
from rxpool.errors import InvalidArgument, InvalidArgumentType, NotPicklable, WorkerCrashed
from tests.ends import worker_jobs as jobs
from tests.ends.programs import LIMIT, Program, run

#: what all programs here begin with
HEAD = """
import os, signal, subprocess, sys, threading, time, warnings
from pathlib import Path

import psutil
import reactivex as rx

from rxpool import Failure, WorkerPool, current_task
from rxpool.errors import TaskTimeout, WorkerCrashed

# From 3.12 on a fork of a process with threads is warned of; workers have one that watches.
warnings.filterwarnings("ignore", "This process", DeprecationWarning)


def note(text, path="notes"):
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\\n".encode())
    os.close(file)


def notes(path="notes"):
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def until(condition):
    for _ in range(10_000):
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError("it never happened")


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def program(*parts):
    """The text of a program, of parts that are indented each in its way."""
    return HEAD + "".join(map(textwrap.dedent, parts))


def alive(pid):
    """Whether there is such a process, and it has not ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def eventually(condition):
    """Wait until *condition* holds; answers what it gave."""
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        threading.Event().wait(0.005)
    return found


def noted(folder, path="notes"):
    """What a program has noted so far."""
    file = folder / path
    return file.read_text().splitlines() if file.exists() else []


class Sink:
    """A subscriber that keeps what it is given, and can be waited for."""

    def __init__(self, stream):
        self.values, self.error, self._ended = [], None, threading.Event()
        stream.subscribe(self.values.append, self._fail, self._ended.set)
        assert self._ended.wait(LIMIT), "no end"

    def _fail(self, error):
        self.error = error
        self._ended.set()


# -- forks within tasks ------------------------------------------------------------------

FORKS = """
    class Object:
        def __reduce__(self):
            note("pickled")
            return Object, ()


    def back(how):
        if how == "number":
            return 1
        if how == "text":
            return "x" * 100_000
        if how == "object":
            return Object()
        if how == "bytes":
            return bytearray(1_000_000)
        if how == "sys.exit":
            sys.exit(3)
        if how == "error":
            raise ValueError("of the child")
        if how == "observable":
            return rx.of(1, 2)
        if how == "coroutine":
            return later(1)


    async def later(value):
        return value


    def work(item):
        how = item if isinstance(item, str) else item[0]
        note(how)
        pid = os.fork()
        if pid == 0:
            return back(how)
        return how, exit_code(pid)


    async def coroutine(item):
        note(item)
        pid = os.fork()
        return Object() if pid == 0 else (item, exit_code(pid))


    def observable(item):
        def subscribe(observer, scheduler=None):
            pid = os.fork()
            observer.on_next(Object() if pid == 0 else (item, exit_code(pid)))
            observer.on_completed()

        note(item)
        return rx.create(subscribe)


    def unfinished(item):
        def subscribe(observer, scheduler=None):
            pid = os.fork()
            if pid:
                observer.on_next((item, exit_code(pid)))
                observer.on_completed()

        note(item)
        return rx.create(subscribe)
"""

WAYS = {
    "number": 0,
    "text": 0,
    "object": 0,
    "bytes": 0,
    "sys.exit": 3,
    "error": 1,
    "observable": 0,
    "coroutine": 0,
    "nothing": 0,
}


def test_a_child_that_comes_back_ends_there(tmp_path):
    """Whatever it comes back with: the item's result is the worker's, and it ran once."""
    text = """
        if __name__ == "__main__":
            ways = sys.argv[1:]
            items = [*ways, *((way,) for way in ways)]
            with WorkerPool(2, on="processes") as pool:
                print(sorted(pool.imap(work, items)))
            print(sorted(notes()) == sorted([*ways, *ways]))
    """
    ended = run(tmp_path, program(FORKS, text), *WAYS)
    assert ended.lines == [str(sorted([*WAYS.items(), *WAYS.items()])), "True"]
    assert (ended.code, ended.left) == (0, ())
    # It says what an error was, as any process does.
    assert ended.err.count("Traceback") == ended.err.count("ValueError: of the child") == 2


def test_a_child_of_work_that_ends_later(tmp_path):
    """It ends where its coroutine, or its Observable, would be the worker's."""
    text = """
        if __name__ == "__main__":
            with WorkerPool(1, on="processes") as pool:
                for work in (coroutine, observable, unfinished):
                    print(list(pool.imap(work, "abc", order="input")))
            print("".join(notes()))
    """
    ended = run(tmp_path, program(FORKS, text))
    assert ended.lines == ["[('a', 0), ('b', 0), ('c', 0)]"] * 3 + ["abcabcabc"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


def test_a_child_of_an_initializer(tmp_path):
    """It is no second worker."""
    text = """
        def initialize(fails):
            pid = os.fork()
            if pid:
                note(exit_code(pid))
            elif fails:
                sys.exit(5)


        if __name__ == "__main__":
            for fails in (False, True):
                options = {"initializer": initialize, "initargs": (fails,)}
                with WorkerPool(1, on="processes", **options) as pool:
                    print(list(pool.imap(abs, [-1, -2], order="input")))
            print(notes())
    """
    ended = run(tmp_path, program(text))
    assert ended.lines == ["[1, 2]", "[1, 2]", "['0', '5']"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


def test_a_child_says_nothing_to_the_parent(tmp_path):
    """Progress goes nowhere, what is logged to standard error; the worker goes on as before."""
    text = """
        import logging, stat


        def work(item):
            task = current_task()
            pid = os.fork()
            if pid == 0:
                note(sum(map(is_socket, range(3, 64))))
                for _ in range(50):
                    task.progress(0.25)
                    current_task().progress(0.25)
                    logging.getLogger("child").warning("of the child")
                return
            for _ in range(50):
                task.progress(0.75)
                logging.getLogger("worker").warning("of the worker")
            return item, exit_code(pid)


        def is_socket(fd):
            try:
                return stat.S_ISSOCK(os.fstat(fd).st_mode)
            except OSError:
                return False


        class Counting(logging.Handler):
            found = []

            def emit(self, record):
                self.found.append(record.getMessage())


        if __name__ == "__main__":
            logging.getLogger().addHandler(Counting())
            told = []
            with WorkerPool(2, on="processes") as pool:
                pool.progress.subscribe(lambda progress: told.append(progress.fraction))
                print(sorted(pool.imap(work, range(20))))
            print(told == [0.75] * 1000, Counting.found == ["of the worker"] * 1000)
            print(set(notes()))
    """
    ended = run(tmp_path, program(text))
    assert ended.lines == [str([(n, 0) for n in range(20)]), "True True", "{'0'}"]
    assert ended.err == "of the child\n" * 1000
    assert (ended.code, ended.left) == (0, ())


def test_multiprocessing_within_a_task(tmp_path):
    """Processes of the task's own can be started, talked to, and ended as anywhere."""
    text = """
        import multiprocessing


        def child(conn):
            conn.send(os.getpid())
            time.sleep(60)


        def work(method):
            context = multiprocessing.get_context(method)
            ours, theirs = context.Pipe()
            process = context.Process(target=child, args=(theirs,))
            process.start()
            same = ours.recv() == process.pid
            process.terminate()
            process.join()
            for _ in range(20 if method == "fork" else 1):
                quick = context.Process(target=child, args=(theirs,))
                quick.start()
                quick.terminate()
                quick.join()
                assert quick.exitcode == process.exitcode
            return method, same, process.exitcode


        if __name__ == "__main__":
            with WorkerPool(1, on="processes") as pool:
                ways = ["fork", "spawn", "forkserver"]
                print(list(pool.imap(work, ways, order="input")))
    """
    ended = run(tmp_path, program(text))
    ways = ["fork", "spawn", "forkserver"]
    assert ended.lines == [str([(way, True, -signal.SIGTERM) for way in ways])]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


# -- what outlives its worker --------------------------------------------------------------

#: a process out of reach that holds all that the worker has open, as one that was forked
#: by a library in C would
HOLDS = """
    held = []


    def hold():
        for fd in range(3, 64):
            try:
                os.set_inheritable(fd, True)
            except OSError:
                pass
        command = ["sleep", "60"]
        held.append(subprocess.Popen(command, close_fds=False, start_new_session=True))
        note(held[0].pid, "holders")


    def end_holder():
        (pid,) = map(int, notes("holders"))
        os.kill(pid, signal.SIGKILL)  # it is still there
        until(lambda: is_gone(pid))


    def last(item):
        if item < 100:
            return item
        hold()
        os._exit(9)


    def stay(item):
        hold()
        time.sleep(60)


    def fork(item):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            note(os.getpid(), "holders")
            time.sleep(60)
        until(lambda: notes("holders"))
        os._exit(9)
"""


@pytest.fixture
def holders(tmp_path):
    """Ends what programs started out of anybody's reach."""
    yield
    for pid in noted(tmp_path, "holders"):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize(
    ("fn", "groups", "own"),
    [("last", True, True), ("last", False, False), ("fork", False, True)],
)
def test_a_process_that_outlives_its_worker(tmp_path, holders, fn, groups, own):
    """The end of the worker is told by itself; what it had done before is not lost.

    Not *own*: where processes have no descriptors, the fork server tells it.
    """
    text = """
        if __name__ == "__main__":
            fn, groups, own = sys.argv[1:]
            if own != "True":
                from rxpool.backends.processes import _process

                _process.open_pidfd = lambda pid: None
            work, items = {"last": (last, range(101)), "fork": (fork, [0])}[fn]
            found = []
            with WorkerPool(1, on="processes", process_groups=groups == "True") as pool:
                rx.from_iterable(items).pipe(pool.outcomes(work)).subscribe(found.append)
            errors = [outcome for outcome in found if isinstance(outcome, Failure)]
            print(sorted(outcome.value for outcome in found if outcome not in errors))
            print(errors[0].item, repr(errors[0].error), len(errors))
            end_holder()
    """
    ended = run(tmp_path, program(HOLDS, text), fn, str(groups), str(own))
    good, bad = (list(range(100)), 100) if fn == "last" else ([], 0)
    error = "WorkerCrashed('the worker process ended while it ran this: exit code 9')"
    assert ended.lines == [str(good), f"{bad} {error} 1"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


@pytest.mark.parametrize("way", ["timeout", "terminate", "kill"])
def test_the_end_of_a_worker_whose_connection_is_held(tmp_path, holders, way):
    """A timeout holds, `terminate` returns, and `kill -9` is noticed."""
    text = """
        if __name__ == "__main__":
            way = sys.argv[1]
            with WorkerPool(1, on="processes") as pool:
                errors = []
                limit = 0.5 if way == "timeout" else None
                flow = rx.of(1).pipe(pool.outcomes(stay, timeout=limit))
                flow.subscribe(lambda outcome: errors.append(type(outcome.error).__name__))
                until(lambda: notes("holders"))
                if way == "kill":
                    os.kill(pool._engine.backend.pids()[0], signal.SIGKILL)
                if way == "terminate":
                    pool.terminate()
            print(errors)
            end_holder()
    """
    ended = run(tmp_path, program(HOLDS, text), way)
    error = {"timeout": "TaskTimeout", "terminate": "TaskCancelled", "kill": "WorkerCrashed"}
    assert ended.lines == [f"['{error[way]}']"]
    assert (
        ended.err.count("work was cancelled") == ended.err.count("\n") == (way == "terminate")
    )
    assert (ended.code, ended.left) == (0, ())


def test_what_a_worker_has_said_before_its_end():
    """It is heard, also if that is known to have come."""
    told = []

    def listen(progress):
        told.append(progress.fraction)
        eventually(lambda: not psutil.pid_exists(progress.item[0]))

    with WorkerPool(1, on="processes") as pool:
        pid = pool.submit(os.getpid).result(LIMIT)
        pool.progress.subscribe(listen)
        (outcome,) = Sink(rx.of((pid,)).pipe(pool.outcomes(jobs.tell_and_die))).values
    assert told == [n / 100 for n in range(100)]
    assert outcome.error.exitcode == 9


# -- programs that tasks start -----------------------------------------------------------

STARTS = """
    #: a program that has started another one
    COMMAND = "sleep 60 & echo $! >> programs; echo $$ >> programs; wait"

    kept = []


    def start(item):
        kept.append(subprocess.Popen(["sh", "-c", COMMAND]))
        until(lambda: len(notes("programs")) == 2)
        return os.getpid()


    def stay(item):
        start(item)
        note("started")
        time.sleep(60)


    def crash(item):
        start(item)
        os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.fixture
def programs(tmp_path):
    """Ends the programs that tasks started."""
    yield
    for pid in noted(tmp_path, "programs"):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize(
    ("way", "groups"),
    [
        *((way, True) for way in ("timeout", "terminate", "dispose", "error", "crash")),
        *((way, False) for way in ("timeout", "crash")),
    ],
)
def test_programs_end_with_their_worker(tmp_path, programs, way, groups):
    """When that is killed or dies, all of its process group do; that can be turned off."""
    text = """
        if __name__ == "__main__":
            way, groups = sys.argv[1:]
            try:
                with WorkerPool(1, on="processes", process_groups=groups == "True") as pool:
                    limit = 0.5 if way == "timeout" else None
                    errors, ended = [], threading.Event()
                    work = crash if way == "crash" else stay
                    flow = rx.of(1).pipe(pool.outcomes(work, timeout=limit)).subscribe(
                        lambda outcome: errors.append(type(outcome.error).__name__),
                        None,
                        ended.set,
                    )
                    if work is stay:
                        until(notes)
                    if way == "terminate":
                        pool.terminate()
                    if way == "dispose":
                        flow.dispose()
                    if way == "error":
                        raise ValueError
                    if way != "dispose":
                        ended.wait()
            except ValueError:
                pass
            print(errors)
            pids = [int(pid) for pid in notes("programs")]
            if groups == "True":
                until(lambda: all(map(is_gone, pids)))
            print([psutil.pid_exists(pid) and not is_gone(pid) for pid in pids])
            for pid in pids:
                if groups != "True":
                    os.kill(pid, signal.SIGKILL)
                    until(lambda: is_gone(pid))
    """
    ended = run(tmp_path, program(STARTS, text), way, str(groups))
    error = {
        "timeout": ["TaskTimeout"],
        "terminate": ["TaskCancelled"],
        "dispose": [],
        "error": ["TaskCancelled"],
        "crash": ["WorkerCrashed"],
    }
    assert ended.lines == [str(error[way]), str([not groups] * 2)]
    assert (ended.code, ended.left) == (0, ())


def test_programs_that_are_left_running(tmp_path, programs):
    """A worker that ends as it should leaves them alone."""
    text = """
        if __name__ == "__main__":
            for way in ("close", "recycled", "resize"):
                most = 1 if way == "recycled" else None
                with WorkerPool(2, on="processes", max_tasks_per_worker=most) as pool:
                    worker = pool.submit(start, 0).result()
                    if way == "resize":
                        rx.of(-1, -2).pipe(pool.map(abs)).run()
                        pool.resize(1)
                    if way != "close":
                        pool.submit(abs, -1).result()
                until(lambda: is_gone(worker))
                pids = [int(pid) for pid in notes("programs")]
                print(way, list(map(is_gone, pids)))
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                until(lambda: all(map(is_gone, pids)))
                os.unlink("programs")
    """
    ended = run(tmp_path, program(STARTS, text))
    assert ended.lines == [f"{way} [False, False]" for way in ("close", "recycled", "resize")]
    assert (ended.code, ended.left) == (0, ())


@pytest.mark.parametrize(
    ("number", "work"),
    [(signal.SIGKILL, "stay"), (signal.SIGKILL, "start"), (signal.SIGTERM, "stay")],
)
def test_programs_end_with_the_parent(tmp_path, programs, number, work):
    """If the program dies, nobody is left: not its workers, nor what they have started."""
    text = """
        if __name__ == "__main__":
            with WorkerPool(2, on="processes") as pool:
                future = pool.submit({"stay": stay, "start": start}[sys.argv[1]], 0)
                pool.submit(abs, -1).result()
                until(notes if sys.argv[1] == "stay" else future.done)
                print("ready", flush=True)
                time.sleep(60)
    """
    with Program(tmp_path, program(STARTS, text), work) as it:
        it.wait_for("ready")
        it.signal(number)
        ended = it.ended()
    assert (ended.code, ended.err, ended.left) == (-number, "", ())
    assert not any(alive(int(pid)) for pid in noted(tmp_path, "programs"))


def test_workers_end_with_their_parent_though_others_hold_its_connections(tmp_path, holders):
    """What the parent has forked, in a library in C perhaps, does not keep them."""
    text = """
        def work(item):
            note(os.getpid())
            time.sleep(60)


        if __name__ == "__main__":
            with WorkerPool(2, on="processes") as pool:
                rx.of(1, 2).pipe(pool.map(work)).subscribe()
                until(lambda: len(notes()) == 2)
                hold()
                os.kill(os.getpid(), signal.SIGKILL)
    """
    with Program(tmp_path, program(HOLDS, text)) as it:
        (holder,) = eventually(lambda: noted(tmp_path, "holders"))
        eventually(lambda: not any(alive(int(pid)) for pid in noted(tmp_path)))
        os.kill(int(holder), signal.SIGKILL)
        ended = it.ended()
    assert (ended.code, ended.err, ended.left) == (-signal.SIGKILL, "", ())


def test_a_parent_that_has_gone_already(monkeypatch):
    """The worker had not begun to watch it; others hold what would tell."""
    sentinel, alive = os.pipe()

    def open_pidfd(pid):
        raise ProcessLookupError

    def end(leads_group):
        raise SystemExit(leads_group)

    parent = SimpleNamespace(pid=1, sentinel=sentinel)
    monkeypatch.setattr(_manners, "parent_process", lambda: parent)
    monkeypatch.setattr(_manners, "open_pidfd", open_pidfd)
    monkeypatch.setattr(_manners, "end_with_parent", end)
    with pytest.raises(SystemExit):
        _manners.die_with_parent(True)
    os.close(sentinel)
    os.close(alive)


# -- signals -----------------------------------------------------------------------------

SERVICE = """
    def work(item):
        note(item)
        until(lambda: os.path.exists("go"))
        return item


    def serve(**options):
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        with WorkerPool(2, on="processes", **options) as pool:
            source = rx.from_iterable(range(6)).pipe(pool.map(work))
            source.subscribe(done.append)
            until(lambda: len(notes()) == 2)
            print("ready", flush=True)
            while not stopped.wait(0.01):
                pass
            Path("go").touch()
        print(sorted(done))


    done = []
"""


def everybody(leader):
    """All processes of a program, but the one that collects shared memory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found


@pytest.mark.parametrize(
    ("whom", "groups", "begun"),
    [
        ("group", False, "by us"),
        ("everybody", True, "by us"),
        ("group", True, "by others"),
        ("everybody", False, "by others"),
    ],
)
def test_a_service_that_is_stopped(tmp_path, whom, groups, begun):
    """SIGTERM to the group, or to each process: all that was accepted is done.

    The fork server may be one that was running before, which ends of the signal.
    """
    text = """
        import multiprocessing


        if __name__ == "__main__":
            if sys.argv[2] == "by others":
                context = multiprocessing.get_context("forkserver")
                process = context.Process(target=abs, args=(1,))
                process.start()
                process.join()
            serve(process_groups=sys.argv[1] == "True")
    """
    with Program(tmp_path, program(SERVICE, text), str(groups), begun) as it:
        it.wait_for("ready")
        if whom == "group":
            it.signal(signal.SIGTERM, group=True)
        else:
            processes = everybody(it.pid)
            assert len(processes) >= 4
            # The parent last: it is not to be quicker than the signals.
            for process in sorted(processes, key=lambda process: process.pid == it.pid):
                process.send_signal(signal.SIGTERM)
        ended = it.ended()
    assert ended.lines[1:] == [str(list(range(6)))]
    assert (ended.code, ended.err, ended.left) == (0, "", ())
    assert len(noted(tmp_path)) == 6


def test_the_fork_server_stays(tmp_path):
    """It leaves signals to the parent too; what others have it start is ended by them."""
    text = """
        import multiprocessing


        def parents(item):
            return os.getpid(), os.getppid()


        def doze(item):
            note("dozes")
            time.sleep(60)


        if __name__ == "__main__":
            with WorkerPool(1, on="processes") as pool:
                _, server = pool.submit(parents, 0).result()
                for number in (signal.SIGTERM, signal.SIGINT):
                    os.kill(server, number)
                worker, same = pool.submit(parents, 0).result()
                print(server == same)
                failed = pool.submit(doze, 0)
                until(notes)
                os.kill(worker, signal.SIGKILL)
                print(failed.exception())  # how it ended is told by the server
            context = multiprocessing.get_context("forkserver")
            for _ in range(10):
                process = context.Process(target=time.sleep, args=(60,))
                process.start()
                process.terminate()
                process.join()
                print(process.exitcode)
    """
    ended = run(tmp_path, program(text))
    assert ended.lines == [
        "True",
        "the worker process ended while it ran this: killed by SIGKILL",
        *[str(-signal.SIGTERM)] * 10,
    ]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


def test_signals_do_not_get_in_the_way_of_a_task(tmp_path):
    """What waits in the worker goes on waiting, and is not told."""
    text = """
        def nap(item):
            note("begun")
            begun = time.monotonic()
            time.sleep(0.3)
            return time.monotonic() - begun >= 0.3


        def read(item):
            ours, theirs = os.pipe()
            threading.Timer(0.3, os.write, (theirs, b"x")).start()
            note("begun")
            return os.read(ours, 1)


        def run(item):
            note("begun")
            return subprocess.run(["sleep", "0.3"]).returncode


        if __name__ == "__main__":
            with WorkerPool(1, on="processes") as pool:
                for count, work in enumerate((nap, read, run), 1):
                    future = pool.submit(work, 0)
                    until(lambda: len(notes()) == count)
                    for _ in range(20):
                        for number in (signal.SIGTERM, signal.SIGINT):
                            os.kill(pool._engine.backend.pids()[0], number)
                            time.sleep(0.005)
                    print(future.result())
    """
    ended = run(tmp_path, program(text))
    assert ended.lines == ["True", "b'x'", "0"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


def test_what_tasks_start_can_be_ended(tmp_path):
    """That workers leave signals to their parent is not inherited."""
    text = """
        ASK = (
            "import signal, sys; print(signal.getsignal(signal.SIGTERM).name,"
            "signal.getsignal(signal.SIGINT).__name__)"
        )


        def ask(item):
            if item == "program":
                command = [sys.executable, "-c", ASK]
                return subprocess.run(command, capture_output=True, text=True).stdout.strip()
            pid = os.fork()
            if pid == 0:
                number = getattr(signal, item)
                note(os.getpid(), item)
                time.sleep(60)
                os._exit(9)
            until(lambda: notes(item))
            os.kill(pid, getattr(signal, item))
            return exit_code(pid)


        if __name__ == "__main__":
            with WorkerPool(1, on="processes") as pool:
                ways = ["program", "SIGTERM", "SIGINT"]
                print(list(pool.imap(ask, ways, order="input")))
    """
    ended = run(tmp_path, program(text))
    assert ended.lines == [f"['SIG_DFL default_int_handler', {-signal.SIGTERM}, 1]"]
    assert ended.err.rstrip().endswith("KeyboardInterrupt")  # of the forked one
    assert (ended.code, ended.left) == (0, ())


def test_a_handler_of_the_users_stays(tmp_path):
    """What an initializer or a task sets is called, in what it forks too."""
    text = """
        def handle(number, frame):
            note(f"{number} {os.getpid() == worker}")


        def initialize():
            global worker
            worker = os.getpid()
            signal.signal(signal.SIGTERM, handle)


        def work(item):
            os.kill(os.getpid(), signal.SIGTERM)
            pid = os.fork()
            if pid == 0:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            return exit_code(pid)


        if __name__ == "__main__":
            with WorkerPool(1, on="processes", initializer=initialize) as pool:
                print(pool.submit(work, 0).result())
                os.kill(pool._engine.backend.pids()[0], signal.SIGTERM)
                until(lambda: len(notes()) == 3)
            print(notes())
    """
    ended = run(tmp_path, program(text))
    number = int(signal.SIGTERM)
    assert ended.lines == ["0", f"['{number} True', '{number} False', '{number} True']"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


# -- exceptions that allow no attributes, and others of their own making -------------------


def looks(error):
    """All that an exception is made of."""
    slots = {
        name: getattr(error, name, None)
        for name in ("code", "_Base__private", "more", "errno", "filename")
    }
    return type(error), error.args, slots


@pytest.fixture(params=["processes", "executor", "threads", "asyncio"])
def pool(request):
    """A pool of one worker, of each kind."""
    if request.param != "executor":
        with WorkerPool(1, on=request.param) as pool:
            yield pool
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, context) as executor, WorkerPool(1, on=executor) as pool:
        yield pool


def test_unusual_exceptions(pool):
    """Each is its item's failure, as it is; what follows goes on."""
    items = [each for name in jobs.UNUSUAL for each in (name, 1)]
    found = list(pool.imap(jobs.fail_or, items, on_failure="skip"))
    assert found == [1] * len(jobs.UNUSUAL)
    for name, make in jobs.UNUSUAL.items():
        wanted = looks(make())
        assert looks(pool.submit(jobs.fail, name).exception(LIMIT)) == wanted, name
        (outcome,) = Sink(rx.of(name).pipe(pool.outcomes(jobs.fail))).values
        assert looks(outcome.error) == wanted, name
        replaced = Sink(rx.of(name).pipe(pool.map(jobs.fail, fallback=jobs.replace)))
        assert looks(replaced.error) == wanted, name
        later = Sink(rx.of(name).pipe(pool.map(jobs.fail_later)))
        assert (later.values, looks(later.error)) == ([name], wanted), name


class Rubbish(Executor):
    """Answers with something else than asked for."""

    def submit(self, fn, /, *args, **kwargs):
        """Do not call it."""
        future = Future()
        future.set_result("rubbish")
        return future


def test_an_executor_that_answers_with_rubbish():
    """The item has failed, and says with what."""
    with WorkerPool(1, on=Rubbish()) as pool:
        error = pool.submit(abs, 1).exception(LIMIT)
    assert type(error) is WorkerCrashed
    assert "the executor has answered with 'rubbish'" in str(error)


def test_an_initializer_that_raises_an_unusual_exception():
    """It is the reason why workers do not start."""
    with WorkerPool(1, on="processes", initializer=jobs.fail, initargs=("field",)) as pool:
        error = pool.submit(abs, 1).exception(LIMIT)
        assert looks(error.__cause__) == looks(jobs.Field(3))


# -- what goes wrong for one item ------------------------------------------------------------


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
def test_items_and_results_that_raise_where_they_are_pickled(kind):
    """Only that item fails; a function that does, fails all of its items."""
    harmful = [
        jobs.Harmful(kind),
        jobs.HarmfulThere(kind),
        jobs.Reply(jobs.Harmful, kind),
        jobs.Reply(jobs.HarmfulThere, kind),
    ]
    items = [each for bad in harmful for each in (1, bad, 2)]
    found = []

    def main():
        with WorkerPool(1, on="processes") as pool:
            found.append(list(pool.imap(jobs.reply, items, order="input", on_failure="skip")))
            for bad in harmful:
                found.append(pool.submit(jobs.reply, bad).exception(LIMIT))
            part = pool.submit(jobs.reply_in_part, jobs.Reply(jobs.Harmful, kind))
            found.append(part.exception(LIMIT))
            found.append(Sink(rx.of(1, 2).pipe(pool.outcomes(jobs.Harmful(kind)))).values)

    # On the main thread it might be a Ctrl-C.
    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    thread.join(LIMIT)
    values, *errors, outcomes = found
    assert values == [1, 2] * 4
    assert all(isinstance(error, (kind, NotPicklable)) for error in errors)
    assert len(errors) == 5
    assert [type(outcome) for outcome in outcomes] == [Failure, Failure]


@pytest.mark.parametrize(
    "how",
    [
        "no pickle",
        "no message",
        "too many results",
        "uneven results",
        "too many left out",
        "the end",
        "journal",
        "no number",
        "large number",
    ],
)
def test_a_worker_that_talks_nonsense(how):
    """It is ended, items that it had have an outcome each, and others take its place."""
    faults = []
    with WorkerPool(1, on="processes") as pool:
        pool.faults.subscribe(faults.append)
        found = []
        items = [1, 2, how, 3, 4]
        rx.from_iterable(items).pipe(pool.outcomes(jobs.nonsense)).subscribe(found.append)
        pool.close()
    assert sorted(str(outcome.item) for outcome in found) == sorted(map(str, items))
    for outcome in found:
        if isinstance(outcome, Success):
            assert outcome.value == outcome.item
        else:
            assert type(outcome.error) is WorkerCrashed
    assert how in [outcome.item for outcome in found if isinstance(outcome, Failure)]
    assert len(faults) == (how not in ("no number", "large number"))


@pytest.fixture
def pair():
    """Both ends of a connection, and of a pipe that tells of the end of a process."""
    ours, theirs = multiprocessing.Pipe()
    sentinel, alive = os.pipe()
    with closing(ours), closing(theirs):
        yield ours, theirs, sentinel, alive
    os.close(sentinel)
    with suppress(OSError):  # the process has ended
        os.close(alive)


def test_messages_however_they_come(pair):
    """Many at once, in many parts, none at all; those before the end are taken in first."""
    ours, theirs, sentinel, alive = pair
    inbox = Inbox(ours, sentinel)
    assert inbox.take(0.0) is None
    sent = [b"x" * size for size in (1, 0, 3, 100, 65_532, 65_536, 70_000, 5_000_000, 2)]
    writer = threading.Thread(target=lambda: [theirs.send_bytes(each) for each in sent])
    writer.start()
    assert [inbox.take(None) for _ in sent] == sent
    writer.join()
    long = b"".join([struct.pack("!iQ", -1, 3), b"abc", struct.pack("!i", 2), b"de"])
    for n in range(len(long)):
        os.write(theirs.fileno(), long[n : n + 1])
        found = inbox.take(0.0)
        assert found == {len(long) - 7: b"abc", len(long) - 1: b"de"}.get(n)
    theirs.send_bytes(b"last")
    os.close(alive)
    assert inbox.take(None) == b"last"
    with pytest.raises(EOFError):
        inbox.take(None)


def test_messages_after_the_end_of_the_fork_server(pair):
    """Where that alone tells of ends, it is not taken for the worker's."""
    ours, theirs, sentinel, alive = pair
    os.close(alive)
    inbox = Inbox(ours, sentinel, lambda: True)
    assert inbox.take(0.0) is None
    theirs.send_bytes(b"later")
    assert inbox.take(None) == b"later"
    theirs.close()
    with pytest.raises(EOFError):
        inbox.take(None)


def test_a_message_that_is_cut_off(pair):
    """The worker died while it sent it, and another process holds its end of the pipe."""
    ours, theirs, sentinel, alive = pair
    with closing(SharedBlock()) as block:
        channel = WorkerChannel(SimpleNamespace(), ours, block, sentinel)
        os.write(theirs.fileno(), b"\0\0\1\0half")
        assert channel._inbox.take(0.0) is None
        os.close(alive)
        assert channel.serve(lambda job: None, lambda: True)


def test_a_message_that_nobody_reads(pair):
    """The worker died while it was sent to; that does not keep whoever buries it."""
    ours, theirs, sentinel, alive = pair
    with closing(SharedBlock()) as block:
        channel = WorkerChannel(SimpleNamespace(), ours, block, sentinel)
        sender = threading.Thread(
            target=channel._outbox.send, args=(0, b"x" * 10_000_000), daemon=True
        )
        sender.start()
        eventually(theirs.poll)
        os.close(alive)
        assert channel.serve(lambda job: None, lambda: True)
        channel.close()
        sender.join(LIMIT)
        assert not sender.is_alive()


def test_a_fault_of_ours(monkeypatch):
    """If the thread that serves a worker fails, what waits for that fails too."""
    told, faults = [], iter((MemoryError("here"), MemoryError("here")))
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))

    def fail(self, worker):
        raise next(faults)

    with WorkerPool(1, on="processes") as pool:
        with monkeypatch.context() as patch:
            patch.setattr(Supervisor, "_start_process", fail)
            for _ in range(2):
                error = pool.submit(abs, -1).exception(LIMIT)
                assert isinstance(error.__cause__, MemoryError)
        assert pool.submit(abs, -1).result(LIMIT) == 1
    assert len(told) == 2


def test_a_group_whose_number_is_anothers():
    """A process that was reaped has none any more, if there is one of its number."""
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    sentinel, alive = os.pipe()
    os.close(alive)  # it has ended
    gone = WorkerProcess(SimpleNamespace(pid=other.pid, name="", sentinel=sentinel), True)
    try:
        os.close(gone._pidfd)
        gone._pidfd = None
        gone.end_group()
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.1)
    finally:
        other.kill()
        other.wait()
        os.close(sentinel)


def test_process_groups_is_checked():
    """It is True or False, and for processes only."""
    with pytest.raises(
        InvalidArgumentType, match="process_groups must be True or False, got 1"
    ):
        WorkerPool(1, on="processes", process_groups=1)
    with pytest.raises(InvalidArgument, match="process_groups needs on='processes'"):
        WorkerPool(1, process_groups=True)
