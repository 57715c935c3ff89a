"""What is measured, and where it goes."""

__all__: tuple[str, ...] = ()
