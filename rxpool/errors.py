"""Every exception of rxpool: one class per cause, all under `RxPoolError`."""

import pickle

__all__ = (
    "BatchSizeError",
    "CircuitOpen",
    "DamagedRecord",
    "DeadlineExceeded",
    "InvalidArgument",
    "InvalidArgumentType",
    "InvalidItem",
    "ItemDropped",
    "NotPicklable",
    "Overflow",
    "PoisonItem",
    "PoolClosed",
    "RemoteError",
    "RxPoolError",
    "TaskCancelled",
    "TaskTimeout",
    "TooManyFailures",
    "WorkerCrashed",
    "WorkerStartError",
    "WouldBlock",
)


class RxPoolError(Exception):
    """The root of all errors that rxpool raises itself."""


class InvalidArgument(RxPoolError, ValueError):
    """An option is out of its range; raised where the option is written."""


class InvalidArgumentType(InvalidArgument, TypeError):
    """An option is of the wrong type; raised where the option is written."""


class InvalidItem(RxPoolError, ValueError):
    """A stream's item cannot be handled, such as one with a negative cost or weight."""


class DamagedRecord(RxPoolError, ValueError):
    """What is read from a file is not what was written there."""


class WouldBlock(RxPoolError):
    """A producer would have to wait where waiting is impossible.

    This is so on the thread of a running event loop and in virtual time.
    """


class Overflow(RxPoolError):
    """More items waited than ``max_pending`` allows, under ``overflow="error"``."""


class ItemDropped(RxPoolError):
    """The outcome of an item that an overflow policy dropped."""


class TaskCancelled(RxPoolError):
    """The outcome of an item whose work was cancelled before it ended."""


class PoolClosed(RxPoolError):
    """Work was given to a pool that is closed."""


class CircuitOpen(RxPoolError):
    """A circuit breaker refused the call."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  #: seconds until it may let a call through, if known


class TaskTimeout(RxPoolError, TimeoutError):
    """An attempt ran longer than its ``timeout``."""


class DeadlineExceeded(RxPoolError, TimeoutError):
    """An item was not done when its ``deadline`` was over, waiting or running."""


class TooManyFailures(RxPoolError):
    """More items of a flow failed than its ``max_failures`` allows."""

    def __init__(self, message: str, failed: int = 0, settled: int = 0) -> None:
        super().__init__(message, failed, settled)
        self.failed = failed  #: items that failed after all, when it ended
        self.settled = settled  #: items that failed or ended well until then

    def __str__(self) -> str:
        return str(self.args[0])


class WorkerCrashed(RxPoolError):
    """The worker died while it ran the item, or the executor that should run it is broken."""

    def __init__(self, message: str, exitcode: int | None = None) -> None:
        super().__init__(message)
        self.exitcode = exitcode  #: of the process; negative: the signal that ended it


class PoisonItem(WorkerCrashed):
    """The item has killed its worker as often as ``poison_after`` allows."""


class WorkerStartError(RxPoolError):
    """Workers could not be started, however often that was tried."""


class NotPicklable(RxPoolError, pickle.PicklingError):
    """A function, an item, a result or an exception cannot be sent between processes."""


class RemoteError(RxPoolError):
    """Stands for an exception of a worker that cannot be sent home itself.

    The message begins with the name of its type; the traceback is in the cause.  Where errors
    are chosen by type, as in ``Retry(on=ApiError)``, it counts as what it stands for.
    """

    def __init__(
        self, message: str, type_name: str = "", type_names: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.type_name = type_name  #: of the exception that was raised, with its module
        #: of its class and of all that this derives from
        self.type_names: tuple[str, ...] = type_names or ((type_name,) if type_name else ())


class BatchSizeError(RxPoolError, ValueError):
    """A function of batches did not return one result for each item."""
