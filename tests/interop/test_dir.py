#!/usr/bin/env python3
"""Both ways with upstream over a directory: every TXID of a chain of 200, all
page sizes, and a database that crosses the lock page at 1 GiB. Whoever wrote
the files, both programs restore them, byte for byte equal to a checkpointed
copy of the source."""
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import LONG, Case, Workload, connect, is_upstream, main  # noqa


class Directory(Case):
    def setUp(self):
        super().setUp()
        self.peer = self.need_upstream()

    def chain(self, writer, steps, page_sizes):
        """Databases of these page sizes under one daemon, steps commits each,
        a barrier after every one. Gives {page size: {txid: copy}}."""
        load = {}
        for ps in page_sizes:
            db = self.tmp / f"{ps}.db"
            load[db] = Workload(db, ps, seed=ps)
        d = self.daemon({db: f"file://{self.tmp}/r{db.stem}" for db in load},
                        binary=writer).start()
        states = {}
        for db in load:
            ps = int(db.stem)
            states[ps] = {d.sync(db): self.checkpointed(db, f"{ps}-0")}
        for _ in range(steps):
            for db, app in load.items():
                app.step()
                txid = d.sync(db)
                ps = int(db.stem)
                self.assertNotIn(txid, states[ps], "two commits, one TXID")
                states[ps][txid] = self.checkpointed(db, f"{ps}-{txid}")
        d.stop()
        for app in load.values():
            app.close()
        return states

    def restore_all(self, states, reader):
        for ps, copies in states.items():
            url = f"file://{self.tmp}/r{ps}"
            for txid, copy in copies.items():
                out = self.restore(url, self.tmp / "out.db", txid, reader)
                self.assert_same(out, copy, f"page size {ps} TXID {txid}")
                out.unlink()
            newest = self.restore(url, self.tmp / "new.db", binary=reader)
            self.assert_same(newest, copies[max(copies)], "newest")
            self.assert_whole(newest)
            newest.unlink()

    def check_own(self, states):
        """What we wrote: no TXID but the application's commits, one TXID a
        file, and no gap."""
        if is_upstream(self.bin):
            return
        for ps, copies in states.items():
            files = ltx.list_dir(self.tmp / f"r{ps}")
            txids = [a for a, _, _ in files]
            self.assertEqual(txids, list(range(1, txids[-1] + 1)))
            self.assertEqual(txids[-1], max(copies))
            self.assertEqual([a for a, b, _ in files if a != b], [])
            self.assertEqual(ltx.gaps(files), [])

    def test_chain_of_200_ours(self):
        states = self.chain(self.bin, 200, [4096])
        self.check_own(states)
        self.restore_all(states, self.peer)
        self.restore_all(states, self.bin)

    def test_chain_of_200_upstream(self):
        states = self.chain(self.peer, 200, [4096])
        self.restore_all(states, self.bin)

    SIZES = [512 << i for i in range(8)]

    def test_page_sizes_ours(self):
        states = self.chain(self.bin, 26, self.SIZES)
        self.check_own(states)
        self.restore_all(states, self.peer)
        self.restore_all(states, self.bin)

    def test_page_sizes_upstream(self):
        states = self.chain(self.peer, 26, self.SIZES)
        self.restore_all(states, self.bin)

    def lock_page(self, writer, readers):
        """1 GiB in pages of 64 KiB; the page that holds byte 2^30 is skipped
        by SQLite and by every file. The database crosses it in a commit."""
        db = self.tmp / "big.db"
        c = connect(db, 65536)
        c.execute("CREATE TABLE t(b)")
        for _ in range(63):
            c.execute("INSERT INTO t VALUES(zeroblob(16777216))")
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        d = self.daemon({db: f"file://{self.tmp}/r"}, binary=writer).start()
        before = d.sync(timeout=120)
        for _ in range(3):
            c.execute("INSERT INTO t VALUES(zeroblob(8388608))")
            c.execute("INSERT INTO t VALUES(randomblob(100000))")
        after = d.sync(timeout=120)
        pages = c.execute("PRAGMA page_count").fetchone()[0]
        self.assertGreater(pages, 0x40000000 // 65536 + 1)
        self.assertGreater(after, before)
        want = self.checkpointed(db)
        d.stop()
        c.close()
        for reader in readers:
            out = self.restore(f"file://{self.tmp}/r", self.tmp / "o.db",
                               binary=reader, timeout=300)
            self.assert_same(out, want, reader)
            out.unlink()
        shutil.rmtree(self.tmp / "r")

    def test_lock_page_ours(self):
        self.lock_page(self.bin, [self.bin, self.peer])

    def test_lock_page_upstream(self):
        if not LONG:
            self.skipTest("LS_LONG=1 runs it")
        self.lock_page(self.peer, [self.bin])


if __name__ == "__main__":
    main()
