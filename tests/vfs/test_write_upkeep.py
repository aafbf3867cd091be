#!/usr/bin/env python3
"""A database that has no daemon: it is compacted, snapshotted and pruned by its
writers, long or short-lived. And the lease, which keeps a second writer out."""
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import VfsCase, load, open_vfs, pragma, stats  # noqa: E402
from writekit import WriteCase, write_uri  # noqa: E402
from harness import LONG, main, wait_until  # noqa: E402

FAST = {"LITESTREAM_COMPACTION_LEVELS": "50ms,200ms",
        "LITESTREAM_SNAPSHOT_INTERVAL": "500ms",
        "LITESTREAM_SNAPSHOT_RETENTION": "500ms",
        "LITESTREAM_L0_RETENTION": "200ms"}
SYNCS = 10000 if LONG else 600


READER = f"""
import sqlite3, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from vfskit import load
load()
c = sqlite3.connect(sys.argv[1], uri=True, isolation_level=None)
print(c.execute('SELECT x FROM t').fetchall())
try:
    c.execute('PRAGMA litestream_write_enabled=1')
except sqlite3.Error as e:
    print(e)
"""


class Upkeep(WriteCase):
    def files(self):
        return sum(len(names) for _, _, names in os.walk(self.tmp / "r"))

    def test_stays_bounded(self):
        """Thousands of syncs in a few lives, intervals a hundredth of the
        usual ones: the files become few while it writes on."""
        for last in (SYNCS // 3, 2 * SYNCS // 3, SYNCS):
            app = self.app("run", write_uri(self.url, self.buffer,
                                            sync_interval="1h"),
                           sync=1, env={**FAST, "LS_APP_PACE": 4000})
            wait_until(lambda: app.synced and app.synced[-1] >= last or
                       app.proc.poll() is not None, 300, "syncs", 0.1)
            wait_until(lambda: self.files() < SYNCS // 2 or
                       app.proc.poll() is not None, 100, "upkeep", 0.01)
            app.kill()
            self.assertIsNone(app.error)
            n = None
            for binary in (None, self.need_upstream()):
                n, got = self.stored(binary)
                self.assertGreaterEqual(n, app.synced[-1])
                self.assertEqual(got, self.model(n))
        self.run_cli("verify", self.url)
        self.assertTrue(list((self.tmp / "r/ltx/9").iterdir()))
        self.assertGreaterEqual(
            self.show(write_uri(self.url, self.buffer))[0], n)

    def test_short_lives(self):
        """Each writes little and goes at once; none waits for a boundary."""
        fewest = 1000
        for n in range(1, 200):
            app = self.app("run", write_uri(self.url, self.buffer), str(n),
                           env=FAST)
            self.assertEqual(app.finish(), 0, app.error)
            if n > 100:
                fewest = min(fewest, self.files())
        self.assertLess(fewest, 100)
        for binary in (None, self.need_upstream()):
            self.assertEqual(self.stored(binary), (199, self.model(199)))
        self.run_cli("verify", self.url)

    def test_off(self):
        app = self.app("run", write_uri(self.url, self.buffer, compaction=0),
                       "150", sync=1, env=FAST)
        self.assertEqual(app.finish(), 0, app.error)
        self.assertFalse((self.tmp / "r/ltx/1").exists())


class Lease(VfsCase):
    def writer(self, name, **params):
        load()
        c = sqlite3.connect(write_uri(self.url, self.tmp / name, lease=1,
                                      **params),
                            uri=True, isolation_level=None)
        self.open.append(c)
        c.execute("CREATE TABLE IF NOT EXISTS t(x)")
        return c

    def other(self, *more):
        """Another process that wants to write; (status, words, log)."""
        log = self.tmp / "other.log"
        prog = (
            "import sqlite3,sys\n"
            f"sys.path[:0]=[{str(Path(__file__).parent)!r}]\n"
            "from vfskit import load; load()\n"
            "try:\n"
            "  c=sqlite3.connect(sys.argv[1],uri=True,isolation_level=None)\n"
            "  c.execute('INSERT INTO t VALUES(2)')\n"
            "  print('written')\n"
            "except sqlite3.Error as e: print(e)\n")
        r = subprocess.run(
            [sys.executable, "-c", prog,
             write_uri(self.url, self.tmp / "other", *more, lease=1)],
            capture_output=True, text=True, timeout=100,
            env={**os.environ, "LITESTREAM_LOG_FILE": str(log)})
        self.assertEqual(r.stderr, "")
        return r.stdout.strip(), log.read_text() if log.exists() else ""

    def test_second_writer_is_refused(self):
        c = self.writer("first")
        c.execute("INSERT INTO t VALUES(1)")
        pragma(c, "sync")
        lease = json.loads((self.tmp / "r/lock.json").read_text())
        self.assertEqual(lease["owner"].rsplit(":", 1)[1], str(os.getpid()))
        said, log = self.other()
        for text in said, log:
            self.assertIn(f"lease already held by {lease['owner']} until 20",
                          text)
        # Whoever only reads needs no lease, until it wants to write.
        r = subprocess.run([sys.executable, "-c", READER, write_uri(
            self.url, self.tmp / "third", write=0, lease=1)],
            capture_output=True, text=True, timeout=100)
        self.assertEqual(r.stdout.splitlines()[0], "[(1,)]")
        self.assertIn(f"lease already held by {lease['owner']} until 20",
                      r.stdout.splitlines()[1])
        r = open_vfs(self.url)
        self.open.append(r)
        self.assertEqual(r.execute("SELECT x FROM t").fetchall(), [(1,)])
        self.assertEqual(stats(c)["last_error"], "")
        again = self.writer("first")  # the same process: the same writer
        again.execute("INSERT INTO t VALUES(3)")
        while self.open:
            self.open.pop().close()
        self.assertFalse((self.tmp / "r/lock.json").exists())
        self.assertEqual(self.other()[0], "written")

    def test_lease_that_is_taken_away_ends_the_writing(self):
        c = self.writer("first", sync_interval="20ms")
        c.execute("INSERT INTO t VALUES(1)")
        pragma(c, "sync")
        path = self.tmp / "r/lock.json"
        other = json.dumps({"generation": 7, "owner": "elsewhere:9",
                            "expires_at": "2099-01-01T00:00:00Z"})
        path.unlink()
        path.write_text(other)

        def refused():
            try:
                c.execute("INSERT INTO t VALUES(2)")
                pragma(c, "sync")
                return False
            except sqlite3.Error as e:
                return str(e)
        wait_until(refused, 40, "an error", 0.2)  # at the next renewal
        wait_until(lambda: "elsewhere:9" in stats(c)["last_error"], 20,
                   "the reason")
        c.close()
        self.open.remove(c)
        self.assertEqual(path.read_text(), other)


if __name__ == "__main__":
    main()
