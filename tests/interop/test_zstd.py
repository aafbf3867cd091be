#!/usr/bin/env python3
"""`compression: zstd`: what is in the files, by an independent reader; chains of
both codecs, with the option switched back and forth; and Litestream, which must
refuse such files by an error in restore, compaction and extension, and never
misread one."""
import ctypes
import json
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import ltx  # noqa: E402
import samples  # noqa: E402
from harness import (Case, clean_env, connect, is_upstream, main,  # noqa
                     wait_until)

FLAG = 4
SETTINGS = {
    "levels": [{"interval": "1s"}, {"interval": "2s"}],
    "snapshot": {"interval": "3s", "retention": "1h"},
    "l0-retention": "1h"}


def zstd_pages(data):
    """Pages of a zstd file, after its description, with libzstd itself."""
    z = ctypes.CDLL("libzstd.so.1")
    for name in ("ZSTD_createDCtx", "ZSTD_decompress_usingDict"):
        getattr(z, name).restype = ctypes.c_size_t
    size = struct.unpack(">I", data[8:12])[0]
    tag, n = struct.unpack(">4sI", data[100:108])
    assert tag == b"LSZ1", tag
    words, at, pages = data[116:116 + n], 116 + n, {}
    x = ctypes.c_void_p(z.ZSTD_createDCtx())
    page = ctypes.create_string_buffer(size)
    while data[at:at + 6] != bytes(6):
        pgno, flags, k = struct.unpack(">IHI", data[at:at + 10])
        assert flags == 2, flags
        body = data[at + 10:at + 10 + k]
        got = z.ZSTD_decompress_usingDict(
            x, page, ctypes.c_size_t(size), body, ctypes.c_size_t(k), words,
            ctypes.c_size_t(n))
        assert got == size, got
        pages[pgno], at = page.raw, at + 10 + k
    z.ZSTD_freeDCtx(x)
    return n, pages


class Zstd(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("it has no zstd")
        self.db, self.rep = self.tmp / "a.db", self.tmp / "r"
        self.url = f"file://{self.rep}"

    def open(self):
        self.c = connect(self.db)
        self.addCleanup(lambda: self.c.close())
        self.c.execute("CREATE TABLE IF NOT EXISTS t(i INTEGER PRIMARY KEY,"
                       " b)")

    def fill(self, n=40):
        rng = random.Random(n + self.c.total_changes)
        self.c.execute("BEGIN")
        for _ in range(n):
            self.c.execute("INSERT INTO t(b) VALUES(?)", (json.dumps(
                {"host": "web-%d" % rng.randint(1, 9), "path": "/a/b/c",
                 "id": rng.getrandbits(48), "agent": "Mozilla/5.0"}) * 4,))
        self.c.execute("COMMIT")

    def run_daemon(self, codec, **more):
        return self.daemon({self.db: self.url}, top={**SETTINGS, **more},
                           replica={"compression": codec,
                                    "sync-interval": "100ms"}).start()

    def end(self, level):
        files = ltx.list_dir(self.rep, level)
        return files[-1][1] if files else 0

    def flagged(self, level):
        return {a: ltx.Ltx(p.read_bytes()).flags & FLAG != 0
                for *_, a, p in ((x, *x[1:]) for x in
                                 ltx.list_dir(self.rep, level))}

    def once(self, codec):
        conf = self.tmp / "once.yml"
        conf.write_text(json.dumps({"dbs": [{
            "path": str(self.db), "replica": {
                "url": self.url, "compression": codec}}]}))
        self.run_cli("replicate", "-config", conf, "-once",
                     "-force-snapshot")

    def test_a_snapshot_by_another_reader(self):
        samples.make("log", self.db, 6 << 20)
        self.once("zstd")
        (_, _, base), = ltx.list_dir(self.rep, 0)
        (_, _, snap), = ltx.list_dir(self.rep, 9)
        data = snap.read_bytes()
        self.assertEqual(ltx.Ltx(base.read_bytes()).flags, 2)
        self.assertEqual(ltx.Ltx(data).flags, 2 | FLAG)
        n, pages = zstd_pages(data)
        self.assertGreater(n, 1000)
        want = self.checkpointed(self.db).read_bytes()
        self.assertEqual(len(pages) * 4096, len(want))
        for pgno, page in pages.items():
            self.assertEqual(page, want[4096 * pgno - 4096:4096 * pgno],
                             f"page {pgno}")
        self.assertLess(len(data), 0.7 * base.stat().st_size)
        shutil.rmtree(self.rep / "ltx/0")
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_same(out, self.checkpointed(self.db, "again"))

    def test_back_and_forth(self):
        self.open()
        copies = {}
        for i, codec in enumerate(("zstd", "lz4", "zstd", "lz4")):
            d = self.run_daemon(codec)
            for _ in range(4):
                self.fill()
                txid = d.sync()
                copies[txid] = self.checkpointed(self.db, f"s{txid}")

            def worked():
                self.fill(1)
                d.sync()
                return min(self.end(1), self.end(2), self.end(9)) >= txid
            wait_until(worked, 40, "compaction and snapshot", 0.2)
            self.assertEqual(d.stop(), 0)
            self.assertNotIn("level=ERROR", d.text())
            for level in (1, 2, 9):
                self.assertEqual(self.flagged(level)[self.end(level)],
                                 codec == "zstd", (level, codec))
        self.assertNotIn(True, self.flagged(0).values())
        for level in (1, 2, 9):
            self.assertEqual(set(self.flagged(level).values()), {True, False})
        self.assertTrue(json.loads(self.run_cli(
            "verify", "-json", self.url).stdout)["ok"])
        self.run_cli("verify", "-deep", self.url)
        for rounds in range(2):
            points = {int(p["txid"], 16) for p in json.loads(self.run_cli(
                "points", "-json", self.url).stdout)}
            left = [t for t in copies if t in points]
            self.assertGreater(len(left), 0)
            for txid in left:
                out = self.restore(self.url, self.tmp / "o.db", txid)
                self.assert_same(out, copies[txid], f"TXID {txid}")
                out.unlink()
            if rounds == 0:
                self.assertEqual(len(left), len(copies))
                shutil.rmtree(self.rep / "ltx/0")  # levels alone

    def test_followed(self):
        self.open()
        d = self.run_daemon("zstd")
        self.fill()
        d.sync()
        copy = self.tmp / "copy.db"
        f = self.spawn([self.bin, "restore", "-f", "-follow-interval", "50ms",
                        "-o", copy, self.url], env=clean_env(),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def at():
            mark = Path(f"{copy}-txid")
            return int(mark.read_text(), 16) if copy.exists() else 0
        for _ in range(5):
            self.fill()
            txid = d.sync()
            wait_until(lambda: at() >= txid, 30, "the copy")
        f.terminate()
        self.assertEqual(f.wait(20), 0)
        c = sqlite3.connect(copy)
        self.assertEqual(c.execute("SELECT * FROM t").fetchall(),
                         self.c.execute("SELECT * FROM t").fetchall())
        c.close()

    def test_litestream_refuses(self):
        peer = self.need_upstream()
        self.open()
        self.fill(3000)
        self.once("zstd")
        level0 = self.rep / "ltx/0"
        shutil.rmtree(level0)
        out = self.tmp / "o.db"
        r = self.run_cli("restore", "-o", out, self.url, binary=peer, ok=False)
        self.assertEqual(r.returncode, 1, r.stderr)
        self.assertRegex(r.stderr, "flag")
        self.assertFalse(out.exists())
        self.assert_same(self.restore(self.url, out),
                         self.checkpointed(self.db))

    def test_litestream_does_not_compact_them(self):
        """Its daemon over our level 1: nothing of levels 2 and up appears, and
        what is stored stays restorable."""
        peer = self.need_upstream()
        self.open()
        d = self.run_daemon("zstd", levels=[{"interval": "1s"}])
        d.sync()  # the first full copy stays at level 0
        for _ in range(3):
            self.fill()
            txid = d.sync()
            wait_until(lambda: self.end(1) >= txid, 30, "level 1")
        self.assertEqual(d.stop(), 0)
        before = self.flagged(1)
        self.assertEqual(set(before.values()), {True})
        theirs = self.daemon({self.db: self.url}, binary=peer, top={
            "levels": [{"interval": "1h"}, {"interval": "1s"}],
            "snapshot": {"interval": "1h", "retention": "1h"}}).start()
        theirs.wait_log("compaction failed|flag", 40)
        self.fill()
        theirs.sync()
        theirs.stop()
        self.assertEqual(ltx.list_dir(self.rep, 2), [])
        self.assertEqual(self.flagged(1), before)
        self.assert_same(self.restore(self.url, self.tmp / "o.db"),
                         self.checkpointed(self.db))

    def test_litestreams_extension_refuses(self):
        ext = Path(self.need_upstream()).parents[1].glob(
            "**/litestream_vfs/*.so")
        ext = next(ext, None)
        if ext is None:
            self.skipTest("the peer's extension is not installed")
        self.open()
        self.fill(3000)

        def ask():
            p = self.spawn([sys.executable, "-c", (
                "import sqlite3, sys\n"
                "c = sqlite3.connect(':memory:')\n"
                "c.enable_load_extension(True)\n"
                "c.execute('SELECT load_extension(?)', (sys.argv[1],))\n"
                "c = sqlite3.connect('file:a.db?vfs=litestream', uri=True)\n"
                "print('rows', c.execute('SELECT sum(length(b)) FROM t')"
                ".fetchone())\n"), str(ext)],
                env=clean_env(LITESTREAM_REPLICA_URL=self.url),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                out, err = p.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                p.kill()  # it waits for a file that it can read
                out, err = p.communicate()
            return p.returncode, out, err
        for codec in ("lz4", "zstd"):
            self.once(codec)
            (self.rep / "ltx/0").rename(self.tmp / f"0-{codec}")
            code, out, err = ask()
            self.assertEqual(code == 0, codec == "lz4", (out, err))
            self.assertEqual(b"rows" in out, codec == "lz4", (out, err))
            (self.tmp / f"0-{codec}").rename(self.rep / "ltx/0")
            shutil.rmtree(self.rep / "ltx/9")
        self.assertIn(b"sqlite3.", err)


if __name__ == "__main__":
    main()
