"""The law of the ends holds for whatever graph flows are in."""

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ends.graphs import ENDINGS, NODES, WAYS, Node, Plan, run

EXAMPLES = int(os.environ.get("RXPOOL_GRAPHS", "300"))  #: 100,000 have been run

indices = st.integers(0, 20)
nodes = st.builds(
    Node,
    st.sampled_from(NODES),
    st.lists(indices, min_size=1, max_size=3).map(tuple),
    st.sampled_from(WAYS),
)
plans = st.builds(
    Plan,
    workers=st.integers(1, 4),
    subjects=st.integers(1, 3),
    pulled=st.lists(st.integers(0, 12), max_size=2).map(tuple),
    nodes=st.lists(nodes, min_size=1, max_size=7).map(tuple),
    pushes=st.lists(st.tuples(st.integers(1, 60), indices), max_size=15).map(tuple),
    order=st.lists(indices, max_size=10).map(tuple),
    end=st.integers(1, 80),
    how=st.sampled_from(ENDINGS),
)


@pytest.mark.timeout(300)
@given(plans)
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_graph_ends_as_the_law_says(plan):
    """Nothing is lost in silence, nothing waits for ever, whoever listens is told once."""
    run(plan)


def drawn(seed):
    """A plan from a seed: quicker than hypothesis, for many of them."""
    chance = random.Random(seed)
    choose, number = chance.choice, chance.randint

    def some(least, most):
        return range(number(least, most))

    return Plan(
        workers=number(1, 4),
        subjects=number(1, 3),
        pulled=tuple(number(0, 12) for _ in some(0, 2)),
        nodes=tuple(
            Node(choose(NODES), tuple(number(0, 20) for _ in some(1, 3)), choose(WAYS))
            for _ in some(1, 9)
        ),
        pushes=tuple((number(1, 60), number(0, 20)) for _ in some(0, 15)),
        order=tuple(number(0, 20) for _ in some(0, 10)),
        end=number(1, 80),
        how=choose(ENDINGS),
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 400, 100))
def test_graphs_from_seeds(first):
    """The same for larger ones."""
    for seed in range(first, first + 100):
        try:
            run(drawn(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}: {drawn(seed)}")
            raise
