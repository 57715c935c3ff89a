"""`Awaitables`: tasks that go on after their function has returned."""

# What functions of users return is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool._forks import end_child
from rxpool.pool._engine.binding import NO_VALUE, TaskHandle
from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._engine.timeouts import Timeouts
from rxpool.pool._state.task import Task
from rxpool.tasks import held

__all__ = ("Awaitables",)

_PENDING: Final[Any] = object()  #: the task goes on after its function has returned


class Awaitables:
    """Runs what functions return that is no value: awaitables and Observables."""

    def __init__(self, dispatcher: Dispatcher, timeouts: Timeouts) -> None:
        self._dispatcher = dispatcher
        self._timeouts = timeouts
        #: by type of what functions returned: whether it is work
        self.special: dict[type, bool] = {}

    def is_work(self, value: Any) -> bool:
        """Whether a result is not a value but work that goes on: awaitable or Observable.

        `special` remembers that by type.
        """
        kind = type(value)
        special = self.special.get(kind)
        if special is None:
            special = hasattr(kind, "__await__") or issubclass(kind, abc.ObservableBase)
            if len(self.special) > 500:
                self.special.clear()
            self.special[kind] = special
        return special

    def go_on(self, task: Task, work: Any, context: Context) -> Task | None:
        """The function of a task returned work; answers the next task for its slot."""
        try:
            value, error = self._follow(task, work, context)
        except BaseException as raised:
            value, error = None, raised
        if self._dispatcher.registry.foreign is not None:
            end_child(error)
        if value is _PENDING:
            return self._leave_slot(task)
        return self._dispatcher.settle(task, value, error)

    def _follow(
        self, task: Task, work: Any, context: Context
    ) -> tuple[Any, BaseException | None]:
        """Run what the function returned: its value and error, or `_PENDING`."""
        ended: list[tuple[Any, BaseException | None]] = []
        returned = False

        def done(value: Any, error: BaseException | None) -> None:
            with self._dispatcher.lock:
                if not returned:
                    ended.append((value, error))
                    return
            self._dispatcher.end_later(task, value, error)

        if isinstance(work, abc.ObservableBase):
            cancel: Callable[[], object] | None = self._subscribe(task, work, done, context)
        else:
            backend = self._dispatcher.backend
            if backend.traits.keeps_slot:  # on an event loop it shares the thread with others
                context.run(held.set, TaskHandle(task))
            cancel = backend.run_awaitable(work, done, context)
        with self._dispatcher.lock:
            returned = True
            if ended:
                return ended[0]
            task.go_on(cancel)
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
            task.own().collected = []
        handle = SingleAssignmentDisposable()

        def on_next(value: Any) -> None:
            self.part(task, value)

        def subscribe() -> abc.DisposableBase:
            return work.subscribe(
                on_next,
                lambda error: done(None, error),
                lambda: done(task.extra.collected if collects else NO_VALUE, None),
                scheduler=self._dispatcher.backend.scheduler,
            )

        handle.disposable = context.run(subscribe)
        return handle.dispose

    def part(self, task: Task, value: Any) -> None:
        """A task that gives several results gave one."""
        binding = task.flow.binding
        if binding.collects:
            extra = task.own()
            if extra.collected is None:
                extra.collected = []
            extra.collected.append(value)
            return
        with self._dispatcher.lock:
            entry = binding.begin_delivery() if task.flow.add_part(task, value) else None
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)
        self._dispatcher.deliver(binding, entry)

    def _leave_slot(self, task: Task) -> Task | None:
        """The function returned, the task goes on: the thread may serve another."""
        if self._dispatcher.backend.traits.keeps_slot:
            return None
        if task.flow.times.goes_on(task):  # its function took long; now it can be ended
            self._timeouts.watch(task.flow)
        task.handed(None)  # the thread is not to be given up with the task any more
        with self._dispatcher.lock:
            following = self._dispatcher.slots.pass_on(task)
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)
        return following if self._dispatcher.registry.foreign is None else None
