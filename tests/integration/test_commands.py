#!/usr/bin/env python3
"""The commands beside `replicate`: help, required arguments, exact output in
text and JSON, what restore refuses, and what the client commands make of the
daemon's answers. With upstream's binary at hand the output is compared with
its own, byte for byte."""
import json
import re
import socket
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, connect, is_upstream, main  # noqa: E402
from proc import ROOT  # noqa: E402

TX1 = "0000000000000001"


class Commands(Case):
    def setUp(self):
        super().setUp()
        self.up = is_upstream(self.bin)
        self.prog = Path(self.bin).name
        self.env = {"LITESTREAM_CONFIG": str(self.tmp / "c.yml")}
        self.db = self.tmp / "app.db"
        self.rep = self.tmp / "rep"
        self.url = f"file://{self.rep}"
        c = connect(self.db)
        c.execute("CREATE TABLE t(x)")
        c.executemany("INSERT INTO t VALUES(?)", [("x" * 99,)] * 300)
        c.close()
        (self.tmp / "c.yml").write_text(json.dumps({"dbs": [
            {"path": str(self.db), "replica": {"path": str(self.rep)}},
            {"path": str(self.tmp / "none.db"),
             "replica": {"url": "s3://bucket/x"}}]}))

    def run_(self, *args, ok=True, **kw):
        return self.run_cli(*args, env=self.env, ok=ok, **kw)

    def out(self, *args):
        r = self.run_(*args)
        if not self.up:  # which logs more
            self.assertEqual(r.stderr, "")
        return r.stdout

    def refuses(self, args, message, hint=None, out=""):
        with self.subTest(" ".join(map(str, args))):
            r = self.run_(*args, ok=False)
            want = f"Error: {message}\n" + (f"Try: {hint}\n" if hint else "")
            self.assertEqual((r.returncode, r.stderr), (1, want))
            if out is not None:
                self.assertEqual(r.stdout, out)

    def replicate(self):
        self.run_("replicate", "-once", self.db, self.url)

    # ---- help ------------------------------------------------------------

    def test_every_command_has_help_and_a_readme_row(self):
        out = self.out("help")
        names = re.findall(r"^\t(\w+) {2,}\S", out, re.M)
        self.assertEqual(names, sorted(names))
        self.assertGreaterEqual(len(names), 14)
        for word in ("-h", "-help", "--help"):
            self.assertEqual(self.out(word), out)
        readme = (ROOT / "README.md").read_text()
        for name in names:
            self.assertRegex(self.out(name, "-h"),
                             r"(?i)usage:[\s\S]*" + name)
            if not self.up:
                self.assertRegex(readme, rf"`(litestreamd )?{name}\b")
        for args in ((), ("-x",)):
            r = self.run_(*args, ok=False)
            self.assertEqual((r.returncode, r.stdout), (1, out))

    def test_it_answers_by_the_name_that_it_was_called_by(self):
        link = self.tmp / "othername"
        link.symlink_to(Path(self.bin).resolve())
        if self.up:
            self.skipTest("upstream always says litestream")
        self.prog = "othername"
        r = self.run_cli("ltx", binary=str(link), ok=False)
        self.assertIn("Try: othername ltx /path/to/db\n", r.stderr)
        self.assertIn("\tothername ltx ",
                      self.run_cli("ltx", "-h", binary=str(link)).stdout)
        r = self.run_cli("nonsense", binary=str(link), ok=False)
        self.assertEqual(r.stderr,
                         "Error: othername nonsense: unknown command\n")

    def test_required_arguments(self):
        p = "litestream" if self.up else self.prog
        path = "database path required"
        register = f"{p} register -replica s3://bucket/prefix /path/to/db"
        self.refuses(["register"], path, register)
        self.refuses(["register", "x"], "-replica is required", register)
        for cmd in ("unregister", "start", "stop", "sync", "reset"):
            self.refuses([cmd], path, f"{p} {cmd} /path/to/db")
        both = "database path or replica URL required"
        self.refuses(["ltx"], both, f"{p} ltx /path/to/db")
        self.refuses(["restore"], both,
                     f"{p} restore -o /path/to/db s3://bucket/prefix")
        self.refuses(["restore", "file:///x"],
                     "-o is required when restoring from a replica URL",
                     f"{p} restore -o /path/to/db file:///x")
        for args in (["restore", "a", "b"], ["ltx", "a", "b"],
                     ["databases", "a"], ["list", "a"], ["reset", "a", "b"],
                     ["start", "a", "b"]):
            self.refuses(args, "too many arguments")
        for cmd in ("info", "list", "sync x", "unregister x",
                    "register -replica file:///x x"):
            cmd, *words = cmd.split()
            self.refuses([cmd, "-timeout", "0", *words],
                         "timeout must be greater than 0")

    def test_missing_configuration(self):
        for cmd in ("databases", "status"):
            self.refuses([cmd, "-config", "/no/such.yml"],
                         "config file not found: /no/such.yml")

    # ---- lists -----------------------------------------------------------

    def test_databases(self):
        n = self.tmp / "none.db"
        wide = max(len(str(self.db)), len(str(n)))
        self.assertEqual(self.out("databases"), "".join(
            f"{a:<{wide}}  {b}\n" for a, b in
            (("path", "replica"), (self.db.as_posix(), "file"),
             (n.as_posix(), "s3"))))
        self.assertEqual(json.loads(self.out("databases", "-json")), [
            {"path": str(self.db), "replica": "file"},
            {"path": str(n), "replica": "s3"}])
        (self.tmp / "c.yml").write_text("")
        self.assertEqual(self.out("databases"), "path  replica\n")
        self.assertEqual(self.out("databases", "-json"), "[]\n")

    def test_status(self):
        def rows():
            return {r["database"]: r for r in
                    json.loads(self.out("status", "-json"))}
        none, db = str(self.tmp / "none.db"), str(self.db)
        self.assertEqual(rows()[none], {
            "database": none, "status": "no database", "local_txid": "-",
            "wal_size": "-"})
        self.assertEqual(rows()[db], {
            "database": db, "status": "not initialized", "local_txid": "-",
            "wal_size": "0 B"})
        self.replicate()
        self.assertEqual(rows()[db]["status"], "ok")
        self.assertEqual(rows()[db]["local_txid"], TX1)
        lines = self.out("status", db).splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0],
                         r"^database {2,}status  local txid {8}wal size$")
        self.assertRegex(lines[1], rf"^{db}  ok      {TX1}  \d+ k?B$")

    def test_ltx(self):
        self.replicate()
        doc = json.loads(self.out("ltx", "-json", self.db))
        size = (self.rep / f"ltx/0/{TX1}-{TX1}.ltx").stat().st_size
        self.assertRegex(doc[0].pop("timestamp"),
                         r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(doc, [{"level": 0, "min_txid": TX1,
                                "max_txid": TX1, "size": size}])
        text = self.out("ltx", self.url)
        self.assertRegex(text, rf"^level  min_txid {{10}}max_txid {{10}}"
                         rf"size  created\n0      {TX1}  {TX1}  {size}  \d")
        self.assertEqual(self.out("ltx", "-level", "all", self.url)[:len(
            text)], text)
        self.assertEqual(self.out("ltx", "-json", "-level=5", self.url),
                         "[]\n")
        r = self.run_("wal", self.url)
        self.assertEqual((r.stdout, r.stderr), (
            text, "Warning: 'wal' command is deprecated, please use 'ltx' "
            "instead\n"))
        for level, why in (("10", "level must be between 0 and 9"),
                           ("x", 'invalid level: must be 0-9 or "all"')):
            r = self.run_("ltx", "-level", level, self.url, ok=False)
            self.assertIn(f'Error: invalid value "{level}" for flag -level: '
                          f'{why}\n', r.stderr)

    def test_reset(self):
        meta = self.tmp / ".app.db-litestream"
        self.assertEqual(self.out("reset", self.db),
                         f"No local state to reset for {self.db}\n"
                         f"Meta directory does not exist: {meta}\n")
        self.replicate()
        file = meta / f"ltx/0/{TX1}-{TX1}.ltx"
        out = self.out("reset", "-dry-run", self.db)
        self.assertTrue(out.startswith(
            f"Dry run: local Litestream state would be reset for: {self.db}\n"
            f"Would remove: {meta}/ltx\nFiles that would be removed:\n"
            f"  {meta}"), out)
        self.assertIn(f"  {file}\n", out)
        self.assertTrue(out.endswith("No files were removed.\n"))
        self.assertTrue(file.exists())
        out = self.out("reset", self.db)
        self.assertTrue(out.startswith(
            f"Resetting local Litestream state for: {self.db}\n"
            f"Removing: {meta}/ltx\n"))
        self.assertTrue(out.endswith("Reset complete. Next replication sync "
                                     "will create a fresh snapshot.\n"))
        self.assertFalse((meta / "ltx").exists())
        self.refuses(["reset", "/no/such.db"],
                     "database does not exist: /no/such.db")
        # What the next run makes of it: a state that restores.
        self.replicate()
        self.restore(self.url, self.tmp / "o.db")
        self.assert_same(self.tmp / "o.db", self.checkpointed(self.db))

    def test_reset_honours_meta_path_of_the_default_file(self):
        if self.up:
            self.skipTest("upstream does not read it")
        meta = self.tmp / "m"
        (self.tmp / "c.yml").write_text(json.dumps({"dbs": [
            {"path": str(self.db), "meta-path": str(meta),
             "replica": {"path": str(self.rep)}}]}))
        self.run_("replicate", "-once")
        self.assertTrue((meta / "ltx").exists())
        self.out("reset", self.db)
        self.assertFalse((meta / "ltx").exists())
        self.assertEqual([p.name for p in meta.iterdir()
                          if "position" in p.name or "pagemap" in p.name], [])

    # ---- restore ---------------------------------------------------------

    def test_restore_plan_and_result(self):
        self.replicate()
        out = self.tmp / "o.db"
        file = f"{TX1}-{TX1}.ltx"
        text = self.out("restore", "-dry-run", "-o", out, self.db)
        self.assertRegex(text, rf"^Restore plan:\n  source: {self.db}\n"
                         rf"  target: {out}\n  replica: file\n"
                         rf"  txid range: {TX1} - {TX1}\n\nFiles to fetch:\n"
                         rf"level  file {{35}}min_txid {{10}}max_txid {{10}}"
                         rf"size +timestamp\n\d      {file}  {TX1}")
        doc = json.loads(self.out("restore", "-dry-run", "-json", "-o", out,
                                  self.url))
        f = doc["files"][0]
        self.assertEqual(
            (doc["source"], doc["target_path"], doc["replica"],
             doc["min_txid"], doc["max_txid"], f["name"], f["min_txid"]),
            (self.url, str(out), "file", TX1, TX1, file, TX1))
        self.assertEqual(set(f), {"level", "name", "min_txid", "max_txid",
                                  "size", "timestamp"})
        self.assertFalse(out.exists())
        r = self.run_("restore", "-json", "-integrity-check", "full",
                      "-parallelism", "3", "-txid", TX1, "-o", out, self.url)
        self.assertRegex(r.stderr, r"^time=\S+ level=INFO "
                         r'msg="post-restore integrity check passed" '
                         r"replica=file\n$")
        doc = json.loads(r.stdout)
        self.assertIsInstance(doc.pop("duration_ms"), int)
        self.assertEqual(doc, {"db_path": str(out), "replica": "file",
                               "txid": TX1, "integrity_check": "full"})
        self.assert_same(out, self.checkpointed(self.db))

    def test_restore_refuses_existing(self):
        self.replicate()
        out = self.tmp / "o.db"
        out.write_bytes(b"precious")
        self.refuses(["restore", "-o", out, self.url],
                     f"cannot restore, output path already exists and is not "
                     f"empty: {out}. Use -force to overwrite")
        self.assertEqual(out.read_bytes(), b"precious")
        out.unlink()
        # 0.5.17 looks at these only beside a database; SQLite would apply
        # them to the new one.
        for end in () if self.up else ("-wal", "-shm", "-journal"):
            side = Path(f"{out}{end}")
            side.write_bytes(b"x")
            self.refuses(["restore", "-o", out, self.url],
                         f"cannot restore, SQLite sidecar path already "
                         f"exists: {side}. Use -force to overwrite")
            side.unlink()
        self.refuses(["restore", "-o", self.tmp, self.url],
                     f"cannot restore, output path is a directory: "
                     f"{self.tmp}")
        out.touch()  # an empty file is fine
        self.out("restore", "-o", out, self.url)
        self.assert_same(out, self.checkpointed(self.db))

    def test_force_replaces_database_and_sidecars(self):
        self.replicate()
        out = self.tmp / "o.db"
        out.write_bytes(b"old")
        for end in ("-wal", "-shm", "-journal"):
            Path(f"{out}{end}").write_bytes(b"x")
        self.out("restore", "-force", "-o", out, self.url)
        self.assert_same(out, self.checkpointed(self.db))
        self.assertEqual([p.name for p in self.tmp.glob("o.db?*")], [])

    def test_failed_force_keeps_the_old(self):
        if self.up:
            self.skipTest("upstream removes it first")
        self.replicate()
        out = self.tmp / "o.db"
        out.write_bytes(b"old")
        Path(f"{out}-wal").write_bytes(b"w")
        file, = (self.rep / "ltx/0").iterdir()
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
        r = self.run_("restore", "-force", "-o", out, self.url, ok=False)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(out.read_bytes(), b"old")
        self.assertEqual([p.name for p in self.tmp.glob("o.db?*")],
                         ["o.db-wal"])

    def test_restore_without_a_backup(self):
        none, out = f"file://{self.tmp}/nothing", self.tmp / "o.db"
        r = self.run_("restore", "-o", out, none, ok=False)
        self.assertEqual((r.returncode, r.stderr.splitlines()[0]),
                         (1, "Error: no matching backup files available"))
        said = r"^time=\S+Z level=INFO msg=\"no matching backups found\"\n$"
        r = self.run_("restore", "-if-replica-exists", "-o", out, none)
        self.assertRegex(r.stdout, said)
        r = self.run_("restore", "-json", "-if-replica-exists", "-o", out,
                      none)
        self.assertEqual(r.stdout, "")
        self.assertRegex(r.stderr, said)
        self.refuses(["restore", "-timestamp", "2026-01-01T00:00:00Z", "-o",
                      out, none], "no backups found")
        r = self.run_("restore", "-if-db-not-exists", "-o", self.db, none)
        self.assertRegex(r.stdout, "level=INFO msg=\"database already exists, "
                         "skipping\"\n$")
        self.assertFalse(out.exists())

    def test_restore_of_a_point_that_is_not_there(self):
        self.replicate()
        out = self.tmp / "o.db"
        for t in ("2000-01-01T00:00:00Z", "2200-01-01T00:00:00Z"):
            r = self.run_("restore", "-timestamp", t, "-o", out, self.url,
                          ok=False)
            first, *more = r.stderr.splitlines()
            self.assertEqual(first, "Error: timestamp does not exist")
            if not self.up:  # ours names the points that are there
                self.assertRegex(more[0], r"^Try: -timestamp from \S+Z to ")
        r = self.run_("restore", "-txid", "00000000000000ff", "-o", out,
                      self.url, ok=False)
        first, *more = r.stderr.splitlines()
        self.assertEqual(first, "Error: no matching backup files available")
        if not self.up:
            self.assertIn(TX1, more[0])
        # Of a configured database a future time is the newest state.
        self.out("restore", "-timestamp", "2200-01-01T00:00:00Z", "-o", out,
                 self.db)
        self.assert_same(out, self.checkpointed(self.db))

    # ---- client commands -------------------------------------------------

    def test_no_daemon(self):
        sock = self.tmp / "no.sock"
        for cmd in (["info"], ["list"], ["sync", "x"], ["stop", "x"]):
            r = self.run_(cmd[0], "-socket", sock, *cmd[1:], ok=False)
            self.assertEqual(r.returncode, 1)
            self.assertRegex(r.stderr, r"^Error: failed to connect to control "
                             rf"socket: .*{sock}")

    def test_commands_of_the_daemon(self):
        d = self.daemon({self.db: self.url}).start()

        def ask(cmd, *args, want=None):
            doc = json.loads(self.out(cmd, "-socket", d.sock, "-json",
                                      *args))
            if want is not None:
                self.assertEqual(doc, want)
            return doc
        db, sock = str(self.db), str(d.sock)
        d.sync()
        info = ask("info")
        self.assertEqual((info["pid"], info["database_count"]),
                         (d.proc.pid, 1))
        self.assertRegex(self.out("info", "-socket", sock), "\n".join((
            rf"^Litestream {re.escape(info['version'])}",
            rf"  PID:        {d.proc.pid}", r"  Uptime:     [\dhms]+",
            r"  Started at: [-\dT:]+(Z|[-+]\d\d:\d\d)",
            r"  Databases:  1", "$")))
        one, = ask("list")["databases"]
        self.assertEqual((one["path"], one["status"]), (db, "replicating"))
        self.assertRegex(self.out("list", "-socket", sock),
                         rf"^{db} \[replicating\] \(last sync: [-\dT:]+\S*\)$")
        doc = ask("sync", "-wait", db)
        self.assertIsInstance(doc.pop("duration_ms"), int)
        self.assertEqual(doc, {"db_path": db, "txid": 1, "replica_txid": 1})
        self.assertRegex(self.out("sync", "-socket", sock, db),
                         rf"^db_path: {db}\ntxid: 1\nduration_ms: \d+\n$")
        off = {"db_path": db, "state": "stopped", "txid": 1, "socket": sock}
        ask("stop", db, want={"status": "stopped", **off})
        ask("stop", db, want={"status": "already_stopped", **off})
        r = self.run_("sync", "-socket", sock, db, ok=False)
        self.assertEqual(r.stderr,
                         f"Error: sync failed: database not open: {db}\n")
        self.assertEqual(self.out("start", "-socket", sock, db),
                         f"status: started\ndb_path: {db}\nstate: running\n"
                         f"txid: 1\nsocket: {sock}\n")
        new, url = str(self.tmp / "new.db"), f"file://{self.tmp}/new"
        reg = {"db_path": new, "replica": url, "socket": sock}
        ask("register", "-replica", url, new,
            want={"status": "registered", **reg})
        ask("register", "-replica", url, new,
            want={"status": "already_registered", **reg})
        self.assertIn("status: already registered\n", self.out(
            "register", "-socket", sock, "-replica", url, new))
        gone = {"db_path": new, "final_txid": 0, "socket": sock}
        ask("unregister", new, want={"status": "unregistered", **gone})
        self.assertEqual(
            self.out("unregister", "-socket", sock, new),
            f"status: already_unregistered\ndb_path: {new}\nfinal_txid: 0\n"
            f"socket: {sock}\n")
        r = self.run_("sync", "-socket", sock, "/no/db", ok=False)
        self.assertEqual(r.stderr,
                         "Error: sync failed: database not found: /no/db\n")
        self.assertEqual(d.stop(), 0)

    def answer(self, raw, *args):
        """Run a client command against a daemon that says just this."""
        path = self.tmp / "fake.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as srv:
            srv.bind(str(path))
            srv.listen(1)

            def serve():
                c, _ = srv.accept()
                c.recv(65536)
                try:
                    c.sendall(raw)
                    c.shutdown(socket.SHUT_WR)
                    c.recv(1)
                except OSError:
                    pass  # the client had enough
                c.close()
            t = threading.Thread(target=serve)
            t.start()
            r = self.run_(args[0], "-socket", path, *args[1:], ok=False)
            t.join()
        return r

    def test_odd_answers(self):
        def http(body, status="200 OK", head=""):
            return (f"HTTP/1.1 {status}\r\n{head}\r\n{body}").encode()
        if self.up:
            self.skipTest("upstream's client is another")
        r = self.answer(http('7\r\n{"datab\r\n9\r\nases":[]}\r\n0\r\n\r\n',
                             head="Transfer-Encoding: chunked\r\n"), "list")
        self.assertEqual(r.stdout, "No databases configured\n")
        for raw, said in (
                (http('{"error":"no such thing"}', "404 Not Found"),
                 "no such thing"),
                (http("oops", "500 Bad"), "HTTP status 500"),
                (http("[1]"), "the answer is not JSON"),
                (http("{"), "the answer is not JSON"),
                (b"", "the answer is not HTTP"),
                (b"SSH-2.0-x\r\n\r\n", "the answer is not HTTP"),
                (http("zz\r\n", head="Transfer-Encoding: chunked\r\n"),
                 "the answer is not HTTP"),
                (http("ffffffffffffffff\r\nx",
                      head="Transfer-Encoding: chunked\r\n"),
                 "the answer is not HTTP")):
            r = self.answer(raw, "list")
            self.assertEqual((r.returncode, r.stderr),
                             (1, f"Error: list failed: {said}\n"))
        r = self.answer(http("x" * (17 << 20)), "list")
        self.assertEqual(r.returncode, 1)
        self.assertIn("Error: list failed: ", r.stderr)

    # ---- beside upstream -------------------------------------------------

    def test_same_words_as_upstream(self):
        """Every byte on stdout and stderr, and the status."""
        upstream = self.need_upstream()
        ours = self.tmp / "litestream"
        ours.symlink_to(Path(self.bin).resolve())
        self.run_("replicate", "-once", self.db, self.url, binary=upstream)
        url, out, db = self.url, self.tmp / "o.db", self.db
        for args in (
                ["databases"], ["databases", "-json"], ["status"],
                ["status", "-json"], ["status", db], ["ltx", db],
                ["ltx", "-json", url], ["ltx", "-level", "all", url],
                ["ltx", "file:///no/such"], ["ltx", "-json", "file:///no"],
                ["ltx", "/not/configured"], ["ltx", "gcs://x/y"],
                ["restore", "-dry-run", "-o", out, db],
                ["restore", "-dry-run", "-json", "-o", out, url],
                ["restore", "-o", out, url], ["restore", db],
                ["restore", "-o", out, "file:///no/such"],
                ["restore", "-o", out, "-integrity-check", "x", url],
                ["restore", "-dry-run", "-f", "-o", out, url],
                ["restore", "-config", self.tmp / "c.yml", "-o", out, url],
                ["reset", "-dry-run", db], ["reset", "/no/such.db"],
                ["unregister", "-dry-run", db], ["nonsense"], ["wal"],
                ["sync"], ["register", db], ["info", "-timeout", "-1"]):
            with self.subTest(" ".join(map(str, args))):
                got = []
                for binary in (upstream, str(ours)):
                    r = self.run_(*args, binary=binary, ok=False)
                    got.append((r.returncode, r.stdout, r.stderr))
                    out.unlink(missing_ok=True)
                self.assertEqual(got[1], got[0])


if __name__ == "__main__":
    main()
