#!/usr/bin/env python3
"""SQL through the writable extension: what SQLite promises holds, what is
stored is restored by our program, and the state is one for all connections of
the process."""
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import VfsCase, load, pragma, stats, txid  # noqa: E402
from writekit import write_uri  # noqa: E402
from harness import main, wait_until  # noqa: E402


class Writing(VfsCase):
    def writer(self, url=None, timeout=10, buffer=None, **params):
        load()
        params = {"sync_interval": "20ms", **params}
        c = sqlite3.connect(
            write_uri(url or self.url, buffer or self.tmp / "buffer",
                      **params), uri=True, isolation_level=None, check_same_thread=False,
            timeout=timeout)
        self.open.append(c)
        return c

    def stored(self, c):
        """What c shows is what a restore makes."""
        pragma(c, "sync")
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_shows(c, out)
        out.unlink()

    def filled(self, c, rows=200, size=900):
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b)")
        c.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 "
                  f"FROM n WHERE i<{rows}) INSERT INTO t(b) SELECT "
                  f"randomblob({size}) FROM n")

    def test_rollback_and_savepoints_after_spill(self):
        for mode in ("delete", "truncate", "persist", "memory"):
            with self.subTest(mode):
                c = self.writer(f"file://{self.tmp}/{mode}", buffer=self.tmp
                                / f"buffer-{mode}")
                c.execute("PRAGMA cache_size=5")
                self.filled(c)
                c.execute(f"PRAGMA journal_mode={mode}")
                before = list(c.iterdump())
                c.execute("BEGIN")
                c.execute("UPDATE t SET b=randomblob(1500)")
                c.execute("ROLLBACK")
                self.assertEqual(list(c.iterdump()), before)
                c.execute("BEGIN")
                c.execute("DELETE FROM t WHERE id=1")
                c.execute("SAVEPOINT s")
                c.execute("UPDATE t SET b=randomblob(1500)")
                c.execute("ROLLBACK TO s")
                c.execute("COMMIT")
                self.assertEqual(
                    list(c.iterdump()),
                    [x for x in before
                     if not x.startswith('INSERT INTO "t" VALUES(1,')])
                self.assertEqual(
                    c.execute("PRAGMA integrity_check").fetchone(), ("ok",))

    def test_vacuum(self):
        c = self.writer()
        self.filled(c, 2000)
        pages = c.execute("PRAGMA page_count").fetchone()[0]
        c.execute("DELETE FROM t WHERE id>20")
        c.execute("PRAGMA page_size=8192")  # not heard, as in WAL mode
        c.execute("VACUUM")
        self.assertLess(c.execute("PRAGMA page_count").fetchone()[0],
                        pages / 10)
        self.assertEqual(c.execute("PRAGMA page_size").fetchone(), (4096,))
        self.stored(c)

    def test_page_sizes(self):
        for size in (512, 1024, 8192, 65536):
            self.url = f"file://{self.tmp}/r{size}"
            c = self.writer(buffer=self.tmp / f"b{size}")
            c.execute(f"PRAGMA page_size={size}")
            self.filled(c)
            self.assertEqual(c.execute("PRAGMA page_size").fetchone(),
                             (size,))
            self.stored(c)

    def test_exclusive_mode(self):
        c = self.writer()
        c.execute("PRAGMA locking_mode=EXCLUSIVE")
        self.filled(c)
        for i in range(20):
            c.execute("UPDATE t SET b=? WHERE id=?", (i, i + 1))
        c.execute("PRAGMA cache_size=5")
        c.execute("BEGIN")
        c.execute("UPDATE t SET b=randomblob(1500)")
        c.execute("ROLLBACK")
        c.execute("UPDATE t SET b='last' WHERE id=1")
        self.assertEqual(c.execute("SELECT b FROM t WHERE id<4").fetchall(),
                         [("last",), (1,), (2,)])
        other = self.writer(timeout=0)
        self.assertEqual(other.execute("SELECT b FROM t WHERE id=1")
                         .fetchone(), ("last",))
        with self.assertRaisesRegex(sqlite3.Error, "locked"):
            other.execute("DELETE FROM t")
        c.close()
        self.stored(other)

    def test_exclusive_mode_stored_at_once(self):
        """A rollback after a spill stores nothing, and shuts nobody out."""
        c = self.writer(sync_interval="0")
        c.execute("PRAGMA locking_mode=EXCLUSIVE")
        self.filled(c)
        c.execute("UPDATE t SET b=1 WHERE id=1")
        c.execute("PRAGMA cache_size=5")
        c.execute("DELETE FROM t WHERE id>150")  # free pages
        at = txid(c)
        for _ in range(2):
            c.execute("BEGIN")
            c.execute("UPDATE t SET b=randomblob(1500)")
            c.execute("INSERT INTO t(b) SELECT randomblob(900) FROM t")
            c.execute("ROLLBACK")
            self.assertEqual(txid(c), at)
        c.execute("UPDATE t SET b='last' WHERE id=1")
        self.assertEqual(txid(c), at + 1)
        c.execute("PRAGMA locking_mode=NORMAL")
        self.stored(c)

    def test_wal_mode_is_not_there(self):
        for lock in ("NORMAL", "EXCLUSIVE"):
            c = self.writer()
            c.execute(f"PRAGMA locking_mode={lock}")
            c.execute("CREATE TABLE IF NOT EXISTS t(x)")
            try:
                mode = c.execute("PRAGMA journal_mode=WAL").fetchone()
                self.assertEqual(mode, ("delete",))
            except sqlite3.Error:
                pass
            c.execute("INSERT INTO t VALUES(1)")
            c.close()
            self.open.remove(c)

    def test_switched_on_and_off(self):
        self.filled(self.writer())
        pragma(self.open[0], "sync")
        v = self.vfs()
        with self.assertRaisesRegex(sqlite3.Error, "readonly"):
            v.execute("DELETE FROM t")
        c = self.open[0]
        self.assertEqual(pragma(c, "write_enabled"), "1")
        self.assertEqual(pragma(c, "write_enabled", "0"), "0")
        with self.assertRaisesRegex(sqlite3.Error, "readonly"):
            c.execute("DELETE FROM t")
        self.assertEqual(pragma(v, "write_enabled", "on"), "1")
        v.execute("DELETE FROM t WHERE id>5")
        self.assertEqual(c.execute("SELECT count(*) FROM t").fetchone(), (5,))
        v.execute("BEGIN IMMEDIATE")
        with self.assertRaisesRegex(sqlite3.Error, "transaction"):
            v.execute("PRAGMA litestream_write_enabled=0")
        v.execute("COMMIT")

    def test_the_past_is_not_written(self):
        c = self.writer()
        self.filled(c, 5)
        at = pragma(c, "sync")
        c.execute("DELETE FROM t")
        pragma(c, "sync")
        pragma(c, "txid", at)
        self.assertEqual(c.execute("SELECT count(*) FROM t").fetchone(), (5,))
        with self.assertRaisesRegex(sqlite3.Error, "readonly"):
            c.execute("DELETE FROM t WHERE id=1")
        pragma(c, "txid", "LATEST")
        c.execute("INSERT INTO t(b) VALUES(1)")
        self.stored(c)

    def test_back_from_the_past(self):
        """What a connection asked for begins when it returns."""
        c = self.writer()
        self.filled(c, 3)
        at = pragma(c, "sync")
        c.execute("DELETE FROM t WHERE id=1")
        pragma(c, "sync")
        c.close()
        self.open.remove(c)
        c = self.writer(txid=at, hydrate=1)
        self.assertEqual(pragma(c, "write_enabled"), "0")
        self.assertEqual(pragma(c, "hydration_file"), "")
        self.assertEqual(c.execute("SELECT count(*) FROM t").fetchone(), (3,))
        pragma(c, "txid", "LATEST")
        self.assertEqual(pragma(c, "write_enabled"), "1")
        self.assertNotEqual(pragma(c, "hydration_file"), "")
        c.execute("INSERT INTO t(b) VALUES(1)")
        self.stored(c)

    def test_no_update_is_lost(self):
        """Threads count up, each with a connection; readers see every state
        whole: both rows are always equal."""
        c = self.writer()
        c.execute("CREATE TABLE n(id INTEGER PRIMARY KEY, v)")
        c.execute("INSERT INTO n VALUES(1,0),(2,0)")
        each, wrong, left = 40, [], [3]

        def count(c):
            done = 0
            while done < each:
                try:
                    c.execute("BEGIN")
                    v = c.execute("SELECT v FROM n WHERE id=1").fetchone()[0]
                    c.execute("UPDATE n SET v=?", (v + 1,))
                    c.execute("COMMIT")
                    done += 1
                except sqlite3.OperationalError as e:
                    if "locked" not in str(e):
                        wrong.append(e)
                        break
                    if c.in_transaction:
                        c.execute("ROLLBACK")
            left[0] -= 1

        def watch(c):
            last = 0
            while left[0] > 0:
                c.execute("BEGIN")
                a = c.execute("SELECT v FROM n").fetchall()
                b = c.execute("SELECT v FROM n").fetchall()
                c.execute("COMMIT")
                if a != b or a[0] != a[1] or a[0][0] < last:
                    wrong.append((a, b, last))
                    return
                last = a[0][0]

        ts = [threading.Thread(target=count, args=(self.writer(timeout=0),))
              for _ in range(3)]
        ts += [threading.Thread(target=watch, args=(self.writer(poll="5ms"),))
               for _ in range(2)]
        [t.start() for t in ts]
        [t.join() for t in ts]
        self.assertEqual(wrong, [])
        self.assertEqual(c.execute("SELECT v FROM n").fetchall(),
                         [(3 * each,)] * 2)
        self.stored(c)

    def test_hydrated_file_holds_only_what_is_stored(self):
        h = self.tmp / "hydrated.db"
        c = self.writer(hydrate=h, sync_interval="1h")
        self.filled(c)
        pragma(c, "sync")
        c.execute("UPDATE t SET b='waits' WHERE id%3=0")
        c.execute("PRAGMA cache_size=2")
        want = c.execute("SELECT count(*) FROM t WHERE b='waits'").fetchone()
        pages = c.execute("PRAGMA page_count").fetchone()[0]
        wait_until(lambda: pragma(c, "hydration_progress") == "100.0", 30,
                   "hydration")
        self.assertEqual(c.execute("SELECT count(*) FROM t WHERE b='waits'")
                         .fetchone(), want)
        out = self.restore(self.url, self.tmp / "o.db")
        self.assertEqual(h.stat().st_size, out.stat().st_size)
        self.assertNotIn(b"waits", h.read_bytes())
        self.assertGreater(pages, 10)
        c.close()
        self.open.remove(c)
        c = self.writer(hydrate=h)
        self.assertEqual(c.execute("SELECT count(*) FROM t WHERE b='waits'")
                         .fetchone(), want)

    def test_several_databases_in_one_transaction(self):
        c = self.writer()
        self.filled(c, 3)
        local = self.tmp / "local.db"
        c.execute("ATTACH ? AS l", (f"file:{local}?vfs=unix",))
        c.execute("CREATE TABLE l.u(x)")
        os.chdir(self.tmp)  # where the name of the super-journal leads
        for i in range(5):
            c.execute("BEGIN")
            c.execute("INSERT INTO t(b) VALUES(?)", (i,))
            c.execute("INSERT INTO u VALUES(?)", (i,))
            c.execute("COMMIT" if i % 2 == 0 else "ROLLBACK")
        self.assertEqual(c.execute("SELECT count(*) FROM t").fetchone(), (6,))
        self.assertEqual(c.execute("SELECT count(*) FROM u").fetchone(), (3,))
        self.assertEqual([p.name for p in self.tmp.iterdir()
                          if "-mj" in p.name], [])

    def test_a_fork_writes_nothing(self):
        c = self.writer()
        self.filled(c, 3)
        pid = os.fork()
        if pid == 0:
            try:
                c.execute("INSERT INTO t(b) VALUES(1)")
                os._exit(1)
            except sqlite3.Error:
                os._exit(0)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        c.execute("INSERT INTO t(b) VALUES(2)")
        self.stored(c)
        self.assertEqual(c.execute("SELECT count(*) FROM t").fetchone(), (4,))

    def test_the_buffer_is_one_processes(self):
        c = self.writer(sync_interval="1h")
        self.filled(c, 3)
        prog = ("import sys,sqlite3\n"
                f"sys.path[:0]=[{str(Path(__file__).parent)!r}]\n"
                "from vfskit import load; load()\n"
                "c=sqlite3.connect(sys.argv[1],uri=True,timeout=0)\n"
                "try: c.execute('CREATE TABLE x(y)')\n"
                "except sqlite3.Error as e: print(e)\n")
        r = subprocess.run([sys.executable, "-c", prog,
                            write_uri(self.url, self.tmp / "buffer")],
                           capture_output=True, text=True, timeout=60)
        self.assertEqual(r.stdout, "database is locked\n", r.stderr)
        other = self.tmp / "elsewhere"
        with self.assertRaises(sqlite3.Error):
            self.writer(buffer=other)

    def test_processes_take_turns(self):
        """Open, write, close, in several processes through one buffer: who
        waited for the lock must not write on top of what he saw before."""
        c = self.writer()
        c.execute("CREATE TABLE n(x)")
        c.execute("INSERT INTO n VALUES(0)")
        c.close()
        self.open.remove(c)
        prog = ("import sys,sqlite3\n"
                f"sys.path[:0]=[{str(Path(__file__).parent)!r}]\n"
                "from vfskit import load; load()\n"
                "for i in range(8):\n"
                "  c=sqlite3.connect(sys.argv[1],uri=True,timeout=60,"
                "isolation_level=None)\n"
                "  c.execute('BEGIN IMMEDIATE')\n"
                "  c.execute('UPDATE n SET x=x+1')\n"
                "  c.execute('COMMIT')\n"
                "  c.close()\n")
        uri = write_uri(self.url, self.tmp / "buffer")
        those = [subprocess.Popen([sys.executable, "-c", prog, uri])
                 for _ in range(3)]
        self.assertEqual([p.wait(120) for p in those], [0, 0, 0])
        c = self.writer()
        self.assertEqual(c.execute("SELECT x FROM n").fetchone(), (24,))
        self.assertEqual([p.name for p in self.tmp.iterdir()
                          if "conflict" in p.name], [])

    def test_an_empty_buffer_file(self):
        (self.tmp / "buffer").touch()
        c = self.writer(sync_interval="1h")
        self.filled(c, 3)
        c.execute("DELETE FROM t WHERE id=2")
        c.close()
        self.open.remove(c)
        self.stored(self.writer())

    def test_a_fork_keeps_no_lock(self):
        c = self.writer()
        self.filled(c, 3)
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(w)
            os.read(r, 1)
            os._exit(0)
        c.close()
        self.open.remove(c)
        c = self.writer(timeout=0)
        c.execute("INSERT INTO t(b) VALUES(2)")
        self.stored(c)
        os.close(w)
        os.close(r)
        os.waitpid(pid, 0)

    def test_loads_a_database_by_backup(self):
        src = sqlite3.connect(self.tmp / "src.db")
        src.execute("PRAGMA journal_mode=WAL")
        src.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b)")
        src.executemany("INSERT INTO t(b) VALUES(randomblob(500))",
                        [()] * 500)
        src.commit()
        c = self.writer()
        src.backup(c)
        self.assertEqual(list(c.iterdump()), list(src.iterdump()))
        self.stored(c)
        src.close()
        self.assertEqual(int(stats(c)["pending_transactions"]), 0)


if __name__ == "__main__":
    main()
