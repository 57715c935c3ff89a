"""What comes from a worker process: in pieces, too late, cut off, or without sense."""

import multiprocessing
import os
import struct
import threading
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest
import reactivex as rx

from rxpool import Failure, Success, WorkerPool
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._inbox import Inbox
from rxpool.backends.processes._shared_block import SharedBlock
from rxpool.backends.processes._supervisor import Supervisor
from rxpool.errors import WorkerCrashed
from tests.ends import worker_jobs as jobs
from tests.ends.programs import LIMIT
from tests.waiting import eventually


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
        served = SimpleNamespace(owner=threading.current_thread())
        assert channel.serve(lambda job: None, served)


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
        served = SimpleNamespace(owner=threading.current_thread())
        assert channel.serve(lambda job: None, served)
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
