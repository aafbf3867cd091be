#!/usr/bin/env python3
"""A chain that we compacted and expired, in upstream's hands: it restores every
point that is left, goes on replicating and compacting on top (its level 1
continues ours, which begins at TXID 2), and its own chain in our hands, the
other way round. `verify` and `points` agree with what restores."""
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import (Case, Workload, is_upstream, clean_env, main,  # noqa
                     our_binary, wait_until)

TOOL = Path(our_binary()).parent / "tests" / "maint_tool"
FAST = {"levels": [{"interval": "1s"}, {"interval": "3s"}],
        "snapshot": {"interval": "5s", "retention": "1h"}}
# The steps under test are taken one by one: the daemon takes none of its own.
STILL = {"levels": [{"interval": "20h"}], "retention": {"enabled": False},
         "snapshot": {"interval": "480h"}}


class Compaction(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("the maintenance under test is ours")
        self.peer = self.need_upstream()
        self.db = self.tmp / "a.db"
        self.rep = self.tmp / "r"
        self.url = f"file://{self.rep}"
        self.app = Workload(self.db, seed=5)
        self.states = {}

    def tool(self, *args, env=None):
        r = subprocess.run([TOOL, self.url, *map(str, args)],
                           capture_output=True, text=True,
                           env=clean_env(**(env or {})))
        self.assertEqual(r.returncode, 0, r.stderr)
        return [int(x) for x in r.stdout.split()]

    def write(self, d, n):
        """n commits, a barrier after each; remembers every state."""
        for _ in range(n):
            self.app.step()
            txid = d.sync(self.db)
            self.states[txid] = self.checkpointed(self.db, f"s{txid}")
        return txid

    def levels(self):
        out = {}
        for p in (self.rep / "ltx").iterdir():
            names = [ltx.NAME.match(f.name) for f in p.iterdir()]
            out[int(p.name)] = sorted(
                (int(m[1], 16), int(m[2], 16)) for m in names if m)
        return out

    def end(self, level):
        files = self.levels().get(level)
        return files[-1][1] if files else 0

    def points(self, url=None):
        doc = json.loads(self.run_cli("points", "-json",
                                      url or self.url).stdout)
        return [int(p["txid"], 16) for p in doc]

    def verify(self, *args, ok=True):
        r = self.run_cli("verify", "-json", *args, ok=False)
        doc = json.loads(r.stdout)
        self.assertEqual(doc["ok"], ok, r.stdout)
        self.assertEqual(r.returncode, 0 if ok else 1)
        return doc

    def restores(self, txids, binaries):
        for t in txids:
            for b in binaries:
                out = self.restore(self.url, self.tmp / "o.db", t, b)
                self.assert_same(out, self.states[t], f"TXID {t} by {b}")
                out.unlink()

    def ours(self):
        """Written, compacted and expired by us."""
        d = self.daemon({self.db: self.url}, top=STILL).start()
        ends = []
        for _ in range(4):
            ends.append(self.write(d, 6))
            self.assertEqual(self.tool("compact", 1), [1])
        self.assertEqual(self.tool("compact", 2), [1])
        ends.append(self.write(d, 3))
        self.assertEqual(self.tool("compact", 1), [1])
        d.stop()
        gone = self.tool("retain", "24h", "1s")
        self.assertGreater(gone[0], 20)
        self.assertEqual(gone[1:], [0] * 9)
        return ends

    def test_ours_in_upstreams_hands(self):
        ends = self.ours()
        have = self.levels()
        self.assertEqual(have[0], [(ends[-1], ends[-1])])
        self.assertEqual(have[1][0][0], 2)
        self.assertEqual(have[2], [(2, ends[3])])
        self.assertEqual(have[9], [(1, 1)])
        self.assertEqual(self.points(), [1] + ends)
        self.restores([e for e in ends], [self.peer, self.bin])
        doc = self.verify(self.url)
        self.assertEqual(int(doc["checked_txid"], 16), ends[-1])

        d = self.daemon({self.db: self.url}, binary=self.peer,
                        top=FAST).start()
        last = self.write(d, 4)

        def grown():
            return self.end(1) >= last and self.end(2) >= last
        wait_until(grown, 30, "upstream's compaction on top of ours")
        d.stop()
        self.assertNotRegex(d.text(), r"level=ERROR")
        self.assertNotRegex(d.text(), r"non-contiguous|validation error")
        now = self.levels()
        self.assertEqual(now[1][:len(have[1])], have[1])
        for level in (1, 2):
            self.assertEqual(ltx.gaps([(a, b, None) for a, b in now[level]]),
                             [])
        self.restores(ends + [last], [self.peer, self.bin])
        self.verify(self.url)

    def test_upstreams_in_our_hands(self):
        d = self.daemon({self.db: self.url}, binary=self.peer,
                        top=FAST).start()
        for _ in range(3):
            last = self.write(d, 4)
            wait_until(lambda: self.end(1) >= last, 30, "upstream's level 1")
        last = self.write(d, 3)
        d.stop()
        self.tool("compact", 1)
        self.tool("compact", 2)
        self.tool("compact", 3)
        self.verify(self.url)
        self.restores([last], [self.peer, self.bin])
        self.tool("retain", "24h", "1s")
        self.verify(self.url)
        left = [t for t in self.points() if t in self.states]
        self.assertIn(last, left)
        self.assertGreater(len(left), 1)
        self.restores(left, [self.peer, self.bin])

    def test_snapshot_of_stored_files(self):
        ends = self.ours()
        self.tool("snapshot")
        for level in (0, 1, 2):
            for p in (self.rep / "ltx" / str(level)).iterdir():
                p.unlink()
        self.restores(ends[-1:], [self.peer, self.bin])

    def test_s3(self):
        """A base of several parts, copied to level 9 on the server; level 1 in
        several parts."""
        s3, bucket = self.need_s3()
        self.url = s3.url(bucket, "p")
        env = s3.env()
        for _ in range(12):
            self.app.c.execute("INSERT INTO t(b) VALUES(randomblob(1 << 20))")
        d = self.daemon({self.db: self.url}, top=STILL, env=env).start()
        first = d.sync(self.db)
        self.states[first] = self.checkpointed(self.db, "first")
        for _ in range(8):
            self.app.c.execute("INSERT INTO t(b) VALUES(randomblob(1 << 20))")
            d.sync(self.db)
        last = self.write(d, 1)
        self.assertEqual(self.tool("compact", 1, env=env), [1])
        self.assertEqual(self.tool("compact", 2, env=env), [1])
        d.stop()
        size = {n: s for n, s in s3.list(bucket, "p/")}
        l1, l2, = (next(s for n, s in size.items() if f"/{x:04x}/" in n)
                   for x in (1, 2))
        self.assertEqual(l1, l2)
        self.assertGreater(l1, 8 << 20)
        gone = self.tool("retain", "24h", "1s", env=env)
        self.assertEqual(gone[0], last - 1)
        self.assertEqual([(a, b) for a, b, _ in
                          ltx.list_s3(s3, bucket, "p", 9)], [(1, 1)])
        doc = json.loads(self.run_cli("verify", "-json", self.url,
                                      env=env).stdout)
        self.assertTrue(doc["ok"], doc)
        for t in (first, last):
            for b in (self.peer, self.bin):
                out = self.restore(self.url, self.tmp / "o.db", t, b, env)
                self.assert_same(out, self.states[t], f"TXID {t} by {b}")
                out.unlink()

    def test_thirty_days(self):
        """Hours, ten and thirty simulated days of commits, compaction and
        retention: what was promised then restores with upstream too."""
        unit = TOOL.parent / "unit_replica"
        for life in ("twelve_hours", "ten_days", "thirty_days"):
            r = subprocess.run([unit, life], capture_output=True, text=True,
                               env=clean_env(LS_UPSTREAM=self.peer))
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            self.assertIn("1 passed", r.stdout)

    def test_verify_deep_and_broken(self):
        d = self.daemon({self.db: self.url}, top=STILL).start()
        self.write(d, 8)
        doc = self.verify("-deep", "-config", d.config, self.db)
        self.assertEqual(doc["deep"], {"integrity": "ok", "equal": True})
        d.stop()
        self.app.step()  # the replica does not have it
        doc = self.verify("-deep", "-config", d.config, self.db, ok=False)
        self.assertEqual(doc["deep"], {"integrity": "ok", "equal": False})
        files = sorted((self.rep / "ltx" / "0").iterdir())
        os.unlink(files[4])
        doc = self.verify(self.url, ok=False)
        gone = ltx.NAME.match(files[4].name)[1]
        self.assertEqual(doc["gaps"],
                         [{"level": 0, "min": gone, "max": gone}])


if __name__ == "__main__":
    main()
