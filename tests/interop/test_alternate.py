#!/usr/bin/env python3
"""One chain by two programs, in turns: the same meta folder and replica, with
compaction, snapshots and retention on in both, commits while nobody runs, and
checkpoints then. Each goes on compacting where the other stopped, no level has
a gap or an overlap, and both restore the same at every known TXID that is left
and at sampled times."""
import json
import random
import sqlite3
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import (LONG, Case, connect, is_upstream, main,  # noqa
                     wait_until)
from test_pitr import parse, text  # noqa: E402

SETTINGS = {
    "levels": [{"interval": "1s"}, {"interval": "2s"}, {"interval": "4s"}],
    "snapshot": {"interval": "3s", "retention": "15s"},
    "l0-retention": "2s", "l0-retention-check-interval": "500ms"}
MS = 1000000


class Alternate(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("two programs are needed")
        self.peer = self.need_upstream()
        self.db, self.rep = self.tmp / "a.db", self.tmp / "r"
        self.url = f"file://{self.rep}"
        self.rng = random.Random(4)
        self.c = connect(self.db, auto_vacuum="incremental")
        self.addCleanup(lambda: self.c.close())
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, b)")
        self.c.execute("INSERT INTO t VALUES(1, 0, NULL)")
        self.before = [time.time_ns()]
        self.copies = {}

    def commit(self, d=None):
        v = len(self.before)
        if d and v % 37 == 0:
            self.c.execute("VACUUM")
            d.sync()  # with the next commit in one file 0.5.17 loses pages
        self.before.append(time.time_ns())
        self.c.execute("BEGIN IMMEDIATE")
        self.c.execute("UPDATE t SET v = ? WHERE id = 1", (v,))
        if v % 11 == 0:
            self.c.execute("DELETE FROM t WHERE id > 1 AND id % 3 = 0")
        for _ in range(self.rng.randint(1, 30)):
            self.c.execute("INSERT INTO t(b) VALUES(randomblob(?))",
                           (self.rng.randint(1, 5000),))
        self.c.execute("COMMIT")

    def level(self, n):
        return [f[:2] for f in ltx.list_dir(self.rep, n)]

    def end(self, n):
        files = self.level(n)
        return files[-1][1] if files else 0

    def turn(self, binary):
        d = self.daemon({self.db: self.url}, binary=binary, top=SETTINGS,
                        replica={"sync-interval": "200ms"}).start()
        first = d.sync()
        for _ in range(12):
            self.commit(d)
            txid = d.sync()
            self.copies[txid] = self.checkpointed(self.db, f"s{txid}")
            time.sleep(self.rng.uniform(0.01, 0.15))

        def worked():  # compacted and copied what this turn wrote
            self.commit(d)
            d.sync()
            return min(self.end(1), self.end(2), self.end(9)) > first
        wait_until(worked, 40, "compaction and snapshot", 0.1)
        self.assertEqual(d.stop(), 0)
        self.assertNotRegex(d.text(), r"level=ERROR")
        self.assertNotRegex(d.text(), r"non-contiguous|verification failed")
        self.check_shape()

    def check_shape(self):
        for n in range(4):
            files = self.level(n)
            for (_, end), (begin, _) in zip(files, files[1:]):
                if end + 1 != begin:  # what lay between has expired
                    self.assertGreaterEqual(self.end(9), begin - 1,
                                            f"level {n}: {files}")

    def between(self, i, ours_next):
        """Nobody looks: commits. Checkpointed too when we are next: 0.5.17
        goes on behind a restarted WAL and loses what was in the old one."""
        pages = 1000 if ours_next else 0
        self.c.execute(f"PRAGMA wal_autocheckpoint={pages}").fetchall()
        for _ in range(i % 3 * 2):
            self.commit()
        if ours_next and i % 4 > 1:
            self.c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.commit()
        self.c.execute("PRAGMA wal_autocheckpoint=1000").fetchall()

    def value(self, binary, *at):
        out = self.tmp / "o.db"
        self.run_cli("restore", *at, "-o", out, self.url, binary=binary)
        self.assert_whole(out)
        c = sqlite3.connect(out)
        got = c.execute("SELECT v FROM t WHERE id = 1").fetchone()[0]
        c.close()
        out.unlink()
        return got

    def base_time(self):
        return min(ltx.Ltx(p.read_bytes()).time_ms
                   for n in (0, 9) for a, _, p in ltx.list_dir(self.rep, n)
                   if a == 1)

    def check(self):
        doc = json.loads(self.run_cli("points", "-json", self.url).stdout)
        points = [(parse(p["time"]), int(p["txid"], 16)) for p in doc]
        self.assertEqual(points, sorted(points))
        known = [t for _, t in points if t in self.copies]
        self.assertGreater(len(known), 0)
        for t in known:
            for b in (self.bin, self.peer):
                out = self.restore(self.url, self.tmp / "o.db", t, b)
                self.assert_same(out, self.copies[t], f"TXID {t} by {b}")
                out.unlink()
        for _ in range(10):
            at = self.rng.randrange(points[0][0], points[-1][0])
            at = at // MS * MS + MS // 2
            txid = [t for ns, t in points if ns <= at][-1]
            want = self.value(self.bin, "-txid", f"{txid:016x}")
            self.assertLess(self.before[want], at)
            for b in (self.bin, self.peer):
                if b == self.peer and at // MS < self.base_time():
                    continue  # it goes by when the snapshot was made
                self.assertEqual(self.value(b, "-timestamp", text(at)), want,
                                 f"{text(at)} by {b}")
        self.assertTrue(json.loads(self.run_cli(
            "verify", "-json", self.url).stdout)["ok"])

    def in_turns(self, programs):
        for i in range(20 if LONG else 6):
            self.turn(programs[i % 2])
            if i % 2:
                self.check()
            self.between(i, programs[(i + 1) % 2] == self.bin)

    def test_upstream_begins(self):
        self.in_turns((self.peer, self.bin))

    def test_ours_begins(self):
        self.in_turns((self.bin, self.peer))


if __name__ == "__main__":
    main()
