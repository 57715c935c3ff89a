"""Values on the way to a process and back, without the process."""

import io
import pickle

from rxpool.backends.processes._codec import decode, encode, size_of, spans_of
from rxpool.backends.processes._reducers import Reducers
from tests.backends.channel_parts import Ring


def sent(value, lent=False, size=1 << 24):
    """What comes of *value*, the bytes of it in the pickle, and those in shared memory.

    With *lent*, what has come lies in shared memory, as it does in a worker.
    """
    ring = Ring(size).buffers
    wire = pickle.loads(pickle.dumps(encode(value, ring, "the item"), 5))
    beside = sum(span[1] for span in spans_of(wire))
    found = decode(wire, ring, [] if lent else None)
    return found, size_of(wire) - beside, beside


def pickled(value):
    """What comes of *value* with pickle alone."""
    return pickle.loads(pickle.dumps(value, 5))


def dumped(value, callback=None, reducers=None):
    """A pickle with reducers, and a callback for buffers of any size."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5, buffer_callback=callback)
    table = (reducers or Reducers()).table()
    if table is not None:
        pickler.dispatch_table = table
    pickler.dump(value)
    return file.getvalue()
