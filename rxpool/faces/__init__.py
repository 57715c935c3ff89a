"""The operators and the pool for code that calls instead of streams."""

__all__: tuple[str, ...] = ()
