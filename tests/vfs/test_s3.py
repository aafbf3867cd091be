#!/usr/bin/env python3
"""The extension over S3: how many round trips it takes, what it does when the
server misbehaves, and many databases in one process."""
import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import SANITIZED, VfsCase  # noqa: E402
import servers  # noqa: E402
from faultproxy import FaultProxy, Rule  # noqa: E402
from harness import LONG, connect, main, wait_until  # noqa: E402


def rounds(log):
    """The longest chain of requests that waited for one another: a request
    that began after another's end is in a later round."""
    depth = []
    for r in sorted(log, key=lambda r: r.start):
        depth.append((r, 1 + max((d for p, d in depth if p.end is not None and
                                  p.end <= r.start), default=0)))
    return max((d for _, d in depth), default=0)


class S3Case(VfsCase):
    def place(self, latency=0.0):
        s3, bucket = self.need_s3()
        env = {k: os.environ.get(k) for k in s3.env()}
        os.environ.update(s3.env())
        self.addCleanup(lambda: [os.environ.pop(k) if v is None else
                                 os.environ.update({k: v})
                                 for k, v in env.items()])
        self.s3, self.bucket = s3, bucket
        self.proxy = FaultProxy(s3.port, latency).start()
        self.addCleanup(self.proxy.stop)
        self.url = s3.url(bucket, "p")
        return s3.url(bucket, "p", self.proxy.port)

    def filled(self, rows=4000, tail=20):
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, b BLOB)")
        c.execute("BEGIN")
        r = random.Random(1)
        for i in range(rows):
            c.execute("INSERT INTO t VALUES(?,0,?)", (i, r.randbytes(900)))
        c.execute("COMMIT")
        d = self.daemon({self.db: self.url}, env=self.s3.env()).start()
        d.sync()
        for i in range(tail):
            c.execute("UPDATE t SET v=v+1 WHERE id=?", (i * 7,))
            d.sync()
        d.stop()
        return c


class Rounds(S3Case):
    def test_open_to_first_row_takes_four_round_trips(self):
        url = self.place()
        self.filled().close()
        self.proxy.rules[:] = [Rule(delay=0.05)]
        v = self.vfs(url, poll="1h")
        opening = rounds(self.proxy.log)
        self.assertEqual(v.execute("SELECT id FROM t LIMIT 1").fetchone(),
                         (0,))
        self.assertLessEqual(opening, 2)
        self.assertLessEqual(rounds(self.proxy.log), 4)
        print(f"\nopen {opening}, first row {rounds(self.proxy.log)} round "
              f"trips, {len(self.proxy.log)} requests")

    def test_scan_is_read_ahead_side_by_side(self):
        url = self.place(latency=0.02)
        c = self.filled(rows=12000)
        v = self.vfs(url, poll="1h")
        want = c.execute("SELECT sum(v), sum(length(b)) FROM t").fetchone()
        before = len(self.proxy.log)
        self.assertEqual(
            v.execute("SELECT sum(v), sum(length(b)) FROM t").fetchone(),
            want)
        pages = v.execute("PRAGMA page_count").fetchone()[0]
        scan = self.proxy.log[before:]
        self.assertLess(len(scan), pages / 20)
        self.assertLess(rounds(scan), 0.8 * len(scan))
        # It is all here now.
        before = len(self.proxy.log)
        v.execute("SELECT sum(v) FROM t").fetchone()
        gets = [r for r in self.proxy.log[before:] if "list-type" not in
                r.path]
        self.assertLess(len(gets), pages / 20)
        c.close()


class Faults(S3Case):
    def ask(self, v, want):
        """Right, or an I/O error: how often each."""
        good = bad = 0
        r = random.Random(2)
        for _ in range(60):
            i = r.randrange(4000)
            try:
                got = v.execute("SELECT v, length(b) FROM t WHERE id=?",
                                (i,)).fetchone()
                self.assertEqual(got, want[i])
                good += 1
            except sqlite3.OperationalError as e:
                self.assertIn(str(e), ("disk I/O error",
                                       "database is locked"))
                bad += 1
        return good, bad

    def test_errors_cuts_and_resets_are_overcome(self):
        url = self.place()
        c = self.filled()
        want = c.execute("SELECT v, length(b) FROM t ORDER BY id").fetchall()
        for rules in ([Rule("GET", fail=503, times=5)],
                      [Rule("GET", r"\.ltx", cut=3000, times=5)],
                      [Rule("GET", r"\.ltx", reset=True, times=4)],
                      [Rule("GET", delay=0.05)]):
            self.proxy.rules[:] = rules
            v = self.vfs(url, cache_size="200KB")
            self.assertEqual(self.ask(v, want), (60, 0))
            v.close()
        self.proxy.rules.clear()
        c.close()

    def test_a_hostile_mixture_gives_right_answers_or_io_errors(self):
        url = self.place()
        c = self.filled()
        want = c.execute("SELECT v, length(b) FROM t ORDER BY id").fetchall()
        v = self.vfs(url, cache_size="200KB", poll="50ms")
        r, good = random.Random(3), 0
        for _ in range(40 if LONG else 8):
            self.proxy.rules[:] = [
                Rule("GET", fail=r.choice((500, 503)), times=1),
                Rule("GET", r"\.ltx", cut=r.randrange(1, 60000), times=1),
                Rule("GET", fail=404, times=1),
                Rule("GET", reset=True, times=1)]
            r.shuffle(self.proxy.rules)
            good += self.ask(v, want)[0]
        self.assertGreater(good, 100)
        self.proxy.rules.clear()
        self.assertEqual(self.ask(v, want), (60, 0))
        c.close()

    def test_what_is_cached_outlives_the_server(self):
        url = self.place()
        c = self.filled(rows=300)
        v = self.vfs(url, poll="50ms")
        self.assertEqual(v.execute("SELECT count(*) FROM t").fetchone(),
                         (300,))
        self.proxy.refuse(True)
        # What is cached still answers, of the state that it knows.
        self.assertEqual(v.execute("SELECT count(*) FROM t").fetchone(),
                         (300,))
        self.proxy.refuse(False)
        self.assertEqual(v.execute("SELECT count(*) FROM t").fetchone(),
                         (300,))
        c.close()


MANY = """
import json, os, resource, sqlite3, sys, threading, time
sys.path.insert(0, sys.argv[1])
from vfskit import load, open_vfs
load()
todo, wrong = sys.argv[3:], []
def count():
    return [len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))]
def work():
    while todo:
        try:
            url = todo.pop()
        except IndexError:
            return
        v = open_vfs(url, cache_size="1MB")
        if v.execute("SELECT count(*), sum(length(b)) FROM t").fetchone() != \
                (50, 45000):
            wrong.append(url)
        v.close()
first = todo.pop()
todo, rest = [first], todo
work()  # what stays for the life of the process is there now
before, todo = count(), rest
ts = [threading.Thread(target=work) for _ in range(int(sys.argv[2]))]
[t.start() for t in ts]
[t.join() for t in ts]
end = time.monotonic() + 10  # a joined thread may be on its way out
while count()[0] > before[0] and time.monotonic() < end:
    time.sleep(0.01)
print(json.dumps({"wrong": wrong, "todo": todo, "before": before,
                  "after": count(), "rss_kb":
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}),
      flush=True)
sys.stdin.read()
"""


class Many(S3Case):
    def test_many_databases_in_one_process(self):
        """The orchestrator: a process opens, asks and closes many small
        databases by URI, fifty at once; nothing is left of them."""
        self.place()
        self.filled(rows=50, tail=3).close()
        n, at_once = (500 if LONG else 60), 50
        keys = [k for k, _ in self.s3.list(self.bucket, "p/")]
        urls = []
        for i in range(n):
            for key in keys:
                self.s3.put(self.bucket, f"d{i}/{key[2:]}",
                            self.s3.get(self.bucket, key))
            urls.append(self.s3.url(self.bucket, f"d{i}", self.proxy.port))
        p = subprocess.Popen(
            [sys.executable, "-c", MANY, Path(__file__).parent, str(at_once),
             *urls], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)
        got = json.loads(p.stdout.readline())
        # The process lives, and no connection of a closed database does.
        wait_until(lambda: not self.proxy.open, 10, "end of all connections")
        p.communicate()
        self.assertEqual((got["wrong"], got["todo"]), ([], []))
        self.assertEqual(got["after"], got["before"])
        if not SANITIZED:
            self.assertLess(got["rss_kb"], (64 << 10) + at_once * 1000)
        # Round one lists, two fetches the files; two more may fetch pages.
        for i in range(n):
            mine = self.proxy.requests("GET", rf"d{i}(/|%2F)")
            gets = [r for r in mine if "list-type" not in r.path]
            self.assertLessEqual(len(gets), len(keys) + 2)
        print(f"\n{n} databases of {len(keys)} files, "
              f"{len(self.proxy.log)} requests, RSS "
              f"{got['rss_kb'] // 1024} MB")


EXITS = """
import ctypes, sys, time
if sys.argv[1] == "host":  # libcrypto is the host's, and so is its end
    import ssl
    ssl.create_default_context()
sys.path[:0] = sys.argv[3].split(":")
from vfskit import open_vfs
open_ones = [open_vfs(url, poll="1ms") for url in sys.argv[4:]]
for c in open_ones:
    c.execute("SELECT count(*) FROM t").fetchone()
time.sleep(float(sys.argv[2]))
ctypes.CDLL(None).exit(7)  # no connection is closed
"""


class Exit(S3Case):
    def test_exit_at_any_time(self):
        """exit() with open connections, whose threads are in the middle of a
        request: it ends as the program says, and soon."""
        url = self.place()
        self.filled(rows=10, tail=1).close()
        here = Path(__file__).resolve().parent
        path = f"{here}:{here.parent / 'support'}"
        ended = {}
        for i in range(400 if LONG else 40):
            r = subprocess.run(
                [sys.executable, "-c", EXITS, ("host", "ours")[i % 2],
                 str(i % 20 * 0.001), path, url, self.url],
                capture_output=True, text=True, timeout=60)
            ended[r.returncode] = r.stderr[-2000:]
        self.assertEqual(set(ended), {7}, ended)

    def test_exit_does_not_wait_for_a_server(self):
        """A server that says nothing holds a poll, not the exit."""
        url = self.place()
        self.filled(rows=10, tail=1).close()
        here = Path(__file__).resolve().parent
        path = f"{here}:{here.parent / 'support'}"
        p = subprocess.Popen(
            [sys.executable, "-c", EXITS, "ours", "2", path, url])
        self.addCleanup(p.kill)
        wait_until(lambda: len(self.proxy.log) > 20, 30, "polls")
        self.proxy.rules[:] = [Rule(hang=True)]
        # libcurl's patience is 30 s; ours at exit() is 2
        self.assertEqual(p.wait(timeout=25), 7)


if __name__ == "__main__":
    main()
