"""SQLite's speedtest1 (test/speedtest1.c of its source; install.sh fetches
it): build it with tests/vfs/speedtest.c before it, and run it."""
import re
import subprocess
import time
from pathlib import Path

from proc import ROOT, SLOW, cache_dir, clean_env, os


def source():
    named = os.environ.get("LS_SPEEDTEST1")
    path = Path(named or cache_dir() / "speedtest1/speedtest1.c")
    return path if path.is_file() else None


def build(path, folder):
    out = Path(folder) / "speedtest"
    subprocess.run(
        ["cc", "-O2", "-w", "-Dmain=speedtest1_main", "-c", path, "-o",
         f"{out}.o"], check=True)
    subprocess.run(
        ["cc", "-O2", ROOT / "tests/vfs/speedtest.c", f"{out}.o", "-o", out,
         "-lsqlite3", "-lpthread", "-lm"], check=True)
    return out


def run(program, extension, db, testset="main", size=100, **env):
    """(hash of all results, seconds)"""
    vfs = ["--vfs", "litestream"] if extension else []
    start = time.monotonic()
    r = subprocess.run(
        [program, extension or "-", *vfs, "--verify", "--size", str(size),
         "--testset", testset, db], capture_output=True, text=True,
        env=clean_env(**env), timeout=1500 * SLOW)
    took = time.monotonic() - start
    found = re.search(r"Verification Hash: *(\S+) *(\S+)?", r.stdout)
    if r.returncode or not found:
        raise AssertionError(f"speedtest1: {r.stdout[-500:]}{r.stderr}")
    return found[0], took
