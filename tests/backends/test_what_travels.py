"""The table "What travels how" of docs/processes.md, a row each."""

import array
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rxpool import WorkerPool
from tests.backends.travels import dumped

PAGE = Path(__file__).parents[2] / "docs" / "processes.md"
N = 200_000


def read_only():
    """An array that is."""
    values = np.zeros(N)
    values.flags.writeable = False
    return values


def file_map():
    """An array that is a file."""
    with tempfile.NamedTemporaryFile() as file:
        return np.memmap(file.name, "f8", "w+", shape=N)


def frame_of_pandas():
    """With dates."""
    pd = pytest.importorskip("pandas")
    times = pd.date_range("2020", periods=N, freq="s")
    return pd.DataFrame({"a": np.zeros(N), "b": times})


def of_polars(kind):
    """A frame, or a series."""
    return getattr(pytest.importorskip("polars"), kind)(
        {"a": range(N)} if kind != "Series" else range(N)
    )


def of_pyarrow(part):
    """A table, or a part of one."""
    return pytest.importorskip("pyarrow").table({"a": range(N)})[:part]


def tensor():
    """Of torch."""
    return pytest.importorskip("torch").zeros(N)


def image():
    """Of Pillow."""
    return pytest.importorskip("PIL.Image").new("RGB", (300, 300))


ROWS = {
    "numpy array, in C or Fortran order": (
        [lambda: np.zeros(N), lambda: np.asfortranarray(np.zeros((400, 500)))],
        "shared",
        "writable",
    ),
    "the same, read-only": ([read_only], "shared", "read-only"),
    "structured numpy array": (
        [lambda: np.zeros(N, [("a", "i4")]), lambda: np.zeros(N, [("a", "M8[s]")])],
        "shared",
        "writable",
    ),
    "numpy: strided, broadcast, a field of a structured array": (
        [
            lambda: np.zeros(N)[::2],
            lambda: np.broadcast_to(np.zeros(500), (400, 500)),
            lambda: np.zeros(N, [("a", "i4"), ("b", "f4")])["a"],
        ],
        "shared",
        "writable",
    ),
    "numpy: datetime64, timedelta64, memmap": (
        [lambda: np.zeros(N, "M8[s]"), lambda: np.zeros(N, "m8[s]"), file_map],
        "shared",
        "writable",
    ),
    "numpy: object, masked": (
        [lambda: np.array([1, None] * 1000, dtype=object), lambda: np.ma.zeros(N)],
        "copied",
        "writable",
    ),
    "pandas frame, its numbers and dates": ([frame_of_pandas], "shared", "writable"),
    "polars frame, series": (
        [lambda: of_polars("DataFrame"), lambda: of_polars("Series")],
        "shared",
        "immutable",
    ),
    "pyarrow array, table, and the part of a slice": (
        [lambda: of_pyarrow(N), lambda: of_pyarrow(N // 2)],
        "shared",
        "immutable",
    ),
    "torch tensor, dense and on the CPU": ([tensor], "shared", "writable"),
    "Pillow image": ([image], "shared", "writable"),
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
    library = type(value).__module__.partition(".")[0]
    if library in ("polars", "pyarrow"):
        return "immutable"
    if library == "torch":
        value[0] = 1
        return "writable"
    if library == "pandas":
        value.loc[0, "b"] = value.loc[1, "b"]
        return "writable"
    if library == "PIL":
        value.putpixel((0, 0), (1, 2, 3))
        return "read-only" if value.readonly else "writable"
    if hasattr(value, "flags"):
        return "writable" if value.flags.writeable else "read-only"
    return "read-only" if memoryview(value).readonly else "writable"


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
    dumped(value, buffers.append)
    _, way, state = ROWS[row]
    assert bool(buffers) == (way == "shared")
    assert pool.submit(look, value).result() == state
    home = pool.submit(same, value).result()
    assert look(home) == state
    if hasattr(value, "dtype"):
        assert (home.shape, home.dtype) == (value.shape, value.dtype)


def test_the_table_is_in_the_docs():
    """The same rows with the same words."""
    text = PAGE.read_text(encoding="utf-8")
    found = dict(re.findall(r"^\| ([^|]+) \| (\w+ \| [\w-]+) \|$", text, re.M))
    for row, (_, way, state) in ROWS.items():
        assert found[row] == f"{way} | {state}"
