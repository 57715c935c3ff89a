"""`fingerprint`: a hash of what a function does, as far as its code and settings show it."""

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import operator
import pathlib
import re
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rxpool.records._kept import kind_of

__all__ = ("fingerprint", "name_of", "settings_of")

#: whose repr says all
_PLAIN: Final = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(...),
    range,
    slice,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    pathlib.PurePath,
    operator.itemgetter,
    operator.attrgetter,
    operator.methodcaller,
)
_FIXED: Final = (tuple, frozenset)
_CHANGING: Final = (list, set, dict)


def name_of(fn: Any) -> str:
    """Module and qualified name of what is called in the end."""
    while issubclass(kind_of(fn), functools.partial):
        fn = fn.func
    if not hasattr(fn, "__qualname__"):
        fn = kind_of(fn)
    return f"{getattr(fn, '__module__', None)}.{fn.__qualname__}"


def fingerprint(value: Any) -> str:
    """The same for a function with the same name, code, defaults and simple free variables.

    Of a function: module, qualified name, bytecode, constants and names of it and of the
    functions in it; default arguments; from its closure, values that cannot change and
    functions.  Of a `functools.partial`: its arguments too.  Of another callable: the code
    of its ``__call__`` and those attributes that cannot change.  Everything else (globals,
    functions that it calls by name, arrays, connections) counts only by its name or type.

    Lists, dicts and sets count where they are arguments or settings; in a closure or an
    attribute they are mostly what a program counts or caches in, so only their type does.
    """
    return _Walk().digest(value, True)


class _Walk:
    """Hashes a value and what it consists of; cycles are seen."""

    def __init__(self) -> None:
        self._inside: list[int] = []

    def digest(self, value: Any, contents: bool) -> str:
        """The hash of *value*; with *contents* also of what is in lists, dicts and sets."""
        if id(value) in self._inside:
            return f"cycle {self._inside.index(id(value))}"
        self._inside.append(id(value))
        try:
            hashed = hashlib.sha256()
            for part in self._parts(value, contents):
                hashed.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
            return hashed.hexdigest()
        finally:
            self._inside.pop()

    def _parts(self, value: Any, contents: bool) -> Iterator[str]:  # noqa: C901 - one branch for each kind of object
        kind = kind_of(value)
        yield f"{kind.__module__}.{kind.__qualname__}"
        if issubclass(kind, enum.Enum):
            yield value.name
        elif issubclass(kind, _PLAIN):
            yield repr(value)
        elif issubclass(kind, re.Pattern):
            yield from (repr(value.pattern), str(value.flags))
        elif issubclass(kind, _FIXED) or (contents and issubclass(kind, _CHANGING)):
            yield from self._items(kind, value, contents)
        elif issubclass(kind, functools.partial):
            for part in (value.func, value.args, value.keywords):
                yield self.digest(part, True)
        elif issubclass(kind, types.CodeType):
            yield from self._code(value)
        elif issubclass(kind, types.FunctionType):
            yield from self._function(value)
        elif issubclass(kind, types.MethodType):
            yield from (self.digest(value.__func__, True), self.digest(value.__self__, False))
        elif issubclass(kind, types.BuiltinFunctionType):
            yield name_of(value)
            if not isinstance(value.__self__, (types.ModuleType, type(None))):
                yield self.digest(value.__self__, True)
        elif issubclass(kind, type):
            yield from (name_of(value), self._method(value, "__init__"))
            yield self._method(value, "__new__")
        else:
            yield from self._instance(kind, value)

    def _items(self, kind: Any, value: Any, contents: bool) -> Iterator[str]:
        if issubclass(kind, (set, frozenset)):  # in no order, so in that of their hashes
            yield from sorted(self.digest(member, contents) for member in value)
        elif issubclass(kind, dict):
            for key, inner in value.items():
                yield from (self.digest(key, contents), self.digest(inner, contents))
        else:
            for member in value:
                yield self.digest(member, contents)

    def _function(self, fn: types.FunctionType) -> Iterator[str]:
        yield name_of(fn)
        yield from (self.digest(fn.__code__, True), self.digest(fn.__defaults__, True))
        yield self.digest(sorted((fn.__kwdefaults__ or {}).items()), True)
        for cell in fn.__closure__ or ():
            try:
                yield self.digest(cell.cell_contents, False)
            except ValueError:
                yield "empty"

    def _code(self, code: types.CodeType) -> Iterator[str]:
        # Neither lines nor file names: moving a function does not change it.
        yield from (code.co_code.hex(), code.co_exceptiontable.hex(), str(code.co_flags))
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        yield from (repr(counts), repr(code.co_names), repr(code.co_freevars))
        for constant in code.co_consts:
            yield self.digest(constant, True)

    def _method(self, kind: type, name: str) -> str:
        method = getattr(kind, name, None)
        return self.digest(method, True) if isinstance(method, types.FunctionType) else ""

    def _instance(self, kind: type, value: Any) -> Iterator[str]:
        yield from (name_of(value), self._method(kind, "__call__"))
        state: dict[str, Any] = dict(getattr(value, "__dict__", None) or {})
        frozen = False
        if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            state.update({f.name: getattr(value, f.name, None) for f in fields})
            frozen = bool(getattr(kind, "__dataclass_params__").frozen)  # noqa: B009
        for base in kind.__mro__:
            slots = base.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name) and not name.startswith("__"):
                    state[name] = getattr(value, name)
        for name in sorted(state):
            yield from (name, self.digest(state[name], frozen))


def settings_of(settings: Mapping[str, object]) -> str:
    """The hash of a mapping of settings, in whatever order they are."""
    return _Walk().digest(sorted(settings.items(), key=lambda pair: pair[0]), True)
