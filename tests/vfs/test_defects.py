#!/usr/bin/env python3
"""The classes of defect that upstream's released extension shows, one test
each. Replicas are laid out by hand: the daemon makes level-0 files, and merged
ones are real files of another daemon's compaction or moved in place.

Classes 1, 6 and 8 are about writing, which this extension does not do yet: here
the reading side of 8 (page sizes), and that a write is refused as such."""
import random
import shutil
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import (VfsCase, follow, pragma, stats, txid)  # noqa: E402
from harness import connect, main, wait_until  # noqa: E402

MERGE = {"l0-retention": "1s", "l0-retention-check-interval": "1s",
         "levels": [{"interval": "1s"}], "snapshot": {"interval": "10m"}}


class DefectTest(VfsCase):
    def level(self, n):
        d = self.tmp / f"r/ltx/{n}"
        return sorted(p.name for p in d.iterdir()) if d.exists() else []

    def grown(self, top=None, rows=300):
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, b BLOB)")
        c.execute("BEGIN")
        for i in range(rows):
            c.execute("INSERT INTO t VALUES(?,0,randomblob(800))", (i,))
        c.execute("COMMIT")
        d = self.daemon({self.db: self.url}, top=top).start()
        d.sync()
        return c, d

    def step(self, c, d, v):
        c.execute("UPDATE t SET v=? WHERE id%10=?", (v, v % 10))
        c.execute("UPDATE t SET v=? WHERE id=5", (v,))
        return d.sync()

    def value(self, v):
        return v.execute("SELECT v FROM t WHERE id=5").fetchone()[0]

    def merged(self, c, d):
        """Wait for a level-1 file, made while we write on."""
        before = len(self.level(1))
        wait_until(lambda: len(self.level(1)) > before, 20, "compaction")

    def test_1_and_6_writes_are_refused_not_lost(self):
        c, d = self.grown()
        v = self.vfs()
        v.execute("BEGIN")
        self.assertEqual(self.value(v), 0)
        for sql in ("UPDATE t SET v=1", "CREATE TABLE x(y)"):
            with self.assertRaisesRegex(sqlite3.OperationalError,
                                        "readonly database"):
                v.execute(sql)
        v.execute("COMMIT")
        self.assertEqual(self.value(v), 0)
        d.stop(), c.close()

    def test_2_an_older_merged_file_takes_nothing_back(self):
        c, d = self.grown()
        for i in range(1, 6):
            last = self.step(c, d, i)
        d.stop()
        # A level-1 file of what is there so far, put in place only later.
        other = self.tmp / "r-merged"
        shutil.copytree(self.tmp / "r", other)
        shutil.rmtree(self.tmp / "r/ltx/1", ignore_errors=True)
        d = self.daemon({self.db: self.url}).start()
        for i in range(6, 11):
            last = self.step(c, d, i)
        v = self.vfs(poll="20ms")
        follow(v, last)
        self.assertEqual(self.value(v), 10)
        l0 = self.tmp / "r/ltx/0"
        (self.tmp / "r/ltx/1").mkdir(parents=True, exist_ok=True)
        for p in sorted(l0.iterdir())[1:4]:  # each its own small "merge"
            shutil.copy2(p, self.tmp / "r/ltx/1" / p.name)
        for i in range(11, 14):
            last = self.step(c, d, i)
            follow(v, last)
            self.assertEqual(self.value(v), i)
        self.assertEqual(v.execute("PRAGMA integrity_check").fetchone(),
                         ("ok",))
        d.stop(), c.close()

    def test_3_polling_does_not_wedge_on_merges(self):
        c, d = self.grown(MERGE)
        v = self.vfs(poll="50ms")
        for i in range(1, 6):
            for k in range(3):
                last = self.step(c, d, 10 * i + k)
            self.merged(c, d)
            follow(v, last)
            self.assertEqual(self.value(v), 10 * i + 2)
            self.assertEqual(stats(v)["last_error"], "")
        d.stop(), c.close()

    def test_4_hydration_keeps_isolation(self):
        c, d = self.grown()
        v = self.vfs(poll="20ms", hydrate=1)
        w = self.vfs(poll="20ms")
        wait_until(lambda: pragma(v, "hydration_progress") == "100.0", 20,
                   "hydration")
        for i in range(1, 7):
            v.execute("BEGIN")
            was = v.execute("SELECT sum(v), count(*) FROM t").fetchone()
            last = self.step(c, d, i)
            follow(w, last)
            for _ in range(5):
                self.assertEqual(v.execute(
                    "SELECT sum(v), count(*) FROM t").fetchone(), was)
            v.execute("COMMIT")
            self.assertEqual(self.value(v), i)
        d.stop(), c.close()

    def test_5_resume_after_pruning(self):
        c, d = self.grown(MERGE)
        path = self.tmp / "local.db"
        v = self.vfs(hydrate=path, poll="20ms")
        wait_until(lambda: Path(f"{path}.meta").exists(), 20, "the mark")
        v.close()
        r = random.Random(1)
        for i in range(20):
            c.execute("UPDATE t SET b=randomblob(800) WHERE id%20=?",
                      (r.randrange(20),))
            last = d.sync()

        def pruned():
            self.step(c, d, 76)
            return self.level(1) and int(self.level(0)[0][:16], 16) > 3
        wait_until(pruned, 30, "pruning", 0.1)
        last = self.step(c, d, 77)
        d.stop()
        v = self.vfs(hydrate=path, poll="20ms")
        follow(v, last)
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_shows(v, out)
        wait_until(lambda: pragma(v, "hydration_progress") == "100.0", 20,
                   "hydration")
        self.assert_shows(v, out)
        c.close()

    def test_7_size_is_the_commit(self):
        c, d = self.grown(rows=600)
        v = self.vfs(poll="20ms")
        pages = v.execute("PRAGMA page_count").fetchone()[0]
        c.execute("DELETE FROM t WHERE id>20")
        c.execute("VACUUM")
        follow(v, d.sync())
        self.assertLess(v.execute("PRAGMA page_count").fetchone()[0],
                        pages // 4)
        self.assertEqual(v.execute("PRAGMA integrity_check").fetchall(),
                         [("ok",)])
        d.stop(), c.close()

    def test_8_any_page_size(self):
        for size in (512, 1024, 2048, 8192, 16384, 32768, 65536):
            db, url = self.tmp / f"p{size}.db", f"file://{self.tmp}/p{size}"
            c = connect(db, size)
            c.execute("CREATE TABLE t(x)")
            c.execute("INSERT INTO t VALUES(randomblob(200000))")
            d = self.daemon({db: url}).start()
            d.sync()
            v = self.vfs(url, hydrate=size & 1024)
            self.assertEqual(v.execute("PRAGMA page_size").fetchone(),
                             (size,))
            self.assertEqual(v.execute("PRAGMA integrity_check").fetchall(),
                             [("ok",)])
            self.assertEqual(v.execute("SELECT x FROM t").fetchone(),
                             c.execute("SELECT x FROM t").fetchone())
            d.stop(), c.close()

    def test_9_setters_answer_with_the_value(self):
        c, d = self.grown()
        last = d.sync()
        v = self.vfs()
        for name, value in (("txid", f"{last:x}"), ("txid", "LATEST"),
                            ("time", "LATEST"), ("time", "now"),
                            ("write_enabled", "0")):
            row = v.execute(f"PRAGMA litestream_{name}='{value}'").fetchone()
            self.assertIsInstance(row[0], str, name)
            self.assertNotEqual(row[0], "")
        self.assertEqual(txid(v), last)
        d.stop(), c.close()


if __name__ == "__main__":
    main()
