"""The options of a flow, checked where they are written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from reactivex import abc

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.outcomes import Failure
from rxpool.pool._ledger import FlowLedger, Ledger

__all__ = (
    "FlowOptions",
    "ImapKeywords",
    "MapKeywords",
    "OnFailure",
    "Order",
    "OutcomesKeywords",
    "check_on_failure",
)

Order: TypeAlias = Literal["completion", "input"]
OnFailure: TypeAlias = Literal["raise", "skip"] | abc.ObserverBase[Failure[Any]]


class _Keywords(TypedDict, total=False):
    concurrency: int | None
    order: Order
    max_reorder: int | None
    max_pending: int | None


class OutcomesKeywords(_Keywords, total=False):
    """The keywords of `WorkerPool.outcomes`, for its overloads."""

    overflow: checks.OverflowPolicy


class ImapKeywords(_Keywords, total=False):
    """The keywords of `WorkerPool.imap`, for its overloads."""

    on_failure: OnFailure


class MapKeywords(OutcomesKeywords, ImapKeywords, total=False):
    """The keywords of `WorkerPool.map`, for its overloads."""


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """What `pool.map`, `pool.outcomes` and `pool.imap` have in common."""

    fn: Callable[[Any], Any]
    concurrency: int | None
    ordered: bool
    max_reorder: int | None
    max_pending: int
    overflow: str

    @classmethod
    def check(
        cls,
        fn: Any,
        concurrency: Any,
        order: Any,
        max_reorder: Any,
        max_pending: Any,
        overflow: Any,
    ) -> "FlowOptions":
        """Refuse what cannot be meant."""
        checks.call("fn", fn)
        if concurrency is not None:
            checks.count("concurrency", concurrency, least=1)
        checks.one_of("order", order, ("completion", "input"))
        if max_reorder is not None:
            checks.count("max_reorder", max_reorder, least=1)
            if order != "input":
                raise InvalidArgument(f"max_reorder={max_reorder} needs order='input'")
        checks.count("max_pending", max_pending)
        checks.one_of("overflow", overflow, checks.OVERFLOWS)
        return cls(fn, concurrency, order == "input", max_reorder, max_pending, overflow)

    def open(self, ledger: Ledger, keeps_drops: bool) -> FlowLedger:
        """The books of a new flow."""
        return FlowLedger(
            ledger,
            concurrency=self.concurrency,
            ordered=self.ordered,
            max_pending=self.max_pending,
            max_reorder=self.max_reorder,
            overflow=self.overflow,
            keeps_drops=keeps_drops,
        )


def check_on_failure(on_failure: Any) -> Any:
    """``"raise"``, ``"skip"`` or an observer."""
    if isinstance(on_failure, str):
        return checks.one_of("on_failure", on_failure, ("raise", "skip"))
    if not callable(getattr(on_failure, "on_next", None)):
        raise InvalidArgumentType(
            f"on_failure must be 'raise', 'skip' or an observer, got {on_failure!r}"
        )
    return on_failure
