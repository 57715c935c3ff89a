"""``guarded`` functions that threads call at once."""

import threading
import time

import pytest

from rxpool import AdaptiveConcurrency, CircuitBreaker, CircuitOpen, Retry, guarded
from rxpool.policies._breaker import breaker_door as door
from tests.policies.calls import Oops, Work, breaker
from tests.waiting import WAIT


def at_once(count, work):
    """Do *work* in so many threads, begun together."""
    together = threading.Barrier(count)

    def run(number):
        together.wait(WAIT)
        work(number)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive(), "a thread hangs"


@pytest.mark.usefixtures("frantic")
def test_threads_that_share_a_breaker_get_its_probes_and_no_more():
    """Caught: asking the breaker without its lock."""
    for _ in range(30):
        guard = breaker(
            wait_duration_in_open_state=0, permitted_number_of_calls_in_half_open_state=3
        )
        for _ in range(2):
            door(guard).failed(
                door(guard).admit(time.monotonic()), time.monotonic(), 0.0, Oops()
            )
        inside, refused = [], []
        go_on = threading.Event()

        def fn(inside=inside, go_on=go_on):
            inside.append(1)
            assert go_on.wait(WAIT)

        call = guarded(fn, breaker=guard, retry=2)

        def work(_, call=call, refused=refused, go_on=go_on):
            try:
                call()
            except CircuitOpen:
                refused.append(1)
                if len(refused) >= 5:
                    go_on.set()

        at_once(8, work)
        assert (len(inside), len(refused)) == (3, 5)
        assert guard.state == "closed"


@pytest.mark.usefixtures("frantic")
def test_all_calls_of_threads_are_counted_once():
    """Caught: recording without the lock, or twice."""
    guard = breaker(
        sliding_window_size=100_000, minimum_number_of_calls=100_000, record_exceptions=Oops
    )

    @guarded(breaker=guard, retry=Retry(2, delay=0), fallback=None)
    def fn(number):
        if number % 3 == 0:
            raise Oops
        return number

    at_once(4, lambda _: [fn(number) for number in range(600)])
    metrics = guard.metrics()
    assert (metrics.calls, metrics.failed) == (4 * (600 + 200), 4 * 400)


@pytest.mark.usefixtures("frantic")
def test_threads_share_a_budget_one_at_a_time():
    """Caught: asking the budget without the lock of the guard."""
    busy, overlaps, asked = threading.Lock(), [], []

    class Budget:
        def deposit(self, now):
            self.withdraw(now)

        def withdraw(self, now):
            free = busy.acquire(blocking=False)
            overlaps.extend([1] * (not free))
            time.sleep(0)
            asked.append(now)
            if free:
                busy.release()
            return True

    class Spied(Retry):
        def open_budget(self):
            return Budget()

    call = guarded(Work(Oops()), retry=Spied(2, delay=0), fallback=None)
    at_once(4, lambda _: [call() for _ in range(200)])
    assert len(asked) == 4 * 200 * 2
    assert overlaps == []


@pytest.mark.usefixtures("frantic")
def test_threads_share_places():
    """No more at once than there are; all get their turn."""
    limit = AdaptiveConcurrency(initial=2, most=2)
    lock, most, now, done = threading.Lock(), 0, 0, []

    @guarded(limit=limit, breaker=CircuitBreaker())
    def fn(number):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0)
        with lock:
            now -= 1
        return number

    at_once(8, lambda n: done.extend(fn(n) for _ in range(50)))
    assert most == 2
    assert sorted(done) == sorted(list(range(8)) * 50)
