#!/usr/bin/env python3
"""What goes wrong while writing: the buffer's disk is full, the store is gone,
credentials expire, answers are lost. The SQL client gets an error that says
what it is, nothing is half done, and a later sync delivers it all."""
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import VfsCase, load, pragma, stats  # noqa: E402
from writekit import write_uri  # noqa: E402
from faultproxy import FaultProxy, Rule  # noqa: E402
from harness import LONG, main, wait_until  # noqa: E402


class Faults(VfsCase):
    def setUp(self):
        super().setUp()
        self.buffer = self.tmp / "buffer"
        self.committed = 0

    def writer(self, url=None, buffer=None, **params):
        load()
        c = sqlite3.connect(
            write_uri(url or self.url, buffer or self.buffer, **params),
            uri=True, isolation_level=None, check_same_thread=False)
        self.open.append(c)
        c.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b)")
        return c

    def insert(self, c, n=1, size=900):
        for _ in range(n):
            c.execute(f"INSERT INTO t(b) VALUES(randomblob({size}))")
            self.committed += 1

    def whole(self, c):
        self.assertEqual(c.execute("SELECT count(*) FROM t").fetchone(),
                         (self.committed,))
        self.assertEqual(c.execute("PRAGMA integrity_check").fetchall(),
                         [("ok",)])

    def delivered(self, url=None, env=None):
        """All commits are in what is stored."""
        out = self.restore(url or self.url, self.tmp / "o.db", env=env)
        c = sqlite3.connect(out)
        self.whole(c)
        c.close()
        out.unlink()


class Disk(Faults):
    SIZE = 8 << 20

    def disk(self):
        d = self.tmp / "disk"
        d.mkdir()
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.SIZE}",
                            "litestreamd-test", d], capture_output=True,
                           text=True)
        if r.returncode:
            self.skipTest(f"no tmpfs of its own: {r.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", d])
        return d

    def full(self, path):
        with open(path, "wb", buffering=0) as f:
            for size in (1 << 16, 1):
                try:
                    while True:
                        f.write(bytes(size))
                except OSError:
                    pass

    def refused(self, c, sql):
        with self.assertRaisesRegex(sqlite3.Error, "full|No space") as e:
            c.execute(sql)
        return str(e.exception)

    def test_buffer_disk_full(self):
        d = self.disk()
        c = self.writer(buffer=d / "buffer", sync_interval="1h")
        self.insert(c, 20)
        self.full(d / "ballast")
        big = "INSERT INTO t(b) VALUES(randomblob(3000000))"
        for _ in range(3):
            self.refused(c, big)
        self.whole(c)
        c.execute("BEGIN")  # also later in a transaction, and at COMMIT
        for _ in range(50):
            c.execute("INSERT INTO t(b) VALUES(randomblob(900))")
        try:
            c.execute(big)
            c.execute("COMMIT")
            self.fail("a full disk took 3 MB")
        except sqlite3.Error:
            if c.in_transaction:
                c.execute("ROLLBACK")
        self.whole(c)
        self.assertEqual(len(pragma(c, "sync")), 16)  # needs no room
        self.delivered()
        (d / "ballast").unlink()
        self.insert(c, 20)
        self.whole(c)
        pragma(c, "sync")
        self.delivered()

    def test_killed_while_it_is_full(self):
        d = self.disk()
        env = {"BUF": str(d / "buffer")}
        prog = (
            "import sys,os,sqlite3\n"
            f"sys.path[:0]=[{str(Path(__file__).parent)!r}]\n"
            "from vfskit import load; load()\n"
            "c=sqlite3.connect(sys.argv[1],uri=True,isolation_level=None)\n"
            "c.execute('CREATE TABLE t(id INTEGER PRIMARY KEY,b)')\n"
            "n=0\n"
            "try:\n"
            "  while True:\n"
            "    c.execute('INSERT INTO t(b) VALUES(randomblob(20000))')\n"
            "    n+=1\n"
            "except sqlite3.Error as e: print(n, e, flush=True)\n"
            "os.kill(os.getpid(),9)\n")
        r = subprocess.run(
            [sys.executable, "-c", prog,
             write_uri(self.url, d / "buffer", sync_interval="1h")],
            capture_output=True, text=True, env={**os.environ, **env})
        n, text = r.stdout.split(" ", 1)
        self.assertRegex(text, "full|No space")
        self.committed = int(n)
        self.assertGreater(self.committed, 50)
        c = self.writer(buffer=d / "buffer", sync_interval="1h")
        self.whole(c)
        pragma(c, "sync")
        self.delivered()


class Store(Faults):
    def place(self):
        s3, bucket = self.need_s3()
        was = {k: os.environ.get(k) for k in s3.env()}
        os.environ.update(s3.env())
        self.addCleanup(lambda: [os.environ.pop(k) if v is None else
                                 os.environ.update({k: v})
                                 for k, v in was.items()])
        self.s3, self.direct = s3, s3.url(bucket, "p")
        self.proxy = FaultProxy(s3.port).start()
        self.addCleanup(self.proxy.stop)
        return s3.url(bucket, "p", self.proxy.port)

    def error_of(self, c, sql):
        with self.assertRaises(sqlite3.Error) as e:
            c.execute(sql)
        return str(e.exception)

    def settled(self, c):
        """Everything stored, as soon as the store is there again."""
        def done():
            try:
                return pragma(c, "sync")
            except sqlite3.Error:
                return None
        wait_until(done, 60, "a sync", 0.1)
        self.whole(c)
        self.delivered(self.direct, self.s3.env())

    def test_store_down(self):
        url = self.place()
        # Upkeep comes again by itself, but only half a minute later.
        c = self.writer(url, sync_interval="20ms", compaction=int(LONG))
        self.insert(c, 5)
        pragma(c, "sync")
        self.proxy.refuse(True)
        self.insert(c, 50)  # the buffer takes them
        text = self.error_of(c, "PRAGMA litestream_sync")
        self.assertRegex(text, "refused|connect")
        self.insert(c, 5)
        self.assertNotEqual(stats(c)["last_error"], "")
        self.proxy.refuse(False)
        self.settled(c)
        wait_until(lambda: stats(c)["last_error"] == "", 90, "recovery", 0.1)

    def test_store_down_with_durable_commits(self):
        url = self.place()
        c = self.writer(url, sync_interval="0")
        self.insert(c, 3)
        self.delivered(self.direct, self.s3.env())
        self.proxy.refuse(True)
        self.assertNotEqual(
            self.error_of(c, "INSERT INTO t(b) VALUES('lost')"), "")
        if c.in_transaction:
            c.execute("ROLLBACK")
        self.proxy.refuse(False)

        def written():
            try:
                self.insert(c)
                return True
            except sqlite3.Error:
                return False
        wait_until(written, 60, "a write after the outage", 0.1)
        self.assertEqual(c.execute("SELECT count(*) FROM t WHERE b='lost'"
                                   ).fetchone(), (0,))
        self.whole(c)
        self.delivered(self.direct, self.s3.env())

    def test_slow_store(self):
        """Nothing waits for an upload but who asks for it; and the lag is
        that of the last one."""
        url = self.place()
        c = self.writer(url, sync_interval="20ms", poll="1h")
        pragma(c, "sync")
        self.proxy.rules.append(Rule("PUT", r"\.ltx", delay=2))
        slowest, end = 0, time.monotonic() + 6
        while time.monotonic() < end:
            began = time.monotonic()
            self.insert(c)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.02)
        self.assertLess(slowest, 1.5)
        self.assertLess(int(stats(c)["lag_ms"]), 5500)
        self.proxy.rules.clear()
        self.settled(c)

    def test_open_beside_the_last_close(self):
        """A connection sees what another one committed that is closing."""
        url = self.place()
        c = self.writer(url, sync_interval="20ms")
        pragma(c, "sync")
        self.proxy.rules.append(Rule("PUT", r"\.ltx", delay=1))
        self.insert(c, 3)
        self.open.remove(c)
        closing = threading.Thread(target=c.close)
        closing.start()
        time.sleep(0.2)
        c = self.writer(url, sync_interval="20ms")
        self.whole(c)
        closing.join()
        self.insert(c)
        self.proxy.rules.clear()
        self.settled(c)

    def test_credentials_expired(self):
        url = self.place()
        c = self.writer(url, sync_interval="20ms")
        self.insert(c, 5)
        pragma(c, "sync")
        self.proxy.rules.append(
            Rule(".*", "", fail=403, code="ExpiredToken"))
        self.insert(c, 20)
        text = self.error_of(c, "PRAGMA litestream_sync")
        self.assertRegex(text, "ExpiredToken|credentials|403")
        self.insert(c, 5)
        self.proxy.rules.clear()
        self.settled(c)

    def test_lost_answers(self):
        url = self.place()
        for interval in ("0", "5ms"):
            self.proxy.rules.clear()
            c = self.writer(url, self.tmp / f"b{interval}",
                            sync_interval=interval)
            for n in range(12):
                self.proxy.rules[:] = [Rule("PUT", r"\.ltx", times=1,
                                            lose=True)]
                try:
                    self.insert(c)
                except sqlite3.Error:  # interval 0: not settled in time
                    if c.in_transaction:
                        c.execute("ROLLBACK")
            self.proxy.rules.clear()
            self.committed = c.execute(
                "SELECT count(*) FROM t").fetchone()[0]
            self.assertGreaterEqual(self.committed, 12)
            self.settled(c)
            c.close()
            self.open.remove(c)


if __name__ == "__main__":
    main()
