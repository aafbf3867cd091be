#!/usr/bin/env python3
"""Another database is copied over the file, in place, beside a WAL whose frames
are all in the old one: applications see the new content, so must a restore.
While the daemon runs, while the database is parked, while nobody looks. A file
that is only touched costs a few readings."""
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, connect, is_upstream, main, wait_until  # noqa: E402


class Overwritten(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("it does not notice")
        self.db = self.tmp / "a.db"
        self.url = f"file://{self.tmp}/r"
        self.other = self.fill(self.tmp / "other.db")
        self.other.close()  # checkpoints
        self.c = self.fill(self.db)
        self.addCleanup(lambda: self.c.close())
        self.d = self.daemon(
            {self.db: self.url}, top={"park-after": "1s"},
            db={"min-checkpoint-page-count": 1}).start()
        self.write()  # its frame is checkpointed at once
        self.d.sync()

    def fill(self, path):
        c = connect(path)
        c.execute("CREATE TABLE t(x)")
        for _ in range(9):
            c.execute("INSERT INTO t VALUES(randomblob(3000))")
        return c

    def write(self):
        self.c.execute("INSERT INTO t VALUES(randomblob(30))")

    def overwrite(self):
        """All of the WAL is in the file; then it is another file's bytes."""
        self.c.close()
        subprocess.run(["cp", self.tmp / "other.db", self.db], check=True)
        self.c = sqlite3.connect(self.db, isolation_level=None, timeout=10)
        self.c.execute("PRAGMA wal_autocheckpoint=0")
        self.assertEqual(self.count(), 9)

    def count(self):
        return self.c.execute("SELECT count(*) FROM t").fetchone()[0]

    def rows(self, c):
        return c.execute("SELECT hex(x) FROM t ORDER BY 1").fetchall()

    def check(self):
        self.write()
        self.d.sync()
        self.d.sync()
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_whole(out)
        o = sqlite3.connect(out)
        self.assertEqual(self.rows(o), self.rows(self.c))
        o.close()
        self.assertEqual(self.d.stop(), 0)

    def checkpointed_all(self):
        wait_until(lambda: "msg=checkpoint" in self.d.text(), 10, "checkpoint")

    def test_while_it_runs(self):
        self.checkpointed_all()
        self.overwrite()
        self.check()

    def test_while_parked(self):
        wait_until(lambda: b'"parked"' in self.d.call("GET", "/list")[1], 20,
                   "parking", 0.1)
        self.overwrite()
        self.check()

    def test_while_nobody_looks(self):
        self.checkpointed_all()
        self.assertEqual(self.d.stop(), 0)
        self.overwrite()
        self.d.start()
        self.check()

    def test_touched(self):
        self.checkpointed_all()
        before = self.d.sync()
        for _ in range(9):
            os.utime(self.db)
            self.write()
            self.d.sync()
        self.assertLessEqual(self.d.text().count("written past"), 3)
        self.assertLessEqual(self.d.sync(), before + 10)
        self.check()


if __name__ == "__main__":
    main()
