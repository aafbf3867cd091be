#!/usr/bin/env python3
"""The long ones: readers over a daemon that compacts and prunes, readers behind
a network that fails, and the past against restore. LS_LONG=1 takes 30 minutes,
10 minutes and 100 times; else a small part of that."""
import bisect
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import pragma, uri  # noqa: E402
from test_s3 import S3Case  # noqa: E402
from faultproxy import FaultProxy, Rule  # noqa: E402
from harness import LONG, connect, main, wait_until  # noqa: E402

# A transaction that lasts longer than l0-retention may lose its state.
PRUNING = {"l0-retention": "15s", "l0-retention-check-interval": "1s",
           "levels": [{"interval": "2s"}, {"interval": "6s"}],
           "snapshot": {"interval": "8s", "retention": "20s"}}
POLL = 0.5


class LongCase(S3Case):
    def readers(self, kind, uris):
        p = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("long_reader.py"), kind,
             *uris], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(p.kill)
        return p

    def results(self, ps):
        for p in ps:
            p.stdin.close()
        got = [json.loads(p.stdout.read().splitlines()[-1]) for p in ps]
        for g, p in zip(got, ps):
            p.wait()
            self.assertEqual(g["wrong"], [])
            self.assertEqual(g["hung"], 0)
            self.assertEqual(g["left"], [0, 0])
        return got

    def say(self, what, got):
        errors = {}
        for g in got:
            for x in g["errors"]:
                for k, n in x.items():
                    errors[k] = errors.get(k, 0) + n
        print(f"\n{what}: {sum(g['right'] for g in got)} right answers of "
              f"{sum(g['asked'] for g in got)}, errors {errors}, slowest "
              f"{max(g['slowest'] for g in got):.2f} s, RSS "
              f"{max(g['rss_kb'] for g in got) // 1024} MB", flush=True)
        for g in got:
            for text in g["reasons"][:4]:
                print(f"  {text}", flush=True)
        return errors


class Churn(LongCase):
    def write(self, c, d, until, ps):
        """Give (time it was stored, newest row) of each sync."""
        r, i, stored = random.Random(4), 0, []
        while time.monotonic() < until and all(
                p.poll() is None for p in ps):
            for _ in range(r.randrange(1, 12)):
                i += 1
                c.execute("BEGIN")
                for t in "ab":
                    r2 = random.Random(i)
                    c.execute(f"INSERT INTO {t} VALUES(?,?,?)", (
                        i, r2.randrange(1000), r2.randbytes(300)))
                    c.execute(f"UPDATE {t} SET v=v+1 WHERE id%97=?",
                              (i % 97,))
                    c.execute(f"DELETE FROM {t} WHERE id=?", (i - 1500,))
                    if i % 1000 == 0:
                        c.execute(f"DELETE FROM {t} WHERE id<?", (i - 800,))
                c.execute("COMMIT")
            d.sync()
            stored.append((time.monotonic(), i))
            time.sleep(0.04)  # the load, not a wait for anything
        return stored

    def staleness(self, stored, seen):
        """How long ago what was stored next after the row seen was stored."""
        late, rows = [], [i for _, i in stored]
        for t, i in seen:
            k = bisect.bisect_right(rows, i)
            if k < len(stored):
                late.append(max(0.0, t - stored[k][0]))
        return sorted(late)

    def test_churn(self):
        self.place()
        c = connect(self.db)
        c.executescript(
            "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT, p BLOB);"
            "CREATE TABLE b(id INTEGER PRIMARY KEY, v INT, p BLOB);"
            "INSERT INTO a VALUES(0,0,''); INSERT INTO b VALUES(0,0,'');")
        d = self.daemon({self.db: self.url}, top=PRUNING,
                        env=self.s3.env()).start()
        d.sync()
        poll = f"{POLL}s"
        kinds = ({"cache_size": "200KB"}, {"hydrate": 1},
                 {"cache_size": "100KB", "cache_path": self.tmp / "cache"},
                 {"poll": "0"})
        ps = [self.readers("churn", [uri(self.url, **{"poll": poll, **kind})
                                     for _ in range(4)]) for kind in kinds]
        for p in ps:
            self.assertEqual(p.stdout.readline(), "started\n")
        pruned = {k for k, _ in self.s3.list(self.bucket, "p/0000/")}
        stored = self.write(c, d, time.monotonic() + (1800 if LONG else 20),
                            ps)
        wait_until(lambda: not pruned & {
            k for k, _ in self.s3.list(self.bucket, "p/0000/")},
            60, "level 0 pruned", 0.2)
        got = self.results(ps)
        errors = self.say(f"{len(stored)} syncs", got)
        self.assertLessEqual(set(errors), {"SQLITE_BUSY"})
        for kind, g in zip(kinds, got):
            late = self.staleness(stored, [s for x in g["seen"] for s in x])
            self.assertGreater(len(late), 20)
            print(f"{str(list(kind)):34} staleness p50 "
                  f"{late[len(late) // 2]:.3f} p99 "
                  f"{late[len(late) * 99 // 100]:.3f} max {late[-1]:.3f} s "
                  f"(poll {kind.get('poll', poll)})", flush=True)
        self.assertEqual(d.stop(), 0)
        c.close()


class Hostile(FaultProxy):
    """One request in twenty fails, as many are cut short, some are late, and
    some files are not there."""

    def __init__(self, *a):
        super().__init__(*a)
        self.r, self.on = random.Random(6), True

    def _rule(self, method, path):
        with self.lock:
            x, r = self.r.random(), self.r
            if not self.on:
                return None
            if x < 0.05:
                return r.choice((Rule(fail=500), Rule(fail=503),
                                 Rule(reset=True), Rule(lose=True)))
            if ".ltx" in path and x < 0.10:
                return r.choice((Rule(cut=r.randrange(60000)),
                                 Rule(short=r.randrange(60000))))
            if ".ltx" in path and x < 0.12:
                return Rule(fail=404, code="NoSuchKey")
            if x < 0.22:
                return Rule(delay=r.random() * 0.3)
        return None


class Faults(LongCase):
    def test_faults(self):
        self.place()
        proxy = Hostile(self.s3.port, 0.002).start()
        self.addCleanup(proxy.stop)
        far = self.s3.url(self.bucket, "p", proxy.port)
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, w INT, p BLOB)")
        c.executemany("INSERT INTO t VALUES(?,0,?)", (
            (i, bytes([i * 7 % 251]) * 700) for i in range(3000)))
        c.commit()
        d = self.daemon({self.db: self.url}, top=PRUNING,
                        env=self.s3.env()).start()
        d.sync()
        ps = [self.readers("faults", [
            uri(far, poll="200ms", **kind) for _ in range(4)])
            for kind in ({"cache_size": "100KB"},
                         {"cache_size": "100KB",
                          "cache_path": self.tmp / "cache"},
                         {"hydrate": 1, "cache_size": "1MB"})]
        for p in ps:
            self.assertEqual(p.stdout.readline(), "started\n")
        until, w = time.monotonic() + (600 if LONG else 8), 0
        while time.monotonic() < until and all(p.poll() is None for p in ps):
            w += 1
            c.execute("BEGIN")
            c.executemany("UPDATE t SET w=?, p=? WHERE id=?", (
                (w, bytes([(i * 7 + w) % 251]) * 700, i)
                for i in range(3000)))
            c.execute("COMMIT")
            d.sync()
            time.sleep(0.3)  # the load, not a wait for anything
        proxy.on = False
        got = self.results(ps)
        errors = self.say(f"{len(proxy.log)} requests", got)
        self.assertLessEqual(set(errors), {"SQLITE_BUSY", "SQLITE_IOERR",
                                           "SQLITE_CANTOPEN"})
        self.assertEqual([g["silent"] for g in got], [[]] * 3)
        for g in got:
            self.assertGreater(g["right"], 20)
        self.assertEqual(d.stop(), 0)
        c.close()


class Travel(LongCase):
    def test_travel_equals_restore(self):
        self.place()
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, p BLOB)")
        d = self.daemon({self.db: self.url}, env=self.s3.env(), top={
            "levels": [{"interval": "1s"}, {"interval": "5s"}]}).start()
        r, times = random.Random(9), []
        for i in range(300 if LONG else 30):
            c.execute("INSERT INTO t VALUES(?,0,randomblob(400))", (i,))
            c.execute("UPDATE t SET v=v+1 WHERE id%5=?", (i % 5,))
            if i % 20 == 19:
                c.execute("DELETE FROM t WHERE id%3=0")
                c.execute("VACUUM")
            d.sync()
            times.append(time.time_ns())
        self.assertEqual(d.stop(), 0)
        c.close()
        v, n = self.vfs(self.url, poll="1h"), 100 if LONG else 5
        for i in range(n):
            ns = r.randrange(times[2], times[-2])
            t = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(
                ns // 10 ** 9)) + f".{ns % 10 ** 9:09d}Z"
            out = self.tmp / f"t{i}.db"
            self.run_cli("restore", "-timestamp", t, "-o", out, self.url,
                         env=self.s3.env())
            pragma(v, "time", t)
            self.assert_shows(v, out, t)
        print(f"\n{n} times are the same")


if __name__ == "__main__":
    main()
