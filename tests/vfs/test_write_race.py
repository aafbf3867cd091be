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
    env = None

    def history(self, url):
        out = self.tmp / "o.db"
        out.unlink(missing_ok=True)
        self.restore(url, out, env=self.env)
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
                if ".conflict-" in p.name or p.name == "buffer"]

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

    def pair(self, url, name, **options):
        """Both at once, each on a disk of its own; until they end."""
        first = self.app("run", write_uri(url, self.tmp / f"first{name}"),
                         "0", env=self.env)
        self.assertEqual(first.finish(), 0, first.error)
        apps = {}
        for tag in "ab":
            folder = self.tmp / f"disk{name}{tag}"
            folder.mkdir()
            o = {k: self.rand.choice(v) for k, v in options.items()}
            apps[tag] = folder, self.app(
                "race", write_uri(url, folder / "buffer", **o), tag, "20",
                sync=self.rand.choice([0, 1, 4]), env=self.env)
        for _, app in apps.values():
            app.finish()
        return apps

    def test_one_history(self):
        s3, bucket = self.need_s3()
        self.rand, self.env, told = random.Random(5), s3.env(), 0
        for n in range(ROUNDS):
            url = s3.url(bucket, f"race{n}")
            told += self.check(url, self.pair(
                url, n, poll=["5ms", "1h"],
                sync_interval=["0", "10ms", "1h"]))
        self.assertGreater(told, 0, "no race had a loser: none was close")

    def test_a_folder_has_one_writer(self):
        """There a lock keeps the second out, and the error names it."""
        self.rand = random.Random(6)
        for n in range(3):
            url = f"file://{self.tmp}/r{n}"
            apps = self.pair(url, f"f{n}", sync_interval=["10ms", "1h"])
            rows = self.history(url)
            self.assertEqual([v for v, _, _ in rows],
                             list(range(1, len(rows) + 1)))
            for tag, (_, app) in apps.items():
                if app.error is None:
                    self.assertTrue(set(app.committed) <= {
                        v for v, t, _ in rows if t == tag}, tag)
                else:
                    self.assertRegex(app.error, r"process \d+ writes|" +
                                     HEX.pattern)


if __name__ == "__main__":
    main()
