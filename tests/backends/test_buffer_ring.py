"""The ring of buffers in shared memory."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.channel_parts import SIZE, Ring

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, SIZE + 100)),
        st.tuples(st.just("put"), st.integers(1, SIZE // 5)),
        st.tuples(st.just("free"), st.integers(1, 4)),
        st.tuples(st.just("forget"), st.lists(st.integers(1, SIZE // 3), max_size=4)),
    ),
    max_size=80,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_what_is_put_stays_until_it_is_freed(steps):
    """Whatever is put, freed and taken back, in any order, around the end and back."""
    ring = Ring()
    for step, argument in steps:
        if step == "put":
            ring.put(argument)
        elif step == "free":
            ring.free(argument)
        else:  # a message that is not sent after all
            mark, before = ring.buffers.count, len(ring.live)
            for size in argument:
                ring.put(size)
            ring.check()
            ring.buffers.take_back(mark)
            del ring.live[before:]
        ring.check()
    ring.free(len(ring.live))
    assert ring.put(SIZE) is not None  # all of it is free again
    ring.check()


def test_a_full_ring_says_so():
    """Nothing is put that does not fit; there is room when the oldest goes."""
    ring = Ring(1024)
    for _ in range(4):
        assert ring.put(256) is not None
    assert ring.put(1) is None
    ring.free(1)
    assert ring.put(257) is None
    assert ring.put(256) is not None
    ring.check()
    assert Ring(1024).put(1025) is None


def test_room_between_small_buffers_is_used():
    """A few buffers at a time fit for ever, wherever the last ones lay."""
    ring = Ring(1024)
    for _ in range(200):
        assert ring.put(400) is not None
        assert ring.put(400) is not None
        ring.check()
        ring.free(2)
