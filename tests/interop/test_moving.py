#!/usr/bin/env python3
"""Moving to litestreamd and back, step by step as in the README: what both
programs at once on one database do, dropping Litestream's tables, coming from
0.3. (test_takeover.py: 0.5 and back, byte for byte.)"""
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import CI, Case, connect, main  # noqa: E402
from proc import (cache_dir, clean_env, end, find_program,  # noqa: E402
                  wait_until)

TABLES = {"_litestream_lock", "_litestream_seq"}


def tables(path):
    c = sqlite3.connect(path)
    try:
        return {r[0] for r in c.execute(
            "SELECT name FROM sqlite_schema WHERE name LIKE '_litestream%'")}
    finally:
        c.close()


class Moving(Case):
    def setUp(self):
        super().setUp()
        self.peer = self.need_upstream()
        self.db, self.url = self.tmp / "app.db", f"file://{self.tmp}/r"
        self.c = connect(self.db)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        self.write()

    def write(self):
        self.c.execute("INSERT INTO t(b) VALUES(randomblob(500))")

    def check(self, reader=None):
        out = self.restore(self.url, self.tmp / "o.db", binary=reader)
        self.assert_same(out, self.checkpointed(self.db))
        found = tables(out)
        out.unlink()
        return found

    def test_dropping_its_tables(self):
        theirs = self.daemon({self.db: self.url}, binary=self.peer).start()
        theirs.sync()
        self.assertEqual(theirs.stop(), 0)
        self.assertEqual(tables(self.db), TABLES)

        ours = self.daemon({self.db: self.url}).start()
        self.write()
        ours.sync()
        for t in TABLES:
            self.c.execute(f"DROP TABLE {t}")
        self.write()
        ours.sync()
        self.assertEqual(self.check(), set())
        self.assertEqual(ours.stop(), 0)

        theirs = self.daemon({self.db: self.url}, binary=self.peer).start()
        self.write()
        theirs.sync()  # and makes them again
        self.assertEqual(theirs.stop(), 0)
        self.assertEqual(self.check(), TABLES)
        self.assertEqual(self.check(self.peer), TABLES)
        self.assertEqual(ltx.gaps(ltx.list_dir(self.tmp / "r")), [])

    def test_ours_is_started_beside_a_litestream(self):
        """It says whose database that is, ends and has touched nothing; when
        the other one has ended, it takes over."""
        theirs = self.daemon({self.db: self.url}, binary=self.peer).start()
        before = theirs.sync()
        ours = self.daemon({self.db: self.url}).start(ready=False)
        self.assertEqual(ours.proc.wait(60), 1)
        self.assertIn(f"Error: {self.db}: litestream (process "
                      f"{theirs.proc.pid}) replicates this database already",
                      ours.text())
        self.write()
        self.assertEqual(theirs.sync(), before + 1)
        self.assertEqual(self.check(self.peer), TABLES)
        self.assertEqual(theirs.stop(), 0)
        self.assertNotIn("level=ERROR", theirs.text())
        ours.start()
        self.write()
        ours.sync()
        self.assertEqual(ours.stop(), 0)
        self.check()
        self.assertEqual(ltx.gaps(ltx.list_dir(self.tmp / "r")), [])

    def test_ours_alone_once_may_not(self):
        theirs = self.daemon({self.db: self.url}, binary=self.peer).start()
        theirs.sync()
        r = self.run_cli("replicate", "-once", self.db, self.url, ok=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"litestream (process {theirs.proc.pid})", r.stderr)

    def reader_called(self, path):
        """A process of that name that is connected to the database."""
        p = self.spawn([path, self.db], stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE, text=True)
        p.stdin.write("BEGIN; SELECT 'connected' FROM t;\n")
        p.stdin.flush()
        self.assertEqual(p.stdout.readline(), "connected\n")
        self.addCleanup(p.stdin.close)
        self.addCleanup(p.stdout.close)
        return p

    def test_only_a_litestream_is_one(self):
        """Not ours under that name (`litestream verify -deep`)."""
        for real, link, ok in (("litestreamd", "litestream", True),
                               ("litestream", "l", True),
                               ("litestream", "litestream", False)):
            folder = self.tmp / f"{real}-{link}"
            folder.mkdir()
            shutil.copy(shutil.which("sqlite3"), folder / real)
            if link != real:
                (folder / link).symlink_to(real)
            p = self.reader_called(folder / link)
            d = self.daemon({self.db: self.url}).start(ready=ok)
            if ok:
                d.sync()
                self.assertEqual(d.stop(), 0)
            else:
                self.assertEqual(d.proc.wait(60), 1)
                self.assertIn(f"litestream (process {p.pid})", d.text())
            end(p)

    def test_a_litestream_is_started_beside_ours(self):
        """We cannot keep it from starting: ours lets go of the database, by
        name, and ends with status 1."""
        ours = self.daemon({self.db: self.url}).start()
        ours.sync()
        theirs = self.daemon({self.db: self.url}, binary=self.peer).start()
        pid = theirs.proc.pid

        def named():
            self.write()
            return f"litestream (process {pid}) replicates" in ours.text() or \
                "another writer's" in ours.text()
        wait_until(named, 30, "its name in our log", 0.1)
        self.assertEqual(ours.stop(), 1)

    def test_two_of_ours(self):
        one = self.daemon({self.db: self.url}).start()
        one.sync()
        two = self.daemon({self.db: f"file://{self.tmp}/r2"}).start(False)
        self.assertEqual(two.proc.wait(60), 1)
        self.assertIn(f"held by process {one.proc.pid}", two.text())
        self.write()
        one.sync()
        self.assertEqual(one.stop(), 0)
        self.check()


class From03(Case):
    def peer(self):
        bin_ = find_program("LS_UPSTREAM_V03", cache_dir() / "v03/node_modules"
                            "/@flydotio/litestream-linux-x64/litestream")
        if not bin_:
            (self.fail if CI else self.skipTest)(
                "litestream 0.3.13 is not installed")
        return bin_

    def test_from_03(self):
        """The same place: its generations stay beside ours, and what they
        hold can be restored until they are deleted."""
        db, url = self.tmp / "app.db", f"file://{self.tmp}/r"
        c = connect(db)
        self.addCleanup(c.close)
        c.execute("CREATE TABLE t(a)")
        c.execute("INSERT INTO t VALUES('old')")
        with open(self.tmp / "v03.log", "wb") as log:
            old = self.spawn([self.peer(), "replicate", db, url], stdout=log,
                             stderr=log, env=clean_env())
        wait_until(lambda: list(self.tmp.glob("r/generations/*/wal/*")), 20,
                   "WAL segment of 0.3")
        old.terminate()
        old.wait()
        r = self.run_cli("restore", "-o", self.tmp / "a.db", url)
        got = sqlite3.connect(self.tmp / "a.db")
        self.assertEqual(got.execute("SELECT a FROM t").fetchall(),
                         [("old",)], r.stderr)
        got.close()

        ours = self.daemon({db: url}).start()
        c.execute("INSERT INTO t VALUES('new')")
        ours.sync()
        for t in tables(db):
            c.execute(f"DROP TABLE {t}")
        ours.sync()
        self.assertEqual(ours.stop(), 0)
        out = self.restore(url, self.tmp / "b.db")
        self.assert_same(out, self.checkpointed(db))
        self.assertEqual(tables(out), set())
        self.assertTrue(list(self.tmp.glob("r/generations/*")))


if __name__ == "__main__":
    main()
