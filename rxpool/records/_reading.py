"""`read`, `read_items` and `replay`: what became of dead letters."""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler import CurrentThreadScheduler

from rxpool import _checks as checks
from rxpool._log import log
from rxpool.errors import InvalidItem
from rxpool.records._database import is_database
from rxpool.records._jsonlines import check_lines, read_lines
from rxpool.records._letter import DeadLetter
from rxpool.records._sink import Path
from rxpool.records._sqlite_letters import read_table

__all__ = ("read", "read_items", "replay")


def read(path: Path, *, allow_pickle: bool = False) -> Iterator[DeadLetter]:
    """The dead letters of a file, oldest first, one at a time.

    It ends with what is in the file when reading starts; letters that are added meanwhile
    are left for the next time.  Broken lines, as a killed program leaves, are skipped and
    logged.

    Args:
        path: A file of `JsonLinesDeadLetters` or `SqliteDeadLetters`; its content says which.
        allow_pickle: Whether `DeadLetter.item` may unpickle.  That can run any code that
            whoever wrote the file put there: only for files that you trust.

    Raises:
        InvalidArgument: If the file holds something else.
        OSError: At once, if it cannot be opened.
    """
    checks.flag("allow_pickle", allow_pickle)
    full = os.path.abspath(path)
    if is_database(full):
        return read_table(full, allow_pickle)
    if not os.path.getsize(full):
        return iter(())
    with open(full, "rb") as file:
        check_lines(full, file.read(20))
    return read_lines(full, allow_pickle)


def read_items(
    path: Path, *, allow_pickle: bool = False, skip_unreadable: bool = False
) -> Iterator[Any]:
    """The items of the dead letters of a file, oldest first, for `WorkerPool.pull`.

    Args:
        path: As for `read`.
        allow_pickle: As for `read`.
        skip_unreadable: Skip items of which only the repr was kept, or that cannot be
            unpickled here, and log that.  Pickled items need `allow_pickle` all the same.

    Raises:
        InvalidItem: When it comes to an item that cannot be read.
        InvalidArgument: If the file holds something else.
        OSError: At once, if it cannot be opened.
    """
    checks.flag("skip_unreadable", skip_unreadable)
    return _items(read(path, allow_pickle=allow_pickle), skip_unreadable)


def _items(letters: Iterator[DeadLetter], skip_unreadable: bool) -> Iterator[Any]:
    for letter in letters:
        try:
            item = letter.item
        except InvalidItem as error:
            refused = letter.kept.kind == "pickle" and not letter.allow_pickle
            if refused or not skip_unreadable:
                raise
            log.warning("a dead letter is not replayed", reason=str(error))
            continue
        yield item


def replay(
    path: Path,
    *,
    allow_pickle: bool = False,
    skip_unreadable: bool = False,
    scheduler: abc.SchedulerBase | None = None,
) -> Observable[Any]:
    """The items of the dead letters of a file, as a stream.

    - **Emits** the items, oldest first; each subscription reads the file anew.
    - **Completes** after the last letter that was in the file when it was subscribed to, so
      items that fail again may go into the same file.
    - **Fails** with `InvalidItem` at an item that cannot be read, with `InvalidArgument` if
      the file holds something else, with `OSError` if it cannot be read.
    - **Holds back** nothing of itself: ``pool.pull(read_items(path))`` reads on only while
      there is room.

    Args:
        path: As for `read`.
        allow_pickle: As for `read`.
        skip_unreadable: As for `read_items`.
        scheduler: Where it is read; by default the subscriber's, else the current thread.

    Raises:
        InvalidArgument: At once, if an option is of the wrong type.
    """
    checks.flag("allow_pickle", allow_pickle)
    checks.flag("skip_unreadable", skip_unreadable)
    checks.timing("scheduler", scheduler)

    def subscribe(
        observer: abc.ObserverBase[Any], default: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        left = Disposable()

        def action(_: abc.SchedulerBase, __: Any = None) -> None:
            try:
                items: Any = read_items(
                    path, allow_pickle=allow_pickle, skip_unreadable=skip_unreadable
                )
            except Exception as error:
                observer.on_error(error)
                return
            with closing(items):
                while not left.is_disposed:
                    try:
                        item = next(items)
                    except StopIteration:
                        observer.on_completed()
                        return
                    except Exception as error:
                        observer.on_error(error)
                        return
                    observer.on_next(item)

        chosen = scheduler or default or CurrentThreadScheduler.singleton()
        return CompositeDisposable(chosen.schedule(action), left)

    return Observable(subscribe)
