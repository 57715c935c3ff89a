"""Pure states driven through arbitrary items and times."""

from itertools import accumulate
from math import inf

from hypothesis import settings
from hypothesis import strategies as st

from rxpool._core.state import FULL

settings.register_profile("states", max_examples=150, deadline=None)
settings.load_profile("states")


class Drive:
    """Drives a state as a stage does: items in the order of time, each before a timer that
    is due at its tick; timers ring *late* seconds after they are due.

    `out` is what came out and when.  With *fast* the short cut of the state is tried first.
    """

    def __init__(self, state, late=0.0, fast=False):
        self.state = state
        self.late = late
        self.fast = fast
        self.now = 0.0
        self.out = []

    def fetch(self):
        while self.state.ready:
            self.out.append((self.now, self.state.ready.popleft()))
            if (delivered := getattr(self.state, "delivered", None)) is not None:
                delivered(self.now)

    def until(self, time):
        """Ring what is due before *time*."""
        while (due := self.state.due) is not None and max(due + self.late, self.now) < time:
            self.ring(due)
        self.now = max(self.now, time)

    def ring(self, due):
        self.now = max(due + self.late, self.now)
        self.state.expire(self.now)
        self.fetch()

    def offer(self, time, item, extra):
        self.until(time)
        if self.fast and extra is None:
            if (admit := getattr(self.state, "admit", None)) is not None:
                if admit(self.now):
                    self.out.append((self.now, item))
                    return
            elif self.state.absorb(item, self.now):
                return
        rounds = 0
        while self.state.offer(item, self.now, extra) == FULL:
            rounds += 1
            assert rounds < 1000, "there is never room"
            retry, due = self.state.retry_at(extra), self.state.due
            at = min(inf if retry is None else retry, inf if due is None else due + self.late)
            assert at < inf, "nothing would ever make room"
            self.now = max(self.now, at)
            self.state.expire(self.now)
            self.fetch()
        self.fetch()

    def finish(self):
        self.state.finish(self.now)
        self.fetch()
        self.until(inf)


def noted(state, name="rxpool.dropped"):
    return sum(value for note, value, *_ in state.notes if note == name)


def times(steps):
    return list(accumulate(steps))


def dated(items):
    """The items with times in place of steps."""
    born = times(step for step, *_ in items)
    return [(at, *rest) for at, (_, *rest) in zip(born, items, strict=True)]


steps = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 8.0, 20.0])
keys = st.sampled_from(["a", "b", None])
lates = st.sampled_from([0.0, 0.0, 0.25, 1.0, 7.0])
