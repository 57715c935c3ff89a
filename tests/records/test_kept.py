"""The forms in which values are kept, and the ids of items."""

import json
import pickle
from collections import OrderedDict
from datetime import UTC, datetime
from enum import IntEnum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rxpool.errors import InvalidItem
from rxpool.records._identity import identify_with, identity
from rxpool.records._kept import Kept, keep, shown

texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | texts
numbers = st.floats(allow_nan=False)
plain = st.recursive(
    scalars | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
#: with what JSON would change
values = st.recursive(
    scalars | numbers | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(texts | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


class Colour(IntEnum):
    """An int to `isinstance`."""

    RED = 1


class Refuses:
    """Neither JSON nor pickle, with no repr either."""

    def __reduce__(self):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


def _refuse(one):
    raise TypeError("two arguments are needed")


class Unloadable(Exception):
    """Can be pickled, not unpickled: a trap of exceptions with arguments.

    It says itself how, as libraries change that for all exceptions that do not.
    """

    def __init__(self, one, two):
        super().__init__(one)

    def __reduce__(self):
        return _refuse, (self.args[0],)


def exactly(value):
    """A form that tells apart what is equal: types, signs of zeros, the order of keys."""
    if isinstance(value, dict):
        return "dict", [(exactly(k), exactly(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [exactly(v) for v in value]
    return type(value), repr(value)


@given(values)
@example([0.0, -0.0])
@example("\ud83d\ude00")  # two characters that JSON makes one of
@example({"b": 1, "a": 2})
def test_what_is_kept_comes_back_exactly(value):
    """JSON or pickle: the same value, and the same types."""
    kept = keep(value)
    assert kept.kind in ("json", "pickle")
    assert exactly(kept.load("it", allow_pickle=True)) == exactly(value)
    if kept.kind == "json":
        assert kept.data.isascii()
        assert exactly(json.loads(kept.data)) == exactly(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "json"),
        (1.5, "json"),
        ({"a": [1, "ü", None]}, "json"),
        (float("nan"), "pickle"),
        (float("inf"), "pickle"),
        ((1, 2), "pickle"),
        ([(1,)], "pickle"),
        ({1: "a"}, "pickle"),
        ({"a": b""}, "pickle"),
        (Colour.RED, "pickle"),
        (OrderedDict(a=1), "pickle"),
        (datetime(2024, 1, 1, tzinfo=UTC), "pickle"),
        ("\ud83d\ude00", "pickle"),
        (10**5000, "pickle"),
        (lambda: 1, "repr"),
        (Refuses(), "repr"),
        (Unloadable(1, 2), "repr"),
    ],
    ids=map(str, range(17)),
)
def test_the_form(value, kind):
    """JSON only where it changes nothing; a repr only where nothing else is left."""
    assert keep(value).kind == kind


def test_deep_values_are_not_left_to_json():
    """Readers are recursive, and may have less room than the writer had."""
    for depth, kind in ((90, "json"), (110, "pickle")):
        value = []
        for _ in range(depth):
            value = [value]
        assert keep(value).kind == kind
        assert keep(value).load("it", allow_pickle=True) == value


def test_loops_and_endless_depth_are_kept_somehow():
    """A list that holds itself is pickled; what is too deep for all is shown."""
    loop = []
    loop.append(loop)
    assert keep(loop).kind == "pickle"
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert keep(deep).kind == "repr"
    while deep:  # or freeing it is recursive too
        deep = deep.pop()


def test_pickles_are_not_read_unless_that_is_allowed():
    """Reading one can run code, so nothing of it is touched; the error says so."""
    with pytest.raises(InvalidItem, match=r"^it is pickled.*any code.*allow_pickle=True"):
        Kept("pickle", b"no pickle at all").load("it", allow_pickle=False)
    assert keep((1, 2)).load("it", allow_pickle=True) == (1, 2)


def test_what_cannot_be_read_says_why():
    """A repr is no item, and a pickle may belong to another program."""
    with pytest.raises(InvalidItem, match=r"^it could not be kept, only its repr was: <x>"):
        Kept("repr", "<x>").load("it", allow_pickle=True)
    gone = pickle.dumps(Colour.RED, 0).replace(b"Colour", b"Nothing")
    with pytest.raises(
        InvalidItem, match="it cannot be unpickled here: AttributeError"
    ) as info:
        Kept("pickle", gone).load("it", allow_pickle=True)
    assert isinstance(info.value.__cause__, AttributeError)


def test_messages_are_short_and_always_there():
    """A long value is cut off, one without a repr is described."""
    assert shown("x" * 1000) == "'" + "x" * 199 + "..."
    assert shown(Refuses()) == "<Refuses, which has no repr: RuntimeError>"


# -- ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "id"),
    [
        (1, "1"),
        ("1", '"1"'),
        ("[1]", '"[1]"'),
        ([1], "[1]"),
        ((1,), "[1]"),
        (True, "true"),
        (None, "null"),
        (1.0, "1.0"),
        ({"b": 1, "a": (2,)}, '{"a":[2],"b":1}'),
        ("\udcff", '"\\udcff"'),
        ("😀", '"\\ud83d\\ude00"'),
        ("x" * 198, '"' + "x" * 198 + '"'),
    ],
)
def test_ids(item, id):
    """Canonical JSON: whatever the order of keys, and strings are not numbers."""
    assert identity(item) == id


@pytest.mark.parametrize(
    "item", [b"x", object(), {1: 2}, [{1: 2}], float("nan"), "\ud83d\ude00", Refuses(), {1}]
)
def test_items_without_an_id_are_refused(item):
    """The error says what to give."""
    with pytest.raises(InvalidItem, match="needs key="):
        identity(item)


@given(plain, plain)
def test_ids_tell_items_apart(one, other):
    """Two items have one id if, and only if, JSON with sorted keys takes them for one."""
    try:
        first, second = identity(one), identity(other)
    except InvalidItem:
        return
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (first == second) == same


def test_long_ids_are_hashed():
    """An index of long texts is slow; a hash is never taken for a text."""
    long, longer = identity("x" * 199), identity("x" * 200)
    assert len(long) == len(longer) == 71
    assert long != longer
    assert long.startswith("sha256:")


def test_a_key_gives_the_id():
    """A str or an int; anything else is refused, with the item; its errors come out."""
    assert identify_with(lambda item: item["id"], {"id": 5}) == "5"
    assert identify_with(str, 5) == '"5"'
    for wrong in (None, True, 1.5, (1,)):
        with pytest.raises(
            InvalidItem, match=r"key must give a str or an int, got .* for 'it'"
        ):
            identify_with(lambda _, wrong=wrong: wrong, "it")
    with pytest.raises(KeyError):
        identify_with(lambda item: item["id"], {})
