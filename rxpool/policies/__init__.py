"""How work is retried, paced, guarded and replaced."""

__all__: tuple[str, ...] = ()
