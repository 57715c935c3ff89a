"""What is kept on disk: finished items, and items that failed."""

__all__: tuple[str, ...] = ()
