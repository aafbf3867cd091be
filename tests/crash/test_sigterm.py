#!/usr/bin/env python3
"""SIGTERM after 0 to 2,000 ms of run time, with writes done while the daemon
was down and, half of the time, during its life: either the status is 0 and the
replica holds everything committed before the signal, or it is not 0 and the
log says what is missing. 20 rounds, 200 with LS_LONG=1; in every fifth the
replica cannot be written to. LS_SEED=n repeats a run."""
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import LONG, Case, connect, is_upstream, main  # noqa
from proc import wait_until  # noqa: E402

ROUNDS = int(os.environ.get("LS_ROUNDS", 200 if LONG else 20))
SAYS = "not everything is at the replica"


class Sigterm(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("upstream is not held to this")
        seed = os.environ.get("LS_SEED") or random.SystemRandom().randrange(
            1 << 30)
        print(f"LS_SEED={seed}", flush=True)
        self.r = random.Random(int(seed))
        self.db, self.rep = self.tmp / "app.db", self.tmp / "r"
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        c.close()

    def write(self, c):
        """A few commits, some larger than a page cache."""
        for _ in range(self.r.randint(1, 20)):
            c.execute("BEGIN")
            for _ in range(self.r.choice((1, 1, 5, 100))):
                c.execute("INSERT INTO t(b) VALUES(?)", (
                    self.r.randbytes(self.r.randint(1, 4000)),))
            c.execute("DELETE FROM t WHERE id % 50 = ?",
                      (self.r.randrange(50),))
            c.execute("COMMIT")

    def away(self):
        """Writes while the daemon is down; perhaps all connections close."""
        c = connect(self.db)
        self.write(c)
        kind = self.r.randrange(4)
        if kind == 0:
            c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.write(c)
        if kind < 2:
            c.close()
            c = connect(self.db)
        return c

    def block(self, on):
        """A replica that takes nothing: a file where its folder was."""
        away = self.tmp / "away"
        if on and self.rep.is_dir():
            self.rep.rename(away)
        if on:
            self.rep.write_text("")
        else:
            self.rep.unlink()
            if away.exists():
                away.rename(self.rep)

    def until_armed(self, proc):
        """Until SIGTERM is handled or blocked: before, it just kills."""
        def armed():
            lines = Path(f"/proc/{proc.pid}/status").read_text().splitlines()
            mask = [int(x.split()[1], 16) for x in lines
                    if x.startswith(("SigBlk:", "SigCgt:"))]
            return (mask[0] | mask[1]) >> (signal.SIGTERM - 1) & 1
        wait_until(armed, 20, "handler of SIGTERM", 0.0005)

    def run_for(self, d, ms, c):
        """Lives about that long; with c, commits go on to just before."""
        d.start(ready=False)
        if self.r.random() < 0.8:
            self.until_armed(d.proc)
        end = time.monotonic() + ms / 1000
        while time.monotonic() < end:
            if c:
                self.write(c)
            time.sleep(min(0.02, max(0, end - time.monotonic())))
        d.proc.send_signal(signal.SIGTERM)
        try:
            return d.proc.wait(60)
        except subprocess.TimeoutExpired:
            self.fail("still there a minute after SIGTERM")

    def check_all_there(self, what):
        want = self.checkpointed(self.db)
        out = self.restore(f"file://{self.rep}", self.tmp / "o.db")
        self.assert_same(out, want, what)
        out.unlink()

    def test_sigterm_at_any_moment_loses_nothing_silently(self):
        d = self.daemon({self.db: f"file://{self.rep}"},
                        top={"shutdown-sync-timeout": "1s"})
        statuses = []
        for i in range(ROUNDS):
            c = self.away()
            blocked = i % 5 == 4
            if blocked:
                self.block(True)
            start = len(d.text()) if d.log.exists() else 0
            ms = self.r.choice((0, self.r.uniform(0, 60),
                                self.r.uniform(0, 2000)))
            during = self.r.random() < 0.5
            status = self.run_for(d, ms, c if during else None)
            what = f"round {i}, {ms:.1f} ms, status {status}"
            said = d.text()[start:]
            statuses.append(status)
            if blocked:
                self.block(False)
                self.assertNotEqual(status, 0, what)
            if status == 0:
                self.check_all_there(what)
            elif status == -signal.SIGTERM:  # before main() was reached
                self.assertEqual(said, "", what)
            else:
                self.assertEqual(status, 1, what)
                self.assertIn(SAYS, said, what)
            c.close()
        print(f"{ROUNDS} rounds: {statuses.count(0)} ended with status 0, "
              f"{statuses.count(1)} said what is missing, the rest had not "
              "begun")
        self.assertGreater(statuses.count(0), ROUNDS // 3)
        d.start().sync()
        self.check_all_there("at the end")
        self.assertEqual(d.stop(), 0)


if __name__ == "__main__":
    main()
