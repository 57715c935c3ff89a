"""Laws of the pure states, on arbitrary items and times, against small reference models."""

from collections import defaultdict, deque
from itertools import accumulate, cycle
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool._core.rate_limiters import SlidingLog, TokenBucket
from rxpool._core.state import FULL
from rxpool.operators._batch import BatchState
from rxpool.operators._debounce import DebounceState
from rxpool.operators._throttle_state import ThrottleState

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


# -- batch ---------------------------------------------------------------------

batch_items = st.lists(st.tuples(steps, keys, st.sampled_from([0, 1, 2, 5, 9])), max_size=40)
batch_options = st.tuples(
    st.sampled_from([None, 1, 2, 3, 7]),
    st.sampled_from([None, 0.5, 1.0, 3.0, 10.0]),
    st.sampled_from([None, 4, 6]),
)


def batches_expected(events, size, delay, heaviest):
    """Batches and the times they come out: a list of open ones, looked at for each item."""
    opened, out = [], []  # (key, time of the first, items, weight)

    def close(batch, at):
        opened.remove(batch)
        out.append((at, batch[2]))

    for number, (at, key, weight) in enumerate(events):
        for batch in list(opened):
            if delay is not None and batch[1] + delay < at:
                close(batch, batch[1] + delay)
        mine = next((batch for batch in opened if batch[0] == key), None)
        if mine and heaviest is not None and mine[3] + weight > heaviest:
            close(mine, at)
            mine = None
        if mine is None:
            mine = [key, at, [], 0]
            opened.append(mine)
        mine[2].append(number)
        mine[3] += weight
        if len(mine[2]) == size or (heaviest is not None and mine[3] > heaviest):
            close(mine, at)
    end = events[-1][0] if events else 0.0
    for batch in list(opened):
        close(batch, end)
    return out


@given(batch_items, batch_options, st.booleans())
def test_batches_are_those_of_the_model(items, options, fast):
    """Every batch holds exactly what it should and leaves exactly when it should."""
    size, delay, heaviest = options
    events = dated(items)
    drive = Drive(BatchState(size, delay, heaviest), fast=fast)
    for number, (at, key, weight) in enumerate(events):
        plain = key is None and heaviest is None
        drive.offer(at, number, None if plain else (key, weight))
    drive.finish()
    assert drive.out == batches_expected(events, size, delay, heaviest)


@given(batch_items, batch_options, lates, st.data())
def test_batches_lose_and_exceed_nothing(items, options, late, data):
    """One item one batch, in order of its key; none empty, none over a limit, none too old."""
    size, delay, heaviest = options
    state = BatchState(size, delay, heaviest)
    drive = Drive(state, late)
    born = times(s for s, _, _ in items)
    for number, (_, key, weight) in enumerate(items):
        drive.offer(born[number], number, (key, weight))
        if data.draw(st.sampled_from([False] * 9 + [True])):
            state.flush()
            drive.fetch()
        assert state.held == number + 1 - sum(len(batch) for _, batch in drive.out)
    drive.finish()
    seen = defaultdict(list)
    for at, batch in drive.out:
        assert batch
        assert size is None or len(batch) <= size
        weights = [items[number][2] for number in batch]
        assert heaviest is None or sum(weights) <= heaviest or len(batch) == 1
        (key,) = {items[number][1] for number in batch}
        seen[key] += batch
        if delay is not None:
            assert at - born[batch[0]] <= delay + late
    for key, numbers in seen.items():
        assert numbers == [n for n, item in enumerate(items) if item[1] == key]
    assert sum(map(len, seen.values())) == len(items)
    assert (state.held, state.due) == (0, None)


@given(st.lists(st.tuples(st.booleans(), keys), max_size=40), st.sampled_from([1, 2, 3]))
def test_a_slow_subscriber_bounds_what_is_held(moves, size):
    """With a closed batch waiting nothing is taken; it is taken when that is fetched."""
    state, taken, given_ = BatchState(size), 0, 0
    for fetch, key in moves:
        if fetch:
            if state.ready:
                given_ += len(state.ready.popleft())
            continue
        full = bool(state.ready)
        assert (state.offer(taken, 0.0, (key, 0.0)) == FULL) == full
        taken += not full
    assert state.held == taken - given_
    assert state.clear() == taken - given_
    assert (state.held, state.due, list(state.ready)) == (0, None, [])


# -- throttle ------------------------------------------------------------------

throttle_items = st.lists(
    st.tuples(steps, keys, st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0, 2.0, 5.0])), max_size=30
)
bounds = st.sampled_from([(999, "block"), (0, "drop_newest"), (0, "drop_oldest")])
more_bounds = st.tuples(
    st.sampled_from([1, 2, 3]), st.sampled_from(["drop_newest", "drop_oldest"])
)


def throttled_expected(events, interval, burst, cooldown, most, policy):
    """What leaves when, found by looking at every half second; no heap, no due times."""

    class Bucket:
        def __init__(self, now):
            self.tokens, self.at, self.blocked = burst, now, now
            self.waiting = deque()

        def fill(self, now):
            self.tokens += (now - self.at) / interval
            self.at = now

        def try_to_take(self, cost, now):
            self.fill(now)
            if self.tokens < cost or now < self.blocked:
                return False
            self.tokens = min(self.tokens, max(burst, cost)) - cost
            if cooldown and self.tokens < 1:
                self.blocked = now + cooldown
            return True

    buckets, out, now = {}, [], 0.0
    left = deque(enumerate(events))
    while left or any(bucket.waiting for bucket in buckets.values()):
        while left and left[0][1][0] == now:
            number, (_, key, cost) = left.popleft()
            bucket = buckets.setdefault(key, Bucket(now))
            if not bucket.waiting:
                bucket.fill(now)
                bucket.tokens = min(bucket.tokens, burst)
                if bucket.try_to_take(cost, now):
                    out.append((now, number))
                    continue
            waiting = sorted(n for b in buckets.values() for n, _ in b.waiting)
            if len(waiting) >= most:
                if policy == "drop_newest" or not waiting:
                    continue
                for other in buckets.values():
                    if other.waiting and other.waiting[0][0] == waiting[0]:
                        other.waiting.popleft()
            bucket.waiting.append((number, cost))
        while True:
            heads = sorted(
                ((b.waiting[0][0], b) for b in buckets.values() if b.waiting),
                key=lambda head: head[0],
            )
            for number, bucket in heads:
                if bucket.try_to_take(bucket.waiting[0][1], now):
                    bucket.waiting.popleft()
                    out.append((now, number))
                    break
            else:
                break
        now += 0.5
    return out


@given(
    throttle_items,
    st.sampled_from([1.0, 2.0, 4.0]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]),
    st.sampled_from([0.0, 0.0, 1.0, 5.0]),
    bounds | more_bounds,
    st.booleans(),
)
def test_items_leave_as_soon_as_they_can(items, interval, burst, cooldown, bound, fast):
    """Exactly the items of the model leave, at exactly its times, in its order."""
    if interval == 1.0:  # the model looks at half seconds only
        items = [(s, k, float(round(c))) for s, k, c in items]
        burst = float(round(burst))
    most, policy = bound
    events = dated(items)
    state = ThrottleState(
        1.0, per=interval, burst=burst, cooldown=cooldown, max_pending=most, overflow=policy
    )
    drive = Drive(state, fast=fast)
    for number, (at, key, cost) in enumerate(events):
        drive.offer(at, number, None if key is None and cost == 1 else (key, cost))
    drive.finish()
    expected = throttled_expected(events, interval, burst, cooldown, most, policy)
    assert drive.out == expected


@given(
    throttle_items,
    st.sampled_from([1.0, 3.0, 10.0]),
    st.sampled_from([0.0, 1.0, 4.0]),
    st.sampled_from([0.0, 0.01, 0.05, 1.0]),
    st.sampled_from([0.1, 1.0]),
)
def test_a_bucket_admits_at_most_burst_and_rate(items, rate, burst, late, scale):
    """In any window: never more than burst, or one item's cost, and what flows in meanwhile.

    A timer that is late is forgiven for up to 0.05 seconds.
    """
    drive = Drive(ThrottleState(rate, burst=burst), late)
    for number, at in enumerate(times(s * scale for s, _, _ in items)):
        drive.offer(at, number, (None, items[number][2]))
    drive.finish()
    assert [number for _, number in drive.out] == list(range(len(items)))
    for first in range(len(drive.out)):
        total = 0.0
        for at, number in drive.out[first:]:
            cost = items[number][2]
            total += cost
            most = max([burst, *(items[n][2] for _, n in drive.out[first : number + 1])])
            window = at - drive.out[first][0] + min(late, 0.05) + 2e-6
            assert total <= most + rate * window + 1e-6


@given(
    throttle_items,
    st.sampled_from([1.0, 2.0, 2.5, 5.0]),
    st.sampled_from([1.0, 3.0, 0.3]),
    st.sampled_from([0.0, 0.2, 4.0]),
    st.sampled_from([0.0, 0.0, 1.0, 5.0]),
)
def test_strict_never_admits_more_than_rate(items, rate, per, late, cooldown):
    """In no window of `per` seconds leaves more than `rate`, however late timers are."""
    items = [(step, key, min(cost, rate)) for step, key, cost in items]
    state = ThrottleState(rate, per=per, strict=True, cooldown=cooldown)
    drive = Drive(state, late)
    for number, at in enumerate(times(s for s, _, _ in items)):
        drive.offer(at, number, (None, items[number][2]))
    drive.finish()
    assert [number for _, number in drive.out] == list(range(len(items)))
    for at, _ in drive.out:
        inside = [n for then, n in drive.out if at - per + 2e-9 < then <= at]
        assert sum(items[n][2] for n in inside) <= rate + 1e-9


@given(
    throttle_items,
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0, 1.6, 5.0]), min_size=1),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.sampled_from([1.0, 3.0]),
    st.sampled_from([0, 2, 100]),
)
def test_strict_counts_where_items_come_out(items, stalls, rate, per, most):
    """However long anything takes between the admission of an item and its end."""
    items = [(step, key, min(cost, rate)) for step, key, cost in items]
    state = ThrottleState(rate, per=per, strict=True, max_pending=most, overflow="drop_newest")
    out, now, stall = [], 0.0, cycle(stalls)

    def fetch():
        nonlocal now
        while state.ready:
            number = state.ready.popleft()
            now += next(stall)
            out.append((now, number))
            now += next(stall)
            state.delivered(now)

    def ring_until(then):
        nonlocal now
        while (due := state.due) is not None and due < then:
            now = max(now, due)
            state.expire(now)
            fetch()

    for number, at in enumerate(times(step for step, *_ in items)):
        ring_until(at)
        now = max(now, at)
        state.offer(number, now, items[number][1:])
        if number % 3:  # somebody else delivers, a moment later
            fetch()
    fetch()
    ring_until(inf)
    assert not state.held
    for key in {key for _, key, _ in items}:
        mine = [(at, items[n][2]) for at, n in out if items[n][1] == key]
        for at, _ in mine:
            inside = [cost for then, cost in mine if at - per + 2e-9 < then <= at]
            assert sum(inside) <= rate + 1e-9


@given(
    st.lists(st.tuples(steps, keys, st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])), max_size=30),
    st.sampled_from([1.0, 4.0, 4.0, 5.0]),
    st.sampled_from([3.0, 8.0, 20.0]),
    st.sampled_from([0.0, 0.0, 1.0, 5.0]),
)
def test_strict_lets_items_leave_at_the_first_instant(items, rate, per, cooldown):
    """Each item leaves when the window has room for it, not later."""
    items = [(step, key, min(cost, rate)) for step, key, cost in items]
    drive = Drive(ThrottleState(rate, per=per, strict=True, cooldown=cooldown))
    expected, blocked = [], 0.0
    for number, at in enumerate(times(s for s, _, _ in items)):
        cost = items[number][2]
        drive.offer(at, number, (None, cost))
        soonest = max([at, blocked, *(then for then, _ in expected[-1:])])
        for leave in sorted({soonest, *(then + per for then, _ in expected)}):
            inside = sum(items[n][2] for then, n in expected if leave - per < then)
            if leave >= soonest and inside + cost <= rate:
                break
        expected.append((leave, number))
        if cooldown and rate - inside - cost < 1:
            blocked = leave + cooldown
    drive.finish()
    assert drive.out == expected


@given(throttle_items, bounds | more_bounds, lates, st.booleans(), st.booleans())
def test_throttled_items_have_one_fate(items, bound, late, strict, finish):
    """Each comes out once, in order of its key, or is counted; no bound is exceeded."""
    most, policy = bound
    state = ThrottleState(
        5.0, per=10.0, strict=strict, max_pending=most, overflow=policy, notes=True
    )
    drive = Drive(state, late)
    for number, at in enumerate(times(s for s, _, _ in items)):
        _, key, cost = items[number]
        drive.offer(at, number, (key, cost))
        assert state.held <= most
        assert len(drive.out) + state.held + noted(state) == number + 1
    cleared = 0
    if finish:
        drive.finish()
    else:
        cleared = state.clear()
    assert (state.held, state.due) == (0, None)
    assert len(drive.out) + cleared + noted(state) == len(items)
    numbers = [number for _, number in drive.out]
    assert len(set(numbers)) == len(numbers)
    for key in ("a", "b", None):
        mine = [number for number in numbers if items[number][1] == key]
        assert mine == sorted(mine)
    assert len([n for n in state.notes if n[0] == "rxpool.throttle.wait"]) == len(drive.out)


@given(
    throttle_items,
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0.0, 1.0, 4.0]),
    st.booleans(),
    lates,
)
def test_a_producer_that_waits_gets_all_items_through(items, most, burst, strict, late):
    """With ``"block"`` an item that is refused is taken when room was promised."""
    state = ThrottleState(5.0, per=10.0, burst=burst, strict=strict, max_pending=most)
    drive = Drive(state, late)
    for number, at in enumerate(times(s for s, _, _ in items)):
        _, key, cost = items[number]
        drive.offer(max(at, drive.now), number, (key, cost))
        assert state.held <= most
    drive.finish()
    assert sorted(number for _, number in drive.out) == list(range(len(items)))


@given(st.lists(st.tuples(steps, st.sampled_from([0.0, 1.0, 3.0])), max_size=40))
def test_a_bucket_never_holds_more_than_burst(moves):
    """However long it rests; and it is full exactly from `rested` on."""
    bucket, now = TokenBucket(interval=1.0, burst=3.0, cooldown=0.0, now=0.0), 0.0
    for step, cost in moves:
        now += step
        bucket.settle(now)
        held = now - bucket.empty
        assert held <= 3.0
        assert (held == 3.0) == (bucket.rested() <= now)
        if bucket.due(cost) <= now:
            bucket.take(cost, now, now)
            assert now - bucket.empty == held - cost


@given(st.lists(steps, max_size=40))
def test_a_log_forgets_what_left_its_window(moves):
    """It remembers the admissions of one window and no more."""
    log, now = SlidingLog(rate=3, per=5.0, cooldown=0.0, now=0.0), 0.0
    for step in moves:
        now = max(now + step, log.due(1.0))
        log.take(1.0, now, now)
        assert len(log.log) <= 3
        assert log.rested() == now + 5.0


# -- debounce ------------------------------------------------------------------

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
