"""Fingerprints: what makes a function another one, and what does not."""

import functools
import operator
import os
import re
import subprocess
import sys
import types
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from rxpool.records._fingerprint import fingerprint, name_of, settings_of

ROOT = Path(__file__).resolve().parents[2]

BASE = "def fn(x): return x + 1"

#: sources of a function `fn` that are another function than BASE
OTHERS = [
    "def fn(x): return x + 2",
    "def fn(x): return x - 1",
    "def fn(x): return y + 1",
    "def fn(x): return x + 1.0",
    "def fn(x): return x + True",
    "def fn(x): return x.a",
    "def fn(x): return x.b",
    "def fn(x, y=1): return x + 1",
    "def fn(x, y=2): return x + 1",
    "def fn(x, y=[2]): return x + 1",
    "def fn(x, y=[3]): return x + 1",
    "def fn(x, *, y=1): return x + 1",
    "def fn(x, *, y=2): return x + 1",
    "def fn(x): return (lambda: x + 1)()",
    "def fn(x): return (lambda: x + 2)()",
    "def fn(x): return x in {1, 2}",
    "def fn(x): return x in {1, 3}",
    "def fn(x): return 0.0",
    "def fn(x): return -0.0",
    "async def fn(x): return x + 1",
    "def fn(x):\n try: a()\n except E: b()",
    "def fn(x):\n a()\n try: pass\n except E: b()",
    "def make(k):\n def fn(x): return x + k\n return fn\nfn = make(1)",
    "def make(k):\n def fn(x): return x + k\n return fn\nfn = make(2)",
    "def make(k):\n def fn(x): return x + k\n return fn\nfn = make((1, 'a'))",
    "def make(k):\n def fn(x): return x + k\n return fn\nfn = make(lambda: 1)",
    "def make(k):\n def fn(x): return x + k\n return fn\nfn = make(lambda: 2)",
    "def other(x): return x + 1\nfn = other",
]


def made(source, module="m"):
    space = {"__name__": module}
    exec(compile(source, "somewhere", "exec"), space)
    return space["fn"]


def test_other_functions_differ():
    """Code, constants, names, defaults, free variables, name and module."""
    sources = [BASE, *OTHERS]
    prints = {fingerprint(made(source)): source for source in sources}
    prints[fingerprint(made(BASE, "other"))] = "another module"
    assert len(prints) == len(sources) + 1


@pytest.mark.parametrize("source", [BASE, *OTHERS])
def test_the_same_source_gives_the_same(source):
    """Wherever it stands, and however often it has run."""
    fn = made(source)
    assert fingerprint(fn) == fingerprint(made("\n\n# moved\n" + source))


def test_running_changes_nothing():
    """The interpreter rewrites code that it runs often."""
    fn = made(BASE)
    before = fingerprint(fn)
    for n in range(10_000):
        fn(n)
    assert fingerprint(fn) == before


def test_other_processes_find_the_same():
    """Whatever the seed of hashes, by which sets are ordered."""
    program = (
        "from rxpool.records._fingerprint import fingerprint, settings_of\n"
        "def fn(x, words=frozenset('abcdefgh')): return x in {'a', 'b', 'c', 'd', 'e'}\n"
        "print(fingerprint(fn), settings_of({'a': {'x', 'y', 'z'}, 'b': 1}))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in "12"
    ]
    assert len({run.communicate()[0] for run in runs}) == 1
    assert [run.returncode for run in runs] == [0, 0]


def add(a, b, *, c=0):
    """To be called in part."""
    return a + b + c


class Adder:
    """A callable with a setting, a counter of its own and a lock."""

    def __init__(self, step):
        self.step = step
        self.seen = []

    def __call__(self, x):
        self.seen.append(x)
        return x + self.step

    def method(self, x):
        """As a bound method."""
        return x - self.step


class Slotted:
    """Its state has no dict."""

    __slots__ = ("__weakref__", "step")

    def __init__(self, step):
        self.step = step

    def __call__(self, x):
        return x + self.step


class Level(Enum):
    """A setting by name."""

    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Options:
    """A setting with parts."""

    names: tuple = ()
    table: dict = None


DIFFERENT = [
    lambda: (functools.partial(add, 1), functools.partial(add, 2)),
    lambda: (functools.partial(add, 1), functools.partial(add, 1, c=1)),
    lambda: (functools.partial(add, [1]), functools.partial(add, [2])),
    lambda: (functools.partial(add, {"a": 1}), functools.partial(add, {"a": 2})),
    lambda: (functools.partial(Adder(1)), functools.partial(Adder(2))),
    lambda: (Adder(1), Adder(2)),
    lambda: (Adder(1).method, Adder(2).method),
    lambda: (Adder(1).method, Adder(1)),
    lambda: (Slotted(1), Slotted(2)),
    lambda: (Adder, Slotted),
    lambda: (len, repr),
    lambda: (str.upper, str.lower),
    lambda: ({1: 2}.get, {1: 3}.get),
    lambda: (re.compile("a").sub, re.compile("b").sub),
    lambda: (operator.itemgetter(1), operator.itemgetter(2)),
    lambda: (functools.lru_cache(made(BASE)), functools.lru_cache(made(OTHERS[0]))),
    lambda: (Options(("a",)), Options(("b",))),
    lambda: (Options(table={1: 2}), Options(table={1: 3})),
    lambda: (os.path.join, os.path.split),
]


@pytest.mark.parametrize("pair", DIFFERENT)
def test_other_callables_differ(pair):
    """By their arguments, attributes, names; and the same ones do not."""
    one, other = pair()
    assert fingerprint(one) != fingerprint(other)
    again, _ = pair()
    assert fingerprint(one) == fingerprint(again)


def test_what_is_counted_and_cached_does_not_count():
    """Lists in attributes and closures are written to while a program runs."""
    seen = []

    def fn(x):
        seen.append(x)

    adder = Adder(1)
    before = fingerprint(fn), fingerprint(adder), fingerprint(adder.method)
    fn(1)
    adder(1)
    assert (fingerprint(fn), fingerprint(adder), fingerprint(adder.method)) == before


def test_wrapped_functions_count():
    """A decorator's function is the same for all; what it calls is in its closure."""

    def logged(fn):
        @functools.wraps(fn)
        def call(*args):
            return fn(*args)

        return call

    one, other = logged(made(BASE)), logged(made(OTHERS[0]))
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(logged(made(BASE)))


def test_functions_that_know_themselves():
    """And each other, and variables that are not set yet."""

    def make():
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)

        early = fingerprint(lambda: later)
        later = 1
        return even, odd, early, fingerprint(lambda: later)

    even, odd, early, late = make()
    again, *_ = make()
    assert fingerprint(even) == fingerprint(again)
    assert len({fingerprint(even), fingerprint(odd), early, late}) == 4


def test_settings():
    """In any order; values of any kind, containers by what is in them."""
    assert settings_of({"a": 1, "b": [2]}) == settings_of({"b": [2], "a": 1})
    all_ = [{}, {"a": 1}, {"a": "1"}, {"b": 1}, {"a": [1]}, {"a": [2]}, {"a": Options()}]
    all_ += [{"a": Level.LOW}, {"a": Level.HIGH}]
    assert len({settings_of(s) for s in all_}) == len(all_)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (add, "add"),
        (functools.partial(functools.partial(add, 1), 2), "add"),
        (Adder(1), "Adder"),
        (Adder(1).method, "Adder.method"),
        (Adder, "Adder"),
    ],
)
def test_names(fn, name):
    """Of what is called in the end."""
    assert name_of(fn) == f"{__name__}.{name}"
    assert name_of(types.SimpleNamespace()) == "types.SimpleNamespace"
