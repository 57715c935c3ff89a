"""Imported by the fork server, last: workers are copies of a process that has all modules."""

import signal

__all__ = ()

# The parent blocks Ctrl-C while it starts the server, so that none gets in its way until now.
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
