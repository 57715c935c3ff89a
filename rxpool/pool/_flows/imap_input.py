"""`ImapInput`: the input of one `pool.imap`, and how it is handed over."""

from collections.abc import Iterable, Iterator
from contextvars import copy_context
from itertools import islice
from time import perf_counter
from typing import Any

from rxpool._core.causes import as_failure, ends_program
from rxpool._forks import bury
from rxpool.errors import PoolClosed
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.options import FlowOptions
from rxpool.pool._flows.reading import READ_FOR, READ_MOST, at_hand, read_ahead, tasks_of
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("ImapInput",)


class ImapInput:
    """What an `imap` reads, as far ahead as it may, and why it ends if not by the last item.

    Only the thread that iterates reads, without the engine's lock.  Others stop it, with that
    lock held.
    """

    __slots__ = (
        "_ahead",
        "_engine",
        "_error",
        "_items",
        "_rank",
        "_reads_on",
        "_refused",
        "_state",
        "_unread",
    )

    def __init__(
        self, engine: Engine, state: FlowState, options: FlowOptions, items: Iterable[Any]
    ) -> None:
        self._engine = engine
        self._state = state
        self._rank = options.rank if options.sorts else None
        self._reads_on = self._rank is None and state.gate is None
        self._items: Iterator[Any] | None = iter(items)
        self._ahead: list[Any] = []  # read and not accepted yet
        self._unread: Iterator[Any] | None = None  # a closing pool reads no more of this
        self._refused = False  # what was read was not taken any more
        # raised after the results: of the input, or why there are no more
        self._error: BaseException | None = None

    # -- how it ends ------------------------------------------------------------------------

    @property
    def all_read(self) -> bool:
        """Nothing more comes."""
        return self._items is None and not self._ahead

    def cut(self) -> None:
        """The pool closes: read no more.  Locked."""
        if self._items is not None:
            self._unread = self._items
        self._items = None

    def drop(self) -> None:
        """What is not read is given up.  Locked."""
        self._items = None

    def fail(self, error: BaseException) -> None:
        """Give up what was read too: *error* is the end."""
        self._ahead.clear()
        self._error = error

    def condemn(self, error: BaseException) -> None:
        """*error* is the end, unless there is one.  Locked."""
        if self._error is None:
            self._error = error

    def forsake(self) -> None:
        """In a forked child: it is the parent's."""
        bury(self._items, self._ahead)
        self._items = None
        self._ahead.clear()

    def failure(self) -> BaseException | None:
        """What to raise behind the results; None: all was read."""
        if self._error is None:
            self._error = self._cut_short()
        return self._error

    def _cut_short(self) -> BaseException | None:
        """What to raise at the end, if that is not the end of the input."""
        unread, self._unread = self._unread, None
        if not self._refused and unread is not None:
            try:
                next(unread)
                self._refused = True
            except StopIteration:
                pass
            except BaseException as error:
                return error
        if not self._refused:
            return None
        return PoolClosed(
            f"pool {self._engine.name!r} was closed before {self._state.binding.name} had "
            "read its input"
        )

    # -- reading ----------------------------------------------------------------------------

    def read(self) -> None:
        """Read input and hand it over, as much as there is room for."""
        state, engine, ahead = self._state, self._engine, self._ahead
        items = self._items  # a closing pool takes it away
        if items is not None and not ahead and self._reads_on and not at_hand(items):
            self._read_on(items)
            return
        if items is not None and not ahead:
            # An item read is an item ahead: never more than will surely be taken.
            room = max(1, min(state.capacity.to_read(), READ_MOST))
            try:
                if not read_ahead(items, room, ahead):
                    self._items = None
            except BaseException as error:
                if ends_program(error):
                    raise  # now, not when what runs is done
                self._items, self._error = None, as_failure(error)
        tasks = tasks_of(state, ahead, engine.now())
        refused: list[tuple[Task, BaseException]] = []
        if self._rank is not None:
            tasks = self._sort_out(tasks, refused)
        with engine.lock:
            taken, started = (len(tasks), 0)
            for task, reason in refused:
                state.settlement.refuse(task, reason)
            if state.ended:
                self._refused = bool(ahead)
            else:
                taken, started = engine.slots.accept_many(state, tasks)
            del ahead[:taken]
            if self.all_read:
                state.end()
            pending = engine.dispatcher.pending()
        engine.taken(state, tasks[:started], pending)

    def _read_on(self, items: Iterator[Any]) -> None:
        """Read an input that may wait: who has nothing to do meanwhile takes what was read."""
        state, engine = self._state, self._engine
        slots, now, room = engine.slots, engine.now, max(1, state.capacity.to_read())
        context = copy_context() or None
        until = perf_counter() + READ_FOR
        slots.reading[state] = None
        try:
            for item in islice(items, room):
                state.ahead.append(
                    Task(state, item, now(), None if context is None else context.copy())
                )
                if slots.free > 0 or perf_counter() > until:
                    break
                room -= 1
            else:
                if room:
                    self._items = None
        except BaseException as error:
            if ends_program(error):
                raise  # now, not when what runs is done
            self._items, self._error = None, as_failure(error)
        finally:
            del slots.reading[state]
        with engine.lock:
            if state.ended:
                self._refused = self._refused or bool(state.ahead)
                state.ahead.clear()
            state.take_ahead()
            if self.all_read:
                state.end()
            pending = engine.dispatcher.pending()
        engine.taken(state, (), pending)

    def _sort_out(
        self, tasks: list[Task], refused: list[tuple[Task, BaseException]]
    ) -> list[Task]:
        """Rank what was read; items whose functions raise go to *refused*."""
        assert self._rank is not None
        good: list[Task] = []
        for task in tasks:
            try:
                self._rank(self._state, task)
                good.append(task)
            except BaseException as error:
                if ends_program(error):
                    raise
                refused.append((task, error))
        ahead = self._ahead
        ahead[:] = [task.item for task in good]
        return good
