"""How many items go to a process at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpool.backends import _chunk_size
from rxpool.backends._chunk_size import ChunkSize


def test_the_first_item_goes_alone():
    """Nothing is known of it yet."""
    chunks = ChunkSize()
    assert chunks.chunk() == 1
    assert chunks.more(0) == 0
    assert not chunks.short


@given(st.lists(st.floats(1e-8, 10), min_size=1, max_size=20), st.floats(1, 1e6))
def test_a_chunk_is_bounded_in_time_and_bytes(durations, size):
    """At the measured duration and size; and in number, and in how fast it grows."""
    chunks = ChunkSize()
    last = 1
    for seconds in durations:
        chunks.ran(1, seconds)
        for _ in range(5):
            chunks.weighed(1, int(size))
        known = [max(1e-7, each) for each in durations]
        assert min(known) * 0.999 <= chunks._seconds <= max(known) * 1.001
        items = chunks.chunk()
        assert 1 <= items <= min(_chunk_size._MOST, last * _chunk_size._GROWTH)
        if items > 1:
            assert items * chunks._seconds <= _chunk_size._CHUNK
            assert items * chunks._bytes <= _chunk_size._BYTES
        last = items


def test_slower_items_count_at_once():
    """One slow item, and chunks are small; it takes several quick ones to trust them again."""
    chunks = ChunkSize()
    for _ in range(50):
        chunks.ran(100, 100e-6)
        chunks.chunk()
    assert chunks.chunk() > 1000
    chunks.ran(1, 0.02)
    assert chunks.chunk() == 1
    assert chunks.more(0) == 0
    chunks.ran(1, 1e-6)
    assert chunks.chunk() <= 1


def test_long_items_are_looked_at_later():
    """Patience is never less than what other items take."""
    chunks = ChunkSize()
    assert chunks.slow_after == pytest.approx(0.01)
    chunks.ran(1, 2.0)
    assert chunks.slow_after >= 2.0
