#!/usr/bin/env python3
"""An upgrade and a downgrade: local state of another version is no state. The
daemon says nothing, asks nobody, and publishes what differs: no commit is lost,
no TXID is skipped, and the position of another version costs no whole copy."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import Case, connect, main  # noqa: E402


def crc64(data):
    """CRC-64 (ISO), as the files carry it."""
    crc = (1 << 64) - 1
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = crc >> 1 ^ (0xD800000000000000 if crc & 1 else 0)
    return crc ^ (1 << 64) - 1


assert crc64(b"123456789") == 0xb90956c775a41001


class Versions(Case):
    def setUp(self):
        super().setUp()
        self.db, self.url = self.tmp / "app.db", f"file://{self.tmp}/r"
        self.meta = self.tmp / ".app.db-litestream"
        self.c = connect(self.db)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        for _ in range(60):
            self.write()
        self.d = self.daemon({self.db: self.url}).start()
        self.newest = self.d.sync()
        self.assertEqual(self.d.stop(), 0)

    def write(self):
        self.c.execute("INSERT INTO t(b) VALUES(randomblob(3000))")

    def set_version(self, name, version):
        """Whole by its own rules, but for the number."""
        p = self.meta / name
        raw = bytearray(p.read_bytes())
        if name == "litestreamd-position":
            self.assertEqual(crc64(raw[:120]),
                             int.from_bytes(raw[120:], "big"))
        self.assertIn(raw[8:12], (b"\0\0\0\1", b"\0\0\0\2"))
        raw[8:12] = version.to_bytes(4, "big")
        if name == "litestreamd-position":
            raw[120:] = crc64(raw[:120]).to_bytes(8, "big")
        p.write_bytes(raw)

    def go_on(self, whole_copies):
        """Commits were made while nobody looked; all arrive."""
        self.write()
        log = len(self.d.text())
        self.d.start()
        self.d.sync()
        self.write()
        txid = self.d.sync()
        self.assertGreater(txid, self.newest)
        self.assertEqual(self.d.stop(), 0)
        said = self.d.text()[log:]
        self.assertNotRegex(said, "level=(WARN|ERROR)")
        files = ltx.list_dir(self.tmp / "r")
        self.assertEqual(ltx.gaps(files), [])
        whole = [a for a, _, p in files if a > self.newest and
                 ltx.Ltx(p.read_bytes()).whole()]
        if not whole_copies:
            self.assertEqual(whole, [])
        out = self.restore(self.url, self.tmp / "out.db")
        self.assert_same(out, self.checkpointed(self.db))
        out.unlink()
        self.newest = txid

    def test_position_of_another_version(self):
        for version in (1, 3, 0xffffffff):
            with self.subTest(version):
                self.set_version("litestreamd-position", version)
                self.go_on(whole_copies=False)
                self.assertIn("msg=resync", self.d.text())

    def test_page_map_of_another_version(self):
        for version in (0, 2, 0xffffffff):
            with self.subTest(version):
                self.set_version("litestreamd-pagemap", version)
                self.go_on(whole_copies=True)

    def test_both_of_another_version(self):
        for name in ("litestreamd-position", "litestreamd-pagemap"):
            self.set_version(name, 77)
        self.go_on(whole_copies=True)

    def test_files_of_a_later_program_do_no_harm(self):
        (self.meta / "litestreamd-something-new").write_bytes(b"\1" * 5000)
        self.go_on(whole_copies=False)


if __name__ == "__main__":
    main()
