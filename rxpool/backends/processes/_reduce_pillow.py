"""How images of Pillow are reduced: what their pickle has in it, the pixels in strips.

What is copied once more is a strip, in the same, warm memory.  Pickle makes copies of it all.
"""

# What is reduced is of a library that need not be there.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

from rxpool.backends.processes._pieces import Pieces

__all__ = ("reducers",)

_STRIP: Final = 1024 * 1024  #: bytes


def reducers(image: ModuleType) -> dict[type, Callable[[Any], Any]]:
    """For images, and for those of files in Pillow's own formats, which are loaded then."""
    found: dict[type, Callable[[Any], Any]] = {}
    kinds: list[type] = [image.Image]
    while kinds:
        kind = kinds.pop()
        if kind.__module__.startswith("PIL."):
            found[kind] = _reduce
            kinds += kind.__subclasses__()
    return found


class _Pixels:
    """Their place in what is pickled."""


def _reduce(image: Any) -> Any:
    image.load()
    kind: Any = type(image)
    # Only Pillow knows what a format keeps.  It asks a shallow copy, which has no pixels.
    copy = kind.__new__(kind)
    vars(copy).update(vars(image), tobytes=_Pixels)
    state = copy.__getstate__()
    places = [index for index, part in enumerate(state) if type(part) is _Pixels]
    if len(places) != 1:
        return image.__reduce_ex__(5)
    state[places[0]] = b""
    rows = max(1, _STRIP // max(1, 4 * image.width))
    return _image, (kind, state, rows, Pieces(_strips(image, rows)))


def _strips(image: Any, rows: int) -> Iterator[bytes]:
    """The pixels, so many rows at a time."""
    width, height = image.size
    for top in range(0, height if width else 0, rows):
        yield image.crop((0, top, width, min(height, top + rows))).tobytes()


def _image(kind: Any, state: list[Any], rows: int, parts: list[Any]) -> Any:
    pillow: Any = sys.modules["PIL.Image"]  # *kind* is of it
    image = kind.__new__(kind)
    image.frombytes = _nothing  # it looks for its pixels in its state
    image.__setstate__(state)
    del image.frombytes
    width, height = image.size
    for top, part in zip(range(0, height, rows), parts, strict=False):
        size = width, min(rows, height - top)
        image.paste(pillow.frombytes(image.mode, size, part), (0, top))
    return image


def _nothing(_: bytes) -> None:
    """Take pixels from nowhere."""
