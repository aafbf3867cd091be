#!/usr/bin/env python3
"""Memory of a compaction whose input is much larger: level 1 to level 2, then
level 2 to a snapshot, of a generated chain (bigltx.c), in a folder.

    tests/bench/compact_rss.py [--size 8] [--files 8] [--keep 64] [--zstd] [--build DIR]
--size: GiB of pages to merge. --keep: bytes of a page that do not compress; 64
makes files of about 2 % of their pages, 4096 some as large. Fails above the
limit of 64 MiB; CPU and wall are for information.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from proc import ROOT, clean_env, spawn  # noqa: E402

LIMIT_MIB = 64


def run(*cmd, **more):
    t = time.monotonic()
    p = spawn(cmd, env=clean_env(**more), stdout=subprocess.DEVNULL)
    _, status, ru = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        sys.exit(f"{cmd[0]} failed")
    return ru, time.monotonic() - t


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    a.add_argument("--size", type=float, default=8)
    a.add_argument("--files", type=int, default=8)
    a.add_argument("--keep", type=int, default=64)
    a.add_argument("--zstd", action="store_true")
    a.add_argument("--build", type=Path, default=ROOT / "build")
    a = a.parse_args()
    tests, worst = a.build / "tests", 0
    tmp = Path(tempfile.mkdtemp(prefix="ls-bench-"))
    try:
        run(tests / "bigltx", tmp / "r", int(a.size * (1 << 30)), a.files,
            a.keep)
        stored = sum(p.stat().st_size for p in tmp.rglob("*.ltx"))
        print(f"{a.size:g} GiB of pages in {a.files} files, "
              f"{stored / (1 << 20):.0f} MiB stored")
        for what in (("compact", "2"), ("snapshot",)):
            ru, wall = run(tests / "maint_tool", f"file://{tmp}/r", *what,
                           **({"LS_ZSTD": "1"} if a.zstd else {}))
            rss = ru.ru_maxrss / 1024
            worst = max(worst, rss)
            print(f"{' '.join(what)}: {rss:.1f} MiB peak, "
                  f"{ru.ru_utime + ru.ru_stime:.2f} s CPU, {wall:.2f} s",
                  flush=True)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    sys.exit(worst > LIMIT_MIB)


if __name__ == "__main__":
    main()
