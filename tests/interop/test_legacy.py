#!/usr/bin/env python3
"""Replicas of Litestream 0.3.13, written by that binary: generations, growth,
checkpoints, restarts. Our restore equals the checkpointed source, 0.3.13's own
restore, and that of v0.5, byte for byte."""
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import CI, Case, Workload, clean_env, main  # noqa: E402
from proc import cache_dir, find_program, wait_until  # noqa: E402

OLD = "v03/node_modules/@flydotio/litestream-linux-x64/litestream"


class Legacy(Case):
    def setUp(self):
        super().setUp()
        self.old = find_program("LS_UPSTREAM_V03", cache_dir() / OLD)
        if not self.old:
            if CI:
                self.fail("litestream 0.3.13 is not installed")
            self.skipTest("litestream 0.3.13 is not installed")
        self.peer = self.need_upstream()
        self.db = self.tmp / "app.db"
        self.env = {}
        self.n = 0

    def start(self, replica):
        """replicate with 0.3.13; a new generation when its state is gone."""
        self.n += 1
        self.replica = replica
        config = self.tmp / f"old{self.n}.yml"
        config.write_text(f"""
dbs:
  - path: {self.db}
    min-checkpoint-page-count: 40
    monitor-interval: 20ms
    replicas:
      - {replica}
        sync-interval: 20ms
""")
        self.log = self.tmp / f"old{self.n}.log"
        with open(self.log, "wb") as out:
            self.p = self.spawn([self.old, "replicate", "-config", config],
                                stdout=out, stderr=out,
                                env=clean_env(**self.env))

    def stop(self):
        """It syncs once more when it is asked to end; sometimes that fails
        ("context canceled"), so it gets another chance."""
        for _ in range(10):
            self.p.send_signal(15)
            if self.p.wait(30) == 0:
                return
            self.start(self.replica)
            wait_until(lambda: "replicating to" in self.log.read_text(), 20,
                       "a start")
        self.fail(self.log.read_text())

    def snapshots(self):
        return self.log.read_text().count("snapshot written")

    def history(self, replica, generations=3, steps=25):
        """Generations; within each commits that are synced one by one."""
        app = None
        for _ in range(generations):
            shutil.rmtree(self.tmp / ".app.db-litestream", True)
            app = app or Workload(self.db, seed=7)
            self.start(replica)
            wait_until(self.snapshots, 30, "a snapshot")
            for _ in range(steps):
                app.step()
                size = self.log.stat().st_size
                wait_until(lambda: self.log.stat().st_size > size, 30,
                           "a WAL segment")
            self.stop()
            want = self.checkpointed(self.db, f"source{self.n}")
        app.close()
        return want

    def check(self, url, want, old_url=None):
        ours = self.restore(url, self.tmp / "ours.db", env=self.env)
        self.run_cli("restore", "-o", self.tmp / "old.db", old_url or url,
                     binary=self.old, env=self.env)
        theirs = self.restore(url, self.tmp / "new.db", binary=self.peer,
                              env=self.env)
        self.assert_same(ours, want, "the source")
        self.assert_same(ours, self.tmp / "old.db", "0.3.13's restore")
        self.assert_same(ours, theirs, "v0.5's restore")
        self.assert_whole(ours)
        left = [p.name for p in self.tmp.glob("ours.db*")]
        self.assertEqual(left, ["ours.db"])

    def test_file(self):
        rep = self.tmp / "r"
        want = self.history(f"path: {rep}")
        gens = list((rep / "generations").iterdir())
        self.assertEqual(len(gens), 3)
        indexes = {p.name[:8] for g in gens for p in (g / "wal").iterdir()}
        self.assertGreater(len(indexes), 1, "no checkpoint in the history")
        self.check(f"file://{rep}", want)

    def test_points_in_time(self):
        """At the time of every object both programs restore the same."""
        rep = self.tmp / "r"
        self.history(f"path: {rep}", 2, 8)
        times = sorted(p.stat().st_mtime_ns for p in
                       (rep / "generations").rglob("*.lz4"))
        tried = 0
        for ns in times[::3]:
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(
                ns // 10**9)) + f".{ns % 10**9:09d}Z"
            got = []
            for name, binary in (("a.db", self.bin), ("b.db", self.peer)):
                out = self.tmp / name
                out.unlink(missing_ok=True)
                r = self.run_cli("restore", "-timestamp", at, "-o", out,
                                 f"file://{rep}", binary=binary, ok=False)
                got.append((r.returncode, out))
            self.assertEqual(got[0][0], got[1][0], at)
            if got[0][0] == 0:
                tried += 1
                self.assert_same(got[0][1], got[1][1], at)
                self.assert_whole(got[0][1])
        self.assertGreater(tried, 2)

    def test_s3(self):
        s3, bucket = self.need_s3()
        self.env = s3.env()
        want = self.history(
            f"type: s3\n        bucket: {bucket}\n        path: old/app\n"
            f"        endpoint: http://127.0.0.1:{s3.port}\n"
            "        region: us-east-1\n        force-path-style: true", 2)
        config = self.tmp / "old1.yml"
        ours = self.restore(s3.url(bucket, "old/app"), self.tmp / "ours.db",
                            env=self.env)
        theirs = self.restore(s3.url(bucket, "old/app"), self.tmp / "new.db",
                              binary=self.peer, env=self.env)
        self.run_cli("restore", "-config", config, "-o", self.tmp / "old.db",
                     self.db, binary=self.old, env=self.env)
        self.assert_same(ours, want, "the source")
        self.assert_same(ours, theirs, "v0.5's restore")
        self.assert_same(ours, self.tmp / "old.db", "0.3.13's restore")

    def damaged(self, rep, edit):
        bad = self.tmp / "bad"
        shutil.rmtree(bad, True)
        shutil.copytree(rep, bad)
        gens = sorted((bad / "generations").iterdir(), key=lambda g: max(
            p.stat().st_mtime_ns for p in (g / "snapshots").iterdir()))
        edit(gens[-1])
        out = self.tmp / "bad.db"
        answers = []
        for binary in (self.bin, self.peer):
            r = self.run_cli("restore", "-o", out, f"file://{bad}",
                             binary=binary, ok=False)
            answers.append((r.returncode, r.stderr.split("\nTry")[0].strip()))
            self.assertFalse(out.exists() and r.returncode)
            out.unlink(missing_ok=True)
        return answers

    def test_gaps_in_upstreams_words(self):
        rep = self.tmp / "r"
        self.history(f"path: {rep}", 1, 30)

        def segments(g):
            return sorted((g / "wal").iterdir())

        def busiest(g):
            """The segments of the index that has most of them."""
            of = {}
            for p in segments(g)[1:]:
                of.setdefault(p.name[:8], []).append(p)
            most = max(of.values(), key=len)
            if len(most) < 3:
                self.skipTest("0.3.13 made too few segments this time")
            return most

        def middle(g):
            busiest(g)[1].unlink()

        def whole_index(g):
            every = sorted({p.name[:8] for p in segments(g)})
            self.assertGreater(len(every), 2, "too few checkpoints")
            mid = every[1]
            for p in segments(g):
                if p.name.startswith(mid):
                    p.unlink()

        def all_snapshots(g):
            shutil.rmtree(g / "snapshots")
            (g / "snapshots").mkdir()
        for edit in (middle, whole_index, all_snapshots):
            ours, theirs = self.damaged(rep, edit)
            self.assertEqual(ours, theirs, edit.__name__)
            self.assertEqual(ours[0], 1)

        def cut(g):
            p = segments(g)[-1]
            os.truncate(p, p.stat().st_size - 5)
        ours, _ = self.damaged(rep, cut)
        self.assertEqual(ours[0], 1)
        self.assertIn("LZ4", ours[1])

    def test_moving_on(self):
        """v0.5 files beside v0.3 ones in one place: the later wins, a TXID
        means the new ones."""
        rep = self.tmp / "r"
        old = self.history(f"path: {rep}", 1, 5)
        before = time.time_ns()
        c = sqlite3.connect(self.db)
        c.execute("CREATE TABLE moved(x)")
        c.commit()
        c.close()
        d = self.daemon({self.db: f"file://{rep}"}).start()
        txid = d.sync()
        d.stop()
        want = self.checkpointed(self.db)
        out = self.restore(f"file://{rep}", self.tmp / "o.db")
        self.assert_same(out, want)
        out.unlink()
        out = self.restore(f"file://{rep}", self.tmp / "o.db", txid)
        self.assert_same(out, want)
        out.unlink()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(
            before // 10**9)) + f".{before % 10**9:09d}Z"
        self.run_cli("restore", "-timestamp", at, "-o", out, f"file://{rep}")
        self.assert_same(out, old, "the time before the move")


if __name__ == "__main__":
    main()
