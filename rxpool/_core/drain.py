"""`Drain`: one thread at a time does all that was left to do, and none waits for it."""

from collections.abc import Callable

__all__ = ("Drain",)


class Drain:
    """Whoever finds nobody at work does it all; the others leave theirs, and go on.

    *work* looks at everything that is left, whoever left it, so it is the same for all.  It
    is called again when somebody came meanwhile, also from within itself.  What it raises
    is for who called `run`; what is left then is done by who comes next.
    """

    __slots__ = ("_asked", "_at_work")

    def __init__(self) -> None:
        self._asked = False  # something was left since the last look
        self._at_work: dict[None, object] = {}  # who is, taken by one atomic step

    def run(self, work: Callable[[], object]) -> bool:
        """Do *work*, or leave it to who is at it; whether it was done here."""
        # First it is said that something is left, then looked whether somebody is at work.
        # Who is at work leaves first, and then looks whether that was said.
        self._asked = True
        me, worked = object(), False
        try:
            while self._asked and self._at_work.setdefault(None, me) is me:
                self._asked = False
                work()
                worked = True
                self._leave(me)
        finally:
            self._leave(me)
        return worked

    def _leave(self, me: object) -> None:
        if self._at_work.get(None) is me:
            del self._at_work[None]

    def forked(self) -> None:
        """In a child nobody is at work, unless that is who forked, and comes back to this."""
        self._at_work.clear()
        self._asked = False
