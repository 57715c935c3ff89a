"""Large data of libraries to a number in another process, against a pickle and a pipe.

One process and one item at a time on both sides, so that what is measured is the way.
"""

import pickle
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.harness import Case, installed, table
from benchmarks.peers import context
from benchmarks.work import total
from rxpool import WorkerPool

NUMBERS = 6_250_000  # 50 MB of them
SIDE = 4082  # 50 MB of pixels
SLICES = 100

Work = Callable[[Any], Any]


# -- what runs in the other process --------------------------------------------------------


def serve(connection: Connection) -> None:
    """The base's process: pickles of a function and an item to pickles of results."""
    try:
        while True:
            fn, item = pickle.loads(connection.recv_bytes())
            connection.send_bytes(pickle.dumps(fn(item), 5))
            del item
    except (EOFError, OSError, KeyboardInterrupt):
        pass


def seconds(array: Any) -> int:
    """The sum of dates."""
    return int(array.view("i8").sum())


def column(frame: Any) -> float:
    """The sum of a column."""
    return float(frame["a"].sum())


def arrow(data: Any) -> float:
    """The sum of an array, or of the first column of a table."""
    import pyarrow.compute

    values = data.column("a") if hasattr(data, "column") else data
    return pyarrow.compute.sum(values).as_py()  # type: ignore[no-any-return]


def colours(image: Any) -> int:
    """How many pixels there are, by their histogram."""
    return sum(image.histogram())


# -- both ways -----------------------------------------------------------------------------


def through_a_pipe(work: Work, items: list[Any]) -> Callable[[int], float]:
    """A pickle and a pipe."""

    def run(count: int) -> float:
        here, there = context().Pipe()
        process = context().Process(target=serve, args=(there,), daemon=True)
        process.start()
        there.close()

        def call(item: Any) -> Any:
            here.send_bytes(pickle.dumps((work, item), 5))
            return pickle.loads(here.recv_bytes())

        with ExitStack() as stack:
            stack.callback(process.join)
            stack.callback(here.close)
            return timed(call, items, count)

    return run


def through_rxpool(work: Work, items: list[Any]) -> Callable[[int], float]:
    """A pool with one worker."""

    def run(count: int) -> float:
        with WorkerPool(1, on="processes") as pool:
            return timed(lambda item: pool.submit(work, item).result(), items, count)

    return run


def timed(call: Work, items: list[Any], count: int) -> float:
    """Seconds for so many calls; the process has started, and has run two."""
    for item in items[:1] * 2:
        call(item)
    began = time.perf_counter()
    for number in range(count):
        call(items[number % len(items)])
    return time.perf_counter() - began


# -- the data ------------------------------------------------------------------------------


def numpy_kinds() -> dict[str, tuple[Work, Callable[[], list[Any]]]]:
    """Arrays that numpy copies into the pickle, and one that it does not."""
    import tempfile

    import numpy as np

    def file() -> list[Any]:
        with tempfile.NamedTemporaryFile() as place:
            array = np.memmap(place.name, "f8", "w+", shape=NUMBERS)
            array[:] = 1
            return [array]

    records = [("a", "M8[s]"), ("b", "i8")]
    return {
        "numpy array": (total, lambda: [np.ones(NUMBERS)]),
        "numpy datetime64": (seconds, lambda: [np.arange(NUMBERS).astype("M8[s]")]),
        "numpy records with dates": (seconds, lambda: [np.ones(NUMBERS // 2, records)]),
        "numpy array with gaps": (total, lambda: [np.ones(2 * NUMBERS)[::2]]),
        "numpy map of a file": (total, file),
    }


def pandas_kinds() -> dict[str, tuple[Work, Callable[[], list[Any]]]]:
    """A frame that is half dates."""
    import numpy as np
    import pandas as pd

    half = NUMBERS // 2

    def frame() -> list[Any]:
        dates = pd.date_range("2020", periods=half, freq="s")
        return [pd.DataFrame({"a": np.ones(half), "b": dates})]

    return {"pandas frame with dates": (column, frame)}


def polars_kinds() -> dict[str, tuple[Work, Callable[[], list[Any]]]]:
    """A frame and a series."""
    import numpy as np
    import polars as pl

    numbers = np.ones(NUMBERS // 2)
    return {
        "polars frame": (column, lambda: [pl.DataFrame({"a": numbers, "b": numbers})]),
        "polars series": (total, lambda: [pl.Series("a", np.ones(NUMBERS))]),
    }


def pyarrow_kinds() -> dict[str, tuple[Work, Callable[[], list[Any]]]]:
    """Half of a table, and slices of ten rows of one."""
    import numpy as np
    import pyarrow as pa

    def whole(rows: int) -> Any:
        return pa.table({"a": np.ones(rows), "b": np.arange(rows)})

    def slices() -> list[Any]:
        parent = whole(NUMBERS // 2)
        return [parent.slice(10 * number, 10) for number in range(SLICES)]

    return {
        "pyarrow table": (arrow, lambda: [whole(NUMBERS // 2)]),
        "pyarrow, half of a table": (arrow, lambda: [whole(NUMBERS).slice(7, NUMBERS // 2)]),
        "pyarrow, ten rows of a table": (arrow, slices),
    }


def torch_kinds() -> dict[str, tuple[Work, Callable[[], list[Any]]]]:
    """A tensor, and slices of ten rows of one."""
    import torch

    def slices() -> list[Any]:
        parent = torch.ones(NUMBERS // 10, 10, dtype=torch.float64)
        return [parent[10 * number : 10 * number + 10] for number in range(SLICES)]

    return {
        "torch tensor": (total, lambda: [torch.ones(NUMBERS, dtype=torch.float64)]),
        "torch, ten rows of a tensor": (total, slices),
    }


def pillow_kinds() -> dict[str, tuple[Work, Callable[[], list[Any]]]]:
    """An image."""
    from PIL import Image

    return {"Pillow image": (colours, lambda: [Image.new("RGB", (SIDE, SIDE), (1, 2, 3))])}


KINDS = {
    "numpy": numpy_kinds,
    "pandas": pandas_kinds,
    "polars": polars_kinds,
    "pyarrow": pyarrow_kinds,
    "torch": torch_kinds,
    "PIL": pillow_kinds,
}


def main(rounds: int, quick: bool) -> None:
    """Print a table for each kind of data."""
    for package, kinds in KINDS.items():
        if not installed(package) or find_spec("numpy") is None:
            continue
        for name, (work, make) in kinds().items():
            items = make()
            count = 4 if len(items) == 1 else len(items) // 5
            table(
                f"Data, {name} to a number (base: a pickle and a pipe)",
                [
                    Case("floor: pickle and pipe", count, through_a_pipe(work, items)),
                    Case("rxpool submit", count, through_rxpool(work, items), "≤ 0.6"),
                ],
                rounds,
                quick,
            )
            del items
