"""Which reducers are used, and when."""

import copyreg
import gc
import io
import pickle
import subprocess
import sys
import types
import weakref
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import numpy as np
import pytest

from rxpool.backends.processes import _reducers
from rxpool.backends.processes._codec import decode, encode
from rxpool.backends.processes._reducers import Reducers
from rxpool.errors import NotPicklable
from tests.backends.channel_parts import Ring
from tests.backends.travels import dumped, sent

N = 50_000


class Dates(np.ndarray):
    """Has its own way to be pickled."""

    def __reduce__(self):
        return str, ("as it says itself",)


def dates():
    """An array that numpy copies into the pickle."""
    return np.arange(N).astype("M8[s]")


def beside(reducers, value):
    """The bytes that stay out of a pickle."""
    buffers = []
    dumped(value, lambda buffer: buffers.append(buffer.raw()), reducers)
    return sum(raw.nbytes for raw in buffers)


def test_nothing_is_loaded():
    """Neither by what is sent, nor by looking for libraries; a script of its own has none."""
    program = (
        "import sys\n"
        "from rxpool.backends.processes._codec import decode, encode\n"
        "assert decode(encode([{1: object}], None, '')) == [{1: object}]\n"
        "found = {'numpy', 'polars', 'pyarrow', 'torch', 'PIL'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_library_that_is_loaded_later_is_seen(monkeypatch):
    """There is no time at which all are known."""
    loaded = dict(sys.modules)
    monkeypatch.setattr(_reducers.sys, "modules", {})
    reducers = Reducers()
    assert beside(reducers, [dates()]) == 0
    monkeypatch.setattr(_reducers.sys, "modules", loaded)
    assert beside(reducers, [dates()]) == 8 * N


def test_a_library_that_is_being_loaded_is_asked_again(monkeypatch):
    """Half of it is there when another thread looks."""
    half = types.ModuleType("numpy")
    modules = {"numpy": half}
    monkeypatch.setattr(_reducers.sys, "modules", modules)
    reducers = Reducers()
    assert beside(reducers, [dates()]) == 0
    half.ndarray, half.memmap = np.ndarray, np.memmap
    assert beside(reducers, [dates()]) == 8 * N


def test_subclasses_say_themselves_how_they_are_pickled():
    """Only the exact type is known."""
    found, _, apart = sent([dates().view(Dates)])
    assert (found, apart) == (["as it says itself"], 0)


def test_what_users_register_comes_first(monkeypatch):
    """Whenever they do it, and when they change it."""
    reducers = Reducers()
    assert beside(reducers, [dates()]) == 8 * N
    for word in ("first", "second"):
        monkeypatch.setitem(
            copyreg.dispatch_table, np.ndarray, lambda _, word=word: (str, (word,))
        )
        assert pickle.loads(dumped([dates()], None, reducers)) == [word]
    monkeypatch.undo()
    assert beside(reducers, [dates()]) == 8 * N


def test_pickles_of_others_are_as_they_were():
    """Nothing is registered for the whole process."""
    before = dict(copyreg.dispatch_table)
    array = dates()
    plain = pickle.dumps(array, 5)
    sent([array])
    assert copyreg.dispatch_table == before
    assert pickle.dumps(array, 5) == plain


def test_cloudpickle_is_taught_too():
    """It pickles what the main module of a notebook has in it."""
    buffers = []
    file = io.BytesIO()
    pickler = Reducers().taught(cloudpickle.Pickler)
    pickler(file, 5, buffer_callback=lambda each: buffers.append(each.raw())).dump(
        [dates(), lambda: 7]
    )
    assert [raw.nbytes for raw in buffers] == [8 * N]
    found, call = pickle.loads(file.getvalue(), buffers=[bytearray(raw) for raw in buffers])
    assert ((found == dates()).all(), call()) == (True, 7)


class Broken:
    """Cannot be pickled, which is seen when a part of it has been."""

    def __init__(self, first):
        self.first = first
        self.second = sys._getframe()


def test_what_cannot_be_pickled_leaves_nothing_behind():
    """Its arrays are in the ring when that is seen; what comes next is pickled as ever."""
    ring = Ring(1 << 20).buffers
    for _ in range(3):
        with pytest.raises(NotPicklable, match=r"cannot be pickled: \.second"):
            encode(Broken(dates()), ring, "the item")
        assert ring.is_free()
        for value in ((1, "a"), [dates()], {"a": {1}}):
            mark = ring.count
            wire = encode(value, ring, "the item")
            assert str(decode(wire, ring)) == str(value)
            ring.take_back(mark)


class Nested:
    """Is pickled with a value that is encoded meanwhile."""

    def __init__(self, ring):
        self.ring = ring

    def __reduce__(self):
        wire = encode([2, {"b": 3}], self.ring, "another item")
        return list, ((1, wire),)


def test_a_pickler_pickles_one_value_at_a_time():
    """What is pickled may pickle, on the same thread and on others."""
    ring = Ring(1 << 20).buffers
    wire = encode([Nested(ring), Nested(None)], ring, "the item")
    for found in decode(wire, ring):
        assert found[0] == 1
        assert decode(found[1]) == [2, {"b": 3}]
    with ThreadPoolExecutor(4) as threads:
        rows = [[(n, str(n), [n] * (n % 50))] for n in range(2000)]
        wires = threads.map(lambda row: encode(row, Ring(64).buffers, "the item"), rows)
        assert list(map(decode, wires)) == rows


def test_a_pickler_keeps_nothing():
    """Neither what it pickled nor what could not be pickled."""
    ring = Ring(1 << 20).buffers
    parts = [Dates(3), Dates(3)]
    left = [weakref.ref(part) for part in parts]
    encode([parts[0]], ring, "the item")
    with pytest.raises(NotPicklable):
        encode([parts[1], sys._getframe()], ring, "the item")
    parts.clear()
    gc.collect()
    assert [ref() for ref in left] == [None, None]
