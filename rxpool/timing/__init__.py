"""Time: the default scheduler, and one view of the clock of any scheduler."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.timing._clock import Clock
    from rxpool.timing._scheduler import TimerScheduler
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.timing._clock": "Clock",
            "rxpool.timing._scheduler": "TimerScheduler",
        },
    )

__all__ = ("Clock", "TimerScheduler")
