#!/usr/bin/env python3
"""Two daemons, two diverged copies of one database, one place: whatever they do
to each other, the place always restores to a state that one of the two copies
really had, and the loser says so. LS_LONG: 100 rounds a place."""
import random
import re
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import LONG, Case, connect, main, wait_until  # noqa: E402

ROUNDS = 100 if LONG else 8
LOSER = re.compile(r"fenced|another writer|writes to this folder|"
                   r"local state put on top|no longer here|another history")
SHORT = {"l0-retention": "2s", "l0-retention-check-interval": "1s",
         "levels": [{"interval": "1s"}, {"interval": "5s"}],
         "shutdown-sync-timeout": "3s"}


class Side:
    """One copy with an application of its own."""

    def __init__(self, case, name, source=None):
        self.name, self.n = name, 0
        self.db = case.tmp / name / "app.db"
        self.db.parent.mkdir()
        if source:
            shutil.copy(source, self.db)
        self.c = connect(self.db)
        case.addCleanup(self.c.close)

    def commit(self, n=3):
        for _ in range(n):
            self.n += 1
            self.c.execute("INSERT INTO t VALUES(?,?,randomblob(1500))",
                           (self.name, self.n))
            time.sleep(0.003)


class Two(Case):
    def copies(self):
        a = Side(self, "a")
        a.c.execute("CREATE TABLE t(side TEXT, n INT, b BLOB)")
        a.c.execute("INSERT INTO t VALUES('base', 1, randomblob(9000))")
        a.c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return a, Side(self, "b", a.db)

    def state(self, url, env, what):
        """What the place restores to, as (side, rows)."""
        out = self.tmp / "restored.db"
        out.unlink(missing_ok=True)
        self.restore(url, out, env=env)
        self.assert_whole(out)
        c = sqlite3.connect(out)
        rows = c.execute("SELECT side, n FROM t ORDER BY rowid").fetchall()
        c.close()
        self.assertEqual(rows[:1], [("base", 1)], what)
        sides = {s for s, _ in rows[1:]}
        self.assertLessEqual(len(sides), 1, f"{what}: a mixture")
        self.assertEqual([n for _, n in rows[1:]],
                         list(range(1, len(rows))), what)
        return (sides.pop() if sides else "base"), len(rows) - 1

    def one_round(self, url, env, kind, rng, lock=None):
        a, b = self.copies_of_round
        da, db = [self.daemon({s.db: url}, env=env, top=SHORT)
                  for s in (a, b)]
        first, second = (da, db) if rng.random() < 0.5 else (db, da)
        one, two = (a, b) if first is da else (b, a)
        first.start()
        one.commit()
        if kind == "together":
            second.start()
            for _ in range(10):
                one.commit(1), two.commit(1)
        elif kind == "one after the other":
            first.sync()
            first.stop()
            two.commit()
            second.start()
            two.commit()
            second.sync()
            first.start()
            one.commit()
        elif kind == "paused":
            first.sync()
            first.proc.send_signal(signal.SIGSTOP)
            if lock:
                lock.unlink(missing_ok=True)  # else it stays out
            second.start()
            two.commit()
            time.sleep(rng.uniform(2, 3.5))  # longer than l0-retention
            two.commit()
            one.commit()
            first.proc.send_signal(signal.SIGCONT)
            one.commit(), two.commit()
        elif kind == "stopped":
            first.sync()
            first.stop()
            second.start()
            for _ in range(3):
                two.commit()
                time.sleep(rng.uniform(0.5, 1.2))  # compaction, retention
            first.start()
            one.commit(), two.commit()
        def heard():
            one.commit(1), two.commit(1)
            return LOSER.search(da.text() + db.text())
        wait_until(heard, 20, f"word of the loser ({kind})", 0.3)
        time.sleep(rng.uniform(0, 1.5))  # its life
        one.commit(1), two.commit(1)
        states = [d.stop() for d in (da, db)]
        self.assertNotIn(-9, states, "one did not stop in time")
        return kind, states

    def rounds(self, place):
        rng = random.Random(11)
        kinds = ["together", "one after the other", "paused", "stopped"]
        kept = 0
        for i in range(ROUNDS):
            url, env, lock = place(i)
            for n in ("a", "b"):
                shutil.rmtree(self.tmp / n, ignore_errors=True)
            self.copies_of_round = self.copies()
            kind = kinds[i % 4]
            _, status = self.one_round(url, env, kind, rng, lock)
            a, b = self.copies_of_round
            side, n = self.state(url, env, f"round {i}, {kind}")
            self.assertLessEqual(n, {"a": a.n, "b": b.n, "base": 0}[side])
            # Who ended with status 0 said that all of it is there.
            for s, rc in zip((a, b), status):
                kept += rc == 0 and side == s.name
            for s in (a, b):
                s.c.close()
            for d in self.daemons:
                d.log.unlink(missing_ok=True)
            self.daemons.clear()
        self.assertGreater(kept, 0)

    def test_in_a_folder(self):
        def place(i):
            r = self.tmp / f"r{i}"
            return f"file://{r}", None, r / ".litestreamd-lock"
        self.rounds(place)

    def test_in_a_bucket(self):
        s3, bucket = self.need_s3()
        self.rounds(lambda i: (s3.url(bucket, f"p{i}"), s3.env(), None))

    def test_second_daemon_takes_over_the_folder(self):
        """It is kept out by name, and goes on when the first one ends."""
        self.copies_of_round = a, b = self.copies()
        url = f"file://{self.tmp}/r"
        first = self.daemon({a.db: url}).start()
        a.commit()
        first.sync()
        second = self.daemon({b.db: url}).start()
        b.commit()
        second.wait_log(rf"process {first.proc.pid} writes to this folder", 5)
        self.assertEqual(self.state(url, None, "first"), ("a", a.n))
        self.assertEqual(first.stop(), 0)
        second.sync(timeout=60)
        self.assertEqual(self.state(url, None, "second"), ("b", b.n))
        self.assertEqual(second.stop(), 0)


if __name__ == "__main__":
    main()
