#!/usr/bin/env python3
"""What is served at `addr`, and the heartbeat: metrics against the true state
found by other means, health, the status page, addresses that cannot be had."""
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from faultproxy import FaultProxy  # noqa: E402
from harness import Case, connect, is_upstream, main, wait_until  # noqa
from proc import free_port  # noqa: E402

# The queries of Litestream's Grafana dashboard ("Litestream Monitoring"), the
# metrics that they are made of.
DASHBOARD = """litestream_db_size litestream_wal_size
litestream_total_wal_bytes litestream_sync_count litestream_sync_error_count
litestream_sync_seconds litestream_checkpoint_count
litestream_checkpoint_error_count litestream_txid
litestream_replica_operation_total litestream_replica_operation_bytes""".split()
OURS = """replication_lag_seconds durable_txid durable_timestamp_seconds
upload_error_count spool_bytes wal_bytes blocked_by_pid state resync_count
resync_pages store_request_total verify_last_success_timestamp_seconds""".split()

LINE = re.compile(r'^([a-z0-9_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? '
                  r'(\S+)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def parse(text):
    """{name: {labels as a frozenset: value}}; fails on what is no exposition:
    a broken line, a series twice, a metric whose lines do not stand together,
    or one without its TYPE in front."""
    out, types, done, last = {}, {}, set(), None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, line
            types[name] = kind
            continue
        if line.startswith("# HELP "):
            continue
        m = LINE.match(line)
        assert m, line
        name = m[1]
        family = name
        if family not in types:
            family = re.sub("_(bucket|sum|count)$", "", name)
            assert types.get(family) == "histogram", line
        assert family == last or family not in done, f"apart: {line}"
        done.add(family)
        last = family
        labels = frozenset(
            (k, v.replace('\\"', '"').replace("\\n", "\n")
             .replace("\\\\", "\\")) for k, v in LABEL.findall(m[2] or ""))
        series = out.setdefault(name, {})
        assert labels not in series, f"twice: {line}"
        series[labels] = float(m[3])
    return out


class Site:
    """One scrape target of a daemon."""

    def __init__(self, port):
        self.port = port

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            c.request("GET", path)
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read().decode()
        finally:
            c.close()

    def metrics(self):
        status, head, text = self.get("/metrics")
        assert status == 200
        assert head["Content-Type"].startswith("text/plain; version=0.0.4")
        return parse(text)

    def value(self, name, db=None, **labels):
        want = dict(labels, **({"db": str(db)} if db else {}))
        got = [v for k, v in self.metrics().get(f"litestream_{name}",
                                                {}).items()
               if want.items() <= dict(k).items()]
        return got[0] if len(got) == 1 else None


class Rows(HTMLParser):
    """The rows of the status page, as lists of texts."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


class Watching(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("ours is meant")
        self.port = free_port()
        self.site = Site(self.port)

    def make(self, *names):
        dbs = {}
        for n in names:
            p = self.tmp / n
            p.parent.mkdir(parents=True, exist_ok=True)
            c = connect(p)
            self.addCleanup(c.close)
            c.execute("CREATE TABLE t(x)")
            dbs[p] = c
        return dbs

    def start(self, dbs, top=None, **kw):
        url = kw.pop("url", None)
        urls = {p: url or f"file://{self.tmp}/r/{i}"
                for i, p in enumerate(dbs)}
        return self.daemon(urls, top={
            "addr": f"127.0.0.1:{self.port}", **(top or {})}, **kw).start()

    # ---- metrics ----------------------------------------------------------

    def test_values_are_true(self):
        dbs = self.make("app.db")
        (db, c), = dbs.items()
        d = self.start(dbs, db={"min-checkpoint-page-count": 100},
                       top={"levels": [{"interval": "1s"}],
                            "park-after": "1h",
                            "validation": {"interval": "1s"}})
        d.sync()  # the first copy is none of the WAL's
        for i in range(300):
            c.execute("INSERT INTO t VALUES(randomblob(5000))")
            if i % 100 == 0:
                self.site.metrics()  # in the middle of it
        d.sync()
        m = wait_until(lambda: (
            lambda m: m if self.pick(m, "verify_last_success_timestamp_seconds",
                                     db) else None)(self.site.metrics()),
            40, "a validation")
        d.sync()
        m = self.site.metrics()
        files = ltx.list_dir(self.tmp / "r/0")
        self.assertEqual(self.pick(m, "txid", db), files[-1][1])
        self.assertEqual(self.pick(m, "durable_txid", db), files[-1][1])
        self.assertEqual(self.pick(m, "replication_lag_seconds", db), 0)
        self.assertEqual(self.pick(m, "db_size", db), os.stat(db).st_size)
        self.assertEqual(self.pick(m, "wal_bytes", db),
                         os.stat(f"{db}-wal").st_size)
        spool = self.tmp / ".app.db-litestream/ltx/0"
        self.assertEqual(self.pick(m, "spool_bytes", db),
                         sum(p.stat().st_size for p in spool.iterdir()))
        self.assertEqual(self.pick(m, "state", db, state="replicating"), 1)
        self.assertEqual(sum(m["litestream_state"].values()), 1)
        at = files[-1][2].read_bytes()[32:40]  # of its header: ms
        self.assertAlmostEqual(
            self.pick(m, "durable_timestamp_seconds", db),
            int.from_bytes(at, "big") / 1000, places=3)
        self.assertEqual(self.pick(m, "resync_count", db), 0)
        for name in ("sync_error_count", "upload_error_count",
                     "compaction_verify_error_count", "disk_full",
                     "blocked_by_pid", "validation_error_count"):
            self.assertEqual(self.pick(m, name, db), 0, name)
        log = d.text()
        self.assertEqual(
            sum(self.pick(m, "checkpoint_count", db, mode=x) or 0
                for x in ("PASSIVE", "RESTART", "TRUNCATE")),
            log.count("msg=checkpoint "))
        # every frame is 24 bytes and a page
        frames = self.pick(m, "total_wal_bytes", db) / (24 + 4096)
        self.assertEqual(frames, int(frames))
        self.assertGreater(frames, 300)
        self.assertAlmostEqual(
            self.pick(m, "verify_last_success_timestamp_seconds", db),
            time.time(), delta=120)
        # L0, compacted and snapshot files: all puts of this place
        self.assertEqual(
            self.pick(m, "store_request_total", db, operation="PUT",
                      code="ok"),
            m["litestream_replica_operation_total"][frozenset(
                {("replica_type", "file"), ("operation", "PUT")})])
        self.assertGreaterEqual(
            self.pick(m, "store_request_total", db, operation="PUT",
                      code="ok"), log.count("ltx file uploaded"))
        for name in DASHBOARD:  # every query of it finds its series
            self.assertTrue(m.get(name), name)
        for name in OURS:
            self.assertTrue(m.get(f"litestream_{name}"), name)

    def pick(self, m, name, db, **labels):
        want = dict(labels, db=str(db))
        got = [v for k, v in m.get(f"litestream_{name}", {}).items()
               if want.items() <= dict(k).items()]
        return got[0] if len(got) == 1 else None

    def test_counters_never_go_back(self):
        dbs = self.make("a.db", "b.db")
        d = self.start(dbs, db={"min-checkpoint-page-count": 20},
                       top={"park-after": "200ms"})
        before = {}
        for i in range(15):
            for c in dbs.values():
                c.execute("INSERT INTO t VALUES(randomblob(9000))")
            d.sync(next(iter(dbs)))
            _, _, text = self.site.get("/metrics")
            kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
            now = {(n, k): v for n, s in parse(text).items()
                   for k, v in s.items() if kinds.get(n) == "counter"}
            for key, v in before.items():
                self.assertGreaterEqual(now.get(key, -1), v, key)
            before = now

    def test_idle_parked_and_stopped(self):
        dbs = self.make("app.db")
        db, = dbs
        d = self.start(dbs, top={"park-after": "300ms"})
        d.sync()
        wait_until(lambda: self.site.value("state", db, state="parked"), 20,
                   "parked")
        m = self.site.metrics()
        self.assertEqual(self.pick(m, "replication_lag_seconds", db), 0)
        self.assertEqual(self.pick(m, "wal_bytes", db),
                         os.stat(f"{db}-wal").st_size)
        self.assertEqual(d.call("POST", "/stop", {"path": str(db)})[0], 200)
        m = self.site.metrics()
        self.assertEqual(self.pick(m, "state", db, state="stopped"), 1)
        self.assertIsNone(self.pick(m, "replication_lag_seconds", db))
        self.assertEqual(self.site.get("/healthz")[0], 200)
        self.assertEqual(
            d.call("POST", "/unregister", {"path": str(db)})[0], 200)
        self.assertIsNone(self.site.value("txid", db))

    def test_lag_grows_while_the_store_is_away(self):
        s3, bucket = self.need_s3()
        proxy = FaultProxy(s3.port).start()
        self.addCleanup(proxy.stop)
        dbs = self.make("app.db")
        (db, c), = dbs.items()
        d = self.start(dbs, url=s3.url(bucket, "p", proxy.port), env=s3.env())
        d.sync()
        self.assertEqual(self.site.value("replication_lag_seconds", db), 0)
        proxy.refuse(True)
        began = time.time()
        c.execute("INSERT INTO t VALUES(1)")
        lag = wait_until(
            lambda: (lambda v: v if v and v > 1 else None)(
                self.site.value("replication_lag_seconds", db)), 20, "lag")
        self.assertLessEqual(lag, time.time() - began + 0.01)
        wait_until(lambda: sum(
            v for k, v in self.site.metrics().get(
                "litestream_store_request_total", {}).items()
            if dict(k)["code"] == "net") > 0, 20, "a request that failed")
        wait_until(lambda: self.site.value("upload_error_count", db), 90,
                   "an upload error")
        status, _, text = self.site.get("/healthz")
        doc = json.loads(text)
        self.assertEqual((status, doc["status"]), (503, "degraded"))
        self.assertEqual([(x["path"], x["state"]) for x in doc["databases"]],
                         [(str(db), "error")])
        self.assertTrue(doc["databases"][0]["error"])
        rows = Rows(self.site.get("/")[2]).rows
        self.assertEqual(rows[1][1], "error")
        proxy.refuse(False)
        d.sync()
        wait_until(lambda: self.site.get("/healthz")[0] == 200, 30, "health")
        m = self.site.metrics()
        self.assertEqual(self.pick(m, "replication_lag_seconds", db), 0)
        self.assertEqual(self.pick(m, "durable_txid", db),
                         self.pick(m, "txid", db))

    def test_blocked_by_names_the_reader(self):
        dbs = self.make("app.db")
        (db, c), = dbs.items()
        d = self.start(dbs, db={"min-checkpoint-page-count": 10})
        d.sync()
        c.execute("INSERT INTO t VALUES(randomblob(100000))")
        reader = self.spawn(
            [sys.executable, "-c",
             "import sqlite3,sys\n"
             f"c=sqlite3.connect({str(db)!r}, isolation_level=None)\n"
             "c.execute('BEGIN'); c.execute('SELECT * FROM t').fetchone()\n"
             "print('held', flush=True); sys.stdin.readline()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(reader.stdout.readline(), "held\n")

        def named():
            c.execute("INSERT INTO t VALUES(randomblob(50000))")
            d.sync()
            return self.site.value("blocked_by_pid", db) == reader.pid
        wait_until(named, 30, "the reader's pid", 0.1)
        self.assertIn(f"process {reader.pid} holds", self.site.get("/")[2])
        reader.communicate("")

    def test_databases_of_one_name(self):
        """Where the label is the base name, two must not make one series
        twice (parse() looks)."""
        dbs = self.make("a/app.db", "b/app.db")
        for c in dbs.values():
            c.execute("INSERT INTO t VALUES(1)")
        d = self.start(dbs, top={"levels": [{"interval": "1s"}],
                                 "l0-retention": "1s",
                                 "l0-retention-check-interval": "1s"})

        def found():
            for p, c in dbs.items():
                c.execute("INSERT INTO t VALUES(1)")
                d.sync(p)
            return self.site.value("l0_retention_files_total", "app.db",
                                   status="eligible")
        wait_until(found, 40, "retention", 0.2)

    def test_promtool_finds_nothing(self):
        tool = shutil.which("promtool")
        if not tool:
            # Its package would start a server; parse() is strict as well.
            self.skipTest("promtool (package prometheus) is not installed")
        dbs = self.make("app.db", 'od\\d "n".db')
        d = self.start(dbs)
        for p in dbs:
            d.sync(p)
        r = subprocess.run([tool, "check", "metrics"], text=True,
                           input=self.site.get("/metrics")[2],
                           capture_output=True)
        # Upstream's names, which its dashboard asks for, are not as promtool
        # would have them; nothing else is allowed.
        left = [x for x in (r.stdout + r.stderr).splitlines()
                if not re.search(r'should (not )?have "_(total|count)" suffix',
                                 x)]
        self.assertEqual(left, [])

    # ---- the page ---------------------------------------------------------

    def test_page(self):
        evil = "<img src=x onerror=alert(1)>&\"'.db"
        dbs = self.make("app.db", evil)
        d = self.start(dbs)
        for p in dbs:
            d.sync(p)
        status, head, text = self.site.get("/")
        self.assertEqual(status, 200)
        policy = head["Content-Security-Policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotRegex(policy, "unsafe|http|\\*")
        page = Rows(text)
        self.assertEqual(
            {r[0].split(" /")[0] for r in page.rows[1:]},
            {"app.db", evil})
        self.assertNotIn("img", [t for t, _ in page.tags])
        # all it loads lies here, and there is no code or style in the page
        for tag, at in page.tags:
            self.assertFalse([k for k in at if k.startswith("on") or
                              k == "style"], tag)
            for k in ("src", "href", "action"):
                if k in at and not at[k].startswith("?"):
                    self.assertNotIn(":", at[k])
                    status, _, body = self.site.get("/" + at[k])
                    self.assertEqual(status, 200, at[k])
        for asset in ("status.css", "status.js"):
            self.assertNotRegex(self.site.get("/" + asset)[2],
                                r"https?://|@import|eval\(|innerHTML")
        rows = Rows(self.site.get("/?q=app")[2]).rows[1:]
        self.assertEqual(len(rows), 1)
        self.assertEqual(Rows(self.site.get("/?state=fenced")[2]).rows[1:], [])
        odd = urllib.parse.quote('"><script>')
        self.assertNotIn("<script>", self.site.get(f"/?q={odd}")[2])

    def test_other_paths(self):
        self.start(self.make("app.db"))
        for path in ("/debug/pprof/", "/debug/pprof/profile"):
            status, _, text = self.site.get(path)
            self.assertEqual(status, 404)
            self.assertIn("not a Go program", text)
        self.assertEqual(self.site.get("/nothing")[0], 404)
        c = http.client.HTTPConnection("127.0.0.1", self.port)
        c.request("POST", "/metrics", "x")
        r = c.getresponse()
        r.read()
        self.assertEqual(r.status, 405)
        c.request("HEAD", "/metrics")
        self.assertEqual(c.getresponse().status, 200)
        c.close()

    # ---- addresses --------------------------------------------------------

    def test_address_that_is_taken(self):
        dbs = self.make("app.db")
        with socket.socket() as s:
            s.bind(("127.0.0.1", self.port))
            s.listen()
            d = self.start(dbs)
            d.sync()  # replication goes on
            lines = [x for x in d.text().splitlines()
                     if "metrics server" in x]
        self.assertEqual(len(lines), 1, d.text())
        self.assertIn("level=ERROR", lines[0])
        self.assertIn("another process listens there", lines[0])
        self.assertIn(str(self.port), lines[0])

    def test_address_that_is_none(self):
        for bad, why in (("localhost", "must specify port"),
                         (":http", "no port number"),
                         ("::1:9", "too many colons")):
            conf = self.tmp / "bad.yml"
            conf.write_text(json.dumps({"addr": bad, "dbs": []}))
            r = self.run_cli("replicate", "-config", conf, ok=False)
            self.assertEqual(r.returncode, 1)
            self.assertIn(why, r.stderr)
            self.assertEqual(len(r.stderr.splitlines()) - (
                "\nTry:" in r.stderr), 1, r.stderr)

    # ---- heartbeat --------------------------------------------------------

    def test_heartbeat(self):
        hits = []

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                hits.append(self.path)
                self.send_response(self.server.answer)
                self.end_headers()

            def log_message(self, *args):
                pass
        for answer in (200, 500):
            hits.clear()
            srv = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
            srv.answer = answer
            threading.Thread(target=srv.serve_forever, daemon=True).start()
            self.addCleanup(srv.server_close)
            self.addCleanup(srv.shutdown)
            dbs = self.make(f"{answer}.db")
            d = self.daemon(
                {p: f"file://{self.tmp}/h{answer}" for p in dbs},
                top={"heartbeat-url": f"http://127.0.0.1:{srv.server_port}"
                                      "/ping/key-of-mine?a=b"}).start()
            wait_until(lambda: hits, 30, "a heartbeat")
            d.wait_log("heartbeat sent" if answer == 200 else
                       'heartbeat failed.*status 500')
            self.assertEqual(hits, ["/ping/key-of-mine?a=b"])
            self.assertNotIn("key-of-mine", d.text())
            d.stop()

    def test_no_heartbeat_for_a_database_that_is_missing(self):
        srv = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(srv.close)
        srv.settimeout(4)  # three looks fit
        self.daemon({self.tmp / "not-there.db": f"file://{self.tmp}/r"}, top={
            "heartbeat-url": f"http://127.0.0.1:{srv.getsockname()[1]}/"}
        ).start()
        with self.assertRaises(TimeoutError):
            srv.accept()

    # ---- validation -------------------------------------------------------

    def test_validation_finds_a_gap(self):
        dbs = self.make("app.db")
        (db, c), = dbs.items()
        d = self.start(dbs, top={"validation": {"interval": "1s"},
                                 "levels": []})
        for _ in range(5):
            c.execute("INSERT INTO t VALUES(1)")
            d.sync()
        wait_until(lambda: self.site.value(
            "verify_last_success_timestamp_seconds", db), 30, "validation")
        (self.tmp / f"r/0/ltx/0/{3:016x}-{3:016x}.ltx").unlink()
        d.wait_log("validation error detected.*type=", 30)
        wait_until(lambda: self.site.value("validation_error_count", db), 10,
                   "the count")
        good = self.site.value("verify_last_success_timestamp_seconds", db)
        errors = self.site.value("validation_error_count", db)
        wait_until(lambda: self.site.value("validation_error_count", db) >
                   errors, 20, "the next")
        self.assertEqual(self.site.value(
            "verify_last_success_timestamp_seconds", db), good)


if __name__ == "__main__":
    main()
