"""The end of the interpreter: what was accepted is finished, by whatever it takes."""

import signal

import pytest

from tests.ends.programs import Program, run

HEAD = """
import asyncio, multiprocessing, sys, threading, time
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject
from rxpool import *
from rxpool import operators as ops
from rxpool.faces import *
from tests import jobs

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")  # a line at once: others print too
    sys.stdout.flush()

def values(got):
    return lambda: say(sorted(got))

def failed(error):
    say(type(error).__name__, error)

def when_closed(call):
    threading._threading_atexits.insert(0, call)  # the first one is called last
"""

#: places where work runs, as a program writes them
PLACES = {
    "threads": "'threads'",
    "processes": "'processes'",
    "asyncio": "'asyncio'",
    "thread-executor": "__import__('concurrent.futures').futures.ThreadPoolExecutor(2)",
    "process-executor": "__import__('concurrent.futures').futures.ProcessPoolExecutor("
    "2, multiprocessing.get_context('forkserver'))",
    "loky": "__import__('loky').ProcessPoolExecutor(2)",
    "scheduler": "__import__('reactivex').scheduler.ThreadPoolScheduler(4)",
}


@pytest.fixture(params=PLACES)
def on(request):
    """A place where work runs."""
    return PLACES[request.param]


def good(tmp_path, text, *lines, code=0):
    """Run a program that says this, and nothing else, and leaves nothing."""
    ended = run(tmp_path, f"{HEAD}\nif __name__ == '__main__':\n{indented(text)}")
    assert ended.err == ""
    assert ended.lines == list(lines)
    assert ended.code == code
    assert ended.left == ()


def indented(text):
    """For below a line that ends with a colon."""
    return "\n".join(f"    {line}" for line in text.splitlines())


# -- pools ------------------------------------------------------------------------------------


def test_a_dropped_pool(on, tmp_path):
    """Its calls are made, whether anybody keeps the futures or not.

    An open flow is closed from the top: what is inside comes out, batches included.
    """
    text = f"""
source, kept = Subject(), []
def calls(pool, got):
    futures = [pool.submit(jobs.double, n) for n in range(6)]
    for future in futures:
        future.add_done_callback(lambda future: got.append(future.result()))
    return futures
def keep():
    got = []
    kept.append((got, calls(WorkerPool(2, on={on}), got)))
def drop():
    got = []
    kept.append((got, len(calls(WorkerPool(2, on={on}), got))))
def flow():
    got = []
    pool = WorkerPool(2, on={on})
    chain = source.pipe(pool.map(jobs.double), ops.batch(max_size=99), pool.map(sorted))
    chain.subscribe(got.extend, failed, values(got))
keep(), drop(), flow()
for n in range(6):
    source.on_next(n)
when_closed(lambda: [say(sorted(got)) for got, _ in kept])
"""
    good(tmp_path, text, *["[0, 2, 4, 6, 8, 10]"] * 3)


@pytest.mark.parametrize(
    ("place", "started"),
    [(place, True) for place in PLACES]
    # Other executors cannot be started then.
    + [(place, False) for place in PLACES if place not in ("loky", "process-executor")],
)
def test_work_that_comes_when_pools_are_closed(place, started, tmp_path):
    """Workers are started for it that were not needed before."""
    text = f"""
got = []
pool = WorkerPool(4, on={PLACES[place]})
if {started}:
    assert pool.submit(jobs.double, 1).result() == 2
source = Subject()
unpacked = ro.flat_map(rx.from_iterable)
chain = source.pipe(ops.batch(max_size=99, max_delay=60), unpacked, pool.map(jobs.double))
chain.subscribe(got.append, failed, values(got))
for n in range(20):
    source.on_next(n)
"""
    good(tmp_path, text, str(list(range(0, 40, 2))))


@pytest.mark.parametrize("place", ["threads", "processes", "asyncio"])
def test_timers_when_pools_are_closed(place, tmp_path):
    """Retries, limits, throttles and timeouts, and a pool with more than one of them."""
    text = f"""
pool = WorkerPool(2, on={place!r})
source = Subject()
got, slow = [], []
again = Retry(3, delay=0.05, jitter=0)
limited = pool.map(jobs.double, limit=Limit(40), retry=again)
source.pipe(ops.throttle(rate=40), limited).subscribe(got.append, failed, values(got))
outcomes = pool.outcomes(jobs.fail_odd, retry=again)
source.pipe(outcomes).subscribe(slow.append, failed, lambda: say(len(slow)))
for n in range(6):
    source.on_next(n)
"""
    ended = run(tmp_path, f"{HEAD}\nif __name__ == '__main__':\n{indented(text)}")
    assert ended.err == ""
    assert sorted(ended.lines) == ["6", "[0, 2, 4, 6, 8, 10]"]
    assert (ended.code, ended.left) == (0, ())


def test_workers_that_hang_when_pools_are_closed(tmp_path):
    """Their items have failed; others take their places, though the threads are kept."""
    text = """
def stay(n):
    if n < 2:
        time.sleep(60)
    return n
pool = WorkerPool(2)
source, got = Subject(), []
chain = source.pipe(ops.batch(max_size=99, max_delay=60), ro.flat_map(rx.from_iterable))
chain.pipe(pool.map(stay, timeout=0.1, on_failure="skip")).subscribe(
    got.append, failed, values(got)
)
for n in range(6):
    source.on_next(n)
"""
    good(tmp_path, text, "[2, 3, 4, 5]")


def test_workers_that_die_when_pools_are_closed(tmp_path):
    """They are replaced."""
    text = """
pool = WorkerPool(2, on="processes")
source, got = Subject(), []
chain = source.pipe(ops.batch(max_size=99, max_delay=60), ro.flat_map(rx.from_iterable))
chain.pipe(pool.outcomes(jobs.end_odd)).subscribe(
    got.append, failed, lambda: say(sorted((each.item, type(each).__name__) for each in got))
)
for n in range(4):
    source.on_next(n)
"""
    kinds = ("Success", "Failure", "Success", "Failure")
    good(tmp_path, text, str(list(enumerate(kinds))))


@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise LookupError('the end')"])
def test_programs_that_end_by_an_exception(ending, tmp_path):
    """That is none of the pool's: it is closed, and so are faces."""
    text = f"""
pool = WorkerPool(2)
future = pool.submit(lambda: (time.sleep(0.2), say("done"))[0])
BatchProcessor(lambda items: (say(items), items)[1], max_delay=60).add(1)
{ending}
"""
    ended = run(tmp_path, HEAD + text)
    assert sorted(ended.lines) == ["[1]", "done"]
    assert ended.code == (3 if "exit" in ending else 1)
    assert ("LookupError" in ended.err) is (ended.code == 1)
    assert ended.left == ()


BUSY = """
def work(n):
    time.sleep(0.05)
    return n
pool = WorkerPool(2, on="threads")
rx.range(10_000).pipe(pool.map(work, max_pending=10_000)).subscribe(None, failed)
processor = BatchProcessor(list, max_delay=60)
processor.add(1).add_done_callback(lambda future: say("cancelled", future.cancelled()))
say("begun")
"""


def test_ctrl_c(tmp_path):
    """Who pressed it does not wait for what was accepted."""
    with Program(tmp_path, HEAD + BUSY + "time.sleep(60)") as program:
        program.wait_for("begun")
        program.signal(signal.SIGINT)
        ended = program.ended()
    assert sorted(ended.lines)[1:] == ["begun", "cancelled True"]
    assert sorted(ended.lines)[0].startswith("TaskCancelled")
    assert ended.code == -signal.SIGINT
    assert ended.left == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_pools_are_closed(number, tmp_path):
    """Nor does who presses it then, or ends the program by a handler of a signal."""
    exits = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))"
    with Program(tmp_path, HEAD + exits + BUSY) as program:
        program.wait_for("cancelled False")  # the face was closed
        program.signal(number)
        ended = program.ended()
    assert sorted(ended.lines)[1:] == ["begun", "cancelled False"]
    assert sorted(ended.lines)[0].startswith("TaskCancelled")
    said = ended.err.splitlines()
    assert len(said) == 1
    assert "work was cancelled" in said[0]
    assert (ended.code, ended.left) == (0, ())


# -- executors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        "from concurrent.futures import ThreadPoolExecutor as Executor",
        "from concurrent.futures import ProcessPoolExecutor as Executor",
        "from loky import ProcessPoolExecutor as Executor",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_pools_end_before_executors(make, first, tmp_path):
    """Whether their module was imported first or last; work is accepted until then."""
    imports = f"{make}\n{HEAD}" if first else f"{HEAD}\n{make}"
    text = f"""
{imports}
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while there are threads
if __name__ == "__main__":
    got = []
    pool = WorkerPool(2, on=Executor(2))
    futures = [pool.submit(jobs.double, n) for n in range(20)]
    source = Subject()
    source.pipe(pool.map(jobs.double)).subscribe(got.append, failed, values(got))
    for n in range(20):
        source.on_next(n)
"""
    ended = run(tmp_path, text)
    assert ended.lines == [str(list(range(0, 40, 2)))]
    assert (ended.err, ended.code, ended.left) == ("", 0, ())


# -- faces ------------------------------------------------------------------------------------


def test_calls_that_wait_in_faces(tmp_path):
    """They are made, those of faces that nobody keeps too."""
    text = """
def noted(items):
    say(*items)
    return items
def dropped():
    BatchProcessor(noted, max_delay=60).add("batch")
    throttle = ThrottleManager(50)
    for name in ("throttle 1", "throttle 2", "throttle 3"):
        throttle.execute(say, name)
    DebounceManager(60).execute(say, "debounce")
processor = BatchProcessor(noted, max_delay=60)
processor.add("kept")
dropped()
@batched(max_delay=60)
def batch(items):
    return noted(items)
@throttled(50)
def throttle(name):
    say(name)
@debounced(60)
def debounce(name):
    say(name)
batch("@batched"), throttle("@throttled 1"), throttle("@throttled 2"), debounce("@debounced")
"""
    ended = run(tmp_path, HEAD + text)
    names = "batch throttle_1 throttle_2 throttle_3 debounce kept @batched @throttled_1 "
    names += "@throttled_2 @debounced"
    assert sorted(ended.lines) == sorted(n.replace("_", " ") for n in names.split())
    assert (ended.err, ended.code, ended.left) == ("", 0, ())


@pytest.mark.parametrize("end", ["close", "stop"])
def test_calls_that_wait_for_a_loop_that_ended(end, tmp_path):
    """They are made without it; those that it had begun are cancelled, and nothing waits."""
    text = f"""
async def begun():
    say("begun")
    await asyncio.sleep(60)
async def call(name):
    say(name)
async def calls(names):
    say(*names)
    return names
throttle = ThrottleManager(50)
debounce = DebounceManager(60)
processor = BatchProcessor(calls, max_delay=60)
async def main():
    futures = [throttle.execute(begun)]
    futures += [throttle.execute(call, f"throttle {{n}}") for n in range(3)]
    futures += [debounce.execute(call, "debounce"), processor.add("batch")]
    await asyncio.sleep(0)
    return futures
if "{end}" == "close":
    begun_future, *futures = asyncio.run(main())
else:
    loop = asyncio.new_event_loop()
    begun_future, *futures = loop.run_until_complete(main())
def told(_):
    say("cancelled" if isinstance(begun_future.exception(), TaskCancelled) else "odd")
begun_future.add_done_callback(told)
if "{end}" == "stop":
    when_closed(lambda: (
        [task.cancel() for task in asyncio.all_tasks(loop)],
        loop.run_until_complete(asyncio.sleep(0.001)), loop.close()))
"""
    ended = run(tmp_path, HEAD + text)
    expected = ["begun", "cancelled", "batch", "debounce"]
    assert sorted(ended.lines) == sorted(expected + [f"throttle {n}" for n in range(3)])
    assert (ended.err, ended.code, ended.left) == ("", 0, ())


def test_a_face_on_a_pool_of_the_user(tmp_path):
    """It ends first, as its calls need the pool."""
    text = """
pool = WorkerPool(1)
BatchProcessor(lambda items: (say(items), items)[1], max_delay=60, pool=pool).add(1)
DebounceManager(60, pool=pool).execute(say, 2)
"""
    ended = run(tmp_path, HEAD + text)
    assert sorted(ended.lines) == ["2", "[1]"]
    assert (ended.err, ended.code, ended.left) == ("", 0, ())


# -- threads that go on -----------------------------------------------------------------------


def test_who_comes_late_is_told_why(tmp_path):
    """A pool or a face that was closed as the interpreter exits says so."""
    text = """
pool, processor = WorkerPool(2), BatchProcessor(list)
handle = pool.worker(abs)
def later():
    threading.main_thread().join()
    calls = (lambda: pool.submit(abs, 1), lambda: pool.imap(abs, [1]),
             lambda: handle.execute(1), lambda: rx.of(1).pipe(pool.map(abs)).run(),
             lambda: processor.add(1))
    for call in calls:
        try:
            call()
        except PoolClosed as error:
            say(error)
threading.Thread(target=later).start()
"""
    ended = run(tmp_path, HEAD + text)
    assert ended.lines == ["pool 'rxpool-1' is closed: the interpreter exits"] * 4 + [
        "BatchProcessor is closed: the interpreter exits"
    ]
    assert (ended.err, ended.code, ended.left) == ("", 0, ())


@pytest.mark.parametrize("place", ["threads", "processes", "asyncio"])
def test_pools_that_are_opened_late(place, tmp_path):
    """By threads that go on: their work is finished too, also if they leave it behind."""
    text = f"""
early = WorkerPool(1)  # Python 3.12.0 to 3.12.2 start no thread any more then
def later():
    threading.main_thread().join()
    with WorkerPool(1, on={place!r}) as pool:
        say(pool.submit(jobs.double, 1).result())
    pool = WorkerPool(1, on={place!r})
    pool.submit(jobs.double, 2).add_done_callback(lambda future: say(future.result()))
threading.Thread(target=later).start()
"""
    good(tmp_path, text, "2", "4")


def test_a_coroutine_that_goes_on(tmp_path):
    """Leaving a block needs no thread of an executor, as there are none any more."""
    text = """
early = WorkerPool(1)
async def late():
    async with WorkerPool(1) as pool:
        threading.main_thread().join()
        say("left")
threading.Thread(target=lambda: asyncio.run(late())).start()
"""
    ended = run(tmp_path, HEAD + text)
    assert (ended.lines, ended.err, ended.code, ended.left) == (["left"], "", 0, ())


@pytest.mark.parametrize("end", ["close", "stop"])
def test_a_pool_on_a_loop_that_ended(end, tmp_path):
    """Its work cannot be done any more, and whoever listens hears that."""
    text = f"""
async def for_long(n):
    await asyncio.sleep(60)
source = Subject()
async def main():
    pool = WorkerPool(2, on="asyncio")
    source.pipe(pool.map(for_long)).subscribe(say, failed, lambda: say("completed"))
    source.on_next(1)
    await asyncio.sleep(0.01)
    return pool
loop = asyncio.new_event_loop()
pool = loop.run_until_complete(main())
if "{end}" == "close":
    loop.close()
else:
    when_closed(lambda: (
        loop.run_until_complete(asyncio.sleep(0.01)), loop.close()))
"""
    ended = run(tmp_path, HEAD + text)
    assert len(ended.lines) == 1
    assert ended.lines[0].startswith("TaskCancelled")
    assert (ended.code, ended.left) == (0, ())


def test_two_things_of_which_one_fails_to_end(tmp_path):
    """The others end in order."""
    text = """
from rxpool import _exit
class Bad:
    rank = 0
    def end_at_exit(self, hard):
        raise LookupError("bad")
bad = Bad()
_exit.watch(bad)
pool = WorkerPool(1)
pool.submit(lambda: (time.sleep(0.1), say("done")))
"""
    ended = run(tmp_path, HEAD + text)
    assert ended.lines == ["done"]
    assert "LookupError: bad" in ended.err
    assert (ended.code, ended.left) == (0, ())
