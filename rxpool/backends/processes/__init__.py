"""Supervised worker processes."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.backends.processes._backend import ProcessBackend
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.backends.processes._backend": "ProcessBackend",
        },
    )

__all__ = ("ProcessBackend",)
