"""What tests see of other processes."""

import psutil


def is_gone(pid):
    """Whether there is no such process, or nothing is left of it but its exit code."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def alive(pid):
    """Whether there is such a process, and it has not ended."""
    return not is_gone(pid)
