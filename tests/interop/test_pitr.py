#!/usr/bin/env python3
"""Point in time: a run whose commits are known by time and value, compacted and
expired on the way. What `restore -timestamp` gives at random times is the newest
state of then that is still stored, as `points` lists them; no point is younger
than its time says; a time that cannot be reached names the nearest point. 50
times in a folder (LS_LONG: 200, a longer run), some in S3; upstream's restore
is asked for a sample of the same."""
import json
import random
import sqlite3
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import (LONG, Case, connect, is_upstream, main,  # noqa
                     wait_until)

MS = 1000000
SETTINGS = {
    "levels": [{"interval": "1s"}, {"interval": "3s"}],
    "snapshot": {"interval": "4s", "retention": "8s"},
    "l0-retention": "2s", "l0-retention-check-interval": "500ms"}


def text(ns):
    """A time as the command line takes it."""
    at = datetime.fromtimestamp(ns // 10**9, timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def parse(stamp):
    whole, _, part = stamp.rstrip("Z").partition(".")
    at = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    return int(at.timestamp()) * 10**9 + int(f"{part:0<9}")


class PointInTime(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("`points` is ours")
        self.peer = self.need_upstream()
        self.db = self.tmp / "a.db"
        self.c = connect(self.db)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, b)")
        self.c.execute("INSERT INTO t VALUES(1, 0, NULL)")
        self.before, self.after = [0], [time.time_ns()]  # by value
        self.env, self.known = {}, {}
        self.rng = random.Random(9)

    def commit(self):
        v = len(self.before)
        self.before.append(time.time_ns())
        self.c.execute("BEGIN IMMEDIATE")
        self.c.execute("UPDATE t SET v = ? WHERE id = 1", (v,))
        self.c.execute("INSERT INTO t(b) VALUES(randomblob(?))",
                       (self.rng.randint(1, 6000),))
        self.c.execute("COMMIT")
        self.after.append(time.time_ns())
        return v

    def write(self, d, commits):
        """At an irregular pace; now and then a barrier, whose TXID's value is
        known then."""
        for _ in range(commits):
            v = self.commit()
            if self.rng.random() < 0.1:
                self.known[d.sync(wait=self.rng.random() < 0.5)] = v
            time.sleep(self.rng.choice((0.002, 0.02, 0.1, 0.3)))

    def value(self, *at, binary=None):
        out = self.tmp / "o.db"
        self.run_cli("restore", *at, "-o", out, self.url, binary=binary,
                     env=self.env)
        c = sqlite3.connect(out)
        got = c.execute("SELECT v FROM t WHERE id = 1").fetchone()[0]
        self.assertEqual(c.execute("PRAGMA integrity_check").fetchall(),
                         [("ok",)])
        c.close()
        out.unlink()
        return got

    def list_points(self):
        """[(time, value, level)], each value by TXID."""
        doc = json.loads(self.run_cli("points", "-json", self.url,
                                      env=self.env).stdout)
        out = []
        for p in doc:
            txid = int(p["txid"], 16)
            v = self.value("-txid", p["txid"])
            if txid in self.known:
                self.assertEqual(v, self.known[txid], p)
            out.append((parse(p["time"]), v, p["min_level"]))
        return out

    def check_points(self, points):
        """A point holds nothing younger than its time; together they hold what
        was committed, in order."""
        for at, v, _ in points:
            self.assertLess(self.before[v], at + MS, f"value {v}")
        self.assertEqual(points, sorted(points))
        values = [v for _, v, _ in points]
        self.assertEqual(values, sorted(values))
        self.assertEqual(values[-1], len(self.before) - 1)

    def check_times(self, points, n, by_upstream):
        first, last = points[0][0], points[-1][0]
        for i in range(n):
            at = self.rng.randrange(first, last) // MS * MS + MS // 2
            want = [v for t, v, _ in points if t <= at][-1]
            self.assertEqual(self.value("-timestamp", text(at)), want,
                             text(at))
            self.assertLess(self.before[want], at)
            if i < by_upstream:
                self.assertEqual(self.value("-timestamp", text(at),
                                            binary=self.peer), want, text(at))
        for at, v, _ in points[::5]:  # a point's own time is in it
            newest = [w for t, w, _ in points if t <= at][-1]
            self.assertEqual(self.value("-timestamp", text(at)), newest)

    def unreachable(self, at, points, *source):
        r = self.run_cli("restore", "-timestamp", text(at), "-o",
                         self.tmp / "no.db", *source, env=self.env, ok=False)
        self.assertEqual(r.returncode, 1)
        self.assertFalse((self.tmp / "no.db").exists())
        named = {parse(w.strip("(),")) for w in r.stderr.split()
                 if w.startswith("20") and w.strip("(),").endswith("Z")}
        self.assertIn(points[0][0], named, r.stderr)
        return named

    def check_unreachable(self, d, points):
        first, last = points[0][0], points[-1][0]
        for at in (first - MS, first - 3600 * 10**9):
            self.unreachable(at, points, self.url)
            self.unreachable(at, points, "-config", d.config, self.db)
        self.assertIn(last, self.unreachable(last + 10**9, points, self.url))

    def run_over(self, commits, times, by_upstream, listing):
        d = self.daemon({self.db: self.url}, top=SETTINGS, env=self.env,
                        db={"monitor-interval": "50ms"},
                        replica={"sync-interval": "150ms"}).start()
        self.known[d.sync()] = 0
        self.write(d, commits)

        def worn():  # compacted twice, thinned, and the beginning expired
            nine = listing(9)
            return listing(2) and listing(0)[0][0] > 2 and \
                len(nine) > 1 and nine[0][1] > 1
        wait_until(lambda: self.commit() and d.sync() and worn(), 40,
                   "compaction and retention")
        self.known[d.sync()] = len(self.before) - 1
        self.assertEqual(d.stop(), 0)
        points = self.list_points()
        self.assertGreater(len({lv for _, _, lv in points}), 1)
        self.check_points(points)
        self.check_times(points, times, by_upstream)
        self.check_unreachable(d, points)
        self.assertTrue(json.loads(self.run_cli(
            "verify", "-json", self.url, env=self.env).stdout)["ok"])

    def test_folder(self):
        self.url = f"file://{self.tmp}/r"
        self.run_over(600 if LONG else 90, 200 if LONG else 50, 15,
                      lambda level: ltx.list_dir(self.tmp / "r", level))

    def test_s3(self):
        s3, bucket = self.need_s3()
        self.url, self.env = s3.url(bucket, "p"), s3.env()
        self.run_over(60, 12, 5,
                      lambda level: ltx.list_s3(s3, bucket, "p", level))


if __name__ == "__main__":
    main()
