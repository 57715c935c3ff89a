"""A descriptor for a process, which tells of its end whatever others hold open."""

import errno
import os
import sys
from typing import Final

__all__ = ("open_pidfd",)

#: what `os.pidfd_open` says that may be otherwise the next time
_NO_ROOM: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


def open_pidfd(pid: int) -> int | None:
    """A descriptor that can be read when the process has ended; None where there are none.

    Raises:
        ProcessLookupError: If there is no such process.
        OSError: If there is no room for a descriptor.
    """
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except AttributeError:  # an old C library
        return None
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return None  # an old kernel, or it is forbidden
