"""`Reducers`: how data of libraries is pickled so that its bytes stay out of the pickle.

What is here changes pickles on the way to another process and back, and no others.
"""

# Types of libraries that need not be there.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

import copyreg
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from rxpool.backends.processes import (
    _reduce_numpy,
    _reduce_pillow,
    _reduce_polars,
    _reduce_pyarrow,
    _reduce_torch,
)

__all__ = ("Reducers",)

#: the module of a library, and who knows how to reduce what is in it
_LIBRARIES: Final = {
    "numpy": _reduce_numpy.reducers,
    "pyarrow.lib": _reduce_pyarrow.reducers,
    "polars": _reduce_polars.reducers,
    "torch": _reduce_torch.reducers,
    "PIL.Image": _reduce_pillow.reducers,
}

_Table: TypeAlias = Mapping[type, Callable[[Any], Any]]


class Reducers:
    """Those of the libraries that are loaded; this loads none.

    Each is for one exact type: subclasses are pickled as they say themselves.  What is
    registered with `copyreg` comes first.

    Any thread may use this.  Tables are replaced, never changed, so no lock is needed: two
    threads at once make the same one.
    """

    def __init__(self) -> None:
        self._modules = 0  # how many there were when it was looked for libraries
        self._own: _Table = {}
        self._registered: _Table = {}  # with `copyreg`
        self._table: _Table | None = None  # both

    def table(self) -> _Table | None:
        """A dispatch table for a pickler of protocol 5; None: it needs none."""
        if len(sys.modules) != self._modules or copyreg.dispatch_table != self._registered:
            self._look()
        return self._table

    def taught(self, pickler: type[Any]) -> type[Any]:
        """A class of picklers with a table of its own; it needs ours behind that one."""
        self.table()
        if not self._own:
            return pickler
        table: Any = ChainMap(pickler.dispatch_table, self._own)  # type: ignore[arg-type]
        return type(pickler.__name__, (pickler,), {"dispatch_table": table})

    def _look(self) -> None:
        """Take note of what was loaded or registered since the last look."""
        modules = len(sys.modules)
        if modules != self._modules:
            self._modules = modules
            own: dict[type, Callable[[Any], Any]] = {}
            for name, reducers in _LIBRARIES.items():
                library = sys.modules.get(name)
                if library is not None:
                    try:
                        own.update(reducers(library))
                    except AttributeError:  # it is being loaded
                        self._modules = 0
            self._own = own
        registered = dict(copyreg.dispatch_table)
        self._table = {**self._own, **registered} if self._own else None
        self._registered = registered
