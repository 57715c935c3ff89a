"""`CircuitBreaker` among threads."""

import threading
import time
from itertools import pairwise

import pytest

from rxpool.policies import CircuitBreaker
from rxpool.policies._breaker import breaker_door as door
from tests.policies.tripping import BOOM, trip, tripping


def together(*jobs):
    """Run *jobs* at once; their errors come out."""
    errors, gate = [], threading.Barrier(len(jobs))

    def work(job):
        gate.wait()
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("kind", ["count", "time"])
def test_no_result_is_lost_between_threads(kind):
    """The sums are exact, whoever reports at the same time."""
    breaker = CircuitBreaker(sliding_window_type=kind, sliding_window_size=100_000)
    breaker.transition_to_metrics_only()
    permit, each, now = door(breaker).admit(0.0), 3000, time.monotonic()

    def report():
        for call in range(each):
            if call % 3:
                door(breaker).succeeded(permit, now, 0.0)
            else:
                door(breaker).failed(permit, now, 99.0, BOOM)

    together(*[report] * 4)
    metrics = breaker.metrics()
    assert (metrics.calls, metrics.failed, metrics.slow) == (4 * each, 4000, 4000)


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("fails", [False, True])
def test_it_opens_once(fails):
    """Of those who report what opens it, one does, and the others come too late."""
    for _ in range(60):
        asked = []
        breaker = CircuitBreaker(
            failure_rate_threshold=0.01,
            sliding_window_size=100,
            minimum_number_of_calls=40,
            wait_duration_in_open_state=lambda n, asked=asked: asked.append(n) or 1.0,
        )
        permit = door(breaker).admit(0.0)
        door(breaker).failed(permit, 0.0, 0.0, BOOM)

        def report(breaker=breaker, permit=permit):
            for _ in range(20):
                if fails:
                    door(breaker).failed(permit, 0.0, 0.0, BOOM)
                else:
                    door(breaker).succeeded(permit, 0.0, 0.0)

        together(*[report] * 4)
        door(breaker).publish()
        assert (breaker.state, asked, breaker.metrics().calls) == ("open", [1], 40)


@pytest.mark.usefixtures("frantic")
def test_threads_share_the_probes():
    """However many ask at once, as many get a permit as there are."""
    for _ in range(30):
        breaker = tripping(permitted_number_of_calls_in_half_open_state=50)
        trip(breaker)
        got = []

        def ask(breaker=breaker, got=got):
            for _ in range(40):
                if (permit := door(breaker).admit(60.0)) >= 0:
                    got.append(permit)

        together(*[ask] * 4)
        assert len(got) == len(set(got)) == 50


@pytest.mark.usefixtures("frantic")
def test_changes_come_one_by_one_and_in_order():
    """Each begins where the one before ended, on whatever thread it is told."""
    for _ in range(8):
        breaker = tripping(wait_duration_in_open_state=0.0)
        changes, inside, overlaps = [], threading.Lock(), []

        def hear(event, changes=changes, inside=inside, overlaps=overlaps):
            if not inside.acquire(blocking=False):
                overlaps.append(event)
                return
            time.sleep(0)  # let the others try
            changes.append((event.before, event.after))
            inside.release()

        breaker.events.subscribe(hear)

        def work(breaker=breaker):
            for _ in range(20):  # no more changes than are kept for a slow subscriber
                trip(breaker, 1.0)
                breaker.close()
                breaker.force_open()

        together(*[work] * 4)
        assert overlaps == []
        assert changes[0][0] == "closed"
        for (_, after), (before, _) in pairwise(changes):
            assert after == before
        assert breaker.state == changes[-1][1]
