"""`pool.stop_on`: a signal closes the pool, then ends the process as it would have."""

import signal
import threading

import pytest

from rxpool import InvalidArgument, PoolClosed, WorkerPool
from rxpool.errors import InvalidArgumentType
from tests.ends.programs import Program

HEAD = """
    import asyncio, os, signal, sys, threading, time
    from reactivex.subject import Subject
    from rxpool import WorkerPool, operators as ops

    def task(n):
        time.sleep(0.02)
        return n

    def hang(n):
        while True:
            time.sleep(0.01)

    def feed(pool, work, *stages, count=20):
        subject = Subject()
        subject.pipe(pool.map(work, on_failure="skip"), *stages).subscribe(
            lambda value: print("got", value),
            lambda error: print("error", type(error).__name__),
            lambda: print("completed"),
        )
        for n in range(count):
            subject.on_next(n)

    def rest():
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
"""

GRACEFUL = """
    if __name__ == "__main__":
        with WorkerPool(2, on="{on}") as pool:
            pool.stop_on(signal.SIGTERM, signal.SIGINT)
            feed(pool, task, ops.batch(1000, 60))
            rest()
"""


@pytest.mark.parametrize("on", ["threads", "processes", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_closes_gracefully_and_ends_by_the_signal(tmp_path, on, number):
    """What was accepted is finished, the open batch comes out; nobody has to wait for time."""
    # What is printed is in a buffer until somebody writes it.
    buffered = {"PYTHONUNBUFFERED": ""}
    with Program(tmp_path, HEAD + GRACEFUL.format(on=on), env=buffered) as program:
        program.wait_for("ready")
        program.signal(number)
        ended = program.ended()
    _ready, got, completed = ended.lines
    assert sorted(eval(got.removeprefix("got "))) == list(range(20))
    assert completed == "completed"
    assert ended.code == -number
    assert ("KeyboardInterrupt" in ended.err) is (number == signal.SIGINT)
    assert ended.left == ()


LOSSY = """
    if __name__ == "__main__":
        from rxpool.pool._stop_on import _stops

        send, sent = _stops._send, []

        def lossy():
            if sent:
                send()
            sent.append(1)

        _stops._send = lossy
"""
LOST = f"""{LOSSY}
        with WorkerPool(1) as pool:
            pool.stop_on(signal.SIGTERM)
            rest()
"""
LEAVING = f"""{LOSSY}
        with WorkerPool(1) as pool:
            pool.stop_on(signal.SIGTERM)
            feed(pool, task)
            os.kill(os.getpid(), signal.SIGTERM)
        print("after the block")
"""


def test_a_signal_that_the_main_thread_does_not_hear_is_sent_again(tmp_path):
    """As one that comes in the instant before a wait, which CPython then does not end."""
    with Program(tmp_path, HEAD + LOST) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        ended = program.ended()
    assert ended.code == -signal.SIGTERM


WAITING = """
    if __name__ == "__main__":
        {before}
        with WorkerPool(1) as pool:
            pool.stop_on(signal.SIGTERM, within={within})
            feed(pool, {work})
            print("ready", flush=True)
            {wait}
        print("after the block")
        {after}
"""


def test_the_main_thread_may_be_on_its_way_out(tmp_path):
    """It comes no further than the end of the block: the process ends by the signal."""
    text = WAITING.format(before="", within=10, work="task", wait="pass", after="")
    with Program(tmp_path, HEAD + text) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        ended = program.ended()
    assert ended.lines[-2:] == ["got 19", "completed"]
    assert ended.code == -signal.SIGTERM


def test_it_waits_at_the_end_of_the_block_for_the_signal(tmp_path):
    """However late that comes."""
    with Program(tmp_path, HEAD + LEAVING) as program:
        ended = program.ended()
    assert ended.lines[-2:] == ["got 19", "completed"]
    assert ended.code == -signal.SIGTERM


def test_a_handler_of_the_program_is_called_instead(tmp_path):
    """On the main thread, when the pool is closed; the program goes on."""
    text = WAITING.format(
        before="""done = threading.Event()
        def handler(number, frame):
            print("handler", number, threading.current_thread().name, pool.closed_by_now)
            done.set()
        WorkerPool.closed_by_now = property(lambda self: "closed" in repr(self))
        signal.signal(signal.SIGTERM, handler)""",
        within=10,
        work="task",
        wait="done.wait()",
        after="print(signal.getsignal(signal.SIGTERM) is handler)",
    )
    with Program(tmp_path, HEAD + text) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        ended = program.ended()
    assert ended.lines[-5:] == [
        "got 19",
        "completed",
        "handler 15 MainThread True",
        "after the block",
        "True",
    ]
    assert (ended.code, ended.err) == (0, "")


def test_an_ignored_signal_stays_ignored(tmp_path):
    """It closes nothing and ends nothing; others do."""
    text = (
        HEAD
        + """
    if __name__ == "__main__":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with WorkerPool(1) as pool:
            pool.stop_on(signal.SIGHUP, signal.SIGTERM)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
            print(pool.submit(task, 5).result())
            rest()
    """
    )
    with Program(tmp_path, text) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        ended = program.ended()
    assert ended.lines == ["5", "ready"]
    assert ended.code == -signal.SIGTERM


@pytest.mark.parametrize("second", [False, True], ids=["within", "a second signal"])
def test_work_that_does_not_end(tmp_path, second):
    """Is terminated when the time is over, or at once by a second signal."""
    kill = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.001)"
    text = WAITING.format(
        before="",
        within=60 if second else 0.2,
        work="hang",
        wait=f"{kill}; {kill if second else 'pass'}; time.sleep(60)",
        after="",
    )
    with Program(tmp_path, HEAD + text) as program:
        ended = program.ended()
    assert ended.lines[0] == "ready"
    assert ended.lines[1] in ("error PoolClosed", "error TaskCancelled")
    assert ended.code == -signal.SIGTERM
    assert ended.took < 30


def test_several_pools(tmp_path):
    """All close at once; the longest time holds for each."""
    text = (
        HEAD
        + """
    if __name__ == "__main__":
        with WorkerPool(1, name="a") as first, WorkerPool(1, name="b") as second:
            first.stop_on(signal.SIGTERM, within=0.01)
            second.stop_on(signal.SIGTERM, within=20)
            feed(first, task)
            feed(second, task)
            rest()
    """
    )
    with Program(tmp_path, text) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        ended = program.ended()
    assert ended.lines.count("completed") == 2
    assert ended.code == -signal.SIGTERM


def test_on_an_event_loop(tmp_path):
    """Coroutines are finished on the loop that runs them."""
    text = (
        HEAD
        + """
    async def later(n):
        await asyncio.sleep(0.02)
        return n

    async def main():
        async with WorkerPool(2, on="asyncio") as pool:
            pool.stop_on(signal.SIGTERM)
            feed(pool, later)
            print("ready", flush=True)
            await asyncio.sleep(60)

    if __name__ == "__main__":
        asyncio.run(main())
    """
    )
    with Program(tmp_path, text) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        ended = program.ended()
    assert sorted(ended.lines)[:2] == ["completed", "got 0"]
    assert ended.lines.count("completed") == 1
    assert len(ended.lines) == 22
    assert ended.code == -signal.SIGTERM


def test_it_is_undone_when_the_pool_ends():
    """Handlers are those from before, and the thread is gone."""
    before = signal.getsignal(signal.SIGUSR1)
    with WorkerPool(1) as pool, WorkerPool(1) as other:
        pool.stop_on(signal.SIGUSR1)
        other.stop_on(signal.SIGUSR1, within=1)
        ours = signal.getsignal(signal.SIGUSR1)
        assert ours != before
        pool.close()
        assert signal.getsignal(signal.SIGUSR1) == ours
        (thread,) = (each for each in threading.enumerate() if each.name == "rxpool-stop")
        other.close()
        assert signal.getsignal(signal.SIGUSR1) == before
        thread.join(10)
        assert not thread.is_alive()


def test_a_pool_that_ended_elsewhere():
    """Its signal does what it did before, though no handler could be taken back there."""
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        pool = WorkerPool(1)
        pool.stop_on(signal.SIGUSR1)
        thread = threading.Thread(target=pool.close)
        thread.start()
        thread.join()
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert heard == [1, 1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_wrong_calls():
    """Are refused where they are written."""
    with WorkerPool(1) as pool:
        with pytest.raises(InvalidArgument, match="one signal or more"):
            pool.stop_on()
        with pytest.raises(InvalidArgumentType, match="got 'SIGTERM'"):
            pool.stop_on("SIGTERM")
        with pytest.raises(InvalidArgument, match="9"):
            pool.stop_on(signal.SIGKILL)
        with pytest.raises(InvalidArgument, match="12345"):
            pool.stop_on(12345)
        with pytest.raises(InvalidArgument, match="within"):
            pool.stop_on(signal.SIGTERM, within=-1)
        errors = []

        def elsewhere():
            try:
                pool.stop_on(signal.SIGTERM)
            except RuntimeError as error:
                errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert "main thread" in str(errors[0])
    with pytest.raises(PoolClosed):
        pool.stop_on(signal.SIGTERM)
