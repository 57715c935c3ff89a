"""What `import rxpool` imports at once; all else is imported when it is asked for.

What registers hooks for the end of the interpreter could not any more if a program came to it
only then; and whoever catches an error must not have to import it first.
"""

import concurrent.futures.thread

from rxpool import _exit, errors

__all__ = ()

_hooks = (concurrent.futures.thread, _exit)
_errors = errors
