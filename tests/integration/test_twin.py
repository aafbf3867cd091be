#!/usr/bin/env python3
"""The user's database is the application's own: the same SQL on a replicated
database and on an unreplicated twin in WAL mode gives the same schema and the
same bytes, also after checkpoints, parking and a restart of the daemon."""
import random
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, connect, main  # noqa: E402


def statements(seed, n):
    """The same SQL for the same seed; no randomblob(), no time."""
    r = random.Random(seed)
    yield "CREATE TABLE t(id INTEGER PRIMARY KEY, k INT, b BLOB)", ()
    yield "CREATE INDEX i ON t(k)", ()
    for i in range(n):
        kind = r.randrange(10)
        if kind < 6:
            yield "INSERT INTO t(k,b) VALUES(?,?)", (
                i, r.randbytes(r.randrange(1, 5000)))
        elif kind < 8:
            yield "UPDATE t SET k=k+1 WHERE id % 5 = ?", (r.randrange(5),)
        elif kind < 9:
            yield "DELETE FROM t WHERE id % 11 = ?", (r.randrange(11),)
        elif i % 3 == 0:
            yield "VACUUM", ()
        else:
            yield f"CREATE TABLE IF NOT EXISTS t{i % 7}(x)", ()


class Twin(Case):
    def test_no_object_and_no_byte_of_ours(self):
        db, twin = self.tmp / "app.db", self.tmp / "twin.db"
        a, b = connect(db), connect(twin)
        url = f"file://{self.tmp}/r"
        d = self.daemon({db: url}).start()
        for i, (sql, args) in enumerate(statements(7, 400)):
            a.execute(sql, args)
            b.execute(sql, args)
            if i in (50, 150, 350):
                d.sync()
            if i == 200:
                d.stop()
            if i == 260:
                d.start()
        d.sync()
        self.assertEqual(*[c.execute("SELECT * FROM sqlite_schema").fetchall()
                           for c in (a, b)])
        self.assertEqual(d.stop(), 0)
        want = self.checkpointed(twin, "twin")
        self.assert_same(self.checkpointed(db), want, "replicated")
        a.close(), b.close()
        out = self.restore(url, self.tmp / "out.db")
        self.assert_same(out, want, "restored")

    def test_database_in_rollback_mode_is_only_switched(self):
        """A database that is not in WAL mode is switched; nothing else."""
        db, twin = self.tmp / "app.db", self.tmp / "twin.db"
        for p in (db, twin):
            c = sqlite3.connect(p)
            c.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1);")
            c.close()
        connect(twin).close()
        d = self.daemon({db: f"file://{self.tmp}/r"}).start()
        d.sync()
        c = sqlite3.connect(db)
        self.assertEqual(c.execute("PRAGMA journal_mode").fetchone()[0],
                         "wal")
        c.close()
        d.stop()
        self.assert_same(self.checkpointed(db), self.checkpointed(
            twin, "twin"), "switched")


if __name__ == "__main__":
    main()
