"""`Producers`: those that wait for room in a flow."""

from collections.abc import Callable

from rxpool._forks import bury
from rxpool.pool._state.effects import Effects
from rxpool.pool._state.flow_state import FlowState

__all__ = ("Producers",)


class Producers:
    """What is to be called, in *effects*, once a flow has room."""

    __slots__ = ("_effects", "waiting")

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self.waiting: dict[FlowState, list[Callable[[], object]]] = {}

    def wait(self, flow: FlowState, resume: Callable[[], object]) -> bool:
        """Call *resume* once *flow* has room; False if it has."""
        # First in, then look: a worker makes room without the lock, then looks here.
        waiting = self.waiting.setdefault(flow, [])
        waiting.append(resume)
        if not flow.capacity.has_room():
            return True
        waiting.remove(resume)
        if not waiting:
            del self.waiting[flow]
        return False

    def release(self, flow: FlowState) -> None:
        """Those of *flow* go on."""
        self._effects.calls.extend(self.waiting.pop(flow, ()))

    def release_drained(self) -> None:
        """Those of flows that have room for a few items go on."""
        for flow in [flow for flow in self.waiting if flow.capacity.has_drained()]:
            self.release(flow)

    def forsake(self) -> None:
        """In a forked child: nobody goes on."""
        bury(self.waiting)
        self.waiting.clear()
