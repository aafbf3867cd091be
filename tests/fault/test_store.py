#!/usr/bin/env python3
"""A store that misbehaves, one way after the other, in front of a running
daemon: it says so within five seconds, captures on locally, and catches up
when the store is well again; the restored copy equals the source. Nothing in
between loses a commit, leaves a wrong object, or hangs."""
import json
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from faultproxy import FaultProxy, Rule  # noqa: E402
from harness import Case, connect, main, wait_until  # noqa: E402

TROUBLE = r"level=(WARN|ERROR)"


class Store(Case):
    def setUp(self):
        super().setUp()
        self.s3, self.bucket = self.need_s3()
        self.proxy = FaultProxy(self.s3.port).start()
        self.addCleanup(self.proxy.stop)
        self.url = self.s3.url(self.bucket, "p", self.proxy.port)
        self.db = self.tmp / "app.db"
        self.c = connect(self.db)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")

    def start(self, **kw):
        d = self.daemon({self.db: self.url}, env=self.s3.env(), **kw).start()
        self.insert()
        d.sync()
        return d

    def insert(self, n=5):
        for _ in range(n):
            self.c.execute("INSERT INTO t(b) VALUES(randomblob(2000))")

    def listed(self, d):
        """The record of the database, as `list` tells it."""
        r = self.run_cli("list", "-json", "-socket", d.sock)
        doc = json.loads(r.stdout)
        return (doc.get("databases") or doc.get("dbs") or doc)[0] \
            if isinstance(doc, dict) else doc[0]

    def local(self):
        files = ltx.list_dir(self.tmp / ".app.db-litestream")
        return files[-1][1] if files else 0

    def finish(self, d):
        d.sync(timeout=60)
        want = self.checkpointed(self.db)
        self.assertEqual(d.stop(), 0)
        self.assert_replica(want)

    def assert_replica(self, want):
        """Past the proxy: what is stored is whole and is the source."""
        url = self.s3.url(self.bucket, "p")
        out = self.restore(url, self.tmp / "o.db", env=self.s3.env())
        self.assert_same(out, want, "restored")
        files = ltx.list_s3(self.s3, self.bucket, "p")
        self.assertEqual(ltx.gaps(files), [])
        for a, b, key in files:
            f = ltx.Ltx(self.s3.get(self.bucket, key), key)
            self.assertEqual((f.min, f.max), (a, b), key)

    def outage(self, *rules, say=TROUBLE):
        d = self.start()
        mark, before = len(d.text()), self.local()
        self.proxy.rules.extend(rules)
        self.insert()
        d.wait_log(say, 5, mark)
        wait_until(lambda: self.local() > before, 5, "local capture")
        before = self.local()
        self.insert()
        wait_until(lambda: self.local() > before, 5, "more local capture")
        self.proxy.rules.clear()
        self.assertTrue(all(r.hits for r in rules), "a fault never came")
        self.finish(d)

    def refused(self, status, code, **kw):
        self.outage(Rule(fail=status, code=code, **kw))

    def test_internal_error(self):
        self.refused(500, "InternalError")

    def test_unavailable(self):
        self.refused(503, "ServiceUnavailable")

    def test_throttled(self):
        self.refused(429, "SlowDown", retry_after=1)

    def test_credentials_expire_and_are_renewed(self):
        self.refused(403, "ExpiredToken")

    def test_access_denied(self):
        self.refused(403, "AccessDenied")

    def test_clock_skew(self):
        self.refused(403, "RequestTimeTooSkewed")

    def test_wrong_region(self):
        self.refused(400, "AuthorizationHeaderMalformed")

    def test_moved_permanently(self):
        self.refused(301, "PermanentRedirect")

    def test_bucket_gone_and_back(self):
        self.refused(404, "NoSuchBucket")

    def test_puts_are_refused_and_reads_work(self):
        self.outage(Rule("PUT", fail=503, code="SlowDown"))

    def test_connections_are_reset(self):
        self.outage(Rule(reset=True))

    def test_answers_are_lost(self):
        """Every request does its work; no answer comes back."""
        self.outage(Rule(lose=True))

    def test_requests_hang(self):
        self.outage(Rule(hang=True))

    def test_bucket_is_deleted_and_made_anew(self):
        """All that was stored is gone: a new base, and nothing missing."""
        d = self.start()
        mark = len(d.text())
        for key, _ in self.s3.list(self.bucket):
            self.s3.delete(self.bucket, key)
        self.s3.request("DELETE", self.bucket)
        self.insert()
        d.wait_log(TROUBLE, 5, mark)
        self.s3.make_bucket(self.bucket)
        self.insert()
        self.finish(d)

    def test_half_of_the_bucket_is_deleted(self):
        """The first files are gone and the newest are not: a new base."""
        d = self.start()
        for _ in range(3):
            self.insert()
            d.sync()
        files = ltx.list_s3(self.s3, self.bucket, "p")
        for _, _, key in files[:2]:
            self.s3.delete(self.bucket, key)
        self.s3.delete(self.bucket, files[-1][2])
        self.proxy.rules.append(Rule("PUT", times=2, reset=True))
        self.insert()
        d.sync(timeout=60)
        want = self.checkpointed(self.db)
        d.wait_log("snapshot complete", 30)
        self.assertEqual(d.stop(), 0)
        out = self.restore(self.s3.url(self.bucket, "p"),
                           self.tmp / "o.db", env=self.s3.env())
        self.assert_same(out, want, "restored")

    def test_far_away(self):
        self.proxy.latency = 0.3
        d = self.start()
        for _ in range(5):
            self.insert()
            d.sync()
        self.finish(d)

    def test_each_put_succeeds_and_only_its_answer_is_lost(self):
        """Settled by reading back: no loss, no second object, no fence."""
        rule = Rule("PUT", "/0000/", lose=True)
        d = self.start()
        self.proxy.rules.append(rule)
        for _ in range(10):
            self.insert(1)
            d.sync(timeout=60)
        self.assertGreaterEqual(rule.hits, 10)
        self.assertNotIn("fenced", d.text())
        self.finish(d)

    def test_stop_during_a_stalled_upload(self):
        d = self.start(top={"shutdown-sync-timeout": "3s"})
        self.proxy.rules.append(Rule("PUT", hang=True))
        self.insert()
        wait_until(lambda: self.proxy.rules[0].hits, 10, "an upload")
        mark = len(d.text())
        status = d.stop(timeout=8)
        self.assertGreater(status, 0, "killed, or said all was well")
        said = d.text()[mark:]
        self.assertRegex(said, r"level=ERROR.*app\.db")
        self.assertRegex(said, r"local_txid=[0-9a-f]{16}")
        self.proxy.rules.clear()
        self.finish(d.start())

    def copy_to_restore(self):
        for _ in range(30):
            self.c.execute("INSERT INTO t(b) VALUES(randomblob(200000))")
        d = self.start()
        want = self.checkpointed(self.db)
        self.assertEqual(d.stop(), 0)
        return want

    def faulty_restore(self, *rules):
        want = self.copy_to_restore()
        self.proxy.rules.extend(rules)
        out = self.restore(self.url, self.tmp / "o.db", env=self.s3.env())
        self.assertTrue(all(r.hits for r in rules), "a fault never came")
        self.assert_same(out, want, "restored")

    def test_restore_over_truncated_ranges(self):
        self.faulty_restore(Rule("GET", r"\.ltx", 3, short=50000))

    def test_restore_over_stalled_bodies(self):
        self.faulty_restore(Rule("GET", r"\.ltx", 2, cut=70000, stall=True))

    def test_restore_over_resets_and_refusals(self):
        self.faulty_restore(Rule("GET", r"\.ltx", 2, reset=True),
                            Rule("GET", r"\.ltx", 1, fail=500),
                            Rule("GET", r"\.ltx", 1, fail=429, retry_after=1),
                            Rule("GET", "list-type", 1, fail=503))

    def test_restore_that_cannot_leaves_nothing(self):
        self.copy_to_restore()
        self.proxy.rules.append(Rule("GET", r"\.ltx", fail=404,
                                     code="NoSuchKey"))
        out = self.tmp / "no" / "o.db"
        out.parent.mkdir()
        r = self.run_cli("restore", "-o", out, self.url, env=self.s3.env(),
                         ok=False)
        self.assertNotEqual(r.returncode, 0)
        self.assertIn(".ltx", r.stderr)
        self.assertEqual(list(out.parent.iterdir()), [])


if __name__ == "__main__":
    main()
