"""Rows of run.py about many databases in one daemon, on S3:

    fleet       1,000 quiet databases beside upstream (200 with --quick): RSS,
                CPU, descriptors and requests a minute; then 100 of them are
                written at once until the store has answered each PUT
    fleet-idle  ours alone with 10,000 (2,000): the start, and the same figures
    fleet-writes  ours alone with 10,000 (2,000) in a folder, 100 commits a second
                for 600 s (60): from each commit until its object's time in the
                store, which is some ms before the answer. No proxy is in
                between: it would cost more CPU than the daemon. LS_DATABASES
                and LS_SECONDS are other sizes
"""
import bisect
import collections
import json
import os
import random
import sqlite3
import subprocess
import time

from faultproxy import FaultProxy
from harness import UnixHTTP
from proc import Usage, clean_env, spawn, wait_until


# What an idle daemon holds of its replicas is freed within a minute of the last
# parking (a sweep); connections and threads go sooner.
SETTLED = 80


class Fleet:
    def __init__(self, bench, binary, n, proxy=True):
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
        _, self.env, self.bucket = bench.place("s3")
        self.proxy = FaultProxy(bench.store().port).start() if proxy else None
        conf = self.root / "c.yml"
        self.sock = self.root / "s"
        dbs = [{"path": str(p), "replica": {"url": bench.s3.url(
            self.bucket, f"p{i}", self.proxy.port)}}
            for i, p in enumerate(self.paths)] if proxy else [{
                "dir": str(self.root), "pattern": "[0-9]*.db",
                "recursive": True, "watch": True,
                "replica": {"url": bench.s3.url(self.bucket, "p")}}]
        conf.write_text(json.dumps({
            "socket": {"enabled": True, "path": str(self.sock)}, "dbs": dbs}))
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
        cpu, log = self.usage.cpu(), self.asked()
        time.sleep(seconds)
        cpu, log = self.usage.cpu() - cpu, self.asked() - log
        with open(f"/proc/{self.proc.pid}/status") as f:
            rss = next(int(x.split()[1]) for x in f if x.startswith("VmRSS"))
        return (rss / 1024, cpu * 60 / seconds,
                len(os.listdir(f"/proc/{self.proc.pid}/fd")),
                log * 60 / seconds)

    def asked(self):
        return len(self.proxy.log) if self.proxy else 0

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

    def write(self, seconds, rate):
        """[(path, when its commit had returned)]: databases at random, but none
        twice within ten seconds, so that each commit has an object of its own.
        An application has its connection for five seconds."""
        rng, wrote, apps = random.Random(6), [], collections.deque()
        recent = collections.deque(maxlen=10 * rate)
        began = time.monotonic()
        for i in range(seconds * rate):
            time.sleep(max(0, began + i / rate - time.monotonic()))
            path = rng.choice(self.paths)
            while path in recent:
                path = rng.choice(self.paths)
            recent.append(path)
            c = sqlite3.connect(path, 30, isolation_level=None)
            c.execute("INSERT INTO t(b) VALUES(randomblob(300))")
            wrote.append((path, time.time()))
            apps.append(c)
            if len(apps) > 5 * rate:
                apps.popleft().close()
        self.rate = len(wrote) / (time.monotonic() - began)
        for c in apps:
            c.close()
        return wrote

    def lags(self, wrote):
        """For each commit, seconds until the next level-0 object of its database;
        in order. None may be missing."""
        objects = collections.defaultdict(list)
        for key, at in self.b.s3.times(self.bucket):
            if "/0000/" in key:
                objects[key.split("/0000/")[0]].append(at)
        out = []
        for path, at in wrote:
            times = sorted(objects[f"p/{path.relative_to(self.root)}"])
            i = bisect.bisect_left(times, at - 0.001)
            out.append(times[i] - at if i < len(times) else float("inf"))
        return sorted(out)

    def stop(self):
        self.proc.terminate()
        self.proc.wait()
        if self.proxy:
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
    figures = f.idle(SETTLED, 30)
    f.stop()
    for what, unit, v, bar in (
            ("first start", "s", first, "-"), ("start", "s", again, "60 s"),
            ("RSS", "MiB", figures[0], "40 MiB"),
            ("CPU a minute", "s", figures[1], "0.3 s"),
            ("descriptors", "", figures[2], "100"),
            ("requests a minute", "", figures[3], "0")):
        bench.row(f"{n} databases, S3: {what}", unit, 0, v, bar)


def writes(bench):
    n = int(os.environ.get("LS_DATABASES", 2000 if bench.quick else 10000))
    rate = min(100, n // 20)
    seconds = int(os.environ.get("LS_SECONDS", 60 if bench.quick else 600))
    f = Fleet(bench, bench.ours, n, proxy=False)
    f.start()
    quiet = f.idle(SETTLED, 1)[0]
    with open(f"/proc/{f.proc.pid}/clear_refs", "w") as reset:
        reset.write("5")  # VmHWM begins anew
    cpu = f.usage.cpu()
    wrote = f.write(seconds, rate)
    cpu = f.usage.cpu() - cpu
    load = os.getloadavg()[1]
    wait_until(lambda: f.lags(wrote)[-1] < float("inf"), 60, "last PUT", 5)
    lags = f.lags(wrote)
    peak = f.usage.peak_kib() / 1024
    f.stop()
    what = f"{n} databases, {f.rate:.0f} commits a second for {seconds} s"
    for name, unit, v, bar in (
            ("stored after, p50", "s", lags[len(lags) // 2], "-"),
            ("p99", "s", lags[len(lags) * 99 // 100], "2 s"),
            ("all", "s", lags[-1], "-"),
            ("RSS before", "MiB", quiet, "40 MiB"),
            ("peak RSS", "MiB", peak, "120 MiB"),
            ("CPU a minute", "s", cpu * 60 / seconds, "-"),
            ("load average of the machine", "", load, "-")):
        bench.row(f"{what}: {name}", unit, 0, v, bar)
