#!/usr/bin/env python3
"""The extension against what the daemon writes: the same database as a restore,
live and in the past; transactions; hydration; manners as a guest."""
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import (EXTENSION, VfsCase, follow, load, open_vfs,  # noqa: E402
                    pragma, stats, txid, uri)
from harness import LONG, Workload, connect, main, wait_until  # noqa: E402


def threads():
    return len(os.listdir("/proc/self/task"))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


# A host that wants no automatic extensions: result codes.
RESET = """
import ctypes, sqlite3, sys
m = sqlite3.connect(":memory:")
m.enable_load_extension(True)
m.execute("SELECT load_extension(?, 'sqlite3_litestreamvfs_init')",
          (sys.argv[2],))
lib, db = ctypes.CDLL("libsqlite3.so.0"), ctypes.c_void_p()
lib.sqlite3_reset_auto_extension()
print("open", lib.sqlite3_open_v2(sys.argv[1].encode(), ctypes.byref(db),
                                  0x46, None))
for sql in ("SELECT * FROM sqlite_master", "PRAGMA user_version",
            "CREATE TABLE t(x)", "BEGIN IMMEDIATE", "VACUUM"):
    print(lib.sqlite3_exec(db, sql.encode(), None, None, None))
lib.sqlite3_close(db)
"""


class Reading(VfsCase):
    def states(self, page_size):
        """Write states of every kind; the reader shows what a restore makes,
        at each of them, live and by TXID."""
        w = Workload(self.db, page_size, seed=page_size)
        d = self.daemon({self.db: self.url}).start()
        w.step()
        d.sync()
        live, past, at = self.vfs(poll="50ms"), self.vfs(poll="1h"), []
        for i in range(30):
            w.step()
            if i % 5 == 4 or w.n % 25 in (0, 13, 14, 24):
                at.append(d.sync())
                out = self.restore(self.url, self.tmp / f"o{i}", at[-1])
                follow(live, at[-1])
                self.assert_shows(live, out, f"live at {at[-1]}")
        self.assertEqual(d.stop(), 0)
        w.close()
        for i, t in enumerate(random.Random(1).sample(at, 4)):
            out = self.restore(self.url, self.tmp / f"p{i}", t)
            self.assertEqual(pragma(past, "txid", f"{t:x}"), f"{t:016x}")
            self.assert_shows(past, out, f"TXID {t}")

    def test_equals_restore_512(self):
        self.states(512)

    def test_equals_restore_1024(self):
        self.states(1024)

    def test_equals_restore_4096(self):
        self.states(4096)

    def test_equals_restore_16384(self):
        self.states(16384)

    def test_equals_restore_65536(self):
        self.states(65536)

    def test_travels_in_time_as_restore_does(self):
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b)")
        d = self.daemon({self.db: self.url}).start()
        for i in range(25):
            c.execute("INSERT INTO t(b) VALUES(randomblob(500))")
            d.sync()
        v = self.vfs(poll="1h")
        points = [line.split("\t")
                  for line in pragma(v, "points").splitlines()]
        self.assertGreater(len(points), 20)
        for i, (hexid, when) in enumerate(random.Random(3).sample(points, 8)):
            out = self.tmp / f"t{i}.db"
            self.run_cli("restore", "-timestamp", when, "-o", out, self.url)
            self.assertEqual(pragma(v, "time", when), when)
            self.assertEqual(pragma(v, "txid"), hexid)
            self.assert_shows(v, out, when)
        latest = pragma(v, "time", "LATEST")
        self.assertEqual(latest, points[-1][1])
        self.assertEqual(v.execute("SELECT count(*) FROM t").fetchone(),
                         (25,))
        with self.assertRaisesRegex(sqlite3.Error, points[0][0]):
            v.execute("PRAGMA litestream_time='2001-02-03'")
        self.assertEqual(d.stop(), 0)
        c.close()

    def test_two_times_in_one_connection(self):
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, k)")
        d = self.daemon({self.db: self.url}).start()
        c.execute("INSERT INTO t VALUES(1,'old'),(2,'same')")
        first = d.sync()
        c.execute("UPDATE t SET k='new' WHERE id=1")
        d.sync()
        load()
        v = sqlite3.connect("file:m?mode=memory", uri=True)
        v.execute("ATTACH ? AS now", (uri(self.url),))
        v.execute("ATTACH ? AS old", (uri(self.url, txid=f"{first:x}"),))
        self.assertEqual(v.execute(
            "SELECT n.id, o.k, n.k FROM now.t n JOIN old.t o USING(id) "
            "WHERE n.k<>o.k").fetchall(), [(1, "old", "new")])
        self.assertEqual(v.execute("PRAGMA old.litestream_txid").fetchone(),
                         (f"{first:016x}",))
        v.close()
        d.stop()
        c.close()

    def test_functions_and_pragmas_tell_the_truth(self):
        c = connect(self.db)
        c.execute("CREATE TABLE t(x)")
        d = self.daemon({self.db: self.url}).start()
        at = d.sync()
        v = self.vfs(poll="50ms")
        self.assertEqual(
            v.execute("SELECT litestream_txid()").fetchone(),
            (f"{at:016x}",))
        self.assertEqual(v.execute("SELECT litestream_lag()").fetchone(),
                         (0,))
        self.assertEqual(v.execute("SELECT litestream_time()").fetchone()[0],
                         pragma(v, "time"))
        self.assertEqual(
            v.execute("SELECT litestream_set_time('latest')").fetchone()[0],
            pragma(v, "time"))
        for bad in ("litestream_lag=1", "litestream_hydration_file='x'"):
            with self.assertRaisesRegex(sqlite3.Error, "read-only"):
                v.execute(f"PRAGMA {bad}")
        with self.assertRaisesRegex(sqlite3.Error, "use 0 or 1"):
            v.execute("PRAGMA litestream_write_enabled=maybe")
        self.assertEqual(pragma(v, "write_enabled"), "0")
        with self.assertRaisesRegex(sqlite3.Error, "invalid timestamp"):
            v.execute("PRAGMA litestream_time='soon'")
        with self.assertRaisesRegex(sqlite3.Error, "readonly"):
            v.execute("INSERT INTO t VALUES(1)")
        # An ordinary connection of this process has none of it.
        with self.assertRaises(sqlite3.Error):
            c.execute("SELECT litestream_txid()")
        d.stop()
        c.close()


class Live(VfsCase):
    def reader(self, i, seen, wrong, stop):
        v = open_vfs(self.url, poll="100ms", hydrate=i % 2)
        newest = 0
        while not stop.is_set():
            v.execute("BEGIN")
            a, b, again = [v.execute(
                f"SELECT sum(v), max(id), count(*) FROM {t}").fetchone()
                for t in ("a", "b", "a")]
            v.execute("COMMIT")
            if a != b or a != again or a[1] < newest:
                wrong.append((i, newest, a, b, again))
                break
            newest = seen[i] = a[1]
        v.close()

    def guarded(self, i, seen, wrong, stop):
        try:
            self.reader(i, seen, wrong, stop)
        except Exception as e:  # a thread's error fails the test below
            wrong.append((i, repr(e)))

    def merges(self):
        d = self.tmp / "r/ltx/1"
        return {p.name for p in d.iterdir()} if d.exists() else set()

    def churn(self, binary, readers=4):
        """Two tables whose sums must agree, while level 0 is merged and
        pruned: no error, no wrong answer, nobody left behind."""
        c = connect(self.db)
        c.executescript("CREATE TABLE a(id INTEGER PRIMARY KEY, v INT);"
                        "CREATE TABLE b(id INTEGER PRIMARY KEY, v INT);"
                        "INSERT INTO a VALUES(0,0);"
                        "INSERT INTO b VALUES(0,0);")
        d = self.daemon({self.db: self.url}, binary=binary, top={
            "l0-retention": "3s", "l0-retention-check-interval": "1s",
            "levels": [{"interval": "1s"}, {"interval": "3s"}],
            "snapshot": {"interval": "6s"}}).start()
        d.sync()
        wrong, seen, stop = [], [0] * readers, threading.Event()
        ts = [threading.Thread(target=self.guarded,
                               args=(i, seen, wrong, stop))
              for i in range(readers)]
        [t.start() for t in ts]
        r, merged, i = random.Random(4), set(), 0
        while len(merged) < (60 if LONG else 5) and i < 100000 and not wrong:
            i += 1
            x = r.randrange(1000)
            c.execute("BEGIN")
            for t in "ab":
                c.execute(f"INSERT INTO {t} VALUES(?,?)", (i, x))
                c.execute(f"UPDATE {t} SET v=v+1 WHERE id%7=?", (i % 7,))
                if i % 50 == 0:
                    c.execute(f"DELETE FROM {t} WHERE id<?", (i - 40,))
            c.execute("COMMIT")
            if i % 4 == 0:
                d.sync(wait=False)
            merged |= self.merges()
        d.sync()
        wait_until(lambda: wrong or min(seen) == i, 20, "the last row")
        stop.set()
        [t.join() for t in ts]
        self.assertEqual(wrong, [])
        self.assertGreaterEqual(len(merged), 5)
        self.assertEqual(d.stop(), 0)
        c.close()

    def test_churn_of_our_daemon(self):
        self.churn(None)

    def test_churn_of_upstreams_daemon(self):
        self.churn(self.need_upstream())

    def test_open_waits_for_the_first_backup(self):
        got = []

        def wait():
            v = open_vfs(self.url, poll="50ms")
            got.append(v.execute("SELECT x FROM t").fetchall())
            v.close()
        t = threading.Thread(target=wait)
        t.start()
        c = connect(self.db)
        c.execute("CREATE TABLE t(x)")
        c.execute("INSERT INTO t VALUES(7)")
        d = self.daemon({self.db: self.url}).start()
        d.sync()
        t.join(30)
        self.assertEqual(got, [[(7,)]])
        d.stop()
        c.close()


class Guest(VfsCase):
    def simple(self):
        c = connect(self.db)
        c.execute("CREATE TABLE t(x)")
        c.execute("INSERT INTO t VALUES(1)")
        d = self.daemon({self.db: self.url}).start()
        d.sync()
        d.stop()
        c.close()

    def test_the_shortest_poll_counts(self):
        """Also beside a connection whose wait is a long one already."""
        self.simple()
        slow = self.vfs(poll="1h")
        time.sleep(0.3)
        fast = self.vfs(poll="50ms")
        c = connect(self.db)
        c.execute("INSERT INTO t VALUES(2)")
        d = self.daemon({self.db: self.url}).start()
        d.sync()
        d.stop()
        c.close()
        for each in (fast, slow):
            wait_until(lambda: each.execute("SELECT max(x) FROM t"
                                            ).fetchone() == (2,),
                       20, "the new row", 0.05)

    def test_exports_one_symbol_and_needs_no_sqlite(self):
        out = subprocess.run(["nm", "-D", "--defined-only", EXTENSION],
                             capture_output=True, text=True, check=True)
        self.assertEqual([line.split()[-1] for line in
                          out.stdout.splitlines()],
                         ["sqlite3_litestreamvfs_init"])
        out = subprocess.run(["nm", "-D", "--undefined-only", EXTENSION],
                             capture_output=True, text=True, check=True)
        self.assertNotIn("sqlite3_", out.stdout)
        out = subprocess.run(["readelf", "-d", EXTENSION],
                             capture_output=True, text=True, check=True)
        self.assertNotIn("libsqlite3", out.stdout)

    def test_close_leaves_no_thread_and_no_descriptor(self):
        self.simple()
        open_vfs(self.url).close()
        before = threads(), descriptors()
        for i in range(10):
            v = open_vfs(self.url, hydrate=i % 2)
            w = open_vfs(self.url)
            v.execute("SELECT * FROM t").fetchall()
            v.close()
            self.assertEqual(w.execute("SELECT * FROM t").fetchall(), [(1,)])
            w.close()
        self.assertEqual((threads(), descriptors()), before)

    def test_threads_block_all_signals(self):
        self.simple()
        mine = set(os.listdir("/proc/self/task"))
        v = self.vfs(hydrate=1)
        v.execute("SELECT * FROM t").fetchall()
        theirs = set(os.listdir("/proc/self/task")) - mine
        self.assertGreaterEqual(len(theirs), 2)
        # All but SIGKILL, SIGSTOP and the two of the C library.
        want = (1 << 64) - 1 & ~(1 << signal.SIGKILL - 1) \
            & ~(1 << signal.SIGSTOP - 1) & ~(3 << 31)
        for t in theirs:
            status = Path(f"/proc/self/task/{t}/status").read_text()
            mask = int(status.split("SigBlk:\t")[1].split()[0], 16)
            self.assertEqual(mask & want, want)

    def test_fork_is_refused_and_the_child_may_open_its_own(self):
        self.simple()
        v = self.vfs()
        v.execute("SELECT * FROM t").fetchall()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                v.execute("SELECT * FROM t").fetchall()
            except sqlite3.OperationalError as e:
                status = 0 if "disk I/O error" in str(e) else 2
            try:
                w = open_vfs(self.url)
                if w.execute("SELECT * FROM t").fetchall() != [(1,)]:
                    status = 3
                w.close()
            except sqlite3.Error:
                status = 4
            os._exit(status)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.assertEqual(v.execute("SELECT * FROM t").fetchall(), [(1,)])

    def test_bad_uris_fail_at_once_and_say_why(self):
        self.simple()
        load()
        log = self.tmp / "vfs.log"
        prog = ("import sqlite3,sys\n"
                "m=sqlite3.connect(':memory:')\n"
                "m.enable_load_extension(True)\n"
                f"m.execute(\"SELECT load_extension('{EXTENSION}',"
                "'sqlite3_litestreamvfs_init')\")\n"
                "try: sqlite3.connect(sys.argv[1],uri=True)"
                ".execute('SELECT 1 FROM t')\n"
                "except sqlite3.Error as e: print(e); sys.exit(3)\n")
        for more, why in (
                ("&wirte=1", "wirte"), ("&write=2", "write"),
                ("&poll=7", "poll"), ("&cache_size=x", "cache_size"),
                # Asks for the size before anybody can say why.
                ("&immutable=1", "unable to open database file"),
                ("&cache=shared", "cache=shared"),
                ("&time=soon", "soon"), ("&txid=zz", "zz"),
                ("&txid=1&time=now", "txid")):
            r = subprocess.run([sys.executable, "-c", prog,
                                uri(self.url) + more], capture_output=True,
                               text=True, timeout=60,
                               env={**os.environ, "LITESTREAM_LOG_FILE": log})
            self.assertEqual((r.returncode, r.stderr), (3, ""), more)
            self.assertIn(why, r.stdout)
            self.assertIn("immutable" if "immutable" in more else why,
                          log.read_text().splitlines()[-1])

    def test_a_refused_file_is_not_an_empty_database(self):
        """Where nobody asks why: in ATTACH, and without our extension."""
        self.simple()
        load()
        before = descriptors()
        bad = uri(self.url) + "&wirte=1"
        c = sqlite3.connect(":memory:", uri=True)
        for more in ("", "&nolock=1", "&mode=ro"):
            with self.assertRaisesRegex(sqlite3.Error, "unable to open"):
                c.execute("ATTACH ? AS a", (bad + more,))
        self.assertEqual(c.execute("PRAGMA database_list").fetchall(),
                         [(0, "main", "")])
        with self.assertRaises(sqlite3.Error):
            c.execute("VACUUM INTO ?", (bad,))
        c.close()
        self.assertEqual(descriptors(), before)
        r = subprocess.run(
            [sys.executable, "-c", RESET, bad, str(EXTENSION)],
            capture_output=True, text=True, timeout=60)
        self.assertEqual(r.stdout.splitlines(), ["open 0"] + 5 * ["14"],
                         r.stderr)

    def test_shell(self):
        self.simple()
        r = subprocess.run(
            ["sqlite3", ":memory:"], capture_output=True, text=True, input=(
                f".load {EXTENSION} sqlite3_litestreamvfs_init\n"
                f".open '{uri(self.url)}'\nSELECT x, litestream_txid() FROM t;"
                "\nPRAGMA litestream_time='yesterday';\n"))
        self.assertEqual(r.stdout.split("|")[0], "1")
        self.assertIn("transaction not available", r.stderr)


class Hydrating(VfsCase):
    def test_serves_from_the_file_and_removes_it(self):
        w = Workload(self.db, 4096)
        d = self.daemon({self.db: self.url}).start()
        [w.step() for _ in range(20)]
        d.sync()
        v = self.vfs(hydrate=1, poll="50ms")
        wait_until(lambda: pragma(v, "hydration_progress") == "100.0", 20,
                   "hydration")
        path = Path(pragma(v, "hydration_file"))
        self.assertTrue(path.exists())
        gets = stats(v)["gets"]
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_shows(v, out)
        self.assertEqual(stats(v)["gets"], gets)
        for _ in range(10):
            w.step()
            at = d.sync()
        follow(v, at)
        wait_until(lambda: pragma(v, "hydration_progress") == "100.0", 20,
                   "hydration")
        out = self.restore(self.url, self.tmp / "o2.db")
        self.assert_shows(v, out)
        v.close()
        self.assertFalse(path.exists())
        d.stop()
        w.close()

    def test_one_process_a_path(self):
        c = connect(self.db)
        c.execute("CREATE TABLE t(x)")
        d = self.daemon({self.db: self.url}).start()
        d.sync()
        path = self.tmp / "local.db"
        v = self.vfs(hydrate=path)
        self.assertEqual(v.execute("SELECT * FROM t").fetchall(), [])
        r = subprocess.run(
            ["sqlite3", ":memory:"], capture_output=True, text=True, input=(
                f".load {EXTENSION} sqlite3_litestreamvfs_init\n"
                f".open '{uri(self.url, hydrate=path)}'\n"
                "SELECT count(*) FROM t;\n"))
        self.assertNotEqual(r.stderr, "")
        d.stop()
        c.close()


if __name__ == "__main__":
    main()
