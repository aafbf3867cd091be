"""Processes, ports, deadlines and places: what every test needs of the machine.

A child never outlives its parent (PR_SET_PDEATHSIG), is ended by its own pid,
and nothing waits by sleeping a fixed time: wait_until() polls a condition up
to a deadline, which LS_SLOW (2, 5, ...) stretches for sanitizer builds.
Not here: anything about litestreamd itself (harness.py).
"""
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SLOW = float(os.environ.get("LS_SLOW", "1"))
LONG = os.environ.get("LS_LONG") == "1"
CI = os.environ.get("CI") == "true"
_libc = ctypes.CDLL(None, use_errno=True)


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "litestreamd-tests"


def find_program(env, *candidates):
    """The path in the environment variable, else the first that exists."""
    named = os.environ.get(env)
    if named:
        return named if os.access(named, os.X_OK) else None
    for c in candidates:
        path = shutil.which(str(c))
        if path:
            return path
    return None


def upstream_binary():
    return find_program("LS_UPSTREAM",
                        cache_dir() / "upstream/bin/litestream",
                        "litestream")


def upstream_extension():
    """litestream-vfs.so of the release: named, or beside its binary."""
    named = os.environ.get("LS_UPSTREAM_VFS")
    if named:
        return named
    home = Path(upstream_binary() or "/").absolute().parent.parent
    return next((str(p) for p in home.glob(
        "lib/python*/site-packages/litestream_vfs/litestream-vfs.so")), None)


def our_binary():
    return os.environ.get("LITESTREAMD") or str(ROOT / "build/litestreamd")


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def spawn(cmd, **kw):
    """Popen whose child dies with us. Call it from the main thread only: the
    signal is tied to the thread that forked."""
    return subprocess.Popen([str(c) for c in cmd], preexec_fn=_die_with_parent,
                            **kw)


def end(proc, sig=signal.SIGTERM, timeout=20):
    """Ask by sig, insist by SIGKILL; gives the exit status."""
    if proc.poll() is None:
        proc.send_signal(sig)
        try:
            return proc.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            proc.kill()
    return proc.wait()


def wait_until(cond, timeout=20, what="condition", every=0.01):
    """Poll cond until it gives something true, and give that."""
    limit = time.monotonic() + timeout * SLOW
    while True:
        got = cond()
        if got:
            return got
        if time.monotonic() > limit:
            raise TimeoutError(f"no {what} within {timeout * SLOW:g} s")
        time.sleep(every)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def can_connect(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


def clean_env(**extra):
    """Our environment without credentials, proxies or settings of the user,
    and without what a sanitizer needs in this very program."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("AWS_", "LITESTREAM_", "LOG_LEVEL",
                                "LD_PRELOAD"))
           and not k.lower().endswith("_proxy")}
    env["AWS_EC2_METADATA_DISABLED"] = "true"
    env.update({k: str(v) for k, v in extra.items()})
    return env


class Usage:
    """CPU seconds and peak memory of a running process, from /proc."""
    _TICK = os.sysconf("SC_CLK_TCK")

    def __init__(self, pid):
        self.pid = pid

    def cpu(self):
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        f = stat.rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / self._TICK

    def peak_kib(self):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        return 0
