"""Ctrl-C, `sys.exit` and signals, while a pool works or is being left."""

import signal
import threading

import pytest

from rxpool import WorkerPool
from rxpool._core import waits
from tests.ends.programs import Program
from tests.waiting import WAIT

HEAD = """
    import asyncio, os, signal, sys, threading, time
    from reactivex.subject import Subject
    from rxpool import WorkerPool, operators as ops

    def task(n):
        with open("begun", "a") as file:
            file.write(f"{n}\\n")
        time.sleep(0.02)
        return n

    def begun():
        with open("begun") as file:
            return len(file.readlines())

    class Sink:
        values, ends = [], []
        on_next = values.append
        def on_error(self, error):
            self.ends.append(type(error).__name__)
        def on_completed(self):
            self.ends.append("completed")

    sink = Sink()

    def fill(stream, subject, tell=True):
        stream.subscribe(sink.on_next, sink.on_error, sink.on_completed)
        for n in range(300):
            subject.on_next(n)
        while not os.path.exists("begun"):
            time.sleep(0.001)
        if tell:
            print("working", flush=True)

    def nothing_begins():
        time.sleep(0.1)  # a call that has just begun writes that down
        before = begun()
        time.sleep(0.2)
        print("begun afterwards:", begun() - before, "of", 300 - before > 0)
        print("ends:", *sink.ends)
"""

LEAVING = """
    if __name__ == "__main__":
        subject = Subject()
        try:
            with WorkerPool(2, on="{on}") as pool:
                fill(subject.pipe(pool.map(task)), subject)
        except KeyboardInterrupt:
            nothing_begins()
"""

LEAVING_ASYNC = """
    async def main():
        subject = Subject()
        async with WorkerPool(2, on="{on}") as pool:
            await asyncio.to_thread(fill, subject.pipe(pool.map(task)), subject, False)
            print("working", flush=True)  # not there: asyncio may be cancelled as a thread ends

    if __name__ == "__main__":
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            nothing_begins()
"""

BATCHED = """
    if __name__ == "__main__":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        subject = Subject()
        try:
            with WorkerPool(2, on="{on}") as pool:
                fill(subject.pipe(*{stages}), subject)
                for _ in range(300):  # a signal just before a sleep does not end it
                    time.sleep(0.1)
        finally:
            nothing_begins()
"""


@pytest.mark.parametrize("on", ["threads", "processes", "asyncio"])
@pytest.mark.parametrize("how", [LEAVING, LEAVING_ASYNC], ids=["with", "async with"])
def test_ctrl_c_while_the_block_is_left(tmp_path, how, on):
    """The pool is terminated: no further call begins, and whoever listens is told."""
    with Program(tmp_path, HEAD + how.format(on=on)) as program:
        program.wait_for("working")
        program.signal(signal.SIGINT)
        ended = program.ended()
    assert ended.code == 0, ended
    assert ended.lines == ["working", "begun afterwards: 0 of True", "ends: TaskCancelled"]
    assert ended.err.count("work was cancelled") == 1
    assert ended.err.count("\n") == 1
    assert ended.left == ()


@pytest.mark.parametrize("on", ["threads", "processes"])
@pytest.mark.parametrize(
    "stages",
    [
        "(pool.map(task, on_failure='skip'),)",
        "(pool.map(task, on_failure='skip'), ops.batch(1000, 60))",
        "(pool.map(task), pool.map(abs))",
        "(pool.map(task, concurrency=1), ops.batch(1000, 60), pool.map(len))",
    ],
)
def test_sys_exit_in_the_handler_of_a_signal(tmp_path, stages, on):
    """Nobody hears that all is done, as it is not."""
    with Program(tmp_path, HEAD + BATCHED.format(on=on, stages=stages)) as program:
        program.wait_for("working")
        program.signal(signal.SIGTERM)
        ended = program.ended()
    assert ended.code == 7, ended
    # A process that is killed may just have taken up what it was given.
    none = ("begun afterwards: 0 of True", "begun afterwards: 1 of True")
    assert ended.lines[1] in none[: 1 + (on == "processes")]
    assert ended.lines[2] in ("ends: TaskCancelled", "ends: PoolClosed")
    assert ended.err.count("work was cancelled") == 1
    assert ended.left == ()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupted_while_imap_reads_its_input(interrupt):
    """It comes out at once, not when what runs is done; what was read is kept."""
    going, let_go = threading.Event(), threading.Event()

    def work(n):
        going.set()
        assert let_go.wait(WAIT)
        return n

    class Input:
        """Interrupted once in the midst of reading."""

        values = iter([0, 1, None, 2, 3])

        def __iter__(self):
            return self

        def __next__(self):
            value = next(self.values)
            if value is None:
                assert going.wait(WAIT)
                raise interrupt
            return value

    with WorkerPool(1) as pool:
        results = pool.imap(work, Input(), max_pending=2, order="input")
        watch = threading.Timer(WAIT / 4, let_go.set)  # a late answer is a failure, no hang
        watch.start()
        with pytest.raises(interrupt):
            next(results)
        assert not let_go.is_set()
        watch.cancel()
        let_go.set()
        assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
        assert next(results, "end") == "end"


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("on", ["threads", "asyncio"])
def test_input_that_raises_what_is_no_exception_on_another_thread(raised, on):
    """The stream of `pull` ends with it: nobody else would hear of it."""

    def values():
        yield 1
        raise raised

    got = []
    ended = threading.Event()

    def end(error=None):
        got.append(error)
        ended.set()

    with WorkerPool(2, on=on) as pool:
        stream = pool.pull(values()).pipe(pool.map(abs))
        thread = threading.Thread(target=stream.subscribe, args=(got.append, end, end))
        thread.start()
        assert ended.wait(WAIT)
        thread.join(WAIT)
    assert got[-1].__class__ is raised


def test_who_waits_looks_up():
    """A signal that comes in the instant before the sleep does not wake it (CPython)."""
    looks, times = [], waits.LOOK
    gate = threading.Lock()

    class Gate:
        """Lets nobody pass before the third look."""

        def acquire(self, timeout):
            looks.append(timeout)
            return len(looks) == 3

    waits.pass_gate(Gate())
    assert looks == [times] * 3
    assert times <= 1
    assert waits.at_most(None) == times
    assert waits.at_most(0.25) == 0.25
    assert waits.at_most(1e9) == times
    waits.pass_gate(gate)
    assert gate.locked()


FREE = """
    import os, random, signal, sys, threading, time
    from rxpool import WorkerPool

    sys.setswitchinterval(1e-5)
    pool = WorkerPool(2)
    lock, armed, over = pool._engine.lock, threading.Event(), []
    changes = {{
        "note_change": pool._engine.note_change,
        "resize": lambda: pool.resize(2),
        "cancel": lambda: pool.submit(abs, 1).cancel(),
    }}
    change = changes["{change}"]

    def is_free():
        got = []
        def take():
            if lock.acquire(timeout=0.5):
                lock.release()
                got.append(1)
        other = threading.Thread(target=take)
        other.start()
        other.join()
        return bool(got)

    def interrupt():
        while not over:
            armed.wait()
            armed.clear()
            for _ in range(random.randrange(200)):
                pass
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    interrupts = taken = 0
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            armed.set()
            while True:
                change()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            interrupts += 1
            taken += not is_free()
            if pool._engine._resizing.locked():  # as it would be if that was interrupted
                pool._engine._resizing.release()
            signal.signal(signal.SIGINT, handler)
    print(interrupts > 3, taken, flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("change", ["note_change", "resize", "cancel"])
def test_ctrl_c_leaves_no_lock_taken(tmp_path, change):
    """Caught: a context manager of our own, which Ctrl-C finds half entered or half left."""
    with Program(tmp_path, FREE.format(change=change)) as program:
        ended = program.ended()
    assert ended.lines == ["True 0"], ended
