"""Exceptions of many makes, and functions that raise them."""

import threading
from dataclasses import dataclass

__all__ = (
    "MAKES",
    "ApiError",
    "Decoding",
    "Frozen",
    "Group",
    "Held",
    "HeldOnce",
    "Private",
    "Reduced",
    "call",
    "fail",
)


class ApiError(Exception):
    """Its argument is not what it is made from."""

    def __init__(self, *, status, retry_after=None):
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Frozen(Exception):
    """Allows nothing to be set; made by keyword alone."""

    code: int
    why: str = "none"


class Private(Exception):
    """A slot with a private name, one that is not set, and attributes."""

    __slots__ = ("__code", "unset")

    def __init__(self, code, more):
        self.__code = code
        self.more = more

    @property
    def code(self):
        """The slot."""
        return self.__code


class Decoding(UnicodeDecodeError):
    """Of a class with fields of its own, made in another way."""

    def __init__(self, data):
        super().__init__("utf-8", data, 0, 1, "bad")


class Group(ExceptionGroup):
    """A group with something of its own, made in another way."""

    def __new__(cls, errors, *, place):
        """Without the message."""
        self = super().__new__(cls, f"at {place}", errors)
        self.place = place
        return self

    def __init__(self, errors, *, place):
        pass


class Held(ApiError):
    """Cannot be sent at all."""

    def __init__(self, retry_after=None):
        super().__init__(status=503, retry_after=retry_after)
        self.lock = threading.Lock()


class HeldOnce(Exception):
    """Holds another exception."""

    def __init__(self, first, second):
        super().__init__()
        self.inner = [first, second]


class Reduced(Exception):
    """Says itself how it is pickled: by its number alone."""

    def __init__(self, number):
        super().__init__(number)
        self.left_here = None

    def __reduce__(self):
        return Reduced, self.args


def _in_a_circle():
    first, second = ApiError(status=1), ApiError(status=2)
    first.other, second.other = second, first
    first.__cause__, second.__cause__ = second, first
    return first


def _with_notes():
    error = ApiError(status=3)
    error.add_note("a note")
    return error


def _file():
    error = FileNotFoundError(2, "no", "here")
    error.filename = "there"
    return error


MAKES = {
    "keywords": lambda: ApiError(status=429, retry_after=1.5),
    "frozen": lambda: Frozen(code=3, why="so"),
    "private": lambda: Private(5, more={"a": 1}),
    "decoding": lambda: Decoding(b"\xff"),
    "group": lambda: Group([ApiError(status=1), ValueError("x")], place="home"),
    "nested": lambda: ExceptionGroup("all", [ExceptionGroup("in", [Frozen(code=1)])]),
    "base group": lambda: BaseExceptionGroup("all", [KeyboardInterrupt("x")]),
    "with a part": lambda: ExceptionGroup("all", [Held(), ApiError(status=2)]),
    "holding": lambda: HeldOnce(ApiError(status=7), Frozen(code=8)),
    "in a circle": _in_a_circle,
    "notes": _with_notes,
    "file": _file,
    "import": lambda: ImportError("no", name="a", path="b"),
    "attribute": lambda: AttributeError("no", name="x", obj=threading.Lock()),
}


def call(name):
    """Raise one of `MAKES`."""
    raise MAKES[name]() from ApiError(status=500)


_tried = set()


def fail(item):
    """Raise what cannot be sent, at the first call alone."""
    if item not in _tried:
        _tried.add(item)
        raise Held(0.01)
    return item
