#!/usr/bin/env python3
"""The benchmarks: ours beside upstream's released binary, in one run, on one
machine, against one store, as ratios. See README.md for the rows.

    tests/bench/run.py [--quick] [--size 1GiB] [--build DIR] [ROW...]
Rows (default: all): wal-file wal-s3 compaction durable-file durable-s3 commit
first-file first-s3 restart restore-s3 fleet fleet-idle fleet-writes. S3 is MinIO
where it is installed (built by Go when that is here), else Ceph RGW. Nothing here
asserts a time; it prints a table.
"""
import argparse
import json
import os
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import fleet  # noqa: E402
import ltx  # noqa: E402
import servers  # noqa: E402
from faultproxy import FaultProxy  # noqa: E402
from harness import UnixHTTP  # noqa: E402
from proc import (ROOT, Usage, clean_env, spawn, upstream_binary,  # noqa
                  wait_until)

GIB = 1 << 30


class Server:
    """`replicate` of one database, with its costs."""

    def __init__(self, binary, db, url, env, tmp, top=None):
        self.db, self.sock = db, tmp / "bench.sock"
        conf = tmp / "bench.yml"
        conf.write_text(json.dumps({
            "socket": {"enabled": True, "path": str(self.sock)},
            **(top or {}),
            "dbs": [{"path": str(db), "replica": {"url": url}}]}))
        self.log = tmp / "bench.log"
        with open(self.log, "wb") as log:
            self.proc = spawn([binary, "replicate", "-config", conf],
                              stdin=subprocess.DEVNULL, stdout=log,
                              stderr=log, env=clean_env(**env))
        self.usage = Usage(self.proc.pid)

    def sync(self, limit=600):
        """Wait until all that is committed is stored."""
        ask = json.dumps({"path": str(self.db), "wait": True,
                          "timeout": limit})

        def done():
            if self.proc.poll() is not None:
                raise RuntimeError(self.log.read_text()[-2000:])
            try:
                c = UnixHTTP(self.sock, limit + 10)
                c.request("POST", "/sync", ask)
                r = c.getresponse()
                doc = json.loads(r.read())
                c.close()
            except (OSError, ValueError):
                return False
            return r.status == 200 and doc["txid"] and \
                doc["replicated_txid"] >= doc["txid"]
        wait_until(done, limit, "sync", 0.005)

    def settle(self):
        """Until two seconds pass with next to no CPU time, six at most:
        upstream reads its newest file again every second, for ever."""
        for _ in range(3):
            before = self.usage.cpu()
            time.sleep(2)
            if self.usage.cpu() - before <= 0.02:
                return

    def stop(self):
        self.proc.terminate()
        _, status, ru = os.wait4(self.proc.pid, 0)
        self.proc.returncode = os.waitstatus_to_exitcode(status)
        return ru


class Bench:
    def __init__(self, args):
        self.size, self.quick = args.size, args.quick
        self.load = args.build / "tests/bench_load"
        self.ours = str(args.build / "litestreamd")
        self.peer = upstream_binary()
        self.programs = {"upstream": self.peer, "ours": self.ours}
        self.tmp = Path(tempfile.mkdtemp(prefix="ls-bench-"))
        self.server = self.s3 = None
        self.n, self.table = 0, []

    def close(self):
        if self.server:
            self.server.stop()
        shutil.rmtree(self.tmp, ignore_errors=True)

    # ---- places -------------------------------------------------------------
    def store(self):
        if not self.s3:
            kind = servers.Minio if servers.Minio.binary() else servers.Ceph
            self.server = kind("bluestore", 8 << 30) \
                if kind is servers.Ceph else kind()
            self.s3 = self.server.start().client()
            print(f"S3 is {kind.__name__}", flush=True)
        return self.s3

    def place(self, kind, port=None):
        """(url, env, where): a fresh place in a folder or a bucket."""
        self.n += 1
        if kind == "file":
            d = self.tmp / f"r{self.n}"
            return f"file://{d}", {}, d
        s3, bucket = self.store(), f"bench{self.n}"
        s3.make_bucket(bucket)
        return s3.url(bucket, "p", port), s3.env(), bucket

    def stored_bytes(self, kind, where):
        if kind == "file":
            return sum(p.stat().st_size for p in where.rglob("*.ltx"))
        return sum(size for _, size in self.s3.list(where))

    def database(self, size):
        """A fresh copy of the filled database of this size."""
        master = self.tmp / f"master-{size}.db"
        if not master.exists():
            subprocess.run([self.load, "fill", master, str(size)], check=True,
                           stdout=subprocess.DEVNULL)
        self.n += 1
        db = self.tmp / f"db{self.n}" / "app.db"
        db.parent.mkdir()
        subprocess.run(["cp", master, db], check=True)
        return db

    def run_load(self, db, pages, commits, rate):
        out = subprocess.run([self.load, "run", db, str(pages), str(commits),
                              str(rate)], check=True, capture_output=True)
        return json.loads(out.stdout)

    def row(self, name, unit, peer, ours, bar, digits=2):
        ratio = f"{ours / peer:.3f}" if peer else "-"
        self.table.append((name, f"{peer:.{digits}f}", f"{ours:.{digits}f}",
                           unit, ratio, bar))
        print(f"  {name}: upstream {peer:.{digits}f} {unit}, ours "
              f"{ours:.{digits}f} {unit}, ratio {ratio} (bar {bar})",
              flush=True)

    # ---- rows ---------------------------------------------------------------
    def wal(self, kind):
        """CPU for each GiB of WAL, 100 random pages a commit, full speed."""
        got = {}
        for who, binary in self.programs.items():
            db = self.database(min(self.size, 256 << 20))
            url, env, where = self.place(kind)
            d = Server(binary, db, url, env, self.tmp)
            d.sync()
            d.settle()
            cpu = d.usage.cpu()
            load = self.run_load(db, 100, self.size // 412000, 0)
            t = time.monotonic()
            d.sync()
            got[who] = ((d.usage.cpu() - cpu) * GIB / load["wal_bytes"],
                        d.usage.peak_kib() / 1024, load["p99_us"],
                        time.monotonic() - t)
            d.stop()
            self.clean(db, kind, where)
        u, o = got["upstream"], got["ours"]
        self.row(f"CPU per GiB of WAL, {kind}", "s", u[0], o[0], "0.3 x")
        self.row(f"peak RSS, busy, {kind}", "MiB", u[1], o[1], "0.25 x", 1)
        self.row(f"lag after the load, {kind}", "s", u[3], o[3], "-")

    def compact_run(self, binary, levels, min_seconds):
        """(CPU seconds per GiB of WAL, MiB at the peak, seconds) of a steady
        load of 40 s, until level 2 has all of it; at least min_seconds."""
        db = self.database(min(self.size, 256 << 20))
        url, env, where = self.place("file")
        d = Server(binary, db, url, env, self.tmp, {
            "levels": [{"interval": x} for x in levels],
            "snapshot": {"interval": "480h"}})
        d.sync()
        d.settle()
        cpu, t = d.usage.cpu(), time.monotonic()
        commits = self.size // 412000
        load = self.run_load(db, 100, commits, max(1, commits // 40))
        d.sync()
        end = ltx.list_dir(where)[-1][1]

        def made():
            files = ltx.list_dir(where, 2)
            return min_seconds or files and files[-1][1] >= end
        wait_until(made, 60, "level 2", 0.1)
        time.sleep(max(0, min_seconds - (time.monotonic() - t)))
        got = ((d.usage.cpu() - cpu) * GIB / load["wal_bytes"],
               d.usage.peak_kib() / 1024, time.monotonic() - t)
        d.stop()
        self.clean(db, "file", where)
        return got

    def compaction(self):
        """Levels at 5 s and 20 s, against the same time without any."""
        got = {}
        for who, binary in self.programs.items():
            total, rss, took = self.compact_run(binary, ("5s", "20s"), 0)
            base, _, _ = self.compact_run(binary, ("480h",), took)
            got[who] = (total - base, total, rss)
        u, o = got["upstream"], got["ours"]
        self.row("CPU per GiB of WAL for compaction", "s", u[0], o[0],
                 "0.15 x")
        self.row("CPU per GiB of WAL, compaction and all", "s", u[1], o[1],
                 "-")
        self.row("peak RSS with compaction", "MiB", u[2], o[2], "-", 1)

    def durable(self, kind):
        """Isolated commit to durable in the store, default configuration."""
        got = {}
        for who, binary in self.programs.items():
            db = self.tmp / f"durable-{who}-{kind}.db"
            c = sqlite3.connect(db, isolation_level=None)
            c.execute("PRAGMA journal_mode=WAL")
            c.execute("CREATE TABLE t(b)")
            proxy = FaultProxy(self.store().port).start() \
                if kind == "s3" else None
            url, env, where = self.place(kind, proxy and proxy.port)
            d = Server(binary, db, url, env, self.tmp)
            d.sync()
            d.settle()
            rng, took = random.Random(1), []
            for _ in range(10 if self.quick else 40):
                time.sleep(1.5 + rng.random())
                seen = self.newest(kind, where, proxy, 0)
                c.execute("INSERT INTO t VALUES(randomblob(100))")
                t = time.monotonic()
                took.append((self.newest(kind, where, proxy, seen) - t)
                            * 1000 if kind == "s3" else
                            self.wait_file(where, seen, t))
            d.stop()
            c.close()
            if proxy:
                proxy.stop()
            took.sort()
            got[who] = (statistics.median(took), took[-1])
        u, o = got["upstream"], got["ours"]
        bar = "0.03 x" if kind == "file" else "one PUT + 5 ms"
        self.row(f"commit to durable p50, {kind}", "ms", u[0], o[0], bar, 1)
        self.row(f"commit to durable max, {kind}", "ms", u[1], o[1], "-", 1)

    def newest(self, kind, where, proxy, seen):
        """file: the newest name in level 0. s3: with seen 0 the number of
        answered PUTs to level 0, else the time of the next one's answer."""
        if kind == "file":
            return max(os.listdir(where / "ltx/0"))

        def puts():
            return [r for r in proxy.requests("PUT", "/0000/")
                    if r.end and r.status == 200]
        if not seen:
            return len(puts())
        return wait_until(lambda: puts()[seen:], 20, "PUT", 0.0005)[0].end

    @staticmethod
    def wait_file(where, seen, t):
        def new():
            names = [n for n in os.listdir(where / "ltx/0")
                     if ltx.NAME.match(n)]
            return max(names) > seen
        wait_until(new, 20, "file", 0.0002)
        return (time.monotonic() - t) * 1000

    def commit(self):
        """The application's own commit at 300 a second."""
        got = {"alone": [], "upstream": [], "ours": []}
        for _ in range(1 if self.quick else 3):
            for who in got:
                db = self.database(64 << 20)
                url, env, where = self.place("file")
                d = None
                if who != "alone":
                    d = Server(self.programs[who], db, url, env, self.tmp)
                    d.sync()
                    d.settle()
                got[who].append(self.run_load(
                    db, 1, 3000 if self.quick else 9000, 300))
                if d:
                    d.stop()
                self.clean(db, "file", where)
        for key, bar in (("p50_us", "-"), ("p99_us", "1.1 x alone"),
                         ("p999_us", "1 x upstream"), ("max_us", "50 ms")):
            a, u, o = (statistics.median(r[key] for r in got[w])
                       for w in ("alone", "upstream", "ours"))
            self.row(f"commit at 300/s {key[:-3]} (alone {a:.0f} us)", "us",
                     u, o, bar, 0)

    def first(self, kind):
        """The first copy of a database that nobody writes."""
        got = {}
        for who, binary in self.programs.items():
            db = self.database(self.size)
            url, env, where = self.place(kind)
            t = time.monotonic()
            d = Server(binary, db, url, env, self.tmp)
            d.sync()
            wall = time.monotonic() - t
            d.settle()
            got[who] = (wall, d.usage.cpu(), d.usage.peak_kib() / 1024,
                        self.stored_bytes(kind, where) / (1 << 20))
            d.stop()
            self.clean(db, kind, where)
        for i, (what, unit, bar) in enumerate((
                ("wall", "s", "0.4 x"), ("CPU", "s", "0.25 x"),
                ("RSS", "MiB", "32 MiB"), ("stored", "MiB", "once"))):
            self.row(f"first copy of {self.size >> 20} MiB, {kind}: {what}",
                     unit, got["upstream"][i], got["ours"][i], bar)

    def restart(self):
        """Bytes uploaded after a restart: nothing written; ten pages and a
        checkpoint meanwhile; kill -9 and ten pages."""
        rows = {}
        for who, binary in self.programs.items():
            db = self.database(min(self.size, 192 << 20))
            url, env, where = self.place("file")
            d = Server(binary, db, url, env, self.tmp)
            d.sync()
            d.settle()
            for what in ("restart", "checkpointed meanwhile", "kill -9"):
                if what == "kill -9":
                    d.proc.kill()
                    d.proc.wait()
                else:
                    d.stop()
                before = set(where.rglob("*.ltx"))
                if what != "restart":
                    self.run_load(db, 1, 10, 0)
                if what == "checkpointed meanwhile":
                    c = sqlite3.connect(db)
                    c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                    c.close()
                d = Server(binary, db, url, env, self.tmp)
                d.sync()
                d.settle()
                rows.setdefault(what, {})[who] = sum(
                    p.stat().st_size for p in set(where.rglob("*.ltx"))
                    - before) / 1024
            d.stop()
            self.clean(db, "file", where)
        for what, got in rows.items():
            self.row(f"uploaded after {what}", "KiB", got["upstream"],
                     got["ours"], "0" if what == "restart" else
                     "changed pages", 1)

    def restore(self):
        """Database and a chain of L0 files, from S3. Upstream writes it, so
        that both read the same objects."""
        db = self.database(self.size)
        url, env, where = self.place("s3")
        d = Server(self.peer, db, url, env, self.tmp)
        d.sync()
        for _ in range(5 if self.quick else 20):
            self.run_load(db, 100, 5, 0)
            d.sync()
        d.stop()
        got = {}
        for who, binary in self.programs.items():
            out = self.tmp / "restored.db"
            t = time.monotonic()
            p = spawn([binary, "restore", "-o", out, url],
                      env=clean_env(**env), stdin=subprocess.DEVNULL,
                      stdout=subprocess.DEVNULL)
            _, status, ru = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
            if p.returncode:
                raise RuntimeError(f"{who} does not restore")
            got[who] = (time.monotonic() - t, ru.ru_utime + ru.ru_stime,
                        ru.ru_maxrss / 1024)
            out.unlink()
        for i, (what, unit, bar) in enumerate((
                ("wall", "s", "0.25 x"), ("CPU", "s", "-"),
                ("RSS", "MiB", "96 MiB"))):
            self.row(f"restore of {self.size >> 20} MiB from S3: {what}",
                     unit, got["upstream"][i], got["ours"][i], bar)
        self.clean(db, "s3", where)

    def clean(self, db, kind, where):
        shutil.rmtree(db.parent, ignore_errors=True)
        if kind == "file":
            shutil.rmtree(where, ignore_errors=True)
        else:
            for key, _ in self.s3.list(where):
                self.s3.delete(where, key)

    ROWS = {
        "wal-file": lambda b: b.wal("file"),
        "wal-s3": lambda b: b.wal("s3"),
        "compaction": compaction,
        "durable-file": lambda b: b.durable("file"),
        "durable-s3": lambda b: b.durable("s3"),
        "commit": commit,
        "first-file": lambda b: b.first("file"),
        "first-s3": lambda b: b.first("s3"),
        "restart": restart,
        "restore-s3": restore,
        "fleet": fleet.beside,
        "fleet-idle": fleet.idle,
        "fleet-writes": fleet.writes,
    }

    def print_table(self):
        print(f"\n{os.cpu_count()} cores, {self.size >> 20} MiB, upstream "
              "0.5.17 beside ours in one run\n")
        print("| what | upstream | ours | unit | ratio | bar |")
        print("|---|--:|--:|---|--:|---|")
        for r in self.table:
            print("| " + " | ".join(r) + " |")


def size(text):
    m = re.fullmatch(r"(\d+)(MiB|GiB)", text)
    if not m:
        raise argparse.ArgumentTypeError("a size is like 256MiB or 1GiB")
    return int(m[1]) << (20 if m[2] == "MiB" else 30)


def install():
    """The peers, by the same script as the tests; and a Release build."""
    script = (". tests/support/install.sh && apt_install "
              '"${BUILD_PACKAGES[@]}" python3-venv && install_upstream && '
              "install_minio && { [ -x \"$test_cache/minio/minio\" ] || "
              "[ -n \"${LS_MINIO:-}\" ] || install_ceph; } && "
              "cmake_build build/bench -DCMAKE_BUILD_TYPE=Release")
    subprocess.run(["bash", "-c", script], cwd=ROOT, check=True)
    return ROOT / "build/bench"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="128 MiB, few rounds")
    p.add_argument("--size", type=size, default=None)
    p.add_argument("--build", type=Path, help="an existing build instead")
    p.add_argument("row", nargs="*", metavar="ROW", help="all by default")
    a = p.parse_args()
    if bad := set(a.row) - set(Bench.ROWS):
        p.error(f"no such row: {', '.join(sorted(bad))}")
    a.size = a.size or (128 << 20 if a.quick else GIB)
    a.build = a.build or install()
    b = Bench(a)
    try:
        if not b.peer:
            sys.exit("upstream's binary is needed beside ours")
        for name in a.row or Bench.ROWS:
            print(f"{name}:", flush=True)
            Bench.ROWS[name](b)
        b.print_table()
    finally:
        b.close()


if __name__ == "__main__":
    main()
