"""What is read out of headers: tables, and laws for whatever comes in."""

from email.message import Message
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpool.policies._headers import Headers, pause_of, wait_of
from rxpool.policies._structured import Unreadable, parse_list

WALL = 1_780_000_000.0  #: the time of the clock on the wall
DATE = formatdate(WALL + 90, usegmt=True)

# headers, seconds to wait, how many cannot be read
WAITS = [
    ({}, None, 0),
    ({"Retry-After": "5"}, 5.0, 0),
    ({"retry-after": " 0.25 "}, 0.25, 0),
    ({"RETRY-AFTER": "0"}, 0.0, 0),
    ({b"Retry-After": b"7"}, 7.0, 0),
    ({"Retry-After": 3}, 3.0, 0),
    ({"Retry-After": DATE}, 90.0, 0),
    ({"Retry-After": formatdate(WALL - 5, usegmt=True)}, 0.0, 0),
    ({"Retry-After": "Sunday, 06-Nov-94 08:49:37 GMT"}, 0.0, 0),
    ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5, 0),
    ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0, 1),
    ({"retry-after": "soon"}, None, 1),
    ({"retry-after": ""}, None, 1),
    ({"retry-after": "-1"}, None, 1),
    ({"retry-after": "nan"}, None, 1),
    ({"retry-after": "inf"}, None, 1),
    ({"retry-after": "1e3"}, None, 1),
    ({"retry-after": "1_000"}, None, 1),
    ({"retry-after": "9" * 400}, None, 1),
    ({"retry-after": "٥"}, None, 1),
    ({"retry-after": "Fri, 99 Foo 2020 99:99:99 GMT"}, None, 1),
    ({"retry-after": ["4"]}, 4.0, 0),
]

# headers, seconds to pause, how many cannot be read
PAUSES = [
    ({"Retry-After": "5"}, 5.0, 0),
    # the draft's structured fields
    ({"RateLimit": '"default";r=0;t=30'}, 30.0, 0),
    ({"RateLimit": '"default";r=5;t=30'}, None, 0),
    ({"RateLimit": '"burst";r=0;t=2, "daily";r=0;t=400'}, 400.0, 0),
    ({"RateLimit": '"burst";r=0;t=2, "daily";r=3;t=400'}, 2.0, 0),
    ({"RateLimit": '"a,b;c\\"";r=0;t=9;pk=:YQ==:'}, 9.0, 0),
    ({"RateLimit": "default;r=0;t=1.5"}, 1.5, 0),
    ({"RateLimit": '"default";r=0'}, None, 0),
    ({"RateLimit": '"p";r=0', "RateLimit-Policy": '"p";q=10;w=60, "d";q=9;w=3600'}, 60.0, 0),
    ({"RateLimit": '"p";r=0', "RateLimit-Policy": '"other";q=10;w=60'}, None, 0),
    ({"RateLimit": '"p";r=0', "RateLimit-Policy": "?"}, None, 1),
    ({"RateLimit": '"p";r=0;t=-4'}, 0.0, 0),
    ({"RateLimit": '"p";t=4'}, None, 1),
    ({"RateLimit": "limit=10, remaining=0, reset=5"}, None, 1),
    ({"RateLimit": '"open;r=0;t=4'}, None, 1),
    ({"RateLimit": ""}, None, 0),
    # the older ones
    ({"RateLimit-Remaining": "0", "RateLimit-Reset": "12"}, 12.0, 0),
    ({"RateLimit-Remaining": "1", "RateLimit-Reset": "12"}, None, 0),
    ({"RateLimit-Remaining": "0"}, None, 0),
    ({"RateLimit-Reset": "12"}, None, 0),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12.5"}, 12.5, 0),
    ({"x-ratelimit-remaining": "-3", "x-ratelimit-reset": "12"}, 12.0, 0),
    ({"x-ratelimit-remaining": "0.0", "x-ratelimit-reset": "12"}, 12.0, 0),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(WALL + 7)}, 7.0, 0),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(WALL + 7) * 1000)}, 7.0, 0),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000000000"}, None, 1),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000000001"}, 0.0, 0),
    ({"X-RateLimit-Remaining": "none", "X-RateLimit-Reset": "5"}, None, 1),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}, None, 1),
    # requests and tokens, with durations
    (
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"},
        360.0,
        0,
    ),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12, 0),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5, 0),
    (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "7s",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": "3",
        },
        7.0,
        0,
    ),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6 minutes"}, None, 1),
    # no mappings
    (None, None, 1),
    (3, None, 1),
    ("Retry-After: 5", None, 1),
    ({1: 2}, None, 0),
]


@pytest.mark.parametrize(("headers", "wait", "unreadable"), WAITS)
def test_how_long_to_wait(headers, wait, unreadable):
    """In milliseconds, seconds, or until a date."""
    given = Headers(headers)
    assert wait_of(given, WALL) == pytest.approx(wait)
    assert given.unreadable == unreadable


@pytest.mark.parametrize(("headers", "pause", "unreadable"), PAUSES)
def test_how_long_to_pause(headers, pause, unreadable):
    """Until there is something left again."""
    given = Headers(headers)
    assert pause_of(given, WALL) == pytest.approx(pause)
    assert given.unreadable == unreadable


def test_mappings_of_other_makes():
    """Those of `http.client` are no `Mapping`, and may have a header twice."""
    message = Message()
    message["RateLimit"] = '"a";r=0;t=3'
    message["ratelimit"] = '"b";r=0;t=8'
    assert pause_of(Headers(message), WALL) == 8.0

    class Broken:
        def items(self):
            raise LookupError

    given = Headers(Broken())
    assert (pause_of(given, WALL), given.unreadable) == (None, 1)


NAMES = st.sampled_from(
    [
        "retry-after",
        "Retry-After-Ms",
        "RateLimit",
        "RateLimit-Policy",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "x-ratelimit-remaining",
        "X-RateLimit-Reset",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    ]
)
PIECES = st.lists(
    st.sampled_from([*'0159-.,;="\\: ?*', "r=", "t=", "w=", "0", "ms", "6m", "GMT", '"a"', "٣"])
)
VALUES = st.one_of(
    st.text(),
    PIECES.map("".join),
    st.binary(),
    st.none(),
    st.integers(),
    st.floats(),
    st.lists(st.text()),
)


@given(st.dictionaries(st.one_of(NAMES, st.text(), st.binary(), st.none()), VALUES))
def test_whatever_comes_in(headers):
    """Nothing is raised; what is said is some time that can be waited for."""
    given = Headers(headers)
    for seconds in (wait_of(given, WALL), pause_of(given, WALL)):
        assert seconds is None or 0 <= seconds < 1e9
    assert 0 <= given.unreadable <= 2 * len(headers) + 2


BARE = st.one_of(
    st.integers(-(10**14), 10**14),
    st.integers(-(10**6), 10**6).map(lambda n: n / 8),
    st.booleans(),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
)


def written(value):
    """As RFC 9651 has it."""
    if isinstance(value, bool):
        return f"?{value:d}"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value) if isinstance(value, int) else f"{value:.3f}"


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
            st.dictionaries(st.from_regex(r"[a-z*][a-z0-9_\-.*]{0,3}", fullmatch=True), BARE),
        )
    ),
    st.sampled_from([",", ", ", " ,\t"]),
)
def test_lists_come_back_as_they_were(items, comma):
    """Strings with parameters of every kind."""
    text = comma.join(
        written(name) + "".join(f"; {key}={written(value)}" for key, value in more.items())
        for name, more in items
    )
    assert parse_list(text) == items


@pytest.mark.parametrize(
    "text",
    [
        '"a',
        '"a\\n"',
        "a,",
        ",a",
        "(a b)",
        "a;B",
        "a;=1",
        "a b",
        "1.",
        "1.2345",
        '"é"',
        "a;b=,c",
    ],
)
def test_no_list_of_items(text):
    """Then none of it counts."""
    with pytest.raises(Unreadable):
        parse_list(text)


def test_items_of_all_kinds():
    """Tokens, numbers, bytes and flags, with and without parameters."""
    assert parse_list("a/b;x, 5 , -1.5;y=?0,:YQ==:,?1;*z=t:k") == [
        ("a/b", {"x": True}),
        ("5", {}),
        ("-1.5", {"y": False}),
        (":YQ==:", {}),
        ("True", {"*z": "t:k"}),
    ]
