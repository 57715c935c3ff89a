"""The options of a flow, checked where they are written."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from reactivex import abc

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.outcomes import Failure
from rxpool.pool._engine.policies import NO_POLICIES, Policies
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import Slots
from rxpool.pool._state.tally import most_failures
from rxpool.pool._state.task import Task

if TYPE_CHECKING:
    from rxpool.policies import CircuitBreaker, Hedge, Limit, Retry
    from rxpool.records import Journal

__all__ = (
    "BatchKeywords",
    "CollectKeywords",
    "ExhaustKeywords",
    "FlowOptions",
    "ImapKeywords",
    "MapKeywords",
    "NewestKeywords",
    "OnFailure",
    "Order",
    "OutcomesKeywords",
    "WorkerKeywords",
)

Order: TypeAlias = Literal["completion", "input", "key"]
OnFailure: TypeAlias = Literal["raise", "skip"] | abc.ObserverBase[Failure[Any]]


class _Limits(TypedDict, total=False):
    timeout: checks.Seconds | None
    deadline: checks.Seconds | None


class _Policies(TypedDict, total=False):
    retry: "Retry | int | None"
    breaker: "CircuitBreaker | None"
    limit: "Limit | None"
    hedge: "Hedge | None"


class _Keywords(_Limits, _Policies, total=False):
    concurrency: int | None
    order: Order
    key: Callable[[Any], Any] | None
    priority: Callable[[Any], float] | None
    max_reorder: int | None
    max_pending: int | None


class _Replaced(TypedDict, total=False):
    fallback: Any
    journal: "Journal | None"


class _Streamed(TypedDict, total=False):
    overflow: checks.OverflowPolicy


class _Failing(TypedDict, total=False):
    on_failure: OnFailure


class _Tolerant(TypedDict, total=False):
    max_failures: float | None  # an int is a number of failures


class WorkerKeywords(_Keywords, _Replaced, _Streamed, total=False):
    """The keywords of `WorkerPool.worker`."""


class OutcomesKeywords(WorkerKeywords, _Tolerant, total=False):
    """The keywords of `WorkerPool.outcomes`."""


class ImapKeywords(_Keywords, _Replaced, _Failing, _Tolerant, total=False):
    """The keywords of `WorkerPool.imap`."""


class CollectKeywords(_Limits, _Policies, _Replaced, total=False):
    """The keywords of `WorkerPool.collect`."""

    concurrency: int | None
    max_pending: int | None


class MapKeywords(_Keywords, _Replaced, _Streamed, _Failing, _Tolerant, total=False):
    """The keywords of `WorkerPool.map`."""


class BatchKeywords(_Keywords, _Streamed, _Failing, _Tolerant, total=False):
    """The keywords of `WorkerPool.map_batches`."""

    bisect: bool


class NewestKeywords(_Limits, total=False):
    """The keywords of `WorkerPool.switch_map`."""

    on_failure: OnFailure


class ExhaustKeywords(NewestKeywords, total=False):
    """The keywords of `WorkerPool.exhaust_map`."""

    queue_latest: bool


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """The options of all kinds of flows."""

    fn: Callable[[Any], Any]
    max_pending: int
    concurrency: int | None = None
    order: str = "completion"
    key: Callable[[Any], Any] | None = None
    priority: Callable[[Any], Any] | None = None
    max_reorder: int | None = None
    timeout: float | None = None
    deadline: float | None = None
    overflow: str = "block"
    on_failure: Any = "raise"
    max_failures: int | float | None = None
    bisect: bool = False
    queue_latest: bool = False
    most: int | None = None
    policies: Policies = NO_POLICIES

    @classmethod
    def check(
        cls, method: str, known: type, fn: Any, max_pending: int, given: Mapping[str, Any]
    ) -> "FlowOptions":
        """Refuse what cannot be meant; *known* is the TypedDict of the method's keywords."""
        checks.call("fn", fn)
        for name in given:
            if name not in known.__annotations__:
                raise InvalidArgumentType(
                    f"{method}() has no option {name!r}; it has "
                    f"{', '.join(sorted(known.__annotations__))}"
                    + checks.hint(name, known.__annotations__, _MEANT)
                )
        options: dict[str, Any] = {
            name: value
            for name, value in given.items()
            if value is not None or name not in _OPTIONAL
        }
        for name in options:
            options[name] = _CHECKS[name](name, options[name])
        chosen_policies = {name: options.pop(name) for name in _POLICIES if name in options}
        options["policies"] = Policies(**chosen_policies)
        options.setdefault("max_pending", max_pending)
        if method == "map_batches" and "retry" in chosen_policies:
            from rxpool.policies._arguments import for_errors_alone

            for_errors_alone("retry", chosen_policies["retry"], "batches")
        chosen = cls(fn, **options)
        chosen._check_together()
        return chosen

    def _check_together(self) -> None:
        if self.max_reorder is not None and self.order != "input":
            raise InvalidArgument(f"max_reorder={self.max_reorder} needs order='input'")
        if self.priority is not None and self.order == "input":
            raise InvalidArgument(
                "priority decides what starts first, order='input' too: choose one"
            )
        if self.deadline is None and self.policies.retry is not None:
            from rxpool.policies._arguments import ends

            ends("retry", self.policies.retry, "needs deadline")
        if self.sorts and not self.max_pending:
            raise InvalidArgument("key and priority need max_pending of 1 or more, got 0")
        if self.order == "key":
            if self.key is None:
                raise InvalidArgument("order='key' needs key, a function of the item")
        elif self.key is not None:
            raise InvalidArgument(f"key needs order='key', got order={self.order!r}")

    def rank(self, state: FlowState, task: Task) -> None:
        """Ask the user's functions where *task* is to stand; their errors come out."""
        assert state.sorted is not None
        key = None
        if self.key is not None:
            key = self.key(task.item)
            hash(key)
        priority = 0.0
        if self.priority is not None:
            priority = self.priority(task.item)
            if type(priority) is not int:  # the usual type first: this is per item
                priority = checks.number("priority", priority, least=-math.inf)
        state.sorted.number(task, key, priority)

    @property
    def sorts(self) -> bool:
        """Whether items are looked at before they wait."""
        return self.key is not None or self.priority is not None

    def open(self, slots: Slots, emits_drops: bool) -> FlowState:
        """The books of a new flow."""
        return FlowState(
            slots,
            concurrency=self.concurrency,
            ordered=self.order == "input",
            max_pending=self.max_pending,
            max_reorder=self.max_reorder,
            overflow=self.overflow,
            emits_drops=emits_drops,
            keyed=self.key is not None,
            prioritised=self.priority is not None,
            timeout=self.timeout,
            deadline=self.deadline,
            max_items=self.most,
            bisect=self.bisect,
        )


def _one_or_more(name: str, value: Any) -> int:
    return checks.count(name, value, least=1)


def _above_zero(name: str, value: Any) -> float:
    return checks.duration(name, value, above=True)


def _order(name: str, value: Any) -> str:
    return checks.one_of(name, value, ("completion", "input", "key"))


def _overflow(name: str, value: Any) -> str:
    return checks.one_of(name, value, checks.OVERFLOWS)


def _on_failure(name: str, value: Any) -> Any:
    """``"raise"``, ``"skip"`` or an observer."""
    if isinstance(value, str):
        return checks.one_of(name, value, ("raise", "skip"))
    if not callable(getattr(value, "on_next", None)):
        raise InvalidArgumentType(
            f"{name} must be 'raise', 'skip' or an observer, got {checks.shown(value)}"
        )
    return value


# Policies are imported where they are used: most flows have none, and they bring much along.


def _retry(name: str, value: Any) -> Any:
    from rxpool.policies._arguments import retry_given

    return retry_given(name, value)


def _policy(name: str, value: Any) -> Any:
    from rxpool import policies
    from rxpool.policies._arguments import given

    kinds = {
        "breaker": policies.CircuitBreaker,
        "limit": policies.Limit,
        "hedge": policies.Hedge,
    }
    return given(kinds[name], name, value)


def _journal(name: str, value: Any) -> Any:
    from rxpool.policies._arguments import given
    from rxpool.records import Journal

    return given(Journal, name, value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "concurrency": _one_or_more,
    "order": _order,
    "key": checks.call,
    "priority": checks.call,
    "max_reorder": _one_or_more,
    "max_pending": checks.count,
    "timeout": _above_zero,
    "deadline": _above_zero,
    "overflow": _overflow,
    "on_failure": _on_failure,
    "max_failures": most_failures,
    "bisect": checks.flag,
    "queue_latest": checks.flag,
    "retry": _retry,
    "breaker": _policy,
    "limit": _policy,
    "hedge": _policy,
    "journal": _journal,
    "fallback": lambda name, value: value,
}

#: names that others have for the same
_MEANT = {
    "workers": "concurrency",
    "max_workers": "concurrency",
    "max_concurrency": "concurrency",
    "max_concurrent": "concurrency",
    "retries": "retry",
    "max_retries": "retry",
    "ordered": "order='input'",
    "rate": "limit",
    "rate_limit": "limit",
    "queue_size": "max_pending",
    "buffersize": "max_pending",
}

_POLICIES = ("retry", "breaker", "limit", "hedge", "journal", "fallback")

#: None says that the default is wanted
_OPTIONAL = {
    "concurrency",
    "key",
    "priority",
    "max_reorder",
    "max_pending",
    "max_failures",
    "timeout",
    "deadline",
    "retry",
    "breaker",
    "limit",
    "hedge",
    "journal",
}
