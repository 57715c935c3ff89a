"""What processes use, asked in both ways."""

import builtins
import os
import subprocess
import sys

import pytest

from rxpool.errors import InvalidArgument
from rxpool.metrics import Resources, resources

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")


@pytest.fixture(params=["psutil", pytest.param("proc", marks=needs_proc)])
def way(request, monkeypatch):
    """With psutil and without."""
    if request.param == "proc":
        monkeypatch.setitem(sys.modules, "psutil", None)
    return request.param


def test_this_process_and_a_child(way):
    """Those that run, with plausible numbers."""
    code = "data = bytearray(64_000_000); print('ready', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout.readline() == b"ready\n"
        found = resources([os.getpid(), child.pid])
        child.communicate(b"\n")
    assert set(found) == {os.getpid(), child.pid}
    mine, its = found[os.getpid()], found[child.pid]
    times = os.times()
    assert 0 < mine.cpu <= times.user + times.system + 0.1
    assert 64_000_000 < its.memory < 500_000_000
    assert 0 <= its.cpu < 30


def test_exited_processes_are_left_out(way):
    """Whether or not they were waited for."""
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    with child:
        child.stdout.read()
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not reaped
            assert resources([child.pid, os.getpid()]).keys() == {os.getpid()}
    assert resources([child.pid]) == {}
    assert resources([]) == {}


@needs_proc
def test_a_name_with_brackets(tmp_path, monkeypatch):
    """Where the fields begin is not guessed from the name of the program."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    stat = tmp_path / "stat"
    fields = ["S", *(str(n) for n in range(4, 53))]
    stat.write_text(f"42 (a) R 1 (b)) {' '.join(fields)}\n")
    real = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda p, *a, **k: real(stat if p == "/proc/42/stat" else p, *a, **k)
    )
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    assert resources([42]) == {42: Resources((14 + 15) / tick, 24 * page)}


def test_neither(monkeypatch):
    """The error says what to type."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with pytest.raises(ImportError, match=r"pip install 'rxpool\[psutil\]'"):
        resources([os.getpid()])


@pytest.mark.parametrize("pid", [0, -1, "1", True])
def test_arguments(pid):
    """A pid is a whole number above 0."""
    with pytest.raises(InvalidArgument, match=f"a pid must be .* got {pid!r}"):
        resources([pid])
