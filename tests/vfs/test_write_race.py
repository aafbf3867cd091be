#!/usr/bin/env python3
"""Two writers on one replica. Every transaction adds one to a common counter
and says what it counted, so a lost update or a mixed history shows: the stored
history counts 1, 2, 3, ... with each writer's own transactions in order, what
a sync reported is in it, and a writer of whose commits some are not there was
told by an SQL error that names the other's TXID and keeps them aside."""
import random
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from writekit import HEX, WriteCase, write_uri  # noqa: E402
from harness import LONG, main  # noqa: E402

ROUNDS = 200 if LONG else 10


class Race(WriteCase):
    def history(self, url):
        out = self.tmp / "o.db"
        out.unlink(missing_ok=True)
        self.restore(url, out)
        self.assert_whole(out)
        c = sqlite3.connect(out)
        rows = c.execute("SELECT v, tag, i FROM won ORDER BY v").fetchall()
        more = c.execute("SELECT count(*) FROM t").fetchone()[0]
        c.close()
        self.assertEqual(more, len(rows), "half a transaction")
        return rows

    def aside(self, folder):
        """What is kept: put aside, or waiting for its turn still."""
        return [p for p in folder.iterdir()
                if "conflict" in p.name or p.name == "buffer"]

    def check(self, url, apps):
        rows = self.history(url)
        self.assertEqual([v for v, _, _ in rows],
                         list(range(1, len(rows) + 1)))
        losers = 0
        for tag, (folder, app) in apps.items():
            mine = [(v, i) for v, t, i in rows if t == tag]
            self.assertEqual([i for _, i in mine],
                             list(range(1, len(mine) + 1)), tag)
            there = {v for v, _ in mine}
            for v in app.synced[:-1] if app.error is None else app.synced:
                self.assertIn(v, there, f"{tag} lost what it had synced")
            if app.error is None:
                self.assertTrue(set(app.committed) <= there, tag)
                continue
            losers += 1
            self.assertRegex(app.error, HEX, tag)
            if len(mine) < len(app.committed):
                self.assertTrue(self.aside(folder), (tag, app.error))
        self.assertLess(losers, 2, [a.error for _, a in apps.values()])
        return losers

    def test_one_history(self):
        r, told = random.Random(5), 0
        for n in range(ROUNDS):
            url = f"file://{self.tmp}/race{n}"
            first = self.app("run", write_uri(url, self.tmp / "first"), "0")
            self.assertEqual(first.finish(), 0, first.error)
            apps = {}
            for tag in "ab":
                folder = self.tmp / f"disk{n}{tag}"
                folder.mkdir()
                apps[tag] = folder, self.app(
                    "race", write_uri(
                        url, folder / "buffer", poll=r.choice(["5ms", "1h"]),
                        sync_interval=r.choice(["0", "10ms", "1h"])),
                    tag, "20", sync=r.choice([0, 1, 4]))
            for _, app in apps.values():
                app.finish()
            told += self.check(url, apps)
        self.assertGreater(told, 0, "no race had a loser: none was close")


if __name__ == "__main__":
    main()
