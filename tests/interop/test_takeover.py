#!/usr/bin/env python3
"""Swapping the binary in the middle of a stream, in the same meta folder: to
ours, back to upstream, and to ours again, without a gap in the TXIDs and with
no whole copy written by us. Every state in between restores with both."""
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import Case, connect, is_upstream, main  # noqa: E402


class TakeOver(Case):
    def setUp(self):
        super().setUp()
        self.peer = self.need_upstream()
        self.db = self.tmp / "app.db"
        self.c = connect(self.db)
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        for _ in range(200):  # so that a whole copy stands out
            self.c.execute("INSERT INTO t(b) VALUES(randomblob(3000))")
        self.copies, self.writer = {}, {}

    def close(self):
        self.c.close()

    def turn(self, binary, commits=8, between=None):
        """One program's turn; gives the TXIDs that it wrote."""
        start = max((b for _, b, _ in ltx.list_dir(self.tmp / "r")),
                    default=0)
        if between:
            between()
        d = self.daemon({self.db: f"file://{self.tmp}/r"},
                        binary=binary).start()
        d.sync()
        for _ in range(commits):
            self.c.execute("INSERT INTO t(b) VALUES(randomblob(500))")
            txid = d.sync()
            self.copies[txid] = self.checkpointed(self.db, f"{txid}")
        self.assertEqual(d.stop(), 0)
        new = [f for f in ltx.list_dir(self.tmp / "r") if f[0] > start]
        self.assertTrue(new)
        return new

    def check(self):
        files = ltx.list_dir(self.tmp / "r")
        self.assertEqual(ltx.gaps(files), [])
        self.assertEqual([f for f in files if f[0] != f[1]], [])
        for reader in (self.bin, self.peer):
            for txid, copy in self.copies.items():
                out = self.restore(f"file://{self.tmp}/r",
                                   self.tmp / "o.db", txid, reader)
                self.assert_same(out, copy, f"{reader} TXID {txid}")
                out.unlink()
        self.close()

    def no_whole_copy(self, new):
        if is_upstream(self.bin):
            return
        whole = [a for a, _, p in new if ltx.Ltx(p.read_bytes()).whole()]
        self.assertEqual(whole, [], "TXIDs that are whole copies")

    def test_ours_takes_over_and_hands_back(self):
        self.turn(self.peer)
        self.no_whole_copy(self.turn(self.bin))
        self.turn(self.peer)
        self.no_whole_copy(self.turn(self.bin))
        self.check()

    def test_upstream_takes_over_and_hands_back(self):
        first = self.turn(self.bin)
        self.assertEqual(first[0][0], 1)
        self.no_whole_copy(first[1:])
        self.turn(self.peer)
        self.no_whole_copy(self.turn(self.bin))
        self.check()

    def write(self):
        for _ in range(3):
            self.c.execute("INSERT INTO t(b) VALUES(randomblob(700))")

    def test_writes_while_nobody_looks(self):
        self.turn(self.peer)
        self.no_whole_copy(self.turn(self.bin, between=self.write))
        self.turn(self.peer, between=self.write)
        self.no_whole_copy(self.turn(self.bin, between=self.write))
        self.check()

    def checkpoint(self):
        self.write()
        self.c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.write()

    def test_checkpoint_while_nobody_looks(self):
        """Continuity is lost: ours still answers without a whole copy."""
        self.turn(self.bin)
        self.no_whole_copy(self.turn(self.bin, between=self.checkpoint))
        self.turn(self.peer, between=self.checkpoint)
        self.no_whole_copy(self.turn(self.bin))
        self.check()

    def lose(self, *names):
        """Once both have written: the newest stored file has no lineage."""
        self.turn(self.bin)
        self.turn(self.peer)
        meta = self.tmp / ".app.db-litestream"
        for n in names:
            (meta / n).unlink()
        if not names:
            shutil.rmtree(meta)
        self.no_whole_copy(self.turn(self.bin))
        self.check()

    def test_local_state_is_lost_after_upstream(self):
        self.lose()

    def test_record_is_lost_after_upstream(self):
        if not is_upstream(self.bin):
            self.lose("litestreamd-position")

    def test_record_and_map_are_lost_after_upstream(self):
        if not is_upstream(self.bin):
            self.lose("litestreamd-position", "litestreamd-pagemap")


if __name__ == "__main__":
    main()
