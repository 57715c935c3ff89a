"""A worker and its channel, in one thread and without a process.

Tests of races name the change of the code that they were seen to catch.
"""

import multiprocessing
import os
import pickle
import random
import threading
from contextlib import suppress
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest

from rxpool.backends import Chunk
from rxpool.backends.processes import ProcessBackend, _result_writer, _worker
from rxpool.backends.processes._channel import ChannelClosed, WorkerChannel
from rxpool.backends.processes._chunk import CachedFunction
from rxpool.backends.processes._codec import encode
from rxpool.backends.processes._outbox import takes_more
from rxpool.backends.processes._protocol import HEADER, RESULTS, SKIPPED, Settings
from rxpool.backends.processes._roster import Worker
from rxpool.backends.processes._shared_block import (
    LIMIT,
    NEVER,
    RESULT_LOG_FIRST,
    RESULT_LOG_USED,
    RESUME,
    RUNNING,
    SharedBlock,
)
from rxpool.pool._state.task import Task
from tests.backends import process_jobs as jobs


class Wire:
    """The worker's end of a connection; sends fail from some message on."""

    def __init__(self, breaks_after=None):
        self.inbox = []
        self.breaks_after = breaks_after

    def send_bytes(self, data):
        """Keep a message."""
        if self.breaks_after is not None and len(self.inbox) >= self.breaks_after:
            raise BrokenPipeError
        self.inbox.append(pickle.loads(data))


class Flow:
    """A flow, of which only the note is asked."""

    note = None

    def remember(self, note):
        """Keep it."""
        self.note = note


class FakeRunner:
    """A runner that notes what becomes of tasks."""

    def __init__(self):
        self.done, self.returned, self.failures = [], [], []

    def finish(self, tasks, rest, go_on):
        """Tasks have ended."""
        self.done += tasks
        go_on(None)

    def give_back(self, lot):
        """Tasks were not run."""
        self.returned += lot

    def weighed(self, task, items, size, results=False):
        """Items had a size."""

    def failed(self, task, error):
        """A task is going to fail."""
        task.error = error

    def ran(self, tasks, values, begun, ends):
        """Tasks were run, with these values."""
        pairs = [pair for pair in zip(tasks, values, strict=True) if pair[0] is not None]
        for task, value in pairs:
            task.ended(value, task.error, 0.0)
        return [task for task, _ in pairs]

    def more(self, task, most):
        """There are no more."""
        return []

    def next_chunk(self, task, most):
        """The job of a task."""
        return Chunk(jobs.double, [task], [task.item], 0.0)


class Pair:
    """A worker and the channel to it, with nobody between."""

    def __init__(self, monkeypatch, items, breaks_after=None):
        monkeypatch.setattr(_worker, "find_with", lambda finder: None)
        self.block = SharedBlock()
        self.ours, self.theirs = multiprocessing.Pipe()
        self.runner, self.wire = FakeRunner(), Wire(breaks_after)
        self.channel = WorkerChannel(self.runner, self.ours, self.block)
        self.channel._function = CachedFunction(jobs.same)
        self.worker = _worker._Worker(self.wire, self.block, Settings("test"))
        flow = Flow()
        self.tasks = [Task(flow, item, 0.0) for item in items]
        self.channel.in_flight.sent.extend(self.tasks)

    def message(self, first, wires):
        """A message with items."""
        return HEADER.pack(os.getpid(), first) + pickle.dumps((0, None, None, wires), 5)

    def run(self, fn, first=0, wires=None):
        """Have the worker run all items."""
        self.worker._functions[0] = fn
        wires = [task.item for task in self.tasks] if wires is None else wires
        self.worker._run(first, self.message(first, wires))

    def take_in(self):
        """Have the channel take in what the worker sent."""
        inbox, self.wire.inbox = self.wire.inbox, []
        for message in inbox:
            self.channel._take_in(message, lambda _: None)

    def close(self):
        """Give up what the two hold."""
        self.ours.close()
        self.theirs.close()
        self.block.close()


@pytest.fixture
def pair(monkeypatch):
    """Makes pairs, and closes them."""
    pairs = []

    def make(items, **options):
        pairs.append(Pair(monkeypatch, items, **options))
        return pairs[-1]

    yield make
    for each in pairs:
        each.close()


def never_flush(monkeypatch):
    """Results stay in the result log until it is full."""
    monkeypatch.setattr(_result_writer, "_FLUSH", 1e9)


RESULTS_OF_MANY_KINDS = [
    1,
    -(2**63),
    2**63,
    10**50,
    1.5,
    float("inf"),
    None,
    True,
    "text",
    b"bytes",
    "t" * 1000,
    b"b" * 2000,
    [1, 2, {"a": 3}],
    ("e", b"x"),
    2j,
]


def test_results_that_were_not_sent_are_in_the_result_log(pair, monkeypatch):
    """The channel finds them there, each once, with when it began and ended."""
    never_flush(monkeypatch)
    two = pair(RESULTS_OF_MANY_KINDS, breaks_after=0)
    with pytest.raises(BrokenPipeError):  # the connection breaks when all are done
        two.run(jobs.same, wires=[encode(v, None, "") for v in RESULTS_OF_MANY_KINDS])
    two.channel.recover_results(lambda _: None)
    assert two.runner.done == two.tasks
    assert [task.value for task in two.tasks] == RESULTS_OF_MANY_KINDS
    assert all(task.took >= 0 for task in two.tasks)
    assert two.channel.in_flight.split_unfinished() == (None, [])


def test_a_worker_that_dies_within_an_item(pair, monkeypatch):
    """What it had done is found, that item is known, those behind it are not begun."""
    never_flush(monkeypatch)
    two = pair(range(10))

    class Dead(BaseException):
        """The end of the process."""

    def fn(n):
        if n == 6:
            raise Dead
        return n

    monkeypatch.setattr(_worker, "encode_error", lambda error: (_ for _ in ()).throw(error))
    with pytest.raises(Dead):
        two.run(fn)
    two.channel.recover_results(lambda _: None)
    assert [task.item for task in two.runner.done] == list(range(6))
    running, unbegun = two.channel.in_flight.split_unfinished()
    assert running is two.tasks[6]
    assert unbegun == two.tasks[7:]


def test_results_found_in_the_result_log_are_not_taken_again(pair, monkeypatch):
    """The message that has them too comes later; only what is new in it counts."""
    never_flush(monkeypatch)
    two = pair(range(20))

    def fn(n):
        if n in (5, 12):
            two.channel.recover_results(lambda _: None)
            assert [task.item for task in two.runner.done] == list(range(n))
        return n

    two.run(fn)
    (message,) = two.wire.inbox
    assert message[0] == RESULTS
    assert len(message[2]) == 20
    two.take_in()
    assert two.runner.done == two.tasks
    assert [task.value for task in two.tasks] == list(range(20))


@pytest.mark.parametrize("size", [10, 3000, 40_000, 100_000])
def test_a_result_log_that_is_full(pair, monkeypatch, size):
    """Results are sent when there is no more room; at any time what is missing is there."""
    never_flush(monkeypatch)
    rounds = 200 if size > 10 else 5000
    two = pair(range(rounds))
    dice = random.Random(size)

    def fn(n):
        if dice.random() < 0.1:
            two.take_in()
            two.channel.recover_results(lambda _: None)
            assert len(two.runner.done) == n
        return "x" * size + str(n)

    two.run(fn)
    two.take_in()
    assert two.runner.done == two.tasks
    assert [task.value for task in two.tasks] == ["x" * size + str(n) for n in range(rounds)]


class Meddling(list):
    """The shared numbers: something happens whenever the channel reads one."""

    def __init__(self, numbers, meanwhile):
        super().__init__()
        self._numbers, self._meanwhile = numbers, meanwhile

    def __getitem__(self, index):
        self._meanwhile(index)
        return self._numbers[index]

    def __setitem__(self, index, value):
        self._numbers[index] = value


def test_a_result_log_that_changes_while_it_is_read(pair, monkeypatch):
    """The worker ends its item and starts the result log again: what was read does not count.

    Catches a `recover` that only looks whether the same item runs.
    """
    never_flush(monkeypatch)
    two = pair(range(100))
    numbers = two.block.numbers

    def meanwhile(index):
        if index == RESULT_LOG_FIRST:  # the last that is read before the log itself
            two.block.numbers = numbers
            two.worker._results.keep(60, "y" * 60_000, 0.0, 0.0)

    def fn(n):
        if n == 60:
            two.block.numbers = Meddling(numbers, meanwhile)
            two.channel.recover_results(lambda _: None)
            raise KeyboardInterrupt
        return "x" * 1000

    monkeypatch.setattr(_worker, "encode_error", lambda error: (_ for _ in ()).throw(error))
    with pytest.raises(KeyboardInterrupt):
        two.run(fn)
    for task in two.runner.done:
        assert task.value == "x" * 1000
    two.take_in()
    two.channel.recover_results(lambda _: None)
    assert [len(task.value) for task in two.tasks[:61]] == [1000] * 60 + [60_000]


class Watched:
    """The numbers as the worker sees them: the test may act before each access."""

    def __init__(self, numbers, act):
        self._numbers, self._act = numbers, act

    def __getitem__(self, index):
        self._act(index, False)
        return self._numbers[index]

    def __setitem__(self, index, value):
        self._act(index, True)
        self._numbers[index] = value


@pytest.mark.parametrize("seed", range(60))
def test_an_item_is_run_or_given_back(pair, monkeypatch, seed):
    """Never both, never neither, whenever the channel looks at the worker.

    Catches a worker that looks at the limit before it says which item is next, and a channel
    that takes the log for what follows what it has.
    """
    dice = random.Random(seed)
    monkeypatch.setattr(_result_writer, "_FLUSH", dice.choice([0.0, 1e9]))
    two = pair(())
    ran, window = [], [False, 0]
    eager = dice.choice([0.02, 0.05, 0.2])

    def look():
        # In time a worker gets from one access to the next before the channel looks again.
        numbers = two.block.numbers
        in_force = numbers[LIMIT] != NEVER and two.channel.in_flight.first < numbers[RESUME]
        if window[0] and (in_force or window[1]):
            return
        window[1] += window[0]
        two.channel._look(lambda _: None)

    def act(index, writes):
        if index == RUNNING and writes:
            window[:] = [False, 0]
        if dice.random() < eager:
            for _ in range(dice.choice([1, 2, 3, 4])):
                look()
        if dice.random() < 0.2:
            two.take_in()
        if index == RUNNING and writes:
            window[0] = True
        elif index == RESUME:
            window[0] = False

    def fn(n):
        window[0] = False
        ran.append(n)
        if dice.random() < 0.1:
            for _ in range(4):
                look()
        return n

    watched = Watched(two.block.numbers, act)
    two.worker._numbers = two.worker._results._numbers = watched
    number = 0
    while number < 400:
        items = list(range(number, number + dice.randint(1, 12)))
        number += len(items)
        two.channel.in_flight.sent.extend(Task(None, item, 0.0) for item in items)
        two.run(fn, items[0], items)
        if dice.random() < 0.7:
            two.take_in()
    two.take_in()
    two.channel.recover_results(lambda _: None)
    returned = [task.item for task in two.runner.returned]
    assert ran == [task.item for task in two.runner.done]
    assert sorted(ran + returned) == list(range(number))
    assert ran
    assert returned
    assert not two.channel.in_flight.sent


def test_items_sent_after_the_limit_was_set_are_run(pair):
    """A channel takes back only what was there when it set the limit.

    Catches a `take_back` that takes everything behind the limit.
    """
    two = pair(range(5))
    numbers = two.block.numbers
    numbers[RUNNING] = 0.0
    two.channel._look(lambda _: None)
    two.channel._look(lambda _: None)
    assert (numbers[LIMIT], numbers[RESUME]) == (1, 5)
    late = [Task(None, n, 0.0) for n in (5, 6)]
    two.channel.in_flight.sent.extend(late)
    two.channel._look(lambda _: None)
    assert two.runner.returned == two.tasks[1:]
    assert list(two.channel.in_flight.sent) == [two.tasks[0], None, None, None, None, *late]
    two.run(jobs.same, 0, list(range(7)))
    two.take_in()
    assert [message[0] for message in two.wire.inbox] == []


def test_what_a_worker_leaves_out_is_given_back(pair):
    """Items behind a limit that the channel has not taken back yet come back by message."""
    two = pair(range(6))
    with two.channel.in_flight.lock:
        two.channel.in_flight.stop_before_next()
    two.run(jobs.same)
    assert [message[0] for message in two.wire.inbox] == [SKIPPED]
    two.take_in()
    assert two.runner.returned == two.tasks
    assert two.channel.in_flight.first == 6


def test_an_item_that_was_to_be_left_out_is_not_charged(pair):
    """The process is killed for the item before, just as it came to the next one.

    Catches a `split_unfinished` that takes the item that the worker names for the one it ran.
    """
    two = pair(range(4))
    two.block.numbers[RUNNING] = 0.0
    with two.channel.in_flight.lock:
        two.channel.in_flight.stop_before_next()
        assert two.channel.in_flight.running() is two.tasks[0]
    # The worker ends item 0, has it in the result log, names item 1, and is killed.
    two.worker._results.keep(0, "done", 0.0, 0.001)
    two.block.numbers[RUNNING] = 1.0
    two.channel.recover_results(lambda _: None)
    assert [task.value for task in two.runner.done] == ["done"]
    assert two.channel.in_flight.split_unfinished() == (None, two.tasks[1:])


def test_a_closed_channel_refuses(pair):
    """A task that was there before is not taken for one that was sent.

    Catches looking at the note of the task to find out whether it was sent.
    """
    two = pair(())
    task = Task(Flow(), 1, 0.0)
    task.handed(two.channel)
    two.channel.in_flight.close()
    with pytest.raises(ChannelClosed):
        two.channel.send(task)
    assert not two.channel.in_flight.sent


def test_a_worker_that_is_quicker_than_who_gave_it_its_item(pair):
    """What was sent is answered, also if it is done and taken in by then.

    Catches looking at what is left at the worker.
    """
    two = pair(())
    task = Task(Flow(), 1, 0.0)
    send = two.channel._outbox.send

    def send_and_wait(first, body):
        send(first, body)
        two.channel.in_flight.sent.popleft()

    two.channel._outbox.send = send_and_wait
    assert two.channel.send(task) == ([task], [])


def test_nobody_writes_to_a_connection_while_it_is_closed(pair):
    """Its number may be that of another worker's connection by then.

    Catches sending, or closing, without the lock.
    """
    two = pair(())
    writes, may_write, wrong = threading.Event(), threading.Event(), []

    class Slow:
        """A connection that takes its time over a message."""

        closed = False
        fileno = two.ours.fileno

        def send_bytes(self, data):
            writes.set()
            assert may_write.wait(10)
            if self.closed:
                wrong.append(data)

        def close(self):
            self.closed = True

    two.channel._outbox._conn = slow = Slow()
    sender = threading.Thread(target=two.channel.shut_down)
    closer = threading.Thread(target=two.channel.close)
    sender.start()
    assert writes.wait(10)
    closer.start()
    closer.join(0.05)  # time to do it wrong; to do it right needs none
    may_write.set()
    sender.join()
    closer.join()
    assert slow.closed
    assert not wrong


def test_the_result_log_is_empty_after_it_was_sent(pair):
    """Nothing is found twice."""
    two = pair(range(3))
    two.run(jobs.same)
    assert two.block.numbers[RESULT_LOG_USED] == 0
    two.take_in()
    two.channel.recover_results(lambda _: None)
    assert two.runner.done == two.tasks


def test_an_item_at_its_timeout_takes_no_other_with_it(pair):
    """The worker is told not to begin the next item before its process is killed.

    Catches an `end` that kills only.
    """
    two = pair(range(3))
    backend = ProcessBackend()
    backend.bind(two.runner, 1)
    slot, killed = Worker(), []

    def kill():
        assert two.block.numbers[LIMIT] == 1
        two.worker._results.keep(0, "just done", 0.0, 0.001)
        two.block.numbers[RUNNING] = 1.0  # it names the next item, looks, and leaves it out
        killed.append(True)

    slot.channel, slot.process = two.channel, SimpleNamespace(kill=kill)
    backend._roster.workers.append(slot)
    for task in two.tasks:
        task.handed(two.channel)
    two.block.numbers[RUNNING] = 0.0
    backend.end(two.tasks[0], TimeoutError())
    assert killed
    two.channel.recover_results(lambda _: None)
    assert two.runner.done == two.tasks[:1]
    assert two.channel.in_flight.split_unfinished() == (None, two.tasks[1:])


def test_a_farewell_does_not_wait_for_who_reads_nothing():
    """Its connection is full: the worker is killed in time, and nobody waits for it here."""
    ours, theirs = Pipe()
    with theirs, ours:
        assert takes_more(ours)
        os.set_blocking(ours.fileno(), False)
        with suppress(BlockingIOError):
            while True:
                os.write(ours.fileno(), bytes(4096))
        os.set_blocking(ours.fileno(), True)
        assert not takes_more(ours)
        channel = WorkerChannel(None, ours, SharedBlock())
        channel.shut_down()
        assert channel.leaving
        channel.retire()
