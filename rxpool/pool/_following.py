"""`Following`: tasks that go on after their function has returned."""

# What functions of users return is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool.pool._binding import NO_VALUE, TaskHandle
from rxpool.pool._ledger import Task
from rxpool.pool._limits import Limits
from rxpool.tasks import held

__all__ = ("Following",)

_PENDING: Final[Any] = object()  #: the task goes on after its function has returned


class Following(Limits):
    """Runs what functions return that is no value: awaitables and Observables."""

    #: by type of what functions returned: whether it is work
    special: dict[type, bool]

    def _is_work(self, value: Any) -> bool:
        """Whether a result is not a value but work that goes on: awaitable or Observable.

        `_special` remembers that by type.
        """
        kind = type(value)
        special = self.special.get(kind)
        if special is None:
            special = hasattr(kind, "__await__") or issubclass(kind, abc.ObservableBase)
            if len(self.special) > 500:
                self.special.clear()
            self.special[kind] = special
        return special

    def _go_on(self, task: Task, work: Any, context: Context) -> Task | None:
        """The function of a task returned work; answers the next task for its slot."""
        try:
            value, error = self._follow(task, work, context)
        except BaseException as raised:
            value, error = None, raised
        if value is _PENDING:
            return self._leave_slot(task)
        return self.settle(task, value, error)

    def _follow(
        self, task: Task, work: Any, context: Context
    ) -> tuple[Any, BaseException | None]:
        """Run what the function returned: its value and error, or `_PENDING`."""
        ended: list[tuple[Any, BaseException | None]] = []
        returned = False

        def done(value: Any, error: BaseException | None) -> None:
            with self.lock:
                if not returned:
                    ended.append((value, error))
                    return
            self.end_later(task, value, error)

        if isinstance(work, abc.ObservableBase):
            cancel: Callable[[], object] | None = self._subscribe(task, work, done, context)
        else:
            if self.backend.keeps_slot:  # on an event loop it shares the thread with others
                context.run(held.set, TaskHandle(task))
            cancel = self.backend.run_awaitable(work, done, context)
        with self.lock:
            returned = True
            if ended:
                return ended[0]
            task.inner = cancel
            gone = task.settled
        if gone and cancel is not None:
            cancel()
        return _PENDING, None

    def _subscribe(
        self,
        task: Task,
        work: abc.ObservableBase[Any],
        done: Callable[[Any, BaseException | None], None],
        context: Context,
    ) -> Callable[[], object]:
        collects = task.flow.binding.collects
        if collects:
            task.collected = []
        handle = SingleAssignmentDisposable()

        def on_next(value: Any) -> None:
            self.part(task, value)

        def subscribe() -> abc.DisposableBase:
            return work.subscribe(
                on_next,
                lambda error: done(None, error),
                lambda: done(task.collected if collects else NO_VALUE, None),
                scheduler=self.backend.scheduler,
            )

        handle.disposable = context.run(subscribe)
        return handle.dispose

    def part(self, task: Task, value: Any) -> None:
        """A task that gives several results gave one."""
        binding = task.flow.binding
        if binding.collects:
            if task.collected is None:
                task.collected = []
            task.collected.append(value)
            return
        with self.lock:
            entry = binding.claim() if self.ledger.add_part(task, value) else None
            chores = self.chores()
        self.carry_out(chores)
        self.deliver(binding, entry)

    def _leave_slot(self, task: Task) -> Task | None:
        """The function returned, the task goes on: the thread may serve another."""
        if self.backend.keeps_slot:
            return None
        task.note = None  # the thread is not to be given up with the task any more
        with self.lock:
            following = self._next_for(task)
            chores = self.chores()
        self.carry_out(chores)
        return following
