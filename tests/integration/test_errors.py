#!/usr/bin/env python3
"""What goes wrong in the user's hands: bad flags, configuration, URL, store,
credentials, a full disk. One clear line that names the thing, status 1, and
nothing left behind. Texts marked `ours` differ from upstream on purpose."""
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import CI, Case, connect, is_upstream, main, wait_until  # noqa
from proc import free_port  # noqa: E402


class Errors(Case):
    def setUp(self):
        super().setUp()
        self.up = is_upstream(self.bin)
        self.db = self.tmp / "app.db"
        c = connect(self.db)
        c.execute("CREATE TABLE t(b)")
        c.execute("INSERT INTO t VALUES(randomblob(300000))")
        c.close()

    def refuses(self, args, *words, env=None, timeout=90):
        """Status 1 and one Error line that holds these words."""
        with self.subTest(" ".join(str(a) for a in args)):
            r = self.run_cli(*args, env=env, ok=False, timeout=timeout)
            said = [s for s in r.stderr.splitlines()
                    if s.startswith("Error: ")]
            self.assertEqual((r.returncode, len(said)), (1, 1),
                             f"{r.stdout}\n{r.stderr}")
            for w in words:
                self.assertIn(str(w), said[0])

    def config(self, doc):
        path = self.tmp / "c.yml"
        path.write_text(doc if isinstance(doc, str) else json.dumps(doc))
        return path

    def one_db(self, top=None, **db):
        return self.config({"dbs": [{
            "path": str(self.db), "replica": {"url": f"file://{self.tmp}/r"},
            **db}], **(top or {})})

    def test_flags_and_arguments(self):
        out, url = self.tmp / "o.db", f"file://{self.tmp}/none"
        for args, *words in (
            (["nonsense"], "nonsense", "unknown command"),
            (["restore"], "database path or replica URL required"),
            (["restore", url], "-o is required when restoring from"),
            (["restore", "-o", out, url, "x"], "too many arguments"),
            (["restore", "-nope", url], "-nope"),
            (["restore", "-o", out, "-txid", "12", url], "invalid txid"),
            (["restore", "-o", out, "-timestamp", "noon", url], "-timestamp"),
            (["restore", "-o", out, "-integrity-check", "odd", url], "odd"),
            (["restore", "-o", out, "-dry-run", "-f", url], "-dry-run"),
            (["replicate", self.db], "at least one replica URL", self.db),
            (["replicate", "-once", "-exec", "true", self.db, url], "-once"),
            (["replicate", "-force-snapshot", self.db, url], "-once"),
            (["replicate", self.db, url, "-exec", "true"], "-exec"),
            (["replicate", "-config", "x.yml", self.db, url], "-config"),
            (["sync"], "database path required"),
            (["sync", "-socket", self.tmp / "no.sock", self.db], "no.sock"),
            (["ltx", "-level", "99", url], "level"),
        ):
            self.refuses(args, *words)
        self.assertFalse(out.exists())

    def test_urls(self):
        out = self.tmp / "o.db"
        self.refuses(["restore", "-o", out, "gopher://host/x"], "gopher")
        self.refuses(["replicate", "-once", self.db, "gopher://h/x"],
                     "gopher")
        self.refuses(["restore", "-o", out, f"file://{self.tmp}/none"],
                     "backup")
        self.refuses(["restore", "-o", out, "s3:///nobucket"], "bucket")

    def test_output_is_in_the_way(self):
        url = f"file://{self.tmp}/r"
        self.run_cli("replicate", "-once", self.db, url)
        before = self.db.read_bytes()
        self.refuses(["restore", "-o", self.db, url], self.db, "-force")
        self.assertEqual(self.db.read_bytes(), before)
        (self.tmp / "dir").mkdir()
        self.refuses(["restore", "-o", self.tmp / "dir", url], "dir")
        if self.up:
            return
        (self.tmp / "n.db-wal").write_text("x")
        self.refuses(["restore", "-o", self.tmp / "n.db", url], "n.db-wal")

    def test_configuration(self):
        use = ["replicate", "-once", "-config"]
        self.refuses([*use, self.tmp / "no.yml"], "no.yml")
        self.refuses([*use, self.config("dbs: [")], *(
            [] if self.up else ["c.yml"]))
        self.refuses([*use, self.one_db(dir="/x")], "path", "dir")
        self.refuses([*use, self.config(
            {"dbs": [{"path": str(self.db)}]})], "replica")
        self.refuses([*use, self.config({"dbs": [{"replica": {
            "url": "file:///x"}}]})], "path", "dir")
        self.refuses([*use, self.one_db({"levels": [{"interval": "0s"}]})],
                     "interval")
        self.refuses([*use, self.one_db({"snapshot": {"interval": "bad"}})],
                     *([] if self.up else ["bad"]))
        self.refuses([*use, self.one_db({"heartbeat-url": "ftp://x"})],
                     "heartbeat")
        if self.up:
            return
        self.refuses([*use, self.config(
            "dbs:\n  - path: /x\n    replica:\n      urll: file:///y\n")],
            "urll", "url", "4")
        self.refuses([*use, self.one_db({"l0-retention": 300})],
                     "l0-retention")
        self.refuses([*use, self.one_db({"logging": {"type": "odd"}})],
                     "odd")

    def test_database_is_none(self):
        bad = self.tmp / "text.db"
        bad.write_text("this is not a database, but it is long enough " * 99)
        self.refuses(["replicate", "-once", bad, f"file://{self.tmp}/r"],
                     *([] if self.up else ["text.db"]))
        self.refuses(["replicate", "-once", self.tmp / "no.db",
                      f"file://{self.tmp}/r"],
                     *([] if self.up else ["no.db"]))
        self.assertFalse((self.tmp / "no.db").exists())

    def test_what_is_there_is_something_else(self):
        """Folders, devices and pipes where files belong, and files where
        folders do: named, and as they were afterwards."""
        if self.up:
            self.skipTest("upstream opens and replaces them")
        url, out = f"file://{self.tmp}/r", self.tmp / "o.db"
        self.run_cli("replicate", "-once", self.db, url)
        pipe, text = self.tmp / "pipe", self.tmp / "text"
        os.mkfifo(pipe)
        text.write_text("x")
        odd = [pipe]
        if os.geteuid() == 0:
            os.mknod(self.tmp / "null", 0o20666, os.makedev(1, 3))
            odd.append(self.tmp / "null")
        for path in odd:
            self.refuses(["replicate", "-once", path, f"file://{self.tmp}/x"],
                         path, "is not a regular file")
            for force in ([], ["-force"]):
                self.refuses(["restore", *force, "-o", path, url], path,
                             "is not a regular file")
            self.assertFalse(path.is_file() or path.is_dir())
        self.refuses(["restore", "-o", text / "o.db", url], "not a folder")
        self.refuses(["restore", "-o", out, f"file://{text}"], text,
                     "is not a folder")
        use = ["replicate", "-once", "-config"]
        self.refuses([*use, self.one_db(**{"meta-path": str(text)})], text,
                     "is not a folder")
        self.refuses([*use, self.one_db(**{"meta-path": f"{text}/x"})],
                     f"{text}/x", "not a folder")
        self.refuses([*use, self.one_db(**{"meta-path": f"{self.tmp}/r"})],
                     "replica and local state (meta-path) would share")
        self.refuses([*use, self.config(
            'dbs:\n- path: "/x\\0y"\n  replica: {path: /r}\n')],
            "c.yml:2", "dbs[].path", "NUL")
        self.assertEqual({p.name for p in self.tmp.iterdir()} - {
            "pipe", "null", "text", "c.yml", "r", "app.db", "app.db-wal",
            "app.db-shm", ".app.db-litestream"}, set())

    def once(self, url, env, *words):
        """-once gives up within shutdown-sync-timeout."""
        c = self.config({"shutdown-sync-timeout": "2s", "dbs": [{
            "path": str(self.db), "replica": {"url": url}}]})
        self.refuses(["replicate", "-once", "-config", c], *words, env=env,
                     timeout=240 if self.up else 60)

    def test_store_is_unreachable(self):
        port = free_port()
        url = (f"s3://bkt/p?endpoint=http://127.0.0.1:{port}"
               "&forcePathStyle=true&region=us-east-1")
        env = {"LITESTREAM_ACCESS_KEY_ID": "a",
               "LITESTREAM_SECRET_ACCESS_KEY": "b"}
        self.once(url, env, f"127.0.0.1:{port}")
        out = self.tmp / "o.db"
        self.refuses(["restore", "-o", out, url], f"127.0.0.1:{port}",
                     env=env, timeout=240)
        self.assertFalse(out.exists())

    def test_credentials_are_wrong(self):
        s3, bucket = self.need_s3()
        out = self.tmp / "o.db"
        for env in ({**s3.env(), "LITESTREAM_SECRET_ACCESS_KEY": "wrong"},
                    {**s3.env(), "LITESTREAM_ACCESS_KEY_ID": "NOBODY"}):
            self.once(s3.url(bucket, "p"), env, "403")
            self.refuses(["restore", "-o", out, s3.url(bucket, "p")], "403",
                         env=env)
        self.assertEqual(s3.list(bucket), [])
        self.assertFalse(out.exists())

    def test_bucket_is_missing(self):
        s3, _ = self.need_s3()
        url = s3.url("no-such-bucket", "p")
        word = "NoSuchBucket" if self.up else "no-such-bucket"
        self.once(url, s3.env(), word)
        self.refuses(["restore", "-o", self.tmp / "o.db", url], word,
                     env=s3.env())

    def small_disk(self, name, size):
        """A file system of this size, or a visible skip."""
        d = self.tmp / name
        d.mkdir()
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}",
                            "tmpfs", d], capture_output=True, text=True)
        if r.returncode:
            why = f"no tmpfs can be mounted: {r.stderr.strip()}"
            if CI and os.geteuid() == 0:
                self.fail(why)
            self.skipTest(why)
        self.addCleanup(subprocess.run, ["umount", "-l", d], check=True)
        return d

    def grow(self, d, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", d], check=True)

    def test_restore_fills_the_disk(self):
        url = f"file://{self.tmp}/r"
        self.run_cli("replicate", "-once", self.db, url)
        d = self.small_disk("small", "128k")
        self.refuses(["restore", "-o", d / "o.db", url], "o space left")
        left = list(d.iterdir())
        self.assertEqual(left, [], "files left after a failed restore")

    def heals(self, d, **kw):
        """A running daemon meets a full disk, says so, and catches up."""
        daemon = self.daemon({self.db: kw.pop("url")}, **kw).start()
        daemon.sync()
        mark = len(daemon.text())
        c = connect(self.db)
        for _ in range(20):
            c.execute("INSERT INTO t VALUES(randomblob(100000))")
        daemon.wait_log(r"(?i)level=(WARN|ERROR).*(no space|disk full)", 5,
                        mark)
        self.assertIsNone(daemon.proc.poll())
        self.grow(d, "64m")
        daemon.sync(timeout=60)
        want = self.checkpointed(self.db)
        self.assertEqual(daemon.stop(), 0)
        c.close()
        return want

    def test_replica_fills_the_disk(self):
        d = self.small_disk("small", "1m")
        want = self.heals(d, url=f"file://{d}/r")
        out = self.restore(f"file://{d}/r", self.tmp / "o.db")
        self.assert_same(out, want)

    def test_spool_fills_the_disk(self):
        d = self.small_disk("small", "1m")
        want = self.heals(d, url=f"file://{self.tmp}/r",
                          db={"meta-path": str(d / "meta")})
        out = self.restore(f"file://{self.tmp}/r", self.tmp / "o.db")
        self.assert_same(out, want)


if __name__ == "__main__":
    main()
