"""Signals to a program that has worker processes, and to its workers."""

import os
import signal
from contextlib import suppress

import psutil
import pytest

from tests.ends.programs import Program, run
from tests.ends.worker_programs import noted, program

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
