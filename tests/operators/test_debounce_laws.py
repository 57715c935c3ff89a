"""Laws of the state of ``debounce``, on arbitrary items and times, against small models."""

from collections import deque
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from rxpool.operators._debounce import DebounceState
from tests.operators.drive import Drive, keys, lates, noted, steps, times

debounce_items = st.lists(st.tuples(steps, keys), max_size=40)
debounce_options = st.tuples(
    st.sampled_from([0.0, 0.5, 2.0, 3.0]),
    st.sampled_from([None, 0.0, 2.0, 3.5, 5.0]),
    st.sampled_from([(False, True), (True, False), (True, True)]),
)


class Lodash:
    """lodash 4's ``debounce`` without maxWait, line for line, on a clock of its own."""

    def __init__(self, wait, leading, trailing):
        self.wait, self.leading, self.trailing = wait, leading, trailing
        self.timer = self.last_call = self.last_args = None
        self.out = []

    def invoke(self, time):
        self.out.append((time, self.last_args))
        self.last_args = None

    def should_invoke(self, time):
        return self.last_call is None or time - self.last_call >= self.wait

    def call(self, time, item):
        # A call in the tick of the timer comes first here, and pushes the timer out.
        due = self.last_call is None or time - self.last_call > self.wait
        self.last_args, self.last_call = item, time
        if due and self.timer is None:
            self.timer = time + self.wait
            if self.leading:
                self.invoke(time)
        elif self.timer is None:
            self.timer = time + self.wait

    def timer_expired(self):
        time, self.timer = self.timer, None
        if not self.should_invoke(time):
            self.timer = self.last_call + self.wait
            return
        if self.trailing and self.last_args is not None:
            self.invoke(time)
        self.last_args = None

    def run(self, events):
        for time, item in events:
            while self.timer is not None and self.timer < time:
                self.timer_expired()
            self.call(time, item)
        while self.timer is not None:
            self.timer_expired()
        return self.out


@given(st.lists(steps, max_size=40), debounce_options, st.booleans())
def test_debounce_is_lodash(moves, options, fast):
    """Without max_wait: the same calls at the same times as lodash's own code."""
    wait, _, (leading, trailing) = options
    events = [(at, number) for number, at in enumerate(times(moves))]
    drive = Drive(DebounceState(wait, None, leading, trailing), fast=fast)
    for at, number in events:
        drive.offer(at, number, None)
    drive.until(inf)
    assert drive.out == Lodash(wait, leading, trailing).run(events)


def debounced_expected(events, wait, max_wait, leading, trailing):
    """What comes out when, for one key, found by looking at every half second."""
    longest = inf if max_wait is None else max(wait, max_wait)
    out, now, last, base, pending = [], 0.0, None, None, []
    left = deque(events)
    while left or last is not None:
        while left and left[0][0] == now:
            _, item = left.popleft()
            if last is None:  # the first of a burst
                base = now
                if leading:
                    out.append((now, item))
                else:
                    pending = [item]
            elif trailing:
                pending = [item]
            elif wait and now - base >= longest:  # the first of a burst in disguise
                base = now
                out.append((now, item))
            last = now
        if last is not None and (now - last >= wait or (pending and now - base >= longest)):
            out += [(now, item) for item in pending]
            pending, base = [], now
            if now - last >= wait:
                last = None
        now += 0.5
    return out


@given(debounce_items, debounce_options, st.booleans())
def test_debounce_is_that_of_the_model(items, options, fast):
    """With max_wait and keys: the items of the model at the times of the model."""
    wait, max_wait, (leading, trailing) = options
    born = times(s for s, _ in items)
    drive = Drive(DebounceState(wait, max_wait, leading, trailing), fast=fast)
    for number, (_, key) in enumerate(items):
        drive.offer(born[number], number, key)
    drive.until(inf)
    for key in ("a", "b", None):
        mine = [(born[n], n) for n, item in enumerate(items) if item[1] == key]
        got = [(at, n) for at, n in drive.out if items[n][1] == key]
        assert got == debounced_expected(mine, wait, max_wait, leading, trailing)
    assert drive.out == sorted(drive.out, key=lambda pair: pair[0])


@given(debounce_items, debounce_options, lates, st.booleans(), st.booleans())
def test_debounced_items_have_one_fate(items, options, late, fast, finish):
    """Each comes out once, in order of its key, or is counted; none waits too long."""
    wait, max_wait, (leading, trailing) = options
    born = times(s for s, _ in items)
    state = DebounceState(wait, max_wait, leading, trailing, notes=True)
    drive = Drive(state, late, fast)
    for number, (_, key) in enumerate(items):
        drive.offer(born[number], number, key)
    held = state.held
    if finish:
        state.finish(drive.now)
        drive.fetch()
        cleared = 0
    else:
        cleared = state.clear()
        assert cleared == held
    assert (state.held, state.due) == (0, None)
    numbers = [number for _, number in drive.out]
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) + cleared + noted(state) == len(items)
    for key in ("a", "b", None):
        mine = [number for number in numbers if items[number][1] == key]
        assert mine == sorted(mine)
    for at, number in drive.out:
        assert at - born[number] <= wait + late


@given(debounce_items, debounce_options, lates, st.booleans())
def test_the_last_item_of_a_burst_always_comes_out(items, options, late, fast):
    """With a trailing edge no burst ends without its last item."""
    wait, max_wait, (leading, _) = options
    born = times(s for s, _ in items)
    drive = Drive(DebounceState(wait, max_wait, leading, True), late, fast)
    for number, (_, key) in enumerate(items):
        drive.offer(born[number], number, key)
    drive.until(inf)
    got = {number for _, number in drive.out}
    for key in ("a", "b", None):
        mine = [n for n, item in enumerate(items) if item[1] == key]
        for one, two in zip(mine, [*mine[1:], None], strict=False):
            if two is None or born[two] - born[one] > wait:
                assert one in got
