"""Laws of the state of ``batch``, on arbitrary items and times, against a small model."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from rxpool._core.state import FULL
from rxpool.operators._batch import BatchState
from tests.operators.drive import Drive, dated, keys, lates, steps, times

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
