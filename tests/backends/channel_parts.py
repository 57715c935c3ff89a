"""Parts of which pools of processes are made."""

from itertools import pairwise

from rxpool.backends.processes._buffer_ring import BufferRing

SIZE = 4096


class Ring:
    """A ring in a small memory, and what should be in it."""

    def __init__(self, size=SIZE):
        self.memory = memoryview(bytearray(size))
        numbers = memoryview(bytearray(64)).cast("d")
        self.buffers = BufferRing(self.memory, numbers, 0)
        self.live = []  # span and contents, in the order in which they were put
        self.stamp = 0

    def put(self, size):
        """Put a buffer, if there is room; its span."""
        self.stamp = self.stamp % 255 + 1
        data = bytes([self.stamp]) * size
        span = self.buffers.put(memoryview(data))
        if span is not None:
            self.live.append((span, data))
        return span

    def free(self, count):
        """Free the oldest buffers."""
        gone, self.live = self.live[:count], self.live[count:]
        if gone:
            self.buffers.free(gone[-1][0][2])

    def check(self):
        """What was put and not freed is intact, and no two of them lie in the same place."""
        places = []
        for span, data in self.live:
            assert bytes(self.buffers.view(span)) == data
            places.append((span[0], span[0] + span[1]))
        places.sort()
        for (_, end), (start, _) in pairwise(places):
            assert end <= start
        numbers = [span[2] for span, _ in self.live]
        assert numbers == sorted(set(numbers))
