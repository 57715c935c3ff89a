"""`Broadcast`: a hot observable whose subscribers cannot harm one another."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxpool._core.causes import ends_program
from rxpool._forks import afresh, bury
from rxpool._log import log

__all__ = ("Broadcast",)

_T = TypeVar("_T")


class Broadcast(Observable[_T], Generic[_T]):
    """Gives each value to all who are subscribed.

    Unlike with a Subject, a subscriber that raises is logged, let go, and keeps neither
    the others nor the sender from going on.  *changed* is called when one came or left,
    *failed*, in place of the log, with what a subscriber raised.
    """

    def __init__(
        self,
        name: str,
        changed: Callable[[], object] | None = None,
        failed: Callable[[BaseException], object] | None = None,
    ) -> None:
        super().__init__()
        afresh(self.lock)
        self._changed = changed
        self._failed = failed
        self._name = name
        self._observers: tuple[abc.ObserverBase[_T], ...] = ()
        self._completed = False

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[_T],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        if self.subscribe_directly(observer):
            return Disposable(lambda: self._remove(observer))
        observer.on_completed()
        return Disposable()

    def subscribe_directly(self, observer: abc.ObserverBase[_T]) -> bool:
        """Have *observer* get the values as they are sent; False if there will be none."""
        with self.lock:
            if self._completed:
                return False
            self._observers += (observer,)
        if self._changed is not None:
            self._changed()
        return True

    def _remove(self, observer: abc.ObserverBase[_T]) -> None:
        with self.lock:
            self._observers = tuple(o for o in self._observers if o is not observer)
        if self._changed is not None:
            self._changed()

    @property
    def heard(self) -> bool:
        """Whether anybody is subscribed."""
        return bool(self._observers)

    @property
    def subscribers(self) -> int:
        """How many are subscribed."""
        return len(self._observers)

    def heard_by(self, observer: abc.ObserverBase[_T] | None) -> bool:
        """Whether *observer* is subscribed directly."""
        return observer in self._observers

    def send(self, value: _T) -> None:
        """Give *value* to the subscribers, on this thread."""
        for observer in self._observers:
            try:
                observer.on_next(value)
            except BaseException as error:
                self.let_go(observer, error)

    def send_all(self, values: Sequence[_T], but: abc.ObserverBase[_T] | None = None) -> None:
        """Give *values* to one subscriber after the other, on this thread; not to *but*."""
        for observer in self._observers:
            if observer is but:
                continue
            try:
                for value in values:
                    observer.on_next(value)
            except BaseException as error:
                self.let_go(observer, error)

    def let_go(self, observer: abc.ObserverBase[_T], error: BaseException) -> None:
        """*observer* raised *error*: it gets no more; what ends the program is raised on."""
        self._remove(observer)
        if self._failed is None:
            log.error("a subscriber raised", stream=self._name, exc_info=error)
        else:
            self._failed(error)
        if ends_program(error):
            raise error

    def forked(self) -> None:
        """In a child: nothing will come, and those who waited for it are the parent's."""
        bury(self._observers)
        self._observers, self._completed = (), True

    def complete(self) -> None:
        """End the stream; whoever subscribes later is told so."""
        with self.lock:
            observers, self._observers, self._completed = self._observers, (), True
        for observer in observers:
            try:
                observer.on_completed()
            except Exception as error:
                log.error("a subscriber raised", stream=self._name, exc_info=error)
