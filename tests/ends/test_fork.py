"""A forked child never touches its parent's pools, ends by itself, and is told what is not its.

Each program forks, looks at its children, and prints what is wrong; most of what they do is in
`forked` and `forked_inside`.
"""

import os
import time

import pytest

from tests.ends.forking import good
from tests.ends.programs import LIMIT, Program

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

PLACES = ["threads", "processes", "asyncio", "executor", "scheduler"]


@pytest.mark.parametrize("on", PLACES)
def test_children_of_a_program_with_a_pool(tmp_path, on):
    """Idle, at work, closed, with calls in faces, with iterators half read: children end by
    themselves in whichever way, with the exit code that is theirs; what they ask of the pool is
    refused, what they make works; and the parent's work is right.
    """
    good(tmp_path, f"if not matrix({on!r}): sys.exit(0)")


@pytest.mark.parametrize(
    "on", ["threads", "asyncio", "executor", "scheduler", "process executor", "virtual"]
)
def test_a_task_that_forks(tmp_path, on):
    """The child ends where the task would have returned, with the exit code of how it ended; it
    runs nothing else of the parent's, whose item has its own result.
    """
    good(tmp_path, f"forked_inside.tasks_that_fork({on!r})")


@pytest.mark.parametrize("on", PLACES)
def test_what_a_pool_calls_forks(tmp_path, on):
    """A subscriber, a source, a policy: the child of a thread of the pool ends with it."""
    good(tmp_path, f"forked_inside.others_that_fork({on!r})")


def test_new_pools_in_children(tmp_path):
    """In children of all kinds, and in theirs; processes too, which need a fork server."""
    program = """
    with open_pool("processes") as pool:
        open_ = Idle(pool, "processes")
        for function in (use_new, lambda: check(in_child(use_new), CODE)):
            check(in_child(function), CODE)
            open_.look()
        process = multiprocessing.get_context("fork").Process(target=use_new)
        process.start()
        process.join(LIMIT)
        check(process.exitcode, 0)
        open_.look()
    """
    good(tmp_path, program)


def test_a_child_that_outlives_its_parent(tmp_path):
    """It can open processes, though the folder with the parent's sockets is gone."""
    program = """
        from tests.ends.forked import *
        if __name__ == "__main__":
            with open_pool("processes") as pool:
                Idle(pool, "processes")
                child = os.fork()
            if not child:
                parent = os.getppid()
                while os.getppid() == parent:
                    time.sleep(0.005)
                time.sleep(0.1)  # until the parent is seen to be gone by all
                use_new(("processes",))
                Path("done").touch()
    """
    with Program(tmp_path, program) as parent:
        parent.ended()
        until = time.monotonic() + LIMIT
        while not (tmp_path / "done").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / "done").exists()
        assert (tmp_path / "program.py.err").read_text() == ""


def test_workers_of_a_parent_that_is_killed(tmp_path):
    """They end, though a child has copies of all that the parent had open."""
    program = """
        from tests.ends.forked import *
        if __name__ == "__main__":
            pool = open_pool("processes")
            Idle(pool, "processes")
            pool.submit(time.sleep, 1000)
            child = os.fork()
            if child:
                print("ready", child, flush=True)
            time.sleep(1000)
    """
    with Program(tmp_path, program) as parent:
        until = time.monotonic() + LIMIT
        while not (out := (tmp_path / "program.py.out").read_text()).startswith("ready"):
            assert time.monotonic() < until
            time.sleep(0.005)
        parent.signal(9)
        left = parent.ended().left
    child = out.split()[1]
    # What has the descriptors of the child lives as long: the resource tracker.
    assert [each for each in left if "tracker" not in each and child not in each] == []


def test_what_a_copy_of_the_parent_says_is_not_heeded(tmp_path):
    """Workers know who they work for, also where a fork is hidden from Python."""
    program = """
        import ctypes
        with open_pool("processes") as pool:
            list(pool.imap(double, range(50)))
            for number in range(3):
                child = ctypes.PyDLL(None).fork()
                if not child:
                    pool.submit(double, 1000)
                    for worker in list(pool._engine.backend._roster.idle):
                        worker.channel.shut_down()
                    os._exit(CODE)
                check(await_child(child), CODE)
                values = [pool.submit(double, n).result(LIMIT) for n in range(30)]
                if values != doubles(range(30)):
                    wrong("values", values)
    """
    good(tmp_path, program)


@pytest.mark.parametrize("on", ["threads", "processes", "asyncio"])
def test_forks_while_work_comes_and_goes(tmp_path, on):
    """At any instant, by several threads: nothing is lost or doubled, no child hangs."""
    program = f"""
        import threading
        from contextlib import suppress
        sys.setswitchinterval(1e-6)
        done, calls, got = threading.Event(), [], []
        with WorkerPool(3, on={on!r}) as pool:
            source, pushed = Subject(), []
            source.pipe(pool.map(double), ops.batch(10, 0.001)).subscribe(
                got.extend, wrong, done.set
            )

            def ask(last):
                for call in last:
                    with suppress(PoolClosed):
                        call.result(LIMIT)
                if concurrent.futures.wait(last, LIMIT).not_done:
                    wrong("wait")
                with refused("submit", os.getppid()):
                    pool.submit(double, 1)
                pool.close()
                with WorkerPool(2) as own:
                    if own.submit(double, 1).result(LIMIT) != 2:
                        wrong("a new pool")
                os._exit(CODE)

            def child(number):
                with suppress(PoolClosed):
                    ask(calls[-20:]) if number % 2 else os._exit(CODE)
                os._exit(CODE)

            def fork_often():
                for number in range(10):
                    process = os.fork()
                    if not process:
                        child(number)
                    check(await_child(process), CODE)

            threads = [threading.Thread(target=fork_often) for _ in range(2)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                calls.append(pool.submit(double, len(calls)))
                source.on_next(len(pushed))
                pushed.append(len(pushed))
                time.sleep(0.0005)
            source.on_completed()
            if [call.result(LIMIT) for call in calls] != doubles(range(len(calls))):
                wrong("calls")
            if not done.wait(LIMIT) or sorted(got) != doubles(pushed):
                wrong("items")
    """
    good(tmp_path, program)


def test_a_fork_while_the_interpreter_exits(tmp_path):
    """The child is not about to exit: what is of the parent's end is not its."""
    program = """
    import atexit
    from rxpool import _exit
    from rxpool._threads import exiting

    def look():
        if exiting.begun or _exit._held:
            wrong(exiting.begun, _exit._held)
        use_new(("threads", "asyncio"))

    def at_exit():
        if not exiting.begun:
            wrong("too early")
        check(in_child(lambda: (look(), os._exit(CODE))), CODE)  # exits already

    def fork_with_work():
        pool = open_pool("threads")
        pool.submit(hold, 1, "go")
        if not _exit._held:
            wrong("nothing is held")
        check(in_child(look), CODE)
        Path("go").touch()
        pool.close()

    fork_with_work()
    if sys.version_info[:2] != (3, 12):  # which refuses to fork then
        atexit.register(at_exit)
    """
    good(tmp_path, program)


def test_a_signal_handler_forks_while_the_program_waits(tmp_path):
    """What waits in the child is let in, and looks again."""
    program = """
    import signal, threading
    children = []

    def handle(*_):
        if process := os.fork():
            children.append(process)

    signal.signal(signal.SIGUSR1, handle)
    parent, gate = os.getpid(), f"gate-{os.getpid()}"
    waits = {
        "result": lambda pool, held: held.result(),
        "wait": lambda pool, held: concurrent.futures.wait([held]),
        "close": lambda pool, held: pool.close(),
        "imap": lambda pool, held: list(pool.imap(double, [1])),
        "iterate": lambda pool, held: list(iterate(rx.of(1).pipe(pool.map(double)))),
        "room": lambda pool, held: pool.worker(double, max_pending=0).execute(1),
    }
    for name, wait in waits.items():
        heading.text = name
        with WorkerPool(1) as pool:
            began = threading.Event()
            held = pool.submit(lambda: began.set() or hold(1, gate))

            def interrupt():
                began.wait()
                time.sleep(0.05)  # in which it begins to wait
                os.kill(parent, signal.SIGUSR1)
                while not children:
                    time.sleep(0.001)
                check(await_child(children.pop()), CODE)
                Path(gate).touch()

            thread = threading.Thread(target=interrupt)
            thread.start()
            try:
                wait(pool, held)
            except PoolClosed as error:
                if os.getpid() == parent:
                    wrong(error)
            if os.getpid() != parent:
                sys.exit(CODE)
            thread.join()
        os.unlink(gate)
    """
    good(tmp_path, program)
