#!/usr/bin/env python3
"""SQLite's speedtest1 through the writable extension beside a plain file.

    tests/bench/speedtest.py [--size 100] [--runs 3] [--build DIR]
The same program and the same disk; each the median of the runs, the results of
all queries compared. The extension's runs end when everything is stored, in a
folder. Prints seconds and the ratio; asserts nothing about them.
"""
import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import speedkit  # noqa: E402
from proc import ROOT  # noqa: E402


def one(program, extension, size, testset):
    with tempfile.TemporaryDirectory(prefix="ls-bench-") as tmp:
        if not extension:
            return speedkit.run(program, None, Path(tmp) / "plain.db",
                                testset, size)
        return speedkit.run(
            program, extension, "app.db", testset, size,
            LITESTREAM_REPLICA_URL=f"file://{tmp}/r",
            LITESTREAM_WRITE_ENABLED="true",
            LITESTREAM_BUFFER_PATH=f"{tmp}/buffer")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--size", type=int, default=100)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--build", default=str(ROOT / "build"))
    a = p.parse_args()
    source = speedkit.source()
    if not source:
        sys.exit("SQLite's speedtest1.c is not here (tests/support/install.sh)")
    with tempfile.TemporaryDirectory(prefix="ls-bench-") as tmp:
        program = speedkit.build(source, tmp)
        print(f"{'testset':10}{'plain s':>9}{'VFS s':>9}{'ratio':>7}")
        for testset in ("main", "orm"):
            took, seen = {}, set()
            for who in (None, f"{a.build}/litestream-vfs.so"):
                runs = [one(program, who, a.size, testset)
                        for _ in range(a.runs)]
                took[who is None] = statistics.median(t for _, t in runs)
                seen |= {h for h, _ in runs}
            if len(seen) != 1:
                sys.exit(f"{testset}: the results differ: {seen}")
            print(f"{testset:10}{took[True]:9.2f}{took[False]:9.2f}"
                  f"{took[False] / took[True]:7.2f}", flush=True)


if __name__ == "__main__":
    main()
