#!/usr/bin/env python3
"""Both ways with upstream over Ceph RGW: a chain of commits, ten of its TXIDs
and the newest restored by the program that did not write them."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import Case, Workload, is_upstream, main  # noqa: E402


class CephS3(Case):
    def both_ways(self, writer, reader):
        s3, bucket = self.need_s3()
        db = self.tmp / "app.db"
        app = Workload(db)
        url = s3.url(bucket, "some/path")
        d = self.daemon({db: url}, binary=writer, env=s3.env()).start()
        copies = {}
        for _ in range(50):
            app.step()
            txid = d.sync()
            copies[txid] = self.checkpointed(db, f"{txid}")
        self.assertEqual(d.stop(), 0)
        app.close()
        for txid in sorted(copies)[::5] + [max(copies)]:
            out = self.restore(url, self.tmp / "out.db", txid, reader,
                               s3.env())
            self.assert_same(out, copies[txid], f"TXID {txid}")
            out.unlink()
        newest = self.restore(url, self.tmp / "new.db", None, reader,
                              s3.env())
        self.assert_same(newest, copies[max(copies)], "newest")
        return ltx.list_s3(s3, bucket, "some/path"), copies

    def test_ours_to_upstream(self):
        files, copies = self.both_ways(self.bin, self.need_upstream())
        if not is_upstream(self.bin):
            txids = [a for a, _, _ in files]
            self.assertEqual(txids, list(range(1, txids[-1] + 1)))
            self.assertEqual(txids[-1], max(copies))

    def test_upstream_to_ours(self):
        self.both_ways(self.need_upstream(), self.bin)

    def test_large_object_takes_many_parts(self):
        """A first copy of 24 MiB that does not compress: several parts going
        up, several ranges coming down."""
        s3, bucket = self.need_s3()
        db = self.tmp / "app.db"
        app = Workload(db)
        for _ in range(24):
            app.c.execute("INSERT INTO t(b) VALUES(randomblob(1048576))")
        d = self.daemon({db: s3.url(bucket, "p")}, env=s3.env()).start()
        d.sync()
        want = self.checkpointed(db)
        d.stop()
        app.close()
        for reader in (self.bin, self.need_upstream()):
            out = self.restore(s3.url(bucket, "p"), self.tmp / "o.db",
                               binary=reader, env=s3.env())
            self.assert_same(out, want, reader)
            out.unlink()


if __name__ == "__main__":
    main()
