#!/usr/bin/env python3
"""`compression: zstd` beside lz4: bytes of a snapshot, and the speed of a
restore from it, for each kind of sample database (samples.py).

    tests/bench/zstd.py [--mb 128] [--rounds 7] [--build DIR] [KIND...]

Each round restores both, one after the other, from a folder into a folder, and
the median counts. Also printed: CPU of making the snapshot, with its first copy
at level 0, which is LZ4 either way. The bar is 0.7 of the bytes at 0.7 of the
speed; nothing here fails.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import samples  # noqa: E402
from proc import ROOT, clean_env, spawn  # noqa: E402

CODECS = ("lz4", "zstd")


def run(*cmd):
    """Wall and CPU seconds, peak RSS in MiB."""
    t = time.monotonic()
    p = spawn(cmd, env=clean_env(), stdout=subprocess.DEVNULL)
    _, status, ru = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        sys.exit(f"{cmd[0]} failed")
    return (time.monotonic() - t, ru.ru_utime + ru.ru_stime,
            ru.ru_maxrss / 1024)


def snapshot(binary, tmp, db, codec):
    """A replica that holds a snapshot of db and nothing else."""
    rep = tmp / codec
    conf = tmp / f"{codec}.yml"
    conf.write_text(json.dumps({"dbs": [{
        "path": str(db), "meta-path": str(tmp / f".{codec}"),
        "replica": {"url": f"file://{rep}", "compression": codec}}]}))
    cost = run(binary, "replicate", "-config", conf, "-once",
               "-force-snapshot")
    shutil.rmtree(rep / "ltx/0")
    file, = (rep / "ltx/9").iterdir()
    return file.stat().st_size, cost


def measure(a, kind, tmp):
    binary, db = a.build / "litestreamd", tmp / f"{kind}.db"
    samples.make(kind, db, a.mb << 20)
    made = {c: snapshot(binary, tmp, db, c) for c in CODECS}
    took = {c: [] for c in CODECS}
    for _ in range(a.rounds):
        for c in CODECS:
            out = tmp / "out.db"
            took[c].append(run(binary, "restore", "-o", out,
                               f"file://{tmp / c}"))
            if out.stat().st_size != db.stat().st_size:
                sys.exit("restored another size")
            out.unlink()
    wall = {c: statistics.median(t[0] for t in took[c]) for c in CODECS}
    cpu = {c: statistics.median(t[1] for t in took[c]) for c in CODECS}
    size = {c: made[c][0] for c in CODECS}
    print(f"{kind:8}{size['lz4'] / 1e6:8.1f}{size['zstd'] / 1e6:8.1f}"
          f"{size['zstd'] / size['lz4']:8.2f}"
          f"{wall['lz4']:8.3f}{wall['zstd']:8.3f}"
          f"{wall['lz4'] / wall['zstd']:8.2f}"
          f"{cpu['lz4']:8.2f}{cpu['zstd']:8.2f}"
          f"{made['lz4'][1][1]:8.2f}{made['zstd'][1][1]:8.2f}"
          f"{made['zstd'][1][2]:8.0f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    p.add_argument("--mb", type=int, default=128)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--build", type=Path, default=ROOT / "build")
    p.add_argument("kinds", nargs="*", metavar="KIND",
                   default=["log", "blocks", "shop"])
    a = p.parse_args()
    print("        lz4 MB  zstd MB   ratio   lz4 s  zstd s   speed"
          "   CPU s    CPU s  made s  made s  RSS MB")
    for kind in a.kinds:
        with tempfile.TemporaryDirectory(prefix="ls-bench-") as tmp:
            measure(a, kind, Path(tmp))


if __name__ == "__main__":
    main()
