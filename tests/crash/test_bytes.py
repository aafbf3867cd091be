#!/usr/bin/env python3
"""What a surprise costs: uploaded bytes after a restart, with and without
writes, checkpoints and deleted WALs in between, after kill -9, after a restore
in place, and after upstream's daemon had the database for a while. Never the
database: the pages that differ, at most, and HEAD bytes a file. Contents are
random, so that compression helps nobody.

The pages that differ are counted by comparing what the replica gave before
with a checkpointed copy of the source afterwards; the bytes by listing the
replica, and by counting the requests of a proxy in front of an S3 server.
40 MB; with LS_LONG=1 200 MB and, once, 2 GB."""
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import servers  # noqa: E402
from faultproxy import FaultProxy  # noqa: E402
from harness import LONG, Case, connect, is_upstream, main  # noqa

MB = 1 << 20
PAGE = 4096
HEAD = 1024  # a file's header, trailer and the index's frame
A_PAGE = PAGE + 64  # its frame, what LZ4 adds to noise, its index entry
QUIET = {"levels": [], "park-after": "0s"}  # no file of its own accord


def fill(db, size):
    """Rows of a page each, so that n rows are n pages to change."""
    c = connect(db, PAGE)
    c.execute("PRAGMA wal_autocheckpoint=0")
    c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
    rows = size // PAGE
    c.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n "
              f"WHERE x < {rows}) INSERT INTO t SELECT x, randomblob(3500) "
              "FROM n")
    c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    c.close()
    return rows


def pages_that_differ(a, b):
    """Pages of b that a does not have so."""
    n = 0
    with open(a, "rb") as f, open(b, "rb") as g:
        while True:
            x, y = f.read(MB), g.read(MB)
            if not y:
                return n
            if x != y:
                n += sum(x[i:i + PAGE] != y[i:i + PAGE]
                         for i in range(0, len(y), PAGE))


class Bytes(Case):
    size = 200 * MB if LONG else 40 * MB

    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("upstream uploads the database")
        self.db, self.rep = self.tmp / "app.db", self.tmp / "r"
        self.url = f"file://{self.rep}"
        self.rows = fill(self.db, self.size)
        self.at = 0
        self.d = self.daemon({self.db: self.url}, top=QUIET)
        self.d.start().sync(timeout=300)

    # ---- counting -------------------------------------------------------

    def listing(self):
        """{name: (inode, size, mtime)} of every object."""
        return {str(p.relative_to(self.rep)):
                (p.stat().st_ino, p.stat().st_size, p.stat().st_mtime_ns)
                for p in self.rep.rglob("*.ltx")}

    def cost(self, before, base, what):
        """Asserts what was uploaded since; gives (pages, bytes)."""
        after = self.listing()
        new = [v[1] for k, v in after.items() if before.get(k) != v]
        copy = self.checkpointed(self.db)
        n = pages_that_differ(base, copy)
        print(f"{what}: {n} pages of {self.size // PAGE} differ, "
              f"{sum(new)} bytes in {len(new)} files", flush=True)
        self.assertLessEqual(sum(new), n * A_PAGE + len(new) * HEAD, what)
        out = self.restore(self.url, self.tmp / "o.db", timeout=600)
        self.assert_same(out, copy, what)
        os.rename(out, base)
        return n, sum(new)

    def now(self):
        """What the replica gives: the base of the next count."""
        return self.restore(self.url, self.tmp / "base.db", timeout=600)

    # ---- the application ------------------------------------------------

    def change(self, n, close=False, then=None):
        """n rows in five transactions, a checkpoint by the application."""
        c = connect(self.db)
        for i in range(5):
            lo = 1 + (self.at + i * n // 5) % (self.rows - n)
            c.execute("UPDATE t SET b=randomblob(3500) WHERE id>=? AND id<?",
                      (lo, lo + n // 5))
        self.at += n
        if then:
            c.execute(f"PRAGMA wal_checkpoint({then})")
        if close:
            c.close()
            return None
        return c

    def back(self):
        self.d.start()
        self.d.sync(timeout=300)

    # ---- the tests ------------------------------------------------------

    def test_restarts_without_writes(self):
        before = self.listing()
        for how in (self.d.stop, self.d.kill, self.d.stop, self.d.kill):
            how()
            self.back()
            self.assertEqual(self.listing(), before)

    def test_surprises(self):
        """One after the other, as a life has them."""
        base = self.now()
        for what, how, close, then in (
                ("writes, kill -9", self.d.kill, False, None),
                ("writes, WAL deleted by the last close", self.d.stop, True,
                 None),
                ("TRUNCATE by the application", self.d.stop, False,
                 "TRUNCATE"),
                ("kill -9, RESTART by the application", self.d.kill, False,
                 "RESTART"),
                ("kill -9, WAL deleted by the last close", self.d.kill, True,
                 "PASSIVE")):
            before = self.listing()
            how()
            c = self.change(200, close, then)
            if c and then:
                c.execute("UPDATE t SET b=randomblob(3500) WHERE id=7")
            self.back()
            n, size = self.cost(before, base, what)
            self.assertGreaterEqual(n, 150, "the test changes nothing")
            if c:
                c.close()

    def test_restore_in_place(self):
        """The newest state, and an older one, put over the source."""
        base = self.now()
        old = self.d.sync()
        self.change(100, True)
        self.d.sync()
        self.change(100, True)
        self.d.sync()
        for what, at in (("newest", []), ("older", ["-txid", f"{old:016x}"])):
            self.assertEqual(self.d.stop(), 0)
            os.rename(self.restore(self.url, self.tmp / "n.db"), base)
            before = self.listing()
            self.run_cli("restore", "-force", *at, "-o", self.db, self.url,
                         timeout=600)
            self.change(50, True)
            self.back()
            self.cost(before, base, f"restore in place, {what}")

    def test_upstream_and_back(self):
        peer = self.need_upstream()
        base = self.now()
        self.assertEqual(self.d.stop(), 0)
        c = self.change(100)
        other = self.daemon({self.db: self.url}, binary=peer,
                            top={"levels": [{"interval": "24h"}]}).start()
        other.sync(timeout=300)
        c.close()
        self.change(100, True)
        other.sync(timeout=300)
        self.assertEqual(other.stop(), 0)
        for what, change in (("back from upstream", 0),
                             ("... and a restart with writes", 100)):
            before = self.listing()
            out = self.restore(self.url, self.tmp / "n.db", timeout=600)
            os.rename(out, base)
            if change:
                self.assertEqual(self.d.stop(), 0)
                self.change(change, True, "TRUNCATE")
            self.back()
            self.cost(before, base, what)

    def test_upstream_and_back_with_writes(self):
        """Written and checkpointed between its end and our start."""
        peer = self.need_upstream()
        self.assertEqual(self.d.stop(), 0)
        other = self.daemon({self.db: self.url}, binary=peer,
                            top={"levels": [{"interval": "24h"}]}).start()
        other.sync(timeout=300)
        self.assertEqual(other.stop(), 0)
        base = self.now()
        before = self.listing()
        self.change(200, True, "TRUNCATE")
        self.back()
        self.cost(before, base, "writes between upstream and us")


class Requests(Case):
    """The same over S3, counted by request: a restart without writes lists
    and sends nothing."""

    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("upstream is not held to this")
        if servers.Minio.binary():
            self.server = servers.Minio().start()
            self.addCleanup(self.server.stop)
            self.s3 = self.server.client()
            self.bucket = "bytes"
            self.s3.make_bucket(self.bucket)
        else:
            self.s3, self.bucket = self.need_s3()

    def test_restart_sends_nothing(self):
        db = self.tmp / "app.db"
        fill(db, 4 * MB)
        proxy = FaultProxy(self.s3.port).start()
        self.addCleanup(proxy.stop)
        url = self.s3.url(self.bucket, "r").replace(
            f":{self.s3.port}", f":{proxy.port}")
        d = self.daemon({db: url}, top=QUIET, env={
            "AWS_ACCESS_KEY_ID": self.s3.key,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret})
        d.start().sync()
        self.assertTrue(proxy.requests("PUT"))
        for how in (d.stop, d.kill):
            how()
            proxy.log.clear()
            d.start().sync()
            sent = [(r.method, r.path) for r in proxy.log
                    if r.method != "GET" and r.method != "HEAD"]
            self.assertEqual(sent, [])
        proxy.log.clear()
        d.kill()
        c = connect(db)
        c.execute("UPDATE t SET b=randomblob(3500) WHERE id<=20")
        c.close()
        d.start().sync()
        sent = sum(r.sent for r in proxy.requests("PUT"))
        self.assertGreater(sent, 20 * 3500)
        self.assertLess(sent, 30 * A_PAGE + 2 * HEAD)
        self.assertEqual(d.stop(), 0)


class Big(Bytes):
    """2 GB, once, only the case that costs others most."""
    size = 2 << 30

    def setUp(self):
        if not LONG:
            self.skipTest("LS_LONG=1 runs it")
        super().setUp()

    test_restarts_without_writes = test_restore_in_place = None
    test_upstream_and_back = test_upstream_and_back_with_writes = None


if __name__ == "__main__":
    main()
