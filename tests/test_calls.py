"""How many own functions an item takes: a change that adds some is seen here.

The figures are those of the present code, rounded up; a change that lowers them lowers these.
"""

import sys

import pytest

from benchmarks.calls import ROWS, measured

MOST = {
    "ops.batch(100), a storm": 3.3,
    "ops.batch by time, two items each": 16,
    "inline, plain": 41,
    "inline, input order": 46.5,
    "inline, retry and timeout": 38.5,
    "inline, one failure and one retry": 100,
}

ABOUT = {"processes, one item to an idle pool": 45}

pytestmark = pytest.mark.skipif(sys.getprofile() is not None, reason="somebody else profiles")


def test_every_exact_row_has_a_bound():
    """And no other."""
    assert set(MOST) == {name for name, (_, exact) in ROWS.items() if exact}


@pytest.mark.parametrize("name", MOST)
def test_an_item_takes_no_more_calls(name):
    """Than it did."""
    assert MOST[name] * 0.8 < measured(name, quick=True).calls <= MOST[name]


@pytest.mark.parametrize("name", ABOUT)
def test_an_item_takes_hardly_more_calls(name):
    """Nor where there are threads, by which figures vary a little."""
    assert ABOUT[name] * 0.8 < measured(name, quick=True).calls <= ABOUT[name] * 1.05
