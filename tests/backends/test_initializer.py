"""`initializer=` on threads and inline: once on each thread, before its first task."""

import threading

import pytest
import reactivex as rx

from rxpool import Failure, InvalidArgument, WorkerPool, WorkerStartError
from rxpool.backends._initializer import Initializer
from rxpool.errors import InvalidArgumentType
from tests.waiting import WAIT

ON = pytest.mark.parametrize("on", ["threads", "inline"])
local = threading.local()


def set_up(calls, tag):
    """Note on which thread this is called."""
    calls.append(threading.current_thread())
    local.tag = tag


def tagged(_):
    """What the initializer left on this thread."""
    return getattr(local, "tag", None)


@ON
def test_it_runs_once_before_the_first_task(on):
    """With its arguments."""
    local.__dict__.clear()
    calls = []
    with WorkerPool(1, on=on, initializer=set_up, initargs=(calls, on)) as pool:
        assert not calls
        assert list(pool.imap(tagged, range(5))) == [on] * 5
        assert pool.submit(tagged, 1).result() == on
    assert len(calls) == 1
    assert (calls[0] is threading.current_thread()) is (on == "inline")


def test_it_runs_on_each_thread():
    """That runs tasks; a thread that takes another's place included."""
    calls = []
    both = threading.Barrier(2)
    with WorkerPool(2, initializer=set_up, initargs=(calls, "x")) as pool:
        list(pool.imap(lambda _: both.wait(WAIT), range(2)))
        assert len(set(calls)) == len(calls) == 2
        gone = threading.Event()
        late = rx.of(1).pipe(pool.outcomes(lambda _: gone.wait(WAIT), timeout=0.01))
        assert isinstance(late.run(), Failure)
        list(pool.imap(lambda _: both.wait(WAIT), range(2)))
        gone.set()
    assert len(set(calls)) == len(calls) == 3


def test_it_runs_on_each_thread_inline():
    """Whoever brings work, and again for another pool."""
    calls = []
    for count in (1, 2):
        with WorkerPool(on="inline", initializer=set_up, initargs=(calls, "x")) as pool:
            pool.submit(tagged, 1)
            thread = threading.Thread(target=pool.submit, args=(tagged, 1))
            thread.start()
            thread.join()
        assert len(calls) == 2 * count


@ON
def test_one_that_raises(on):
    """It is tried three times; then all that waits fails, with what was raised as the cause."""
    tried = []

    def fail():
        tried.append(1)
        raise OSError("no licence")

    outcomes = []
    with WorkerPool(1, on=on, initializer=fail) as pool:
        rx.range(50).pipe(pool.outcomes(tagged, order="input")).subscribe(outcomes.append)
        pool.close()
    assert len(outcomes) == 50
    assert all(isinstance(outcome.error, WorkerStartError) for outcome in outcomes)
    assert "the initializer fail raised OSError: no licence" in str(outcomes[0].error)
    assert isinstance(outcomes[0].error.__cause__, OSError)
    assert len(tried) == 3


@ON
def test_one_that_works_at_the_second_attempt(on):
    """Nobody notices."""
    tried = []

    def fail_once():
        tried.append(1)
        if len(tried) == 1:
            raise OSError

    with WorkerPool(1, on=on, initializer=fail_once) as pool:
        assert pool.submit(tagged, 1).exception(WAIT) is None
    assert len(tried) == 2


def test_nothing_fails_while_another_thread_is_ready():
    """The thread that is does the work of the one that is not."""
    first = []
    together = threading.Event()

    def one_only():
        if first:
            together.set()
            raise OSError
        first.append(threading.current_thread())

    with WorkerPool(2, initializer=one_only) as pool:
        done = pool.submit(together.wait, WAIT)
        others = [pool.submit(threading.current_thread) for _ in range(5)]
        assert done.result(WAIT)
        assert {call.result(WAIT) for call in others} == {first[0]}


def test_what_comes_later_is_tried_for_afresh():
    """A second after the last attempt; until then the answer is the same."""
    now, tried = [0.0], []

    def fail():
        tried.append(1)
        if len(tried) < 5:
            raise OSError

    initializer = Initializer(fail, (), lambda: now[0])
    first = initializer.refused()
    assert isinstance(first, WorkerStartError)
    now[0] = 0.9
    assert initializer.refused() is first
    assert len(tried) == 3
    now[0] = 1.0
    assert initializer.refused() is None
    assert initializer.refused() is None
    assert len(tried) == 5


def test_one_that_is_interrupted_is_not_tried_again():
    """Ctrl-C in it, on the main thread, is meant for the program."""
    tried = []

    def interrupt():
        tried.append(1)
        raise KeyboardInterrupt

    error = Initializer(interrupt, ()).refused()
    assert isinstance(error.__cause__, KeyboardInterrupt)
    assert len(tried) == 1


@pytest.mark.parametrize("on", ["asyncio"])
def test_where_there_are_no_workers_of_ones_own(on):
    """It is refused, and the message names where it is not."""
    with pytest.raises(InvalidArgument, match="'processes', 'threads' or 'inline', got on='as"):
        WorkerPool(on=on, initializer=print)


@ON
def test_wrong_arguments_are_refused_at_once(on):
    """As for processes."""
    with pytest.raises(InvalidArgumentType, match="initializer"):
        WorkerPool(on=on, initializer=5)
    with pytest.raises(InvalidArgumentType, match="initargs"):
        WorkerPool(on=on, initializer=print, initargs=5)
    with pytest.raises(InvalidArgument, match="poison_after needs on='processes', got on="):
        WorkerPool(on=on, poison_after=3)
