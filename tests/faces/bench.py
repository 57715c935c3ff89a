"""`BatchProcessor` in virtual time."""

import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpool.faces import BatchProcessor

BOOM = RuntimeError("boom")


class Bench:
    """A processor in virtual time whose function notes when it gets what.

    *takes* is how long a batch takes; *answer* what it gives.
    """

    def __init__(self, answer=None, takes=0.0, **options):
        self.scheduler = TestScheduler()
        self.begun = []
        self.settled = []
        options.setdefault("max_delay", 100)
        answer = answer or (lambda items: [item * 10 for item in items])

        def fn(items):
            self.begun.append((self.now, items))
            results = answer(items)
            if not takes:
                return results
            timer = rx.timer(takes, scheduler=self.scheduler)
            return timer.pipe(rx_ops.flat_map(lambda _: rx.from_iterable(results)))

        self.processor = BatchProcessor(fn, scheduler=self.scheduler, **options)

    @property
    def now(self):
        return self.scheduler.to_seconds(self.scheduler.clock)

    def add(self, item):
        future = self.processor.add(item)
        future.add_done_callback(lambda future: self.note(item, future))
        return future

    def note(self, item, future):
        if future.cancelled():
            end = "cancelled"
        elif (error := future.exception()) is not None:
            end = error
        else:
            end = future.result()
        self.settled.append((self.now, item, end))

    def at(self, *steps):
        """Add each item at its tick, then let time pass."""
        futures = {}
        for tick, item in steps:
            self.scheduler.advance_to(tick)
            futures[item] = self.add(item)
        return futures

    def books(self):
        m = self.processor.metrics()
        assert m.accepted == m.succeeded + m.failed + m.cancelled + m.pending + m.running
        return m
