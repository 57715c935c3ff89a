"""Laws of `QueueState`, on arbitrary steps and times."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.faces._future import CANCELLED, PENDING
from rxpool.faces._queue import QueueState


class Call:
    """All that the state looks at."""

    def __init__(self, number, at):
        self.number = number
        self.at = at
        self._state = PENDING


STEPS = st.lists(
    st.tuples(
        st.floats(0, 3),
        st.sampled_from(["add", "add", "add", "end", "fail", "cancel", "flush"]),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 4), st.floats(0.5, 4), st.integers(1, 3))
def test_laws(steps, size, delay, places):
    """No batch is over its size nor empty, never more run than places; what is due is given
    when it is due; calls come in order, each once, but for those tried again."""
    queue, now, calls, taken, running = QueueState(size, delay, places), 0.0, [], [], []
    flushed = 0

    def take():
        while (batch := queue.take(now)) is not None:
            assert 0 < len(batch.calls) <= size
            assert batch.since <= now
            if batch.attempts == 1:
                taken.extend(batch.calls)
                oldest = batch.calls[0].at
                full = len(batch.calls) == size
                assert full or now >= oldest + delay or batch.calls[-1].number < flushed
            else:
                assert now >= batch.failed_at
            running.append(batch)
        assert len(queue.running) == len(running) <= places

    for gap, step in steps:
        end = now + gap
        while (due := queue.due) is not None and due <= end:
            now = max(now, due)
            before = queue.due
            take()
            assert len(running) == places or queue.due is None or queue.due > now, before
        now = end
        if step == "add":
            calls.append(Call(len(calls), now))
            queue.filling.offer(calls[-1], now, None, True)
        elif step in ("end", "fail") and running:
            batch = running.pop(0)
            assert queue.end(batch)
            assert not queue.end(batch)
            if step == "fail":
                batch.failed_at = now + 1
                queue.repeat(batch, now + 1)
        elif step == "cancel" and len(taken) < len(calls):
            calls[len(taken)]._state = CANCELLED  # stays in its batch until that is taken
            queue.cancelled(len(calls))
        elif step == "flush":
            flushed = len(calls)
            queue.flush()
        take()
        assert taken == calls[: len(taken)]
    fresh, old = queue.clear()
    assert fresh == calls[len(taken) :]
    assert set(old) <= set(taken)
    assert queue.idle
    assert queue.due is None


def test_while_all_places_are_taken_the_open_batch_goes_on_filling():
    """And is not closed by its age before there is a place."""
    queue = QueueState(9, 1.0, 1)
    first, second, third = (Call(n, 0) for n in range(3))
    queue.filling.offer(first, 0.0, None, True)
    running = queue.take(1.0)
    queue.filling.offer(second, 2.0, None, True)
    assert queue.due is None
    assert queue.take(5.0) is None
    assert queue.filling.absorb(third, 5.0)
    queue.end(running)
    assert queue.due == 3.0
    assert queue.take(5.0).calls == [second, third]
