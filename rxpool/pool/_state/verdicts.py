"""What a gate answers when it is asked whether an attempt may start."""

from typing import Any, Final

__all__ = ("START", "WAIT", "Known")

# What a flow's gate answers, unless it is `Known`, or the error with which an attempt fails.
START: Final = "start"
WAIT: Final = "wait"


class Known:
    """The result is known already."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value
