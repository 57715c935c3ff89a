"""The table "What travels how" of docs/processes.md, a row each."""

import array
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from rxpool import WorkerPool

PAGE = Path(__file__).parents[2] / "docs" / "processes.md"
N = 200_000


def read_only():
    """An array that is."""
    values = np.zeros(N)
    values.flags.writeable = False
    return values


ROWS = {
    "numpy array, in C or Fortran order": (
        [lambda: np.zeros(N), lambda: np.asfortranarray(np.zeros((400, 500)))],
        "shared",
        "writable",
    ),
    "the same, read-only": ([read_only], "shared", "read-only"),
    "structured numpy array": ([lambda: np.zeros(N, [("a", "i4")])], "shared", "writable"),
    "numpy: strided, broadcast, a field of a structured array": (
        [
            lambda: np.zeros(N)[::2],
            lambda: np.broadcast_to(np.zeros(500), (400, 500)),
            lambda: np.zeros(N, [("a", "i4"), ("b", "f4")])["a"],
        ],
        "copied",
        "writable",
    ),
    "numpy: datetime64, object, masked": (
        [
            lambda: np.zeros(N, "M8[s]"),
            lambda: np.array([1, None] * 1000, dtype=object),
            lambda: np.ma.zeros(N),
        ],
        "copied",
        "writable",
    ),
    "`bytes`": ([lambda: bytes(N)], "copied", "read-only"),
    "`bytearray`, `array.array`": (
        [lambda: bytearray(N), lambda: array.array("d", [0.0]) * N],
        "copied",
        "writable",
    ),
}
CASES = [(row, make) for row, (makers, _, _) in ROWS.items() for make in makers]


def look(value):
    """Whether what has come can be written to."""
    if hasattr(value, "flags"):
        return bool(value.flags.writeable)
    return not memoryview(value).readonly


def same(value):
    """Send it home."""
    return value


@pytest.fixture(scope="module")
def pool():
    """Of one process; `leak_check` is of tests, and finds it there already."""
    with WorkerPool(1, on="processes") as opened:
        opened.submit(look, b"").result()
        yield opened


@pytest.mark.parametrize(
    ("row", "make"), CASES, ids=lambda value: getattr(value, "strip", str)()
)
def test_a_row(pool, row, make):
    """Out of band or through the pickle; writable there and when it is home again, or not."""
    value = make()
    buffers = []
    pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    _, way, state = ROWS[row]
    assert bool(buffers) == (way == "shared")
    writable = state == "writable"
    assert pool.submit(look, value).result() == writable
    home = pool.submit(same, value).result()
    assert look(home) == writable
    if hasattr(value, "shape"):
        assert (home.shape, home.dtype) == (value.shape, value.dtype)


def test_the_table_is_in_the_docs():
    """The same rows with the same words."""
    text = PAGE.read_text(encoding="utf-8")
    found = dict(re.findall(r"^\| ([^|]+) \| (\w+ \| [\w-]+) \|$", text, re.M))
    for row, (_, way, state) in ROWS.items():
        assert found[row] == f"{way} | {state}"
