#!/usr/bin/env python3
"""A block map in the manner of JuiceFS (inodes, edges, chunks with their lists
of slices) opened for writing on a machine with an empty disk, over a far store:
how soon it answers, takes a commit, and is local.

    tests/bench/blockmap.py [--mb 40] [--latency 20] [--build DIR] [--runs 3]
                            [--peers ours,upstream]
Through a proxy that adds the round trip once a request on a kept-alive
connection, and once more a new connection. S3 is MinIO where it is installed,
else Ceph RGW. A fresh process loads the extension, opens the map (write mode
and hydration on), reads the settings, puts its session (a committed write), and
then looks up files and writes to them until all is local and some more: as a
mount does. Prints, each the median of the runs: open to the first row; from there
the first committed write; until all is local; p50 and p99 of lookups and of
committed writes before and after; requests; RSS. Asserts nothing. A peer that
stops with an error is shown with what it did until then.
"""
import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import servers  # noqa: E402
from faultproxy import FaultProxy  # noqa: E402
from proc import ROOT, clean_env, upstream_extension  # noqa: E402
from run import Server  # noqa: E402

SCHEMA = """
CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE session(sid INTEGER PRIMARY KEY, expire INT, info BLOB);
INSERT INTO setting VALUES('format','{"Name":"map","BlockSize":4096}');
CREATE TABLE node(inode INTEGER PRIMARY KEY, type INT, flags INT, mode INT,
 uid INT, gid INT, atime INT, mtime INT, ctime INT, nlink INT, length INT,
 rdev INT, parent INT);
CREATE TABLE edge(id INTEGER PRIMARY KEY, parent INT, name BLOB, inode INT,
 type INT);
CREATE UNIQUE INDEX edge_parent ON edge(parent, name);
CREATE INDEX edge_inode ON edge(inode);
CREATE TABLE chunk(id INTEGER PRIMARY KEY, inode INT, indx INT, slices BLOB);
CREATE UNIQUE INDEX chunk_inode ON chunk(inode, indx);
CREATE TABLE chunk_ref(chunkid INTEGER PRIMARY KEY, size INT, refs INT);
"""
LOOKUP = ("SELECT n.length, n.mtime, c.slices FROM edge e JOIN node n "
          "USING(inode) LEFT JOIN chunk c ON c.inode=n.inode AND c.indx=0 "
          "WHERE e.parent=? AND e.name=?")


def fill(c, mb, path):
    r, n = random.Random(7), 0
    c.executescript(SCHEMA)
    while Path(path).stat().st_size < mb * 1000000:
        c.execute("BEGIN")
        for _ in range(2000):
            n += 1
            c.execute("INSERT INTO node VALUES(?,1,0,420,0,0,?,?,?,1,?,0,?)",
                      (n, n, n, n, r.randrange(1 << 30), 1 + n // 64))
            c.execute("INSERT INTO edge VALUES(?,?,?,?,1)",
                      (n, 1 + n // 64, b"file-%08d.dat" % n, n))
            for k in range(1 + n % 2):
                c.execute("INSERT INTO chunk VALUES(NULL,?,?,?)",
                          (n, k, r.randbytes(24 * (1 + n % 4))))
            c.execute("INSERT INTO chunk_ref VALUES(?,4194304,1)", (n,))
        c.execute("COMMIT")
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return n


def status(what):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1])
    return 0


class Work:
    """What a mount does, and how long each took, in milliseconds."""

    def __init__(self, c, files):
        self.c, self.files, self.rand = c, files, random.Random(1)
        self.reads, self.writes, self.next = [], [], 1 << 40

    def read(self):
        n = self.rand.randrange(1, self.files + 1)
        start = time.perf_counter()
        row = self.c.execute(
            LOOKUP, (1 + n // 64, b"file-%08d.dat" % n)).fetchone()
        self.reads.append((time.perf_counter() - start) * 1e3)
        if row is None:
            raise ValueError(f"file {n} is not there")

    def write(self):
        n, self.next = self.rand.randrange(1, self.files + 1), self.next + 1
        start = time.perf_counter()
        self.c.execute("BEGIN IMMEDIATE")
        self.c.execute("INSERT INTO chunk_ref VALUES(?,4194304,1)",
                       (self.next,))
        self.c.execute("UPDATE node SET mtime=?, length=length+4096 "
                       "WHERE inode=?", (self.next, n))
        self.c.execute("COMMIT")
        self.writes.append((time.perf_counter() - start) * 1e3)

    def figures(self):
        out = {}
        for name in ("reads", "writes"):
            v = sorted(getattr(self, name))
            out[name] = [len(v)] + ([v[len(v) // 2], v[len(v) * 99 // 100]]
                                    if v else [0, 0])
        self.reads, self.writes = [], []
        return out


def local(c):
    return float(c.execute(
        "PRAGMA litestream_hydration_progress").fetchone()[0]) >= 100


def live(ext, uri, files, out):
    m = sqlite3.connect(":memory:")
    m.enable_load_extension(True)
    m.execute("SELECT load_extension(?, 'sqlite3_litestreamvfs_init')", (ext,))
    start = time.perf_counter()
    c = sqlite3.connect(uri, uri=True, isolation_level=None)
    c.execute("SELECT value FROM setting WHERE name='format'").fetchone()
    out["first_row"] = (time.perf_counter() - start) * 1e3
    c.execute("INSERT INTO session(expire,info) VALUES(1,'host')")
    out["first_write"] = (time.perf_counter() - start) * 1e3 - \
        out["first_row"]
    w = Work(c, files)
    out["rss_open"] = status("VmRSS:") / 1024
    while not local(c) and time.perf_counter() - start < 60:
        w.read(), w.read(), w.write()
    out["hydrated"] = (time.perf_counter() - start) * 1e3
    out["before"] = w.figures()
    for _ in range(500):
        w.read(), w.read(), w.read(), w.write()
    out["after"] = w.figures()
    c.close()
    out["closed"] = (time.perf_counter() - start) * 1e3


def child(ext, uri, files):
    out = {}
    try:
        live(ext, uri, int(files), out)
    except Exception as e:
        out["error"] = str(e) or repr(e)
    out["rss"] = status("VmHWM:") / 1024
    print(json.dumps(out))


def measure(a, ext, s3, place, tmp):
    p = FaultProxy(s3.port, a.latency / 1000).start()
    env = clean_env(
        **s3.env(), LITESTREAM_REPLICA_URL=s3.url("bench", place, p.port),
        LITESTREAM_WRITE_ENABLED="true", LITESTREAM_HYDRATION_ENABLED="true",
        LITESTREAM_BUFFER_PATH=Path(tempfile.mkdtemp(dir=tmp)) / "buffer",
        LITESTREAM_LOG_FILE="/dev/null")
    try:
        r = subprocess.run(
            [sys.executable, __file__, "--child", ext,
             "file:app.db?vfs=litestream", str(a.files)], env=env,
            capture_output=True, text=True, timeout=180)
        got = json.loads(r.stdout.strip().splitlines()[-1]) if r.stdout \
            else {"error": r.stderr.strip()[-200:] or str(r.returncode)}
    except subprocess.TimeoutExpired:
        got = {"error": "more than 180 s"}
    finally:
        p.stop()
    return {**got, "requests": len(p.log)}


def pair(runs, when, what):
    got = [r[when][what] for r in runs if when in r and r[when][what][0]]
    if not got:
        return "-"
    return "/".join(f"{statistics.median(g[i] for g in got):.2f}"
                    for i in (1, 2))


def row(who, runs):
    def med(key):
        got = [r[key] for r in runs if key in r]
        return f"{statistics.median(got):.1f}" if got else "-"
    print(f"{who:10}{med('first_row'):>10}{med('first_write'):>12}"
          f"{med('hydrated'):>10}" + "".join(
              f"{pair(runs, when, what):>14}" for when in ("before", "after")
              for what in ("reads", "writes")) +
          f"{med('requests'):>9}{med('rss'):>7}", flush=True)
    for e in sorted({r["error"] for r in runs if "error" in r}):
        print(f"{'':10}{e}")


def prepare(a, s3, tmp, n):
    """The map, replicated; a place of its own for each run, which writes."""
    db = tmp / "map.db"
    if not db.exists():
        c = sqlite3.connect(db, isolation_level=None)
        c.execute("PRAGMA journal_mode=WAL")
        a.files = fill(c, a.mb, db)
        c.close()
    copy = tmp / f"map{n}.db"
    shutil.copyfile(db, copy)
    s = Server(f"{a.build}/litestreamd", copy, s3.url("bench", f"map{n}"),
               s3.env(), tmp)
    s.sync()
    s.stop()
    copy.unlink()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mb", type=int, default=40)
    p.add_argument("--latency", type=float, default=20)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--build", default=str(ROOT / "build"))
    p.add_argument("--peers", default="ours,upstream")
    a = p.parse_args()
    exts = {"ours": f"{os.path.abspath(a.build)}/litestream-vfs.so",
            "upstream": upstream_extension()}
    server = servers.Minio() if servers.Minio.binary() else servers.Ceph()
    server.start()
    s3 = server.client()
    s3.make_bucket("bench")
    print(f"{a.mb} MB, {a.latency:g} ms a request; ms, p50/p99")
    print(f"{'':10}{'first row':>10}{'first write':>12}{'hydrated':>10}"
          f"{'read before':>14}{'write before':>14}{'read after':>14}"
          f"{'write after':>14}{'requests':>9}{'MB':>7}", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="ls-bench-") as tmp:
            for who in a.peers.split(","):
                runs = []
                for n in range(a.runs if exts[who] else 0):
                    prepare(a, s3, Path(tmp), f"{who}{n}")
                    runs.append(measure(a, exts[who], s3, f"map{who}{n}",
                                        tmp))
                row(who, runs)
    finally:
        server.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
