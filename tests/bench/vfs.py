#!/usr/bin/env python3
"""The extension beside upstream's: one 100 MB database with a tail of level-0
files in one S3 store, read through a proxy that adds a round trip.

    tests/bench/vfs.py [--quick] [--mb 100] [--build DIR] [--slow] [ROW...]
Rows: start (from loading the extension to the first row), open (the same from
sqlite3_open on), points (1,000 cold point reads by rowid), scan (a cold full
scan), hydrate (until all pages are local). Each at 0, 5 and 20 ms. The proxy
adds the round trip once a request on a kept-alive connection, and once more a
new connection. "ours" has the defaults, with a temporary file; "ours-file" has
none. "ours+disk" has a disk cache that is empty, "again" is a second process
with that cache. --slow also runs what takes upstream minutes. S3 is MinIO where
it is installed, else Ceph RGW. Prints seconds, requests, bytes and peak
RSS of a fresh process; asserts nothing. LS_UPSTREAM_VFS names upstream's
extension (pip install litestream-vfs==0.5.17).
"""
import argparse
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from proc import ROOT, clean_env  # noqa: E402

ROWS = ("start", "open", "points", "scan", "hydrate")


def peak_kb():
    """Of this program: ru_maxrss would count the parent before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def child(row, ext, uri):
    """One measured process: prints a line of JSON."""
    m = sqlite3.connect(":memory:")
    m.enable_load_extension(True)
    start = time.monotonic()
    m.execute("SELECT load_extension(?, 'sqlite3_litestreamvfs_init')", (ext,))
    base = peak_kb()
    if row != "start":
        start = time.monotonic()
    c = sqlite3.connect(uri, uri=True, isolation_level=None)
    answer = 0
    if row in ("start", "open"):
        answer = c.execute("SELECT id FROM t LIMIT 1").fetchone()[0]
    elif row == "points":
        top = c.execute("SELECT max(id) FROM t").fetchone()[0]
        r = random.Random(5)
        for _ in range(1000):
            answer += c.execute("SELECT length(b) FROM t WHERE id=?", (
                r.randrange(1, top + 1),)).fetchone()[0]
    elif row == "scan":
        answer = c.execute("SELECT sum(length(b)) FROM t").fetchone()[0]
    else:
        while float(c.execute("PRAGMA litestream_hydration_progress"
                              ).fetchone()[0]) < 100:
            time.sleep(0.005)
    took = time.monotonic() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"s": took, "answer": answer, "base_kb": base,
                      "cpu": usage.ru_utime + usage.ru_stime,
                      "rss_kb": peak_kb()}))


def build(binary, url, env, mb, tail, tmp):
    """Replicate a database of mb, then `tail` small commits, each stored."""
    from run import Server
    db = tmp / "app.db"
    c = sqlite3.connect(db, isolation_level=None)
    c.execute("PRAGMA journal_mode=WAL")
    c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
    r = random.Random(1)
    c.execute("BEGIN")
    for _ in range(mb * 1000):
        c.execute("INSERT INTO t(b) VALUES(?)", (
            (r.randbytes(24) * 36)[:512] + r.randbytes(450),))
    c.execute("COMMIT")
    s = Server(binary, db, url, env, tmp)
    s.sync()
    for i in range(tail):
        c.execute("UPDATE t SET b=zeroblob(900) WHERE id=?", (i * 97 + 1,))
        s.sync()
    s.stop()
    c.close()


def measure(a, row, ext, url, env, latency, port, extra):
    from faultproxy import FaultProxy
    p = FaultProxy(port, latency / 1000).start()
    full = {**env, "LITESTREAM_REPLICA_URL": url(p.port)}
    uri = "file:app.db?vfs=litestream"
    if row == "hydrate":
        full["LITESTREAM_HYDRATION_ENABLED"] = "true"
    full.update(extra)
    try:
        out = subprocess.run(
            [sys.executable, __file__, "--child", row, ext, uri],
            env=clean_env(**full), capture_output=True, text=True,
            timeout=a.limit)
        if out.returncode:
            return {"error": out.stderr.strip().splitlines()[-1]}
        got = json.loads(out.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"more than {a.limit} s"}
    finally:
        p.stop()
    return {**got, "requests": len(p.log),
            "bytes": sum(r.received for r in p.log)}


def main():
    import servers
    p = argparse.ArgumentParser()
    p.add_argument("--quick", action="store_true")
    p.add_argument("--slow", action="store_true")
    p.add_argument("--mb", type=int, default=100)
    p.add_argument("--tail", type=int, default=20)
    p.add_argument("--limit", type=int, default=900)
    p.add_argument("--build", default=str(ROOT / "build"))
    p.add_argument("--latency", default="0,5,20")
    p.add_argument("--peers", default="ours,ours-file,ours+128MB,ours+disk,"
                   "again,upstream")
    p.add_argument("rows", nargs="*", default=list(ROWS))
    a = p.parse_args()
    server = servers.Minio() if servers.Minio.binary() else servers.Ceph()
    server.start()
    s3 = server.client()
    s3.make_bucket("bench")
    exts = {"ours": f"{a.build}/litestream-vfs.so",
            "ours-file": f"{a.build}/litestream-vfs.so",
            "ours+128MB": f"{a.build}/litestream-vfs.so",
            "ours+disk": f"{a.build}/litestream-vfs.so",
            "again": f"{a.build}/litestream-vfs.so",
            "upstream": os.environ.get("LS_UPSTREAM_VFS")}
    mb = 20 if a.quick else a.mb
    print(f"{'row':8}{'ms':>4} {'who':12}{'s':>9}{'req':>7}{'MB':>8}"
          f"{'RSS MB':>8}{'CPU s':>7}", flush=True)
    disk = tempfile.TemporaryDirectory(prefix="ls-bench-")
    try:
        with tempfile.TemporaryDirectory(prefix="ls-bench-") as tmp:
            build(f"{a.build}/litestreamd", s3.url("bench", "vfs"), s3.env(),
                  mb, a.tail, Path(tmp))
        for row in a.rows:
            for ms in [int(x) for x in a.latency.split(",")]:
                for who in a.peers.split(","):
                    if not exts[who] or (who == "upstream" and not a.slow and
                                         row == "scan" and ms):
                        continue
                    more = {}
                    if who == "ours-file":
                        more["LITESTREAM_CACHE_DISK_SIZE"] = "0"
                    elif "MB" in who:
                        more["LITESTREAM_CACHE_SIZE"] = "128MB"
                    elif who in ("ours+disk", "again"):
                        more["LITESTREAM_CACHE_PATH"] = \
                            f"{disk.name}/{row}{ms}"
                    if more and row in ("start", "open", "hydrate"):
                        continue
                    g = measure(a, row, exts[who], lambda port: s3.url(
                        "bench", "vfs", port), s3.env(), ms, s3.port, more)
                    if "error" in g:
                        print(f"{row:8}{ms:4} {who:12} {g['error']}")
                        continue
                    print(f"{row:8}{ms:4} {who:12}{g['s']:9.3f}"
                          f"{g['requests']:7}{g['bytes'] / 1e6:8.1f}"
                          f"{g['rss_kb'] / 1024:8.0f}{g['cpu']:7.2f}",
                          flush=True)
    finally:
        server.stop()
        disk.cleanup()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
