#!/usr/bin/env python3
"""Stored files that are damaged (cut off, empty, other bytes) while the live
database is whole: the replica mends itself. Compaction, snapshots and retention
go on; neither a start nor the loss of the local state stops replication; the
newest state can be restored again within a moment, before it as far as whole
files reach."""
import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import Case, connect, is_upstream, main, wait_until  # noqa: E402

TOP = {"levels": [{"interval": "1s"}, {"interval": "3s"}],
       "snapshot": {"interval": "1h", "retention": "24h"}}


def cut(data):
    return data[:len(data) // 2]


def empty(data):
    return b""


def flipped(data):
    at = len(data) - 20  # in the trailer
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


class Damage(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("it does not mend")
        self.db, self.rep = self.tmp / "a.db", self.tmp / "r"
        self.meta = self.tmp / ".a.db-litestream"
        self.url = f"file://{self.rep}"
        self.c = connect(self.db)
        self.addCleanup(lambda: self.c.close())
        self.c.execute("CREATE TABLE t(x)")
        self.d = self.daemon({self.db: self.url}, top=TOP,
                             replica={"sync-interval": "100ms"}).start()
        for _ in range(6):
            self.commit()
            self.d.sync()
        self.assertEqual(self.d.stop(), 0)
        # Nothing of it in level 1 or in the spool: only the store has it.
        for lvl in (1, 2, 9):
            shutil.rmtree(self.rep / "ltx" / str(lvl), ignore_errors=True)
        for _, _, p in ltx.list_dir(self.meta)[:-1]:
            p.unlink()

    def commit(self, n=300):
        self.c.execute("INSERT INTO t VALUES(randomblob(?))", (n,))

    def damage(self, which, how):
        _, _, path = ltx.list_dir(self.rep)[which]
        data = path.read_bytes()
        path.unlink()  # the spool may have the same inode
        path.write_bytes(how(data))

    def restores(self):
        out = self.tmp / "o.db"
        r = self.run_cli("restore", "-o", out, self.url, ok=False)
        if r.returncode:
            return False
        self.assert_same(out, self.checkpointed(self.db), "restored")
        os.unlink(out)
        return True

    def mends(self):
        self.d.start()
        self.commit()
        self.d.sync()
        wait_until(self.restores, 20, "restore", 0.2)
        first = ltx.list_dir(self.rep)[-1][0]
        end = 0
        limit = time.monotonic() + 20
        while end < first and time.monotonic() < limit:  # upkeep goes on
            self.commit()
            self.d.sync()
            end = (ltx.list_dir(self.rep, 1) or [(0, 0)])[-1][1]
            time.sleep(0.2)
        self.assertGreaterEqual(end, first)
        self.d.sync()
        self.assertTrue(self.restores())
        self.assertEqual(len(self.d.text().split("making a snapshot")) < 4,
                         True, "snapshots one after the other")
        self.assertEqual(self.d.stop(), 0)

    def test_file_in_between(self):
        for how in (cut, empty, flipped):
            with self.subTest(how=how.__name__):
                self.damage(-3, how)
                self.mends()
                for _, _, p in ltx.list_dir(self.meta)[:-1]:
                    p.unlink()

    def test_newest_file(self):
        for how in (cut, empty):
            with self.subTest(how=how.__name__):
                self.damage(-1, how)
                self.mends()

    def test_newest_file_and_another_is_next(self):
        self.d.start()
        self.commit()
        self.d.sync()
        self.d.kill()
        self.commit()
        self.damage(-1, empty)
        self.mends()

    def test_local_state_is_lost(self):
        for how in (cut, empty, flipped):
            with self.subTest(how=how.__name__):
                self.damage(-2, how)
                shutil.rmtree(self.meta)
                self.mends()

    def test_local_state_is_lost_and_the_newest_file(self):
        self.damage(-1, cut)
        self.damage(-2, empty)
        shutil.rmtree(self.meta)
        self.mends()

    def test_meta_folder_is_deleted(self):
        """Under the running daemon, whole or in part."""
        self.d.start()
        for what in ("", "ltx", "ltx/0", "lock"):
            with self.subTest(what=what):
                self.commit()
                self.d.sync()
                gone = self.meta / what
                shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
                self.commit(3000)
                self.d.sync()
                self.assertTrue(self.restores())
        self.assertEqual(self.d.stop(), 0)
        self.assertNotIn("level=ERROR", self.d.text())


if __name__ == "__main__":
    main()
