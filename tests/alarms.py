"""Virtual time that counts its timers, for tests of what sets them."""

from reactivex.testing import TestScheduler


class Alarms(TestScheduler):
    """Virtual time that knows which timers were set, which rang and which will."""

    def __init__(self):
        super().__init__()
        self._timers = []

    def schedule_relative(self, duetime, action, state=None):
        """Set a timer, and remember it until it rings or is disposed."""
        timer = [None, False]

        def ring(scheduler, state=None):
            timer[1] = True
            return action(scheduler, state)

        timer[0] = super().schedule_relative(duetime, ring, state)
        self._timers.append(timer)
        return timer[0]

    @property
    def set(self):
        """How many timers were set."""
        return len(self._timers)

    @property
    def rang(self):
        """How many timers rang."""
        return sum(rang for _, rang in self._timers)

    @property
    def pending(self):
        """How many timers will ring."""
        return sum(not rang and not handle.is_disposed for handle, rang in self._timers)
