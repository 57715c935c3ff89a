"""`Lifecycle`: states, and what is to be cut next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpool.pool._state.lifecycle import Lifecycle

ORDER = ("open", "draining", "terminated", "closed")


@pytest.mark.parametrize(
    ("path", "answers"),
    [
        (("draining", "closed"), (True, True)),
        (("terminated", "closed"), (True, True)),
        (("draining", "terminated", "closed"), (True, True, True)),
        (("draining", "draining"), (True, False)),
        (("terminated", "draining"), (True, False)),
        (("terminated", "terminated"), (True, False)),
        (("closed", "draining", "terminated"), (True, False, False)),
    ],
)
def test_states(path, answers):
    """It goes forward only, and says whether it did."""
    life = Lifecycle()
    assert tuple(map(life.enter, path)) == answers


@given(st.lists(st.sampled_from(ORDER[1:])))
def test_there_is_no_way_back(path):
    """The state never goes down, and whether it was hard is never forgotten."""
    life = Lifecycle()
    for state in path:
        before = life.state
        moved = life.enter(state)
        assert moved == (life.state != before)
        assert ORDER.index(life.state) >= ORDER.index(before)
        assert life.hard == (
            life.state == "terminated" or (life.state == "closed" and life.hard)
        )
    if "terminated" in path and "closed" not in path[: path.index("terminated")]:
        assert life.hard


@pytest.mark.parametrize(
    ("feeders", "steps"),
    [
        ({"a": [], "b": []}, [["a", "b"]]),  # idle flows: all at once
        ({"a": [], "b": ["a"], "c": ["a"]}, [["a"], ["b", "c"]]),  # shared
        ({"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}, [["a"], ["b", "c"], ["d"]]),
        ({"a": ["a"]}, [["a"]]),  # a subscriber that feeds its own flow
        ({"a": ["b"], "b": ["a"]}, [["a", "b"]]),  # a circle that is at rest
        ({"x": [], "a": ["b", "x"], "b": ["a"]}, [["x"], ["a", "b"]]),
        ({"a": ["b"], "b": ["a"], "c": ["b"]}, [["a", "b"], ["c"]]),
        ({"a": ["gone"]}, [["a"]]),  # what does not live feeds nothing
    ],
)
def test_what_is_cut_when(feeders, steps):
    """From the top: each once all that lives and may feed it has ended."""
    life = Lifecycle()
    assert life.to_cut(feeders) == []  # not while it is open
    life.enter("draining")
    for step in steps:
        assert life.to_cut(feeders) == step
        assert life.to_cut(feeders) == []  # each is answered once
        feeders = {node: above for node, above in feeders.items() if node not in step}
    assert feeders == {}


def test_a_circle_is_waited_for():
    """Until it is at rest, or there is no more patience: then the first goes first."""
    life = Lifecycle()
    life.enter("draining")
    circle = {"a": ["c"], "b": ["a"], "c": ["b"], "d": ["c"]}
    assert life.to_cut(circle, busy={"b"}) == []
    assert life.to_cut(circle, busy={"b"}, patient=False) == ["a"]
    assert life.to_cut(circle, busy={"b"}, patient=False) == []
    del circle["a"]
    assert life.to_cut(circle, busy={"b"}) == ["b"]


def test_what_is_held_up_is_not_cut():
    """Something is on its way to it, though nothing that lives feeds it."""
    life = Lifecycle()
    life.enter("draining")
    assert life.to_cut({"a": [], "b": []}, held_up={"b"}) == ["a"]
    assert life.to_cut({"b": []}, held_up={"b"}) == []
    assert life.to_cut({"b": []}) == ["b"]


def test_a_terminated_pool_cuts_nothing():
    """It cancels."""
    life = Lifecycle()
    life.enter("draining")
    life.enter("terminated")
    assert life.to_cut({"a": []}) == []


graphs = st.integers(1, 8).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, size - 1), max_size=4), min_size=size, max_size=size
    )
)


@given(graphs, st.randoms(use_true_random=False))
def test_every_graph_is_cut(above, chance):
    """However nodes end, each is cut once, none before all that feeds it and is in no circle
    with it, and in the end none is left."""
    life = Lifecycle()
    life.enter("draining")
    live = {node: list(feeding) for node, feeding in enumerate(above)}
    cut = set()
    while live:
        for node in life.to_cut(live):
            assert node not in cut
            cut.add(node)
            for feeder in live[node]:
                if feeder in live and feeder != node:
                    assert leads(live, node, feeder), "what feeds it still lives"
        ending = sorted(cut & live.keys())
        assert ending, "nothing is going to end"
        del live[chance.choice(ending)]


def leads(above, node, other):
    """Whether *node* feeds *other*, directly or not."""
    seen, rest = set(), [other]
    while rest:
        each = rest.pop()
        if each in seen:
            continue
        seen.add(each)
        rest += [feeder for feeder in above.get(each, ()) if feeder in above]
    return node in seen
