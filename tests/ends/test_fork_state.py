"""What a forked child finds of its parent's locks, policies, streams, files and loops."""

import os
import re

import pytest

from tests.ends.forking import good
from tests.ends.programs import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def test_locks_that_other_threads_hold(tmp_path):
    """All of them at once: they are free in the child."""
    program = """
    import threading
    from rxpool import _forks
    ready, go = threading.Event(), threading.Event()

    def hold_all():
        held = list(_forks._held)  # which are never another thread's at a fork
        locks = [each for each in list(_forks._afresh) if getattr(each, "_lock", 0) not in held]
        locks = [lock for lock in locks if hasattr(lock, "acquire") and lock.acquire(False)]
        ready.set()
        go.wait()
        for lock in locks:
            lock.release()

    kinds = [(Faces, "threads"), (Iterating, "threads"), (Iterating, "asyncio")]
    kinds += [(Flying, on) for on in ("threads", "processes", "asyncio", "executor")]
    open_ = [(pool := open_pool(on), kind(pool, on)) for kind, on in kinds]
    thread = threading.Thread(target=hold_all)
    thread.start()
    ready.wait()

    def use():
        for pool, each in open_:
            each.ask(pid)
            use_inherited(pool, pid)
        use_new()

    pid = os.getpid()
    check(in_child(use), CODE)
    go.set()
    thread.join()
    for pool, each in open_:
        each.finish()
        pool.close()
    """
    good(tmp_path, program)


def test_what_a_held_lock_guards_is_whole_in_a_child(tmp_path):
    """Who forks waits for whoever is in the midst of it, and has the lock free in the child."""
    program = """
    import threading
    from rxpool import _forks
    lock, begun, parts = _forks.held(threading.RLock()), threading.Event(), []

    def change():
        with lock:
            parts.append(1)
            begun.set()
            time.sleep(0.3)  # for as long as a fork may come in the midst
            parts.append(2)

    def look():
        if parts != [1, 2] or not lock.acquire(timeout=LIMIT):
            wrong(parts, lock)

    thread = threading.Thread(target=change)
    thread.start()
    begun.wait()
    check(in_child(look), CODE)
    thread.join()
    """
    good(tmp_path, program)


def test_policies_in_a_child(tmp_path):
    """Who waits or calls in the parent keeps nobody from calling in the child."""
    program = """
    import threading
    from rxpool import AdaptiveConcurrency, CircuitBreaker, Limit, Retry, guarded
    from rxpool.policies._limit import limit_door
    slow, many = Limit(1, per=0.5), AdaptiveConcurrency(initial=1, most=1)
    breaker = CircuitBreaker(
        minimum_number_of_calls=1,
        sliding_window_size=1,
        wait_duration_in_open_state=0.01,
        permitted_number_of_calls_in_half_open_state=1,
    )
    go = threading.Event()

    @guarded(breaker=breaker)
    def call(bad):
        if bad:
            raise ValueError(bad)
        go.wait()
        return 1

    def use():
        go.set()
        if not slow.acquire(timeout=LIMIT) or not many.acquire(timeout=LIMIT):
            wrong("limits")
        if call(False) != 1 or breaker.state != "closed":
            wrong("breaker", breaker)
        with WorkerPool(2) as pool:
            limit = Limit.all(Limit(1000), AdaptiveConcurrency())
            work = pool.map(double, limit=limit, breaker=breaker, retry=3)
            if rx.of(1).pipe(work).run() != 2:
                wrong("a pool")

    slow.acquire()
    many.acquire()
    try:
        call(True)
    except ValueError:
        time.sleep(0.02)
    waiters = [
        threading.Thread(target=target)
        for target in (slow.acquire, many.acquire, lambda: call(False))
    ]
    for thread in waiters:
        thread.start()
    lines = [limit_door(limit).state.lines for limit in (slow, many)]
    while breaker.state != "half_open" or not all(lines):
        time.sleep(0.001)
    check(in_child(use), CODE)
    go.set()
    limit_door(many).done(None, 0.0, 0.0)
    limit_door(many).arm()
    for thread in waiters:
        thread.join(LIMIT)
    if breaker.state != "closed":
        wrong(breaker)
    """
    good(tmp_path, program)


def test_streams_in_a_child(tmp_path):
    """Operators go on; what they hold is the parent's, and comes out there alone."""
    program = """
    import io
    source, shown = Subject(), []
    steps = {
        "batch": ops.batch(3, 0.2),
        "throttle": ops.throttle(10, burst=1),
        "debounce": ops.debounce(0.2),
        "keys": ops.batch(3, 0.2, key=lambda n: n % 2),
        "progress": ops.progress(file=io.StringIO(), bar="plain", every=0.05),
    }
    for name, step in steps.items():
        source.pipe(step).subscribe(lambda value, name=name: shown.append((name, value)))
    retried = source.pipe(rx.operators.map(lambda n: n), ops.retry(2))
    retried.subscribe(lambda value: shown.append(("retry", value)))

    def until(expected):
        end = time.monotonic() + LIMIT
        while sorted(map(str, shown)) != sorted(map(str, expected)) and time.monotonic() < end:
            time.sleep(0.005)
        if sorted(map(str, shown)) != sorted(map(str, expected)):
            wrong(shown)

    def use():
        shown.clear()
        source.on_next(7)
        throttled = [("throttle", 7), ("debounce", 7), ("retry", 7), ("progress", 7)]
        until([*throttled, ("batch", [7]), ("keys", [7])])
        if debounce.execute(double, 3).result(LIMIT) != 6:
            wrong("a call in the child")

    source.on_next(1)
    source.on_next(2)
    debounce = DebounceManager(0.5)
    call = debounce.execute(double, 1)
    check(in_child(use), CODE)
    if call.result(LIMIT) != 2:
        wrong("the parent's call")
    debounce.close()
    until([
        ("throttle", 1), ("throttle", 2), ("debounce", 2), ("batch", [1, 2]),
        ("keys", [1]), ("keys", [2]), ("retry", 1), ("retry", 2), ("progress", 1),
        ("progress", 2),
    ])
    """
    good(tmp_path, program)


def test_files_of_the_parent(tmp_path):
    """A trace is ended by the parent alone; a journal is refused in the child."""
    program = """
    import gc, json
    from rxpool import Journal, RxPoolError
    journal = Journal("journal")
    with WorkerPool(2) as pool, pool.profile(trace="trace") as profile:
        items = rx.from_iterable(range(5))
        items.pipe(pool.map(double, journal=journal)).run()

        def use():
            profile.close()
            try:
                journal.finished()
            except RxPoolError as error:
                if f"process {os.getppid()}," not in str(error):
                    wrong(error)
            else:
                wrong("the journal was not refused")
            journal.close()

        check(in_child(use), CODE)
        if journal.finished() != 5:
            wrong("the journal")
        rx.from_iterable(range(8)).pipe(pool.map(double, journal=journal)).run()
        if journal.finished() != 8:
            wrong("the journal")
    journal.close()
    if len([each for each in json.loads(Path("trace").read_text()) if each["ph"] == "X"]) != 8:
        wrong("the trace")
    """
    good(tmp_path, program)


def test_what_waits_is_not_finalised_in_a_child(tmp_path):
    """An item may stand for a file, which would be gone in the parent."""
    program = """
    import gc

    class Thing:
        def __init__(self, where):
            self.where, self.process = where, os.getpid()

        def __del__(self):
            if os.getpid() != self.process:
                wrong(f"finalised in the child: {self.where}")

    def things(where):
        return (Thing(where) for _ in range(20))

    def wait(thing):
        hold(0, gate)

    async def wait_there(thing):
        await hold_async(0, gate)

    gate = f"gate-{os.getpid()}"
    pools = {on: open_pool(on) for on in ("threads", "asyncio", "executor", "scheduler")}
    for on, pool in pools.items():
        work = wait_there if on == "asyncio" else wait
        for order in ("completion", "input"):
            source = Subject()
            source.pipe(pool.map(work, order=order)).subscribe()
            source.pipe(pool.map(work, order="key", key=lambda thing: 1)).subscribe()
            for thing in things(f"a flow on {on}"):
                source.on_next(thing)
        for thing in things(f"a call on {on}"):
            pool.submit(work, thing)
        pool.worker(work).execute_batch(things(f"a batch on {on}"))
    free = open_pool("threads")
    given = free.imap(lambda thing: Thing("a result"), things("imap"), max_pending=5)
    next(given)
    shown = free.pull(things("iterate")).pipe(free.map(lambda thing: Thing("a result")))
    shown = iterate(shown, max_pending=5)
    next(shown)
    stream = Subject()
    for step in (ops.batch(99, 999), ops.debounce(999), ops.throttle(0.001)):
        stream.pipe(step).subscribe()
    for thing in things("an operator"):
        stream.on_next(thing)
    faces = BatchProcessor(doubles, max_delay=999), ThrottleManager(0.001), DebounceManager(999)
    for thing in things("a face"):
        faces[0].add(thing)
        faces[1].execute(id, thing)
        faces[2].execute(id, thing)
    del thing
    TimerScheduler.singleton().schedule_relative(999, lambda *_, thing=Thing("a timer"): thing)

    def use():
        for pool in [*pools.values(), free]:
            use_inherited(pool, os.getppid())
        use_new(("threads",))
        gc.collect()
        os._exit(CODE)

    check(in_child(use), CODE)
    Path(gate).touch()
    print("good", flush=True)
    os._exit(0)
    """
    good(tmp_path, program)


def test_loops_of_the_parent(tmp_path):
    """What a child finalises is not an event loop that the parent goes on with."""
    program = """
    import gc
    from reactivex.testing import TestScheduler

    async def call(number):
        return await asyncio.to_thread(double, number)

    with WorkerPool(2) as threads, WorkerPool(2, on="asyncio") as loop:
        virtual = TestScheduler()
        pools = [threads, loop]
        timeless, found = WorkerPool(2, on=virtual), []

        def use_all_loops():
            for pool in pools:
                if sorted(pool.imap(call, range(9))) != doubles(range(9)):
                    wrong(pool)
            rx.of(1, 2).pipe(timeless.map(call)).subscribe(found.append, scheduler=virtual)
            virtual.start()
            if found[-2:] != [2, 4]:
                wrong(found)

        for _ in range(3):
            use_all_loops()
            check(in_child(gc.collect), CODE)
        use_all_loops()
        timeless.close()
        virtual.start()
    """
    good(tmp_path, program)


def test_a_pool_on_the_loop_of_the_program(tmp_path):
    """A child that leaves the block and the program takes no step of the parent's work."""
    program = """
    async def main():
        gate, steps = f"gate-{os.getpid()}", []

        async def work(number):
            while not os.path.exists(gate):
                await asyncio.sleep(0.001)
                steps.append(os.getpid())
            return number * 2

        async def forks():
            await asyncio.sleep(0.001)
            process = os.fork()
            return await asyncio.to_thread(await_child, process) if process else 1

        async with WorkerPool(4, on="asyncio") as pool:
            check(await pool.submit(forks), 0)
            calls = [pool.submit(work, number) for number in range(3)]
            for way in ("_exit", "exit", "return"):
                heading.text = way
                await asyncio.sleep(0.01)
                process = os.fork()
                if not process:
                    if way == "_exit":
                        os._exit(CODE)
                    if way == "exit":
                        sys.exit(CODE)
                    return steps
                code = await asyncio.to_thread(await_child, process)
                check(code, 0 if way == "return" else CODE)
                if await pool.submit(double, 1) != 2:
                    wrong("the pool")
            Path(gate).touch()
            if [await call for call in calls] != [0, 2, 4]:
                wrong("calls")
        os.unlink(gate)

    steps = asyncio.run(main())
    if steps is not None:
        if os.getpid() in steps:
            wrong("the child worked")
        sys.exit(0)
    """
    good(tmp_path, program)


#: locks that nobody waits for, that are in workers only, or that are part of one that is told
TOKENS = {
    ("_errand.py", "ended = threading.Event()"),
    ("demo.py", "self._lock = threading.Lock()"),
    ("_threads.py", "self.gate = threading.Lock()"),
    ("_worker.py", "self._lock = threading.RLock()"),
    ("_worker.py", "ended = threading.Event()"),
    ("pull.py", "self._room = asyncio.Event()"),
    ("_limit.py", "gate = asyncio.Event()"),
    ("_limit.py", "gate = threading.Event()"),
    ("engine.py", "self.lock = threading.RLock()"),
    ("_guarded_calls.py", "wake = Event() if policies.limit is not None else None"),
    ("delivery.py", "self._token = threading.Lock()"),
    ("levels.py", "self._telling = threading.Lock()"),
    ("_future.py", 'fields["_condition"] = Condition()'),
}


def test_every_lock_says_what_a_fork_does_to_it():
    """One that another thread holds at the fork is never free in the child by itself."""
    making = re.compile(r"\b(R?Lock|Event|Condition)\(")
    told = re.compile(r"\b(afresh|held)\(")
    untold = []
    for path in sorted([*(ROOT / "rxpool").rglob("*.py"), *(ROOT / "operators").glob("*.py")]):
        if path.name == "_forks.py":
            continue
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines():
            code = line.split("  #")[0].strip()
            if not making.search(code) or told.search(code) or (path.name, code) in TOKENS:
                continue
            name = code.split(" ")[0]
            # A lock of which a condition is made that is told.
            inside = re.search(rf"(afresh|held)\(.*Condition\((lock|{re.escape(name)})\)", text)
            if inside is None:
                untold.append(f"{path.relative_to(ROOT)}: {code}")
    assert not untold, "write afresh(...) or held(...) of rxpool._forks around it"
