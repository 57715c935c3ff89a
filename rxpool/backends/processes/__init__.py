"""Supervised worker processes."""

from rxpool.backends.processes._backend import ProcessBackend

__all__ = ("ProcessBackend",)
