#!/usr/bin/env python3
"""`replicate` as a command: -exec, -once, -restore-if-db-not-exists, a second
daemon on the same database, and SIGTERM at early moments."""
import json
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import LONG, Case, connect, is_upstream, main, wait_until  # noqa
from proc import clean_env  # noqa: E402


class Command(Case):
    def setUp(self):
        super().setUp()
        self.up = is_upstream(self.bin)
        self.db, self.url = self.tmp / "app.db", f"file://{self.tmp}/r"
        self.c = connect(self.db)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(x)")
        for _ in range(50):
            self.c.execute("INSERT INTO t VALUES(randomblob(2000))")

    def equal(self):
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_same(out, self.checkpointed(self.db))
        out.unlink()

    def shell(self, script):
        """An -exec argument that runs this script by sh."""
        path = self.tmp / "child.sh"
        path.write_text(script)
        return shlex.join(["sh", str(path)])

    def sql(self, text):
        """The same statement, as a child's command line."""
        return shlex.join(["sqlite3", "-cmd", ".timeout 5000", str(self.db),
                           text])

    def test_exec_passes_the_status(self):
        for status in (0, 7):
            r = self.run_cli("replicate", "-exec", self.shell(
                f"{self.sql('INSERT INTO t VALUES(1)')}; exit {status}"),
                self.db, self.url, ok=False)
            self.assertEqual(r.returncode,
                             1 if self.up and status else status,
                             r.stdout + r.stderr)
            if not self.up:  # a child that ends before its first sync
                self.equal()

    def test_exec_is_signalled_and_waited_for(self):
        """TERM reaches the child; what it writes before it ends is stored."""
        ready = self.tmp / "ready"
        script = (f"term() {{ {self.sql('INSERT INTO t VALUES(42)')}; "
                  f"exit 5; }}\ntrap term TERM\ntouch {ready}\n"
                  "while :; do sleep 0.05; done\n")
        p = self.spawn([self.bin, "replicate", "-exec", self.shell(script),
                        self.db, self.url], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, env=clean_env(), text=True)
        wait_until(ready.exists, 10, "child of -exec")
        p.send_signal(signal.SIGTERM)
        out, _ = p.communicate(timeout=40)
        self.assertEqual(p.returncode, 1 if self.up else 5, out)
        self.assertEqual(self.c.execute(
            "SELECT count(*) FROM t WHERE x=42").fetchone()[0], 1)
        if not self.up:  # it skips the final sync here
            self.equal()

    def test_exec_that_is_not_there(self):
        r = self.run_cli("replicate", "-exec", "/no/such/program", self.db,
                         self.url, ok=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("/no/such/program", r.stderr)

    def test_once(self):
        self.run_cli("replicate", "-once", self.db, self.url)
        self.equal()
        self.c.execute("INSERT INTO t VALUES(2)")
        self.run_cli("replicate", "-once", self.db, self.url)
        self.equal()
        files = ltx.list_dir(self.tmp / "r")
        self.assertEqual(ltx.gaps(files), [])
        if not self.up:
            self.assertEqual([(a, b) for a, b, _ in files], [(1, 1), (2, 2)])
            self.assertFalse(ltx.Ltx(files[1][2].read_bytes()).whole())

    def test_once_without_news_uploads_nothing(self):
        self.run_cli("replicate", "-once", self.db, self.url)
        before = sorted(p for p in (self.tmp / "r").rglob("*.ltx"))
        self.run_cli("replicate", "-once", self.db, self.url)
        if not self.up:
            self.assertEqual(
                sorted(p for p in (self.tmp / "r").rglob("*.ltx")), before)
        self.equal()

    def test_once_force_snapshot(self):
        self.run_cli("replicate", "-once", self.db, self.url)
        self.c.execute("INSERT INTO t VALUES(3)")
        self.run_cli("replicate", "-once", "-force-snapshot", self.db,
                     self.url)
        newest = ltx.list_dir(self.tmp / "r")[-1][1]
        snaps = ltx.list_dir(self.tmp / "r", 9)
        self.assertEqual(snaps[-1][:2], (1, newest))
        self.assertTrue(ltx.Ltx(snaps[-1][2].read_bytes()).whole())
        self.equal()

    def test_once_enforce_retention(self):
        conf = self.tmp / "c.yml"
        conf.write_text(json.dumps({
            "snapshot": {"interval": "24h", "retention": "1ms"},
            "dbs": [{"path": str(self.db), "replica": {"url": self.url}}]}))
        once = ["replicate", "-once", "-force-snapshot", "-config", conf]
        for i in range(3):
            self.c.execute("INSERT INTO t VALUES(4)")
            self.run_cli(*once)
        self.assertGreater(len(ltx.list_dir(self.tmp / "r", 9)), 2)
        self.run_cli("replicate", "-once", "-enforce-retention", "-config",
                     conf)
        left = ltx.list_dir(self.tmp / "r", 9)
        newest = ltx.list_dir(self.tmp / "r")[-1][1]
        self.assertEqual([f[:2] for f in left], [(1, newest)])
        self.equal()

    def test_once_enforce_retention_that_fails(self):
        if self.up:
            self.skipTest("a failure here is ours")
        self.run_cli("replicate", "-once", self.db, self.url)
        bad = self.tmp / f"r/ltx/9/{1:016x}-{1:016x}.ltx"
        bad.parent.mkdir(exist_ok=True)
        bad.write_text("not an LTX file")
        self.c.execute("INSERT INTO t VALUES(5)")
        r = self.run_cli("replicate", "-once", "-enforce-retention", self.db,
                         self.url, ok=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("retention", r.stderr)
        self.assertIn(bad.name, r.stderr)
        bad.unlink()
        self.equal()  # the commit went there before

    def test_restore_if_db_not_exists(self):
        self.run_cli("replicate", "-once", self.db, self.url)
        want = self.checkpointed(self.db)
        again = self.tmp / "again.db"
        conf = self.tmp / "c.yml"
        conf.write_text(json.dumps({"dbs": [{
            "path": str(again), "replica": {"url": self.url}}]}))
        self.run_cli("replicate", "-once", "-restore-if-db-not-exists",
                     "-config", conf)
        if not self.up:  # it adds tables of its own to the restored one
            self.assert_same(self.checkpointed(again, "again"), want)
        fresh = self.daemon({self.tmp / "f.db": f"file://{self.tmp}/none"},
                            args=["-restore-if-db-not-exists"]).start()
        c = connect(self.tmp / "f.db")
        c.execute("CREATE TABLE t(x)")
        c.close()
        fresh.sync()
        self.assertEqual(fresh.stop(), 0)

    def test_second_daemon_names_the_first(self):
        if self.up:
            self.skipTest("upstream does not look")
        d = self.daemon({self.db: self.url}).start()
        d.sync()
        before = sorted((self.tmp / "r").rglob("*"))
        r = self.run_cli("replicate", "-once", self.db,
                         f"file://{self.tmp}/r2", ok=False)
        self.assertEqual(r.returncode, 1, r.stdout)
        self.assertIn(str(d.proc.pid), r.stdout + r.stderr)
        self.assertEqual(sorted((self.tmp / "r").rglob("*")), before)
        self.assertEqual(list((self.tmp / "r2").rglob("*.ltx")), [])
        self.c.execute("INSERT INTO t VALUES(4)")
        d.sync()
        d.stop()
        self.equal()

    def test_sigterm_early(self):
        """At any moment of a start: an orderly end, and a status of 0 means
        that everything is stored. The next start goes on without a gap."""
        rng = random.Random(11)
        for i in range(40 if LONG else 15):
            self.c.execute("INSERT INTO t VALUES(?)", (i,))
            d = self.daemon({self.db: self.url}).start(ready=False)
            try:
                d.proc.wait(rng.uniform(0, 0.2))
            except subprocess.TimeoutExpired:
                pass
            status = d.stop()
            self.assertIn(status, (0, 1, -signal.SIGTERM), d.text())
            if status == 0 and not self.up:
                self.equal()
        self.run_cli("replicate", "-once", self.db, self.url)
        self.assertEqual(ltx.gaps(ltx.list_dir(self.tmp / "r")), [])
        self.equal()

    def test_final_sync_at_sigterm(self):
        d = self.daemon({self.db: self.url}).start()
        d.sync()
        for i in range(5):
            self.c.execute("INSERT INTO t VALUES(?)", (i,))
        self.assertEqual(d.stop(), 0)
        self.equal()

    def test_reads_stay_possible_and_schema_changes_travel(self):
        """A reader's open transaction does not hold the daemon up."""
        d = self.daemon({self.db: self.url}).start()
        r = sqlite3.connect(self.db, isolation_level=None)
        r.execute("BEGIN")
        n = r.execute("SELECT count(*) FROM t").fetchone()
        self.c.execute("ALTER TABLE t ADD COLUMN y DEFAULT 'new'")
        self.c.execute("CREATE INDEX i ON t(y)")
        d.sync()
        self.assertEqual(r.execute("SELECT count(*) FROM t").fetchone(), n)
        r.close()
        self.equal()


if __name__ == "__main__":
    main()
