"""Rows of run.py about many databases in one daemon, on S3:

    fleet       1,000 quiet databases beside upstream (200 with --quick): RSS,
                CPU, descriptors and requests a minute; then 100 of them are
                written at once until the store has answered each PUT
    fleet-idle  ours alone with 10,000 (2,000): the start, and the same figures
"""
import json
import os
import sqlite3
import subprocess
import time

from faultproxy import FaultProxy
from harness import UnixHTTP
from proc import Usage, clean_env, spawn, wait_until


class Fleet:
    def __init__(self, bench, binary, n):
        self.b, self.n = bench, n
        bench.n += 1
        self.root = bench.tmp / f"fleet{bench.n}"
        self.root.mkdir()
        master = self.root / "master.db"
        c = sqlite3.connect(master, isolation_level=None)
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b)")
        c.close()
        self.paths = [self.root / f"{i // 100}" / f"{i}.db" for i in range(n)]
        for i in range(0, n, 100):
            (self.root / f"{i // 100}").mkdir()
            subprocess.run(["sh", "-c", 'm=$1; shift; for f; do cp "$m" "$f";'
                            " done", "sh", master, *self.paths[i:i + 100]],
                           check=True)
        self.proxy = FaultProxy(bench.store().port).start()
        _, self.env, bucket = bench.place("s3")
        conf = self.root / "c.yml"
        self.sock = self.root / "s"
        conf.write_text(json.dumps({
            "socket": {"enabled": True, "path": str(self.sock)},
            "dbs": [{"path": str(p), "replica": {"url": bench.s3.url(
                bucket, f"p{i}", self.proxy.port)}}
                for i, p in enumerate(self.paths)]}))
        self.cmd = [binary, "replicate", "-config", conf]

    def start(self):
        """Seconds until each had its last sync said."""
        began = time.monotonic()
        with open(self.root / "log", "ab") as log:
            self.proc = spawn(self.cmd, stdin=subprocess.DEVNULL, stdout=log,
                              stderr=log, env=clean_env(**self.env))
        self.usage = Usage(self.proc.pid)
        wait_until(lambda: self.synced() == self.n, 1800, "first sync", 0.25)
        return time.monotonic() - began

    def synced(self):
        try:
            c = UnixHTTP(self.sock, 30)
            c.request("GET", "/list")
            rows = json.loads(c.getresponse().read())["databases"]
            c.close()
        except OSError:
            return 0
        return sum("last_sync_at" in r for r in rows)

    def idle(self, quiet, seconds):
        """(MB, CPU seconds a minute, descriptors, requests a minute)."""
        time.sleep(quiet)
        cpu, log = self.usage.cpu(), len(self.proxy.log)
        time.sleep(seconds)
        cpu, log = self.usage.cpu() - cpu, len(self.proxy.log) - log
        with open(f"/proc/{self.proc.pid}/status") as f:
            rss = next(int(x.split()[1]) for x in f if x.startswith("VmRSS"))
        return (rss / 1024, cpu * 60 / seconds,
                len(os.listdir(f"/proc/{self.proc.pid}/fd")),
                log * 60 / seconds)

    def burst(self, n):
        """Seconds until the PUTs of n databases, written at once, are
        answered. They were quiet before."""
        time.sleep(12)
        apps = [sqlite3.connect(p, isolation_level=None)
                for p in self.paths[::self.n // n][:n]]
        seen = len(self.proxy.requests("PUT", "/0000/"))
        for c in apps:
            c.execute("PRAGMA wal_autocheckpoint=0")
        t = time.monotonic()
        for c in apps:
            c.execute("INSERT INTO t(b) VALUES(randomblob(100))")

        def answered():
            puts = self.proxy.requests("PUT", "/0000/")[seen:]
            ok = {r.path.split("/0000/")[0]: r.end for r in puts
                  if r.end and r.status == 200}
            return len(ok) >= n and max(ok.values())
        took = wait_until(answered, 120, "PUTs", 0.002) - t
        for c in apps:
            c.close()
        return took

    def stop(self):
        self.proc.terminate()
        self.proc.wait()
        self.proxy.stop()
        subprocess.run(["rm", "-rf", self.root], check=False)


def beside(bench):
    n = 200 if bench.quick else 1000
    got = {}
    for who, binary in bench.programs.items():
        f = Fleet(bench, binary, n)
        f.start()
        idle = f.idle(15 if bench.quick else 25, 20 if bench.quick else 60)
        bursts = sorted(f.burst(n // 10) for _ in range(3))
        got[who] = (*idle, bursts[1])
        f.stop()
    for i, (what, unit, bar) in enumerate((
            ("RSS", "MiB", "0.04 x"), ("CPU a minute", "s", "0.01 x"),
            ("descriptors", "", "100"), ("requests a minute", "", "0"),
            (f"{n // 10} written at once, stored", "s", "0.2 x"))):
        bench.row(f"{n} idle databases, S3: {what}" if i < 4 else
                  f"{n} databases, S3: {what}", unit, got["upstream"][i],
                  got["ours"][i], bar)


def idle(bench):
    n = 2000 if bench.quick else 10000
    f = Fleet(bench, bench.ours, n)
    first = f.start()
    f.proc.terminate()
    f.proc.wait()
    again = f.start()
    figures = f.idle(25, 30)
    f.stop()
    for what, unit, v, bar in (
            ("first start", "s", first, "-"), ("start", "s", again, "60 s"),
            ("RSS", "MiB", figures[0], "40 MiB"),
            ("CPU a minute", "s", figures[1], "0.3 s"),
            ("descriptors", "", figures[2], "100"),
            ("requests a minute", "", figures[3], "0")):
        bench.row(f"{n} databases, S3: {what}", unit, 0, v, bar)
