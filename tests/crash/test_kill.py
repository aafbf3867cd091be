#!/usr/bin/env python3
"""kill -9 at random moments, of the daemon and of the writers, with and
without commits and checkpoints while it is down, parks in between. In the end
the restored copy equals the source, holds every acknowledged row, the chain has
no gap, and no restart answered with a whole copy."""
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import LONG, Case, connect, is_upstream, main  # noqa

WRITER = """
import random, sqlite3, sys, time
db, seed, acks = sys.argv[1], int(sys.argv[2]), sys.argv[3]
r = random.Random(seed)
out = open(acks, "a", buffering=1)
c = sqlite3.connect(db, isolation_level=None, timeout=20)
c.execute("PRAGMA synchronous=NORMAL")
n = 0
while True:
    if r.random() < 0.05:
        c.execute("PRAGMA cache_size=%d" % r.choice((10, 2000)))
    c.execute("BEGIN IMMEDIATE")
    keys = ["%d.%d.%d" % (seed, n, i) for i in range(r.randint(1, 30))]
    for k in keys:
        c.execute("INSERT INTO t VALUES(?,?)", (k, r.randbytes(
            r.choice((10, 300, 6000)))))
    if r.random() < 0.3:
        c.execute("DELETE FROM ballast WHERE rowid<800 AND rowid%97=?",
                  (r.randrange(97),))
    if r.random() < 0.1:
        c.execute("ROLLBACK")
        continue
    c.execute("COMMIT")
    out.write("\\n".join(keys) + "\\n")
    n += 1
    time.sleep(r.random() * 0.01)  # its rate
"""


class Kill(Case):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(5)
        self.db, self.url = self.tmp / "app.db", f"file://{self.tmp}/r"
        self.acks = self.tmp / "acks"
        self.seed = 0
        self.writers = []
        c = connect(self.db)
        c.executescript(
            "CREATE TABLE t(k TEXT PRIMARY KEY, b BLOB);"
            "CREATE TABLE ballast(b BLOB);"
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n "
            "WHERE x < 4000) INSERT INTO ballast SELECT randomblob(1800) "
            "FROM n;")
        c.close()

    def writer(self):
        self.seed += 1
        p = self.spawn([sys.executable, "-c", WRITER, self.db, self.seed,
                        self.acks], stderr=subprocess.PIPE)
        self.writers.append(p)
        return p

    def end_writers(self):
        """Kill them; none may have met an error before."""
        for p in self.writers:
            p.kill()
            err = p.communicate()[1].decode()
            self.assertEqual(err, "", "an application's error")
        self.writers.clear()

    def pause(self, lo, hi):
        """A random moment passes; it is the input here, not a wait."""
        time.sleep(self.rng.uniform(lo, hi))

    def away(self):
        """What happens while no daemon looks."""
        kind = self.rng.randrange(4)
        if kind == 0:
            return
        c = connect(self.db)
        if kind >= 2:
            c.execute("PRAGMA wal_checkpoint(%s)" %
                      self.rng.choice(("RESTART", "TRUNCATE")))
        c.execute("UPDATE ballast SET b=randomblob(1700) WHERE rowid=?",
                  (self.rng.randint(1, 800),))
        c.close()

    def test_random_kills(self):
        d = self.daemon({self.db: self.url}, top={
            "l0-retention": "1h", "park-after": "300ms"})
        d.start().sync()  # the first copy may have to be made twice
        d.kill()
        limit = time.monotonic() + (90 if LONG else 15)
        rounds = 0
        while time.monotonic() < limit:
            rounds += 1
            d.start(ready=self.rng.random() < 0.7)
            for _ in range(self.rng.randint(0, 2)):
                self.writer()
            self.pause(0.05, 0.9)
            order = [d.kill, self.end_writers]
            self.rng.shuffle(order)
            for step in order:
                step()
                self.pause(0, 0.2)
            self.away()
        self.assertGreater(rounds, 5)
        d.start()
        self.writer()
        self.pause(0.3, 0.3)
        self.end_writers()
        self.finish(d)

    def finish(self, d):
        d.sync(timeout=60)
        want = self.checkpointed(self.db)
        self.assert_whole(want)
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_same(out, want)
        c = sqlite3.connect(out)
        have = {k for k, in c.execute("SELECT k FROM t")}
        c.close()
        acked = set(self.acks.read_text().split("\n")[:-1])
        self.assertGreater(len(acked), 100)
        self.assertEqual(acked - have, set())
        self.assertEqual(d.stop(), 0)
        files = ltx.list_dir(self.tmp / "r")
        self.assertEqual(ltx.gaps(files), [])
        if is_upstream(self.bin):
            return
        whole = [a for a, _, p in files[1:]
                 if ltx.Ltx(p.read_bytes()).whole()]
        self.assertEqual(whole, [])


if __name__ == "__main__":
    main()
