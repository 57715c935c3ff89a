"""Every exception of rxpool: one class per cause, all under `RxPoolError`."""

__all__ = (
    "InvalidArgument",
    "InvalidArgumentType",
    "InvalidItem",
    "ItemDropped",
    "Overflow",
    "PoolClosed",
    "RxPoolError",
    "TaskCancelled",
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
