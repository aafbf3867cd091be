#!/usr/bin/env python3
"""A database's life beside the daemon: parked, moved, linked, deleted and made
again; many at once; requests that cross each other; the end at a bad moment."""
import json
import shutil
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from faultproxy import FaultProxy  # noqa: E402
from harness import Case, connect, main, wait_until  # noqa: E402


def insert(c, n=1, size=500):
    for _ in range(n):
        c.execute("INSERT INTO t(b) VALUES(randomblob(?))", (size,))


class Life(Case):
    def app(self, path=None, rows=1):
        self.db = path or self.tmp / "app.db"
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        insert(c, rows)
        return c

    def url(self, name="r"):
        return f"file://{self.tmp}/{name}"

    def newest(self, name="r"):
        files = ltx.list_dir(self.tmp / name)
        return files[-1][1] if files else 0

    def parked(self, d, path=None):
        path = str(path or self.db)

        def is_parked():
            rows = json.loads(d.call("GET", "/list")[1])["databases"]
            return [r for r in rows if r["path"] == path and r.get("parked")]
        wait_until(is_parked, 20, "parked")

    def arrives(self, c, name="r"):
        """One more commit comes to the replica, without being asked for."""
        before = self.newest(name)
        insert(c)
        wait_until(lambda: self.newest(name) > before, 20, "upload")


class Paths(Life):
    def test_linked_database(self):
        """SQLite keeps -wal beside the target of a link, not the link."""
        (self.tmp / "real").mkdir()
        c = self.app(self.tmp / "real" / "x.db")
        link = self.tmp / "app.db"
        link.symlink_to(self.db)
        d = self.daemon({link: self.url()}, top={"park-after": "1s"}).start()
        d.sync()
        self.arrives(c)
        self.parked(d, link)
        self.arrives(c)
        c.close()
        self.assertEqual(d.stop(), 0)

    def test_folder_made_again(self):
        """The folder is deleted and made anew, with another database."""
        folder = self.tmp / "data"
        folder.mkdir()
        c = self.app(folder / "app.db")
        d = self.daemon({self.db: self.url()},
                        top={"park-after": "1s"}).start()
        d.sync()
        self.parked(d)
        c.close()
        for turn in range(3):
            if turn == 2:
                folder.rename(self.tmp / "old")
            else:  # the daemon may make a file in it meanwhile
                wait_until(lambda: shutil.rmtree(folder, True)
                           or not folder.exists(), 10, "deletion")
            folder.mkdir()
            c = self.app(folder / "app.db", 3)
            d.sync()
            self.parked(d)
            c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.arrives(c)
            self.parked(d)
            self.arrives(c)
            want = self.checkpointed(self.db)
            c.close()
        self.assertEqual(d.stop(), 0)
        out = self.restore(self.url(), self.tmp / "o.db")
        self.assert_same(out, want)

    def test_deleted_while_the_store_is_away(self):
        """What was captured and not stored is not there: status is not 0."""
        c = self.app()
        place = self.tmp / "r"
        place.write_text("no folder")
        d = self.daemon({self.db: self.url()},
                        top={"shutdown-sync-timeout": "1s"}).start()
        spool = self.tmp / ".app.db-litestream"
        wait_until(lambda: ltx.list_dir(spool), 20, "capture")
        c.close()
        for f in self.tmp.glob("app.db*"):
            f.unlink()
        d.wait_log("no database found|replaced")
        self.assertNotEqual(d.stop(), 0)


    def test_empty_file(self):
        """Opened by an application that has not written yet: nothing is
        missing at the end; when it writes, that is found."""
        self.db = self.tmp / "app.db"
        self.db.touch()
        d = self.daemon({self.db: self.url()}).start()
        d.wait_log("no database found")
        self.assertEqual(d.stop(), 0)
        d.start()
        d.wait_log("no database found")
        c = self.app()
        wait_until(self.newest, 20, "upload")
        self.assertEqual(d.stop(), 0)
        want = self.checkpointed(self.db)
        c.close()
        out = self.restore(self.url(), self.tmp / "o.db")
        self.assert_same(out, want)


class Ends(Life):
    def test_many_snapshots_at_once(self):
        """More than there are workers, of databases that are being written to
        a far server: none waits for an upload that it keeps from beginning."""
        s3, bucket = self.need_s3()
        proxy = FaultProxy(s3.port, latency=0.2).start()
        self.addCleanup(proxy.stop)
        apps, dbs = [], {}
        for i in range(30):
            apps.append(self.app(self.tmp / f"a{i}.db", 50))
            dbs[self.db] = s3.url(bucket, f"r{i}", proxy.port)
        d = self.daemon(dbs, env=s3.env(), top={"snapshot": {
            "interval": "1s"}}, replica={"sync-interval": "10ms"})
        d.start()
        for db in dbs:
            d.sync(db)
        limit = time.monotonic() + 5
        while time.monotonic() < limit:
            for c in apps:
                insert(c)
        for db in dbs:
            d.sync(db)
        for c in apps:
            c.close()
        self.assertEqual(d.stop(), 0)

    def test_end_during_a_snapshot(self):
        """A snapshot by the clock is left out; all commits are stored: 0."""
        c = self.app(rows=200)
        c.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 "
                  "FROM n WHERE x < 4000) INSERT INTO t(b) "
                  "SELECT randomblob(50000) FROM n")
        d = self.daemon({self.db: self.url()},
                        top={"snapshot": {"interval": "1s"}}).start()
        d.sync()
        nine = self.tmp / "r" / "ltx" / "9"

        def under_way():
            insert(c)
            return nine.is_dir() and any(
                not f.name.endswith(".ltx") for f in nine.iterdir())
        wait_until(under_way, 60, "a snapshot under way", 0.005)
        self.assertEqual(d.stop(), 0)
        c.close()
        self.assertFalse([f for f in nine.iterdir()
                          if not f.name.endswith(".ltx")])

    def test_start_while_ending(self):
        """A database that is done is not begun again by a request."""
        c = self.app()
        d = self.daemon({self.db: self.url()}, db={},
                        top={"shutdown-sync-timeout": "20s"})
        c2 = connect(self.tmp / "b.db")
        c2.execute("CREATE TABLE t(b)")
        (self.tmp / "rb").write_text("no folder")
        d.dbs[self.tmp / "b.db"] = self.url("rb")
        doc = json.loads(d.config.read_text())
        doc["dbs"].append({"path": str(self.tmp / "b.db"),
                           "replica": {"url": self.url("rb")}})
        d.config.write_text(json.dumps(doc))
        d.start()
        d.sync()
        d.proc.terminate()

        wait_until(lambda: b'"stopped"' in d.call("GET", "/list")[1], 10,
                   "stopping")
        said = set()

        def refused():
            code, raw = d.call("POST", "/start", {"path": str(self.db)})
            self.assertNotEqual(code, 200)
            said.add(raw)
            return b"the daemon is stopping" in raw
        wait_until(refused, 10, "refusal", 0.05)
        (self.tmp / "rb").unlink()
        self.assertEqual(d.proc.wait(30), 0)
        c.close(), c2.close()


class Requests(Life):
    def test_crossing(self):
        """stop, unregister and sync -wait of one database at once: each ends,
        and none by its time limit."""
        c = self.app()
        d = self.daemon({self.db: self.url()}).start()
        d.sync()
        for turn in range(15):
            answers = []

            def ask(what, body):
                answers.append((what, *d.call("POST", what, body)))
            p = str(self.db)
            body = {"path": p, "timeout": 10, "wait": True}
            threads = [threading.Thread(target=ask, args=a) for a in (
                ("/sync", body), ("/stop", body), ("/stop", body),
                ("/unregister", body))]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            late = [a for a in answers if b"timeout" in a[2]]
            self.assertEqual(late, [], f"turn {turn}: {answers}")
            self.assertEqual(d.call("POST", "/unregister", body)[0], 200)
            self.assertEqual(d.call("POST", "/register", {
                "path": p, "replica_url": self.url()})[0], 200)
            d.sync()
        c.close()
        self.assertEqual(d.stop(), 0)

    def test_hostile_clients(self):
        """Bodies too large, nested too deep, not UTF-8; clients that say
        nothing, as many as there are places."""
        c = self.app()
        d = self.daemon({self.db: self.url()}).start()
        d.sync()
        for body in (b"[" * 60000, b'{"a":' * 10000, b"x" * 10**6,
                     b'{"path":"\xff\xfe"}', b'{"path":"a\\u0000b"}', b"",
                     b'{"path":{}}', b'{"path":"","timeout":-1}'):
            self.assertGreaterEqual(self.raw(d, body), 400, body[:20])
        code, raw = d.call("POST", "/sync", {
            "path": '"},{"\\n\t\u2028', "timeout": 1})
        self.assertEqual(code, 404)
        self.assertIn("error", json.loads(raw))
        idle = []
        for _ in range(40):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(d.sock))
            s.sendall(b"POST /sync HTTP/1.1\r\nContent-Length: 50\r\n")
            idle.append(s)

        def served():
            try:
                return d.call("GET", "/info", timeout=5)[0] == 200
            except OSError:
                return False
        wait_until(served, 45, "a place")
        for s in idle:
            s.close()
        insert(c)
        d.sync()
        c.close()
        self.assertEqual(d.stop(), 0)

    def test_a_long_wait_is_answered(self):
        """Longer than a silent client is suffered."""
        (self.tmp / "r").write_text("no folder")
        self.app().close()
        d = self.daemon({self.db: self.url()},
                        top={"shutdown-sync-timeout": "1s"}).start()
        code, raw = d.call("POST", "/sync", {
            "path": str(self.db), "wait": True, "timeout": 13})
        self.assertEqual(code, 500)
        self.assertIn(b"timeout", raw)
        self.assertNotEqual(d.stop(), 0)

    def raw(self, d, body):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(str(d.sock))
        head = f"POST /sync HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        answer = b""
        try:
            s.sendall(head.encode() + b"\r\n\r\n" + body)
        except OSError:
            pass  # it may answer before it has read all
        try:
            answer = s.recv(100)
        except ConnectionError:
            pass
        s.close()
        # Hung up on in the middle of too much: refused as well.
        return int(answer.split()[1]) if answer else 400


if __name__ == "__main__":
    main()
