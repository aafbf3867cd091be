#!/usr/bin/env python3
"""A store that is away, slow or failing does not stop a running `replicate`:
it says so within five seconds, captures on locally, and catches up. A wrong
answer in between never leaves a gap or a wrong byte."""
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from faultproxy import FaultProxy, Rule  # noqa: E402
from harness import Case, connect, is_upstream, main, wait_until  # noqa: E402

TROUBLE = r"level=(WARN|ERROR)"


class Outage(Case):
    def app(self):
        self.db = self.tmp / "app.db"
        c = connect(self.db)
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        return c

    def insert(self, c, n=5):
        for _ in range(n):
            c.execute("INSERT INTO t(b) VALUES(randomblob(2000))")

    def local(self):
        """Newest TXID in the local spool."""
        files = ltx.list_dir(self.tmp / ".app.db-litestream")
        return files[-1][1] if files else 0

    def proxied(self):
        s3, bucket = self.need_s3()
        proxy = FaultProxy(s3.port).start()
        self.addCleanup(proxy.stop)
        return s3, bucket, proxy, s3.url(bucket, "p", proxy.port)

    def finish(self, d, c, url, s3, bucket):
        d.sync(timeout=60)
        want = self.checkpointed(self.db)
        self.assertEqual(d.stop(), 0)
        c.close()
        out = self.restore(url, self.tmp / "o.db", env=s3.env())
        self.assert_same(out, want, "after the outage")
        files = ltx.list_s3(s3, bucket, "p")
        self.assertEqual(ltx.gaps(files), [])
        return files

    def test_server_goes_and_returns(self):
        s3, bucket, proxy, url = self.proxied()
        c = self.app()
        d = self.daemon({self.db: url}, env=s3.env()).start()
        self.insert(c)
        d.sync()
        proxy.refuse(True)
        mark, before = len(d.text()), self.local()
        self.insert(c)
        d.wait_log(TROUBLE, 5, mark)
        wait_until(lambda: self.local() > before, 10, "local capture")
        proxy.refuse(False)
        files = self.finish(d, c, url, s3, bucket)
        if not is_upstream(self.bin):
            whole = [a for a, _, k in files[1:]
                     if ltx.Ltx(s3.get(bucket, k)).whole()
                     and a > before]
            self.assertEqual(whole, [])

    def test_server_is_away_at_the_start(self):
        """The daemon starts all the same and captures; upstream does not."""
        s3, bucket, proxy, url = self.proxied()
        proxy.refuse(True)
        c = self.app()
        self.insert(c)
        d = self.daemon({self.db: url}, env=s3.env()).start()
        d.wait_log(TROUBLE, 5)
        wait_until(self.local, 10, "local capture")
        before = self.local()
        self.insert(c)
        wait_until(lambda: self.local() > before, 10, "second capture")
        proxy.refuse(False)
        self.finish(d, c, url, s3, bucket)

    def faults(self, *rules):
        s3, bucket, proxy, url = self.proxied()
        c = self.app()
        d = self.daemon({self.db: url}, env=s3.env()).start()
        self.insert(c)
        d.sync()
        proxy.rules.extend(rules)
        for _ in range(len(rules) + 3):
            self.insert(c)
            d.sync(timeout=90)
        for r in rules:
            self.assertEqual(r.hits, r.times, "a fault that never came")
        self.finish(d, c, url, s3, bucket)

    def test_answers_5xx(self):
        self.faults(Rule("PUT", "/0000/", 2, fail=503),
                    Rule("PUT", "/0000/", 1, fail=500))

    def test_answers_429_with_retry_after(self):
        self.faults(Rule("PUT", "/0000/", 1, fail=429, retry_after=1))

    def test_connection_is_reset(self):
        self.faults(Rule("PUT", "/0000/", 2, reset=True))

    def test_answer_is_lost(self):
        """The object is stored, the answer is not heard: the put is settled
        by reading back, not taken for somebody else's."""
        self.faults(Rule("PUT", "/0000/", 2, lose=True))

    def test_restore_survives_cut_bodies(self):
        s3, bucket, proxy, url = self.proxied()
        c = self.app()
        for _ in range(40):
            c.execute("INSERT INTO t(b) VALUES(randomblob(200000))")
        d = self.daemon({self.db: url}, env=s3.env()).start()
        d.sync()
        want = self.checkpointed(self.db)
        d.stop()
        c.close()
        proxy.rules.append(Rule("GET", r"\.ltx", 2, cut=70000))
        proxy.rules.append(Rule("GET", r"\.ltx", 1, fail=503))
        out = self.restore(url, self.tmp / "o.db", env=s3.env())
        self.assert_same(out, want, "restored")

    def test_directory_goes_and_returns(self):
        """A file replica whose folder becomes a file, then a folder again."""
        r = self.tmp / "mnt"
        r.mkdir()
        c = self.app()
        d = self.daemon({self.db: f"file://{r}/rep"}).start()
        self.insert(c)
        d.sync()
        moved = self.tmp / "moved"
        shutil.move(r, moved)
        r.write_text("not a folder")
        mark, before = len(d.text()), self.local()
        self.insert(c)
        d.wait_log(TROUBLE, 5, mark)
        wait_until(lambda: self.local() > before, 10, "local capture")
        r.unlink()
        shutil.move(moved, r)
        d.sync(timeout=60)
        want = self.checkpointed(self.db)
        d.stop()
        c.close()
        out = self.restore(f"file://{r}/rep", self.tmp / "o.db")
        self.assert_same(out, want, "after the outage")


if __name__ == "__main__":
    main()
