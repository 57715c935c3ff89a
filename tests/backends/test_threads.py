"""Threads as a backend, without a pool: started late, used again, replaced when they hang."""

import threading
from types import SimpleNamespace

import pytest

from rxpool.backends import ThreadBackend
from tests.waiting import WAIT


class Job(SimpleNamespace):
    """Work with a gate: says on which thread it runs, then waits until it may end."""

    def __init__(self, held=False):
        super().__init__(note=None, began=threading.Event(), gate=threading.Event())
        self.ended, self.thread = threading.Event(), None
        if not held:
            self.gate.set()

    def __hash__(self):
        return id(self)

    def ran_on(self):
        """The thread, once the job has begun."""
        assert self.began.wait(WAIT)
        return self.thread


class Runner:
    """Runs jobs as a pool does; counts how many run at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.running = self.most = 0

    def perform(self, job, note=None):
        """Run a job; there is no next one for its slot."""
        if note is not None:
            job.note = note
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        job.thread = threading.current_thread()
        job.began.set()
        assert job.gate.wait(WAIT)
        with self.lock:
            self.running -= 1
        job.ended.set()

    def work(self, job, note):
        """Run a job."""
        self.perform(job, note)


def idle(backend, count):
    """Wait until *count* threads are idle."""
    pause = threading.Event()
    for _ in range(int(WAIT * 1000)):
        with backend._lock:
            if len(backend._idle) == count:
                return
        pause.wait(0.001)
    raise AssertionError(f"{len(backend._idle)} threads are idle, not {count}")


@pytest.fixture
def runner():
    """What runs the jobs."""
    return Runner()


@pytest.fixture
def make(runner):
    """Makes backends and stops them in the end."""
    backends = []

    def new(slots, name="crew"):
        backend = ThreadBackend(name)
        backend.bind(runner, slots)
        backends.append(backend)
        return backend

    yield new
    for backend in backends:
        backend.stop(WAIT)


def crew():
    """How many threads belong to backends."""
    return sum(thread.name.startswith("crew") for thread in threading.enumerate())


def test_threads_are_started_when_they_are_needed(make):
    """No job, no thread; as many threads as jobs at once, up to the number of slots."""
    before = crew()
    backend = make(3)
    assert crew() == before
    jobs = [Job(held=True) for _ in range(2)]
    backend.start(jobs[:1])
    jobs[0].ran_on()
    assert crew() == before + 1
    backend.start(jobs[1:])
    jobs[1].ran_on()
    assert crew() == before + 2
    for job in jobs:
        job.gate.set()


def test_no_more_threads_than_slots(make, runner):
    """Further jobs wait for a thread, and are run in their order."""
    backend = make(2)
    jobs = [Job(held=True) for _ in range(5)]
    backend.start(jobs)
    threads = {jobs[0].ran_on(), jobs[1].ran_on()}
    assert not jobs[2].began.is_set()
    for job in jobs:
        job.gate.set()
    assert {job.ran_on() for job in jobs} == threads
    for job in jobs:
        assert job.ended.wait(WAIT)
    assert runner.most == 2


def test_an_idle_thread_is_used_again(make):
    """Jobs one after another need one thread."""
    backend = make(4)
    threads = set()
    for _ in range(20):
        job = Job()
        backend.start([job])
        threads.add(job.ran_on())
        idle(backend, 1)
    assert len(threads) == 1


def test_the_thread_that_became_idle_last_is_used_first(make):
    """Last in, first out: with little to do few threads wake up."""
    backend = make(3)
    jobs = [Job(held=True) for _ in range(3)]
    backend.start(jobs)
    for job in jobs:
        job.ran_on()
    for count, place in enumerate((1, 0, 2), 1):
        jobs[place].gate.set()
        idle(backend, count)
    order = []
    more = [Job(held=True) for _ in range(3)]
    for job in more:
        backend.start([job])
        order.append(job.ran_on())
        job.gate.set()
        idle(backend, 3)
    assert order == [jobs[2].thread] * 3
    hold = [Job(held=True) for _ in range(3)]
    for job in hold:
        backend.start([job])
    assert [job.ran_on() for job in hold] == [jobs[n].thread for n in (2, 0, 1)]
    for job in hold:
        job.gate.set()


def test_threads_bear_the_name_of_the_pool_and_are_daemons(make):
    """A thread is known by its pool, and keeps no interpreter alive."""
    backend = make(2, "crew")
    jobs = [Job(held=True), Job(held=True)]
    backend.start(jobs)
    assert [job.ran_on().name for job in jobs] == ["crew-0", "crew-1"]
    assert all(job.thread.daemon for job in jobs)
    for job in jobs:
        job.gate.set()


def test_an_abandoned_thread_is_replaced(make):
    """A thread whose job is abandoned does not count: another takes its place."""
    backend = make(1)
    stuck, following = Job(held=True), Job()
    backend.start([stuck])
    stuck.ran_on()
    backend.abandon([stuck])
    assert backend.abandoned == 1
    backend.start([following])
    assert following.ran_on() is not stuck.thread
    stuck.gate.set()
    stuck.thread.join(WAIT)  # it was replaced: it ends
    assert not stuck.thread.is_alive()
    assert backend.abandoned == 0
    idle(backend, 1)
    again = Job()
    backend.start([again])
    assert again.ran_on() is following.thread


def test_abandoning_starts_what_waits_for_a_thread(make):
    """A job that waits for the thread that hangs is given to the one that replaces it."""
    backend = make(1)
    stuck, waiting = Job(held=True), Job()
    backend.start([stuck])
    stuck.ran_on()
    backend.start([waiting])
    assert not waiting.began.is_set()
    backend.abandon([stuck])
    assert waiting.ran_on() is not stuck.thread
    stuck.gate.set()


def test_an_abandoned_thread_that_comes_back_joins_again(make):
    """If nobody took its place, the thread goes on."""
    backend = make(1)
    stuck = Job(held=True)
    backend.start([stuck])
    stuck.ran_on()
    backend.abandon([stuck])
    stuck.gate.set()
    idle(backend, 1)
    assert backend.abandoned == 0
    following = Job()
    backend.start([following])
    assert following.ran_on() is stuck.thread


def test_abandoning_a_job_that_is_done_or_was_never_run_does_nothing(make):
    """Only the thread that still runs the job stops counting."""
    backend = make(1)
    job, other = Job(), Job(held=True)
    backend.start([job])
    assert job.ended.wait(WAIT)
    idle(backend, 1)
    backend.abandon([job, Job()])
    assert backend.abandoned == 0
    backend.start([other])
    assert other.ran_on() is job.thread
    backend.abandon([job])
    assert backend.abandoned == 0
    other.gate.set()


def test_abandoning_twice_counts_once(make):
    """A thread is abandoned once."""
    backend = make(2)
    stuck = Job(held=True)
    backend.start([stuck])
    stuck.ran_on()
    backend.abandon([stuck])
    backend.abandon([stuck, stuck])
    assert backend.abandoned == 1
    jobs = [Job(held=True) for _ in range(3)]
    backend.start(jobs)
    jobs[0].ran_on()
    jobs[1].ran_on()
    assert not jobs[2].began.is_set()
    for job in (stuck, *jobs):
        job.gate.set()


def test_more_slots(make):
    """After `resize` there may be more threads."""
    backend = make(1)
    jobs = [Job(held=True) for _ in range(3)]
    backend.start(jobs[:1])
    jobs[0].ran_on()
    backend.resize(3)
    backend.start(jobs[1:])
    assert len({job.ran_on() for job in jobs}) == 3
    for job in jobs:
        job.gate.set()


def test_fewer_slots(make):
    """Idle threads beyond the new number end at once, busy ones when their job is done."""
    backend = make(3)
    jobs = [Job(held=True) for _ in range(3)]
    backend.start(jobs)
    threads = [job.ran_on() for job in jobs]
    jobs[0].gate.set()
    idle(backend, 1)
    backend.resize(1)
    threads[0].join(WAIT)
    assert not threads[0].is_alive()
    jobs[1].gate.set()
    threads[1].join(WAIT)
    assert not threads[1].is_alive()
    jobs[2].gate.set()
    idle(backend, 1)
    last = Job()
    backend.start([last])
    assert last.ran_on() is threads[2]


def test_stop_ends_idle_threads_and_waits_for_busy_ones(make):
    """`stop` waits for the jobs that run."""
    backend = make(3)
    jobs = [Job(held=True) for _ in range(3)]
    backend.start(jobs)
    threads = [job.ran_on() for job in jobs]
    jobs[0].gate.set()
    idle(backend, 1)
    stopper = threading.Thread(target=backend.stop, args=(None,))
    stopper.start()
    threads[0].join(WAIT)
    assert not threads[0].is_alive()
    assert stopper.is_alive()
    for job in jobs:
        job.gate.set()
    stopper.join(WAIT)
    assert not stopper.is_alive()
    assert not any(thread.is_alive() for thread in threads)


def test_stop_waits_no_longer_than_it_is_told(make):
    """A thread that hangs does not hold `stop` up, and ends by itself later."""
    backend = make(1)
    job = Job(held=True)
    backend.start([job])
    thread = job.ran_on()
    backend.stop(0.01)
    assert thread.is_alive()
    job.gate.set()
    thread.join(WAIT)
    assert not thread.is_alive()


def test_stop_does_not_wait_for_abandoned_threads(make):
    """What nobody waits for is not waited for."""
    backend = make(1)
    job = Job(held=True)
    backend.start([job])
    job.ran_on()
    backend.abandon([job])
    stopper = threading.Thread(target=backend.stop, args=(None,))
    stopper.start()
    stopper.join(WAIT)
    assert not stopper.is_alive()
    job.gate.set()
    job.thread.join(WAIT)


def test_stop_from_a_thread_of_its_own(make, runner):
    """A job may stop the backend it runs on."""
    backend = make(2)
    stopped = threading.Event()

    class Stopper(Job):
        def __init__(self):
            super().__init__()
            self.gate = self

        def wait(self, _):
            backend.stop(None)
            stopped.set()
            return True

    backend.start([Stopper()])
    assert stopped.wait(WAIT)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.usefixtures("frantic")
def test_jobs_race_with_threads_that_become_idle(make, runner, slots):
    """However starting races with becoming idle, each job runs once, on no extra thread.

    Catches a `_rest` that looks for mail before it takes the lock.
    """
    backend = make(slots)
    before = threading.active_count()
    left = threading.Semaphore(0)
    ran = []

    def work(job, note):
        ran.append(job)
        left.release()

    runner.work = work
    total = 6000
    for n in range(0, total, slots):
        for job in range(n, n + slots):
            backend.start([job])
        for _ in range(slots):
            assert left.acquire(timeout=WAIT)
        assert threading.active_count() <= before + slots
    assert sorted(ran) == list(range(total))


class Watched(list):
    """A list of idle threads: lets something happen while it is being looked at."""

    def __init__(self, meanwhile):
        super().__init__()
        self._meanwhile = meanwhile

    def __len__(self):
        length = super().__len__()
        meanwhile, self._meanwhile = self._meanwhile, lambda: None
        meanwhile()
        return length


def test_a_thread_does_not_become_idle_while_a_job_is_given_out(make):
    """A job is not left for a thread that has just stopped looking.

    Catches a `start` without the lock.
    """
    backend = make(1)
    first, second = Job(held=True), Job()
    backend.start([first])
    first.ran_on()

    def meanwhile():
        first.gate.set()
        assert first.ended.wait(WAIT)
        # As it should be, the thread waits for the lock by now, so this waits in vain.
        pause = threading.Event()
        for _ in range(100):
            if list.__len__(backend._idle):
                return
            pause.wait(0.001)

    backend._idle = Watched(meanwhile)
    backend.start([second])
    assert second.ran_on() is first.thread
