#!/usr/bin/env python3
"""Never lose a commit: rounds of SIGKILL at random instants, of the daemon and
of applications that do what hurts a replicator (hostile.c).

A *life* is one database with its replica, ROUNDS rounds long, wholly decided
by its seed as far as instants of time can be. In each round
 - writers run, are killed and replaced; the daemon is stopped for a while
   (SIGSTOP), the database may be deleted and made anew under it;
 - the daemon is killed. The replica AS IT IS must hold every transaction that
   was acknowledged more than one second and one round trip (SLACK) before;
 - while it is down: nothing, writes, checkpoints, all connections closed,
   VACUUM, another page size, another database under the same name;
 - it starts again; after `sync` a restore is the source, byte for byte.
Every third life has its replica on MinIO, where that is installed.
50 rounds, 1,000 with LS_LONG=1. LS_SEED=n runs the life of that seed alone,
LS_ROUNDS=n more or fewer rounds, LS_KEEP=1 keeps the folder of a failure.

SQLite itself loses commits, or the whole database, when it recovers a WAL with
zero salts (`z` in hostile.c). Such a source is still what must be restored;
only the promise about acknowledged commits is bounded by what the source has.
"""
import os
import random
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import servers  # noqa: E402
from harness import LONG, SLOW, Case, connect, is_upstream, main  # noqa
from proc import find_program, our_binary, wait_until  # noqa: E402

ROUNDS = 25
TOTAL = int(os.environ.get("LS_ROUNDS", 1000 if LONG else 50))
SEED = os.environ.get("LS_SEED")
SLACK = 0.5 * SLOW  # a round trip on a machine that all this load keeps busy
SECOND = 1_000_000_000
WRITES = ("s", "sz", "sc", "scv", "sv", "o", "scvor", "szcvor", "vr", "oc")


def hostile_program():
    built = Path(our_binary()).parent / "tests/hostile"
    return find_program("LS_HOSTILE", built)


class Life:
    """What one seed decides. case: the harness; d: the daemon."""

    def __init__(self, case, seed):
        self.case, self.seed = case, seed
        self.r = random.Random(seed)
        self.dir = case.tmp / f"life{seed}"
        self.dir.mkdir()
        self.db = self.dir / "app.db"
        self.url, self.env = f"file://{self.dir}/r", {}
        s3 = case.minio() if seed % 3 == 0 else None
        if s3:
            s3.make_bucket(f"life{seed}")
            self.url = s3.url(f"life{seed}", "r")
            self.env = {"AWS_ACCESS_KEY_ID": s3.key,
                        "AWS_SECRET_ACCESS_KEY": s3.secret}
        self.acks = self.dir / "acks"
        self.acks.touch()
        self.n, self.events, self.writers = 0, [], []
        self.stopped_at = self.synced_at = None
        self.what, self.promised, self.lag = "s", 0, 0.0
        self.stopped = False
        self.make()
        self.d = case.daemon({self.db: self.url}, env=self.env, top={
            "park-after": self.r.choice(("300ms", "2s", "0s")),
            "l0-retention": "1h", "levels": [{"interval": "3s"},
                                             {"interval": "20s"}]},
            db={"min-checkpoint-page-count": self.r.choice((50, 1000)),
                "checkpoint-interval": self.r.choice(("200ms", "1m"))})

    def say(self, event):
        self.events.append(f"{time.monotonic():.3f} {event}")

    # ---- the application ------------------------------------------------

    def make(self):
        """A new database, whose counter goes on where the last one was."""
        self.n += 1_000_000
        c = connect(self.db, self.r.choice((512, 1024, 4096, 4096, 65536)),
                    self.r.choice(("none", "full", "incremental")))
        c.executescript(
            "BEGIN; CREATE TABLE ctr(id INTEGER PRIMARY KEY, n INT);"
            f"INSERT INTO ctr VALUES(1, {self.n});"
            "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB); COMMIT;"
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n "
            f"WHERE x < {self.r.choice((1, 300))}) "
            "INSERT INTO t SELECT x, randomblob(2000) FROM n;")
        c.close()

    def write(self):
        seed = self.r.randrange(1 << 32)
        self.say(f"writer {seed} {self.what}")
        self.writers.append(self.case.spawn(
            [self.case.hostile, self.db, seed, self.acks, self.what],
            stderr=subprocess.PIPE))

    def kill_writers(self, n=None):
        """The first n, or all. None may have met an error of the daemon's
        making."""
        ended, self.writers = self.writers[:n], self.writers[n:] if n else []
        for p in ended:
            p.kill()
            err = p.communicate()[1].decode()
            self.case.procs.remove(p)
            if p.returncode == 4 and "z" in self.what:
                self.say("the source is corrupt")  # SQLite's own doing
            elif p.returncode == 5 and self.stopped:
                self.say("locking failed beside a stopped daemon")
            elif p.returncode != -9 or err:
                self.case.fail(f"a writer ended: {p.returncode} {err}")

    def pause(self, lo, hi):
        """A random moment passes; it is the input here, not a wait."""
        time.sleep(self.r.uniform(lo, hi))

    def acked_before(self, limit_ns):
        """The last counter acknowledged before, and when."""
        raw = self.acks.read_bytes()
        all_ = struct.iter_unpack("=qq", raw[:len(raw) // 16 * 16])
        return max(((t, n) for t, n in all_ if t < limit_ns),
                   default=(0, 0))

    def remove(self):
        for end in ("", "-wal", "-shm"):
            Path(f"{self.db}{end}").unlink(missing_ok=True)

    def other_page_size(self):
        c = sqlite3.connect(self.db, isolation_level=None)
        c.execute("PRAGMA journal_mode=DELETE")
        c.execute(f"PRAGMA page_size={self.r.choice((512, 2048, 8192))}")
        c.execute("VACUUM")
        c.execute("PRAGMA journal_mode=WAL")
        c.close()

    def some_sql(self, *statements):
        c = sqlite3.connect(self.db, isolation_level=None)
        for s in statements:
            c.execute(s).fetchall()
        c.close()

    def replace(self):
        self.remove()
        self.make()

    def rename_over(self):
        """A backup put in place, as people do it."""
        copy = self.dir / "copy.db"
        c = sqlite3.connect(self.db, isolation_level=None)
        c.execute("VACUUM INTO ?", (str(copy),))
        c.close()
        self.remove()
        c = connect(copy)
        c.execute("INSERT INTO t(b) VALUES(randomblob(100))")
        c.close()
        os.rename(copy, self.db)

    # ---- what happens ---------------------------------------------------

    def away(self):
        """While no daemon looks."""
        change = "UPDATE t SET b=randomblob(900) WHERE id % 50 = 1"
        ckpt = "PRAGMA wal_checkpoint(%s)" % self.r.choice(
            ("PASSIVE", "FULL", "RESTART", "TRUNCATE"))
        kind = self.r.choice((
            "nothing", "nothing", "write", "checkpoint", "twice", "vacuum",
            "shrink", "hostile", "hostile", "page size", "replace",
            "rename over"))
        self.say(f"away: {kind}")
        try:
            if kind == "write":
                self.some_sql(change)
            elif kind == "checkpoint":
                self.some_sql(ckpt, change)
            elif kind == "twice":
                self.some_sql(change, ckpt, change, ckpt, change)
            elif kind == "vacuum":
                self.some_sql("VACUUM")
            elif kind == "shrink":
                self.some_sql("DELETE FROM t WHERE id % 2", change,
                              "PRAGMA incremental_vacuum(100)")
            elif kind == "hostile":
                self.write()
                self.pause(0.01, 0.3)
                self.kill_writers()
            elif kind == "page size":
                self.other_page_size()
            elif kind == "replace":
                self.replace()
            elif kind == "rename over":
                self.rename_over()
        except sqlite3.DatabaseError as e:
            if "malformed" not in str(e) or "z" not in self.what:
                raise
            self.say(f"the source is corrupt: {e}")
            self.replace()

    def stop_for_a_while(self):
        self.say("SIGSTOP")
        self.stopped = True
        self.d.proc.send_signal(19)
        self.pause(0.1, 2)
        self.d.proc.send_signal(18)
        self.stopped_at = time.monotonic_ns()
        self.say("SIGCONT")

    def lone(self):
        """A quiet spell, perhaps a park, then few commits a moment apart:
        nothing comes after them that could take them along."""
        self.pause(0.1, 0.9)
        c = sqlite3.connect(self.db, isolation_level=None, timeout=20)
        for _ in range(self.r.randint(1, 3)):
            (n,) = c.execute("UPDATE ctr SET n=n+1 RETURNING n").fetchone()
            with open(self.acks, "ab") as f:
                f.write(struct.pack("=qq", time.monotonic_ns(), n))
            self.say(f"a lone commit {n}")
            self.pause(0, 0.05)
        if self.r.random() < 0.5:
            c.close()
        self.pause(1.1 + SLACK, 1.2 + SLACK)
        c.close()

    def load(self):
        """Writers, and what befalls them, for a random time."""
        if self.r.random() < 0.1:
            return self.lone()
        limit = time.monotonic() + self.r.choice(
            (0, 0.05, 0.2, 0.5, 1, 2.5)) * self.r.uniform(0.5, 1)
        for _ in range(self.r.randint(1, 3)):
            self.write()
        if self.r.random() < 0.1:
            self.stop_for_a_while()
        while time.monotonic() < limit:
            self.pause(0, 0.6)
            if self.r.random() < 0.3:
                self.say("kill a writer")
                self.kill_writers(1)
                self.write()

    def crash(self):
        """Kill the daemon; the replica must keep the promise at once."""
        first = self.r.random() < 0.4
        if first:
            self.kill_writers()
            self.pause(0, 0.1)
        self.say("kill the daemon")
        died = time.monotonic_ns()
        self.d.kill()
        self.promise(died)
        if not first:
            self.pause(0, 0.2)
            self.kill_writers()

    def promise(self, died):
        limit = died - int((1 + SLACK) * SECOND)
        if not self.synced_at or (self.stopped_at or 0) > limit:
            return
        t, n = self.acked_before(limit)
        if t < self.synced_at:
            return  # `sync` has shown that one
        out = self.restore()
        got = self.counter(out)
        self.say(f"acked {n} at {t / SECOND:.3f}, replica {got}")
        if got < n and "z" in self.what:  # what SQLite itself lost is excused
            self.kill_writers()
            n = min(n, self.counter(self.copy()))
        self.case.assertGreaterEqual(
            got, n, f"acknowledged {(died - t) / SECOND:.3f} s ago, and not "
            "in the replica")
        self.promised += 1
        self.measure(got, died)
        out.unlink()

    def measure(self, got, died):
        """The age of the oldest acknowledged commit that is not there."""
        if "z" in self.what:
            return  # counters may have gone back
        raw = self.acks.read_bytes()
        for t, n in struct.iter_unpack("=qq", raw[:len(raw) // 16 * 16]):
            if n > got and self.synced_at < t < died:
                self.lag = max(self.lag, (died - t) / SECOND)

    @staticmethod
    def counter(path):
        c = sqlite3.connect(path)
        try:
            return c.execute("SELECT n FROM ctr").fetchone()[0]
        except sqlite3.DatabaseError:  # only where SQLite lost it
            return 0
        finally:
            c.close()

    def replace_live(self):
        self.say("replace under the daemon")
        self.r.choice((self.replace, self.rename_over))()

    def zero_frames(self):
        """Frames with zero salts in the live part of the WAL: a copy of the
        files would not hold them. (No connection of ours is open.)"""
        wal, shm = Path(f"{self.db}-wal"), Path(f"{self.db}-shm")
        raw = wal.read_bytes() if wal.exists() else b""
        index = shm.read_bytes() if shm.exists() else b""
        if len(raw) < 32 or len(index) < 20:
            return False
        size = 24 + struct.unpack(">I", raw[8:12])[0]
        (live,) = struct.unpack("=I", index[16:20])
        return any(raw[32 + i * size + 8:32 + i * size + 16] == bytes(8)
                   for i in range(live))

    def restore(self):
        return self.case.restore(self.url, self.dir / "o.db", env=self.env)

    def copy(self):
        return self.case.checkpointed(self.db, f"life{self.seed}/source")

    def compare(self):
        self.d.sync()
        wait_until(lambda: not self.zero_frames(), 20,
                   "WAL without zero salts")
        self.d.sync()
        self.synced_at = time.monotonic_ns()
        want = self.copy()
        out = self.restore()
        self.case.assert_same(out, want, f"life {self.seed}")
        c = sqlite3.connect(out)
        try:
            whole = c.execute("PRAGMA integrity_check(1)").fetchone()[0]
            self.n = max(self.n, self.counter(out))
        except sqlite3.DatabaseError as e:
            whole = str(e)
        c.close()
        out.unlink()
        if whole == "ok":
            return
        self.case.assertIn("z", self.what, f"the source: {whole}")
        self.say(f"the source is corrupt: {whole}")
        self.replace_live()
        self.d.sync()

    def round(self):
        self.events.clear()
        self.what = self.r.choice(WRITES)
        self.stopped = False
        if self.r.random() < 0.08:
            self.replace_live()
        self.load()
        self.n = max(self.n, self.acked_before(time.monotonic_ns())[1])
        self.crash()
        self.away()
        self.synced_at = self.stopped_at = None
        early = self.r.random() < 0.2
        if early:  # killed while it begins, and writers are there already
            self.write()
            self.d.start(ready=False)
            self.pause(0, 0.2)
            self.say("kill the daemon early")
            self.d.kill()
            self.kill_writers()
        self.d.start()
        self.compare()

    def watch(self, samples):
        """The promise holds at any moment, whatever the instant at which the
        daemon met the load, and without a crash that ends it."""
        self.what = "s"
        self.write()
        wait_until(lambda: self.acks.stat().st_size > 1600, 20, "a load")
        self.d.start()
        self.synced_at = time.monotonic_ns()

        def enough():
            self.promise(time.monotonic_ns())
            return self.promised >= samples
        wait_until(enough, 60, "moments to look at", 0.25)
        self.kill_writers()
        self.case.assertEqual(self.d.stop(), 0)

    def run(self, rounds):
        self.d.start()
        self.compare()
        for i in range(rounds):
            try:
                self.round()
            except BaseException:
                print(f"FAILED: LS_SEED={self.seed} round {i}", *self.events,
                      sep="\n  ", flush=True)
                raise
        self.case.assertEqual(self.d.stop(), 0)


class Rounds(Case):
    def setUp(self):
        super().setUp()
        self.hostile = hostile_program()
        if not self.hostile:
            self.fail("tests/hostile is not built")
        if is_upstream(self.bin):
            self.skipTest("upstream is not held to this")

    def minio(self):
        if not servers.Minio.binary():
            return None
        if not hasattr(self, "server"):
            self.server = servers.Minio().start()
            self.addCleanup(self.server.stop)
        return self.server.client()

    def tearDown(self):
        if os.environ.get("LS_KEEP"):
            keep = Path(f"{self.tmp}-kept")
            subprocess.run(["cp", "-a", self.tmp, keep], check=True)
            print(f"kept: {keep}")
        super().tearDown()

    def test_nothing_is_older_than_a_second(self):
        for seed in range(4):
            Life(self, 1 + 3 * seed).watch(10)

    def test_rounds(self):
        first = int(SEED or random.SystemRandom().randrange(1 << 30))
        left, promised, lag, seed = TOTAL, 0, 0.0, first
        while left > 0:
            n = min(ROUNDS, left)
            print(f"seed {seed}: {n} rounds", flush=True)
            life = Life(self, seed)
            life.run(n)
            promised += life.promised
            lag = max(lag, life.lag)
            subprocess.run(["rm", "-rf", life.dir], check=True)
            left, seed = left - n, seed + 1
        print(f"{TOTAL} rounds, seeds {first} to {seed - 1}: {promised} times "
              f"the replica was held to its promise; oldest commit that it "
              f"lacked: {lag:.3f} s")


if __name__ == "__main__":
    main()
