"""Images of Pillow stay out of the pickle, and arrive as they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.backends.processes import _reduce_pillow
from tests.backends import process_jobs as jobs
from tests.backends.process_pools import outcome
from tests.backends.travels import pickled, sent

image = pytest.importorskip("PIL.Image")
MODES = (
    *(
        "1",
        "L",
        "P",
        "RGB",
        "RGBA",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
        "I",
        "F",
        "LA",
        "PA",
        "RGBX",
    ),
    *("RGBa", "La", "I;16", "I;16B"),
)


class Framed(image.Image):
    """A type of its own."""


def drawn(mode, size, data=b"\x07\xa0\x33"):
    """An image with something in it, and a palette of its own if it has one."""
    made = image.new(mode, size)
    if all(size):
        length = len(made.tobytes())
        made.frombytes((data * (length // len(data) + 1))[:length])
    if mode in ("P", "PA"):
        made.putpalette(list(range(256)) * 3)
    made.info = {"dpi": (72, 72), "note": mode}
    return made


def same(found, value):
    """Whether *found* is what pickle makes of *value*."""
    expected = pickled(value)
    assert type(found) is type(expected)
    assert (found.mode, found.size, found.info) == (expected.mode, expected.size, expected.info)
    assert found.getpalette() == expected.getpalette()
    assert set(vars(found)) == set(vars(expected))
    assert not found.readonly
    return found.tobytes() == expected.tobytes() == value.tobytes()


@pytest.mark.parametrize("lent", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_images(mode, lent):
    """Of all modes, in several strips."""
    value = drawn(mode, (1001, 999))
    found, inside, beside = sent({"a": [value]}, lent)
    assert same(found["a"][0], value)
    assert inside < 2000 + (16_384 if mode == "1" else 0)
    assert beside > 20 * inside or mode == "1"
    found["a"][0].paste(0, (0, 0, 5, 5))
    assert same(value, value)


@given(
    st.sampled_from(MODES),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.binary(min_size=1),
    st.integers(1, 100),
)
@settings(deadline=None)
def test_any_image(mode, size, data, strip):
    """However small, in strips of any size."""
    value = drawn(mode, size, data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_reduce_pillow, "_STRIP", strip)
        found, _, _ = sent([value])
    assert same(found[0], value)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff", "webp", "bmp"])
def test_images_of_files(tmp_path, kind):
    """They are loaded before they are sent, and keep the type that says of which kind."""
    path = tmp_path / f"picture.{kind}"
    drawn("RGB", (300, 200)).save(path)
    with image.open(path) as opened:
        found, inside, beside = sent([opened])
        assert same(found[0], opened)
    assert found[0].format == opened.format
    assert found[0].filename == str(path)
    assert beside > 20 * inside


def test_a_file_that_is_cut_off(tmp_path):
    """What is wrong with it is said, as by pickle."""
    path = tmp_path / "picture.bmp"
    drawn("RGB", (300, 200)).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with image.open(path) as opened, pytest.raises(Exception, match="truncated"):
        sent([opened])


def test_other_types_say_themselves_how_they_are_pickled():
    """Only those of Pillow are known."""
    value = Framed()
    value.__setstate__(drawn("L", (300, 300)).__getstate__())
    found, inside, _ = sent([value])
    assert type(found[0]) is Framed
    assert inside == 0  # the whole pickle lies in shared memory, the pixels within it


def test_there_and_back(shared):
    """Through processes."""
    value = drawn("RGB", (1500, 1000))
    assert same(outcome(shared, jobs.same, value).value, value)
