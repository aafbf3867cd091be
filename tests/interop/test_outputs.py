#!/usr/bin/env python3
"""What both programs say, side by side on the same data: every command in text
and JSON, the control socket's answers, the log in text and JSON, -once and
-exec. Each program runs in a folder of the same name, so texts can be equal.

Compared is what is left when times, versions, process ids, durations and sizes
of compressed files are taken out. What differs on purpose stands in a table
with its reason: AGREED for commands and requests, THEIRS for log records. An
entry of AGREED that does not differ any more fails, so the table stays true."""
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import (Case, UnixHTTP, connect, is_upstream, main,  # noqa: E402
                     spawn, wait_until)
from proc import SLOW, clean_env  # noqa: E402

TX1 = "0000000000000001"

# What is said differently on purpose: key -> (reason, pattern of ours). The key
# is the command or request as it is written in the tests below.
AGREED = {
    # -- commands without a daemon
    "status app.db": (
        "a relative path, ~ and sqlite:// name the same database",
        r"ok +0{15}1"),
    "status sqlite://W/app.db": ("as above", r"ok +0{15}1"),
    "status a b": ("every command says so", "Error: too many arguments"),
    "databases -config DIR": ("the C library's words", "Is a directory"),
    "reset -config W/c.yml W/rep": (
        "a database that -config does not list is no slip of the pen",
        "Error: database not found in config: W/rep"),
    "reset ''": ("an empty path is none", "Error: database path required"),
    "restore -parallelism 0 -o o.db U": (
        "-parallelism is real", "-parallelism must be between 1 and 256"),
    "restore -txid 0000000000000001 -timestamp 2200-01-01T00:00:00Z -o o.db U":
        ("flags are looked at before the store is asked",
         "cannot specify index & timestamp to restore"),
    "restore -f -timestamp 2200-01-01T00:00:00Z -o o.db U": (
        "as above", "cannot use follow mode with -timestamp"),
    "restore -dry-run -if-replica-exists -o o.db file:///no/such": (
        "-if-replica-exists holds for a plan too", "^0.*no matching backups"),
    "restore -json -if-db-not-exists W/app.db": (
        "with -json nothing but JSON is on stdout",
        r'"", "time=TIME level=INFO msg=\\"database already exists'),
    "restore -txid 00000000000000ff -o o.db U": (
        "the nearest point is named", "Error: no matching.*\nTry: the nearest"),
    "restore -timestamp 2000-01-01T00:00:00Z -o o.db U": (
        "those that are there are named",
        "Error: timestamp does not exist\nTry: -timestamp from"),
    "restore -timestamp 2200-01-01t00:00:00z": ("RFC 3339 allows it", "^0"),
    "restore -o /proc/x/o.db U": (
        "the C library's words", "create folder /proc/x: No such file"),
    "ltx s3://bucket/x": (
        "credentials are asked for with a way out",
        "Error: list .*no credentials for s3\nTry: set access-key-id"),
    "ltx gs://bucket/x": (
        "the store is not here", 'replica type "gs" is not supported yet\n'
        "Try: use a file or s3 replica"),
    # -- with a daemon
    "sync W/none.db": (
        "a database that is not there is not in sync",
        "Error: sync failed: no database at"),
    "sync -wait W/none.db": ("as above", "Error: sync failed: no database at"),
    "register -replica gopher://x W/x.db": (
        "one text for a scheme, wherever it stands",
        'invalid replica url: unknown replica type in config: "gopher"'),
    "register -replica s3:/// W/x.db": (
        "one text for it", "invalid replica url: bucket required for s3"),
    "register -replica gs://b/x W/x.db": (
        "the store is not here", 'invalid replica url: replica type "gs"'),
    "register -replica file://W/rep W/x.db": (
        "two databases do not share a place", "replica collision: databases"),
    # -- requests
    'POST /sync {"path": "W/none.db"}': ("see sync", "no database at"),
    "GET /debug/pprof/": ("not Go", "404 page not found"),
    # -- replicate
    "replicate -once none.db": (
        "a record says what is missing; the path stands first",
        "none.db: no position, waiting for data"),
    "replicate app.db bogus": (
        "the database is named", "database W/app.db: replica url scheme req"),
    "replicate app.db gopher://x": (
        "the database is named", "database W/app.db: unknown replica type"),
    "replicate -exec 'sh -c \"exit 3\"'": (
        "the child's status is passed on", "^3.*Error: exit status 3"),
    "replicate -exec /none": (
        "the C library's words", "Error: cannot start exec command: /none: No"),
    "TERM with -exec 'trap \"exit 7\" TERM'": (
        "the child's status is passed on, after a final sync",
        "^7.*Error: cannot wait for exec process: exit status 7"),
}

# Log records that only Litestream has. Everything else that it logs in the
# tests below must be in our log at the same level, with all its attributes.
THEIRS = {
    "starting compaction monitor": "no loop of its own stands behind it",
    "starting L0 retention monitor": "as above",
    "starting validation monitor": "as above",
    "starting l0 retention enforcement": "as above",
    "l0 retention scan complete": "as above",
    "l0 retention enforced": "here: retention complete",
    "enforcing retention": "debug of their retention",
    "enforcing snapshot retention": "as above",
    "deleting ltx file": "as above",
    "deleting local ltx file": "as above",
    "deleting expired local l0 file": "as above",
    "db not ready, skipping": "nothing is tried before there is a database",
    "scheduling retry for unready dbs": "as above",
    "no compaction": "nothing is logged for what is not done",
    "db sync": "as above; here: sync",
    "replica sync": "here: ltx file uploaded",
    "verify": "steps of their capture",
    "verify.2": "as above",
    "encode snapshot header": "as above",
    "snapshot": "as above; snapshot complete tells of its end",
}
# Attributes of theirs that our record of that name does not have.
LESS = {("sync", "offset"): "a detail of their capture",
        ("sync", "chkpt"): "as above",
        ("snapshot complete", "size"): "not told of a copy by the store"}
# Records whose level is another here: (theirs, name) -> ours.
LOUDER = {("DEBUG", "sync: no database found"): "INFO"}  # said once
ASKED = set()  # keys that were compared in this run


def plain(text):
    """Without what differs from run to run, and without the no-break space
    that one of their texts has."""
    text = text.replace("\u00a0", " ")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", "TIME", text)
    text = re.sub(r"\b0\.\d+\.\d+\b", "VERSION", text)
    text = re.sub(r'((pid|uptime_seconds|duration_ms|elapsed_seconds)"?:'
                  r' *)[\d.e-]+', r"\1N", text, flags=re.I)
    return re.sub(r"(Uptime: +)[\dms]+", r"\1N", text)


def records(text):
    """[(level, message, {key: value})] of a log in text."""
    for line in text.splitlines():
        m = re.match(r'time=\S+Z level=(\S+) msg=("(?:[^"\\]|\\.)*"|\S+)(.*)',
                     line)
        if m:
            yield m[1], m[2].strip('"'), dict(re.findall(
                r' ([\w.-]+)=("(?:[^"\\]|\\.)*"|\S*)', m[3]))


class Outputs(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("it would be compared with itself")
        self.peer = self.need_upstream()
        self.ours = self.tmp / "litestream"  # it calls itself by this name
        self.ours.symlink_to(Path(self.bin).resolve())
        self.w = self.tmp / "w"
        self.url = f"file://{self.w}/rep"
        self.env = clean_env(LITESTREAM_CONFIG=self.w / "c.yml")

    # ---- the same world for both -------------------------------------------

    def world(self, more="", db=""):
        shutil.rmtree(self.w, True)
        self.w.mkdir()
        c = connect(self.w / "app.db")
        c.execute("CREATE TABLE t(x)")
        c.executemany("INSERT INTO t VALUES(?)", [("x" * 99,)] * 300)
        c.close()
        (self.w / "c.yml").write_text(
            f"socket: {{enabled: true, path: {self.w}/s.sock}}\n{more}"
            f"dbs:\n- path: {self.w}/app.db\n{db}"
            f"  replica: {{path: {self.w}/rep}}\n- path: {self.w}/none.db\n"
            f"  replica: {{path: {self.w}/none}}\n")

    def words(self, text):
        return [w.replace("W/", f"{self.w}/").replace("DIR", str(self.w))
                if w != "U" else self.url for w in shlex.split(text)]

    def run_in(self, binary, words, timeout=120):
        r = subprocess.run([binary, *words], cwd=self.w, env=self.env,
                           stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, errors="replace", timeout=timeout * SLOW)
        return r.returncode, plain(r.stdout), plain(r.stderr)

    def same(self, key, theirs, ours):
        """Equal, or AGREED and as the table says."""
        ASKED.add(key)
        got, want = (json.dumps(x).replace(str(self.w), "W")
                     for x in (ours, theirs))
        with self.subTest(key):
            if key not in AGREED:
                self.assertEqual(got, want)
                return
            self.assertNotEqual(got, want, "it does not differ any more")
            flat = " ".join(map(str, ours)).replace(str(self.w), "W")
            self.assertTrue(
                re.search(AGREED[key][1], flat, re.S) or
                re.search(AGREED[key][1], got[1:]), f"{flat}\n{want}")

    # ---- commands without a daemon -----------------------------------------

    OFFLINE = (
        "databases", "databases -json", "databases -json=true",
        "databases --json", "databases x", "databases -- x",
        "databases -config W/no.yml", "databases -config no.yml",
        "databases -config DIR", "databases -no-expand-env",
        "status", "status -json", "status W/app.db", "status -json W/app.db",
        "status W/none.db", "status W/other.db", "status -json W/other.db",
        "status app.db", "status sqlite://W/app.db", "status a b",
        "status -config W/no.yml",
        "ltx W/app.db", "ltx app.db", "ltx -json W/app.db", "ltx U",
        "ltx -json U", "ltx -level all U", "ltx -level all -json U",
        "ltx -level 9 U", "ltx -level 9 -json U", "ltx -level 01 U",
        "ltx file:///no/such", "ltx -json file:///no/such", "ltx W/other.db",
        "ltx ''", "ltx", "ltx a b", "ltx -config W/c.yml U", "ltx x://",
        "ltx http://x/y", "ltx file://", "ltx s3://", "ltx s3:///x",
        "ltx s3://bucket/x", "ltx gs://bucket/x", "wal", "wal U",
        "restore", "restore U", "restore -o '' U", "restore -o o.db U x",
        "restore -o o.db U", "restore -json -o o.db U", "restore W/app.db",
        "restore -txid 0000000000000001 -o o.db U",
        "restore -txid 0000000000000000 -o o.db U",
        "restore -txid 00000000000000ff -o o.db U",
        "restore -txid 0000000000000001 -timestamp 2200-01-01T00:00:00Z "
        "-o o.db U",
        "restore -timestamp 2020-01-01 -o o.db U",
        "restore -timestamp 2000-01-01T00:00:00Z -o o.db U",
        "restore -timestamp 2200-01-01T00:00:00Z -o o.db W/app.db",
        "restore -f -txid 0000000000000001 -o o.db U",
        "restore -f -timestamp 2200-01-01T00:00:00Z -o o.db U",
        "restore -f -dry-run -o o.db U", "restore -parallelism 0 -o o.db U",
        "restore -parallelism 3 -o o.db U", "restore -json -o app.db U",
        "restore -o DIR U", "restore -force -o DIR U",
        "restore -o sub/folder/o.db U", "restore -o /proc/x/o.db U",
        "restore W/other.db", "restore -config W/c.yml W/other.db",
        "restore -config W/c.yml -o o.db U",
        "restore -if-db-not-exists W/app.db",
        "restore -json -if-db-not-exists W/app.db",
        "restore -if-replica-exists -o o.db file:///no/such",
        "restore -json -if-replica-exists -o o.db file:///no/such",
        "restore -o o.db file:///no/such",
        "restore -dry-run -if-replica-exists -o o.db file:///no/such",
        "restore -dry-run W/app.db", "restore -dry-run -o o.db U",
        "restore -dry-run -json -o o.db U",
        "restore -dry-run -json -o o.db W/app.db",
        "restore -integrity-check quick -o o.db U",
        "restore -integrity-check full -json -o o.db U",
        "restore -integrity-check none -o o.db U",
        "restore -integrity-check QUICK -o o.db U",
        "reset", "reset ''", "reset a b", "reset W/other.db",
        "reset -dry-run W/app.db", "reset -dry-run W/none.db",
        "reset -config W/no.yml W/app.db", "reset -config W/c.yml W/rep",
        "register", "register x", "register a b", "unregister", "start",
        "stop", "sync", "sync a b", "info x", "list x", "info -timeout 0",
        "list -timeout -1", "sync -timeout 0 x", "unregister -timeout 0 x",
        "register -timeout 0 -replica file:///x x",
        "unregister -dry-run W/app.db", "unregister -dry-run -json W/app.db",
        "nonsense", "nonsense -h")

    def test_commands_without_a_daemon(self):
        for key in self.OFFLINE:
            got = []
            for binary in (self.peer, self.ours):
                self.world()
                self.run_in(self.peer, self.words(
                    "replicate -once W/app.db U"))
                got.append(self.run_in(binary, self.words(key)))
                # What is there afterwards: nothing half-written.
                got[-1] += (sorted(p.name for p in self.w.iterdir()
                                   if p.name[0] != "."),)
            self.same(key, *got)

    def test_reset(self):
        """Its text; upstream's has two log records in it."""
        got = []
        for binary in (self.peer, self.ours):
            self.world()
            self.run_in(self.peer, self.words("replicate -once W/app.db U"))
            status, out, err = self.run_in(binary, ["reset", "app.db"])
            got.append((status, re.sub(r"(?m)^time=.*\n", "", out), err))
            self.assertFalse((self.w / ".app.db-litestream/ltx").exists())
        self.assertEqual(got[1], got[0])

    def test_every_flag_and_every_command_is_there(self):
        """Usage is ours, but names what theirs names."""
        usage = [self.run_in(b, ["help"]) for b in self.both()]
        names = [set(re.findall(r"^\t(\w+) {2,}\S", u[1], re.M))
                 for u in usage]
        self.assertLessEqual(names[0], names[1])
        for name in sorted(names[0]):
            got = [self.run_in(b, [name, "-h"]) for b in self.both()]
            self.assertEqual((got[1][0], got[1][2]), (0, ""))
            flags = [set(re.findall(r"^\s+-([a-z-]+)(?: |$)", g[1], re.M))
                     for g in got]
            self.assertLessEqual(flags[0], flags[1], name)
            # An unknown one: status and stderr; usage on stdout.
            bad = [self.run_in(b, [name, "-zzz"]) for b in self.both()]
            self.assertEqual(bad[1][::2], bad[0][::2])
            self.assertEqual(bad[1][1], got[1][1])

    def both(self):
        self.w.mkdir(exist_ok=True)
        return self.peer, str(self.ours)

    # ---- a daemon and its clients ------------------------------------------

    def start(self, binary, *more):
        self.world(*more)
        self.log = self.w / "log"
        with open(self.log, "wb") as out:
            p = spawn([binary, "replicate"], stdout=out, stderr=out,
                      stdin=subprocess.DEVNULL, env=self.env, cwd=self.w)
        self.procs.append(p)

        def ready():
            self.assertIsNone(p.poll(), self.log.read_text())
            try:
                return self.ask("POST", "/sync", json.dumps(
                    {"path": f"{self.w}/app.db", "wait": True}))[0] == 200
            except OSError:
                return False
        wait_until(ready, 20, "first sync")
        return p

    def ask(self, method, path, body=None):
        c = UnixHTTP(self.w / "s.sock", 30)
        c.request(method, path, body)
        r = c.getresponse()
        text = r.read().decode()
        kind = r.getheader("Content-Type")
        c.close()
        return r.status, kind, text

    def write(self):
        c = connect(self.w / "app.db")
        c.execute("INSERT INTO t VALUES(1)")
        c.close()

    ONLINE = (
        "info", "info -json", "list", "list -json", "sync W/app.db",
        "sync -json W/app.db", "+ sync -wait W/app.db",
        "+ sync -json -wait W/app.db", "sync /no/db", "sync W/none.db",
        "sync -wait W/none.db", "start W/app.db", "start -json W/app.db",
        "start /no/db", "stop W/app.db", "stop -json W/app.db", "list",
        "list -json", "sync W/app.db", "sync -wait -json W/app.db",
        "stop /no/db", "start W/app.db", "start -timeout 0 W/app.db",
        "stop W/none.db", "start -json W/none.db",
        "register -replica file://W/n W/new.db",
        "register -replica file://W/n W/new.db",
        "register -json -replica file://W/n W/new.db", "list", "info -json",
        "unregister -dry-run W/new.db", "unregister -json W/new.db",
        "unregister W/new.db", "unregister -json /no/db",
        "register -replica bogus W/x.db",
        "register -replica gopher://x W/x.db",
        "register -replica s3:/// W/x.db", "unregister W/x.db",
        "register -replica file://W/rep W/app.db",
        "register -replica gs://b/x W/x.db", "unregister W/x.db",
        "register -replica s3://b/p?partSize=x W/x.db", "unregister W/x.db",
        "register -replica file://W/rep W/x.db", "unregister W/x.db",
        "unregister W/none.db", "unregister W/app.db", "list", "list -json",
        "info")

    def session(self, daemon, client):
        """What the client says; `+` writes to the database before."""
        p = self.start(daemon)
        out = []
        for key in self.ONLINE:
            if key.startswith("+ "):
                self.write()
            name, *rest = self.words(key.removeprefix("+ "))
            got = self.run_in(client, [name, "-socket", self.w / "s.sock",
                                       *rest])
            out.append((key.removeprefix("+ "), got))
        p.send_signal(signal.SIGTERM)
        out.append(("end", (p.wait(60 * SLOW), "", "")))
        return out

    def steady(self, key, got):
        """An unregister that only cleans up says whether there was a thing."""
        if key == "unregister W/x.db":
            return got[0], "", ""
        return got

    def test_commands_with_a_daemon(self):
        """Each client with each daemon."""
        want = self.session(self.peer, self.peer)
        for daemon, client in ((self.ours, self.ours), (self.ours, self.peer),
                               (self.peer, self.ours)):
            with self.subTest(daemon=str(daemon), client=str(client)):
                got = self.session(daemon, client)
                for (key, a), (_, b) in zip(want, got):
                    a, b = self.steady(key, a), self.steady(key, b)
                    if daemon == self.peer:  # its words, by our client
                        self.assertEqual(b, a, key)
                    else:
                        self.same(key, a, b)

    # ---- the control socket -------------------------------------------------

    def requests(self):
        app = json.dumps({"path": f"{self.w}/app.db"})
        yield from (("GET", p, None) for p in (
            "/info", "/list", "/txid", f"/txid?path={self.w}/app.db",
            "/txid?path=/no", "/nope", "/", "/info/", "/metrics", "/sync",
            "/debug/sync-status", f"/debug/sync-status?path={self.w}/app.db",
            "/debug/sync-status?path=/no", "/debug/pprof/"))
        yield from (("POST", p, "") for p in (
            "/info", "/list", "/txid", "/debug/sync-status"))
        yield "PUT", "/start", app
        yield "DELETE", "/sync", None
        for end in ("/start", "/stop", "/register", "/unregister", "/sync"):
            for body in ("", "{", "[]", '"x"', "null", "{}", '{"path":""}',
                         '{"path":5}', '{"path":null}', '{"path":"/no"}'):
                yield "POST", end, body
        for more in ({"timeout": -1}, {"timeout": "x"}, {"wait": 1},
                     {"zzz": 1}, {"wait": True, "timeout": 5}):
            yield "POST", "/sync", json.dumps(
                {"path": f"{self.w}/app.db", **more})
        yield "POST", "/start", app
        yield "POST", "/sync", json.dumps({"path": f"{self.w}/none.db"})

    def shape(self, answer):
        """An answer; of what the details say only that there are some, and
        of sync-status which members it has."""
        status, kind, text = answer
        text = re.sub(r'"details":"(?:[^"\\]|\\.)+"', '"details":"D"',
                      plain(text))
        if '"active"' in text:
            kinds = {}
            for row in json.loads(answer[2])["databases"]:
                if row["path"].endswith("app.db"):
                    row.pop("phase", None)  # our steps have none
                    kinds = {k: type(v).__name__ for k, v in row.items()}
            text = kinds
        return status, kind, text

    def test_control_socket(self):
        got = []
        for binary in self.both():
            p = self.start(binary)
            self.write()
            self.ask("POST", "/sync", json.dumps(
                {"path": f"{self.w}/app.db", "wait": True}))
            got.append([(f"{m} {q}" + (f" {b}" if b else ""),
                         self.shape(self.ask(m, q, b)))
                        for m, q, b in self.requests()])
            p.send_signal(signal.SIGTERM)
            self.assertEqual(p.wait(60 * SLOW), 0)
        for (key, a), (_, b) in zip(*got):
            self.same(key.replace(str(self.w), "W"), a, b)

    # ---- the log ------------------------------------------------------------

    BUSY = """\
addr: 127.0.0.1:0
levels: [{interval: 1s}, {interval: 2s}]
snapshot: {interval: 2s, retention: 3s}
l0-retention: 1s
l0-retention-check-interval: 1s
validation: {interval: 2s}
verify-compaction: true
"""
    BUSY_DB = "  min-checkpoint-page-count: 20\n  checkpoint-interval: 1s\n"

    def busy(self, binary, kind):
        """The log of some busy seconds."""
        p = self.start(binary, f"logging: {{level: debug, type: {kind}, "
                       f"source: {str(kind == 'json').lower()}}}\n{self.BUSY}",
                       self.BUSY_DB)
        c = connect(self.w / "app.db")

        def done():
            for _ in range(40):
                c.execute("INSERT INTO t VALUES(randomblob(9000))")
            text = self.log.read_text()
            return all(w in text for w in (
                "compaction complete", "snapshot complete", "checkpoint"))
        wait_until(done, 30, "a compaction, a snapshot and a checkpoint", 0.2)
        c.close()
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(60 * SLOW), 0)
        return self.log.read_text()

    def test_log_in_text(self):
        theirs, ours = (list(records(self.busy(b, "text")))
                        for b in self.both())
        have = {}
        for level, msg, attrs in ours:
            have.setdefault((level, msg), []).append(attrs)
        for level, msg, attrs in theirs:
            if msg in THEIRS:
                continue
            level = LOUDER.get((level, msg), level)
            rows = have.get((level, msg), [])
            keys = {k for k in attrs if (msg, k) not in LESS}
            self.assertTrue(any(keys <= set(r) for r in rows),
                            f"{level} {msg} {attrs}: ours {rows[:2]}")
            for k in keys & {"system", "db", "replica", "path", "type",
                             "sync-interval", "signal", "snap"}:
                self.assertIn(attrs[k], [r.get(k) for r in rows],
                              f"{msg} {k}")
        forms = {k: re.sub(r"\d+", "N", have[x][0][k]) for x, k in (
            (("DEBUG", "checkpoint"), "result"),
            (("INFO", "compaction complete"), "txid.min"))}
        self.assertEqual(forms, {"result": "N,N,N", "txid.min": "N"})

    def test_log_in_json(self):
        theirs, ours = ([json.loads(s) for s in
                         self.busy(b, "json").splitlines()]
                        for b in self.both())
        first = {}
        for r in ours:
            first.setdefault((r["level"], r["msg"]), r)
        for r in theirs:
            if r["msg"] in THEIRS:
                continue
            what = r["level"], r["msg"]
            mine = first[LOUDER.get(what, what[0]), what[1]]
            self.assertEqual(list(mine)[:4], ["time", "level", "source",
                                              "msg"])
            for k, v in r.items():
                if k not in mine and (r["msg"], k) in LESS or k == "snap":
                    continue
                self.assertIs(type(mine[k]), type(v), f"{r} {mine}")
                if isinstance(v, dict) and k != "source":
                    self.assertEqual(list(mine[k]), list(v))
        self.assertRegex(ours[0]["time"], r"^[-\d]+T[\d:]+\.\d{1,9}Z$")

    def test_once_and_exec(self):
        """Messages at INFO, in order; stderr; status."""
        mine = {"resync", "snapshot complete", "retention complete",
                "sync: no database found", "not everything is at the replica"}
        for key in (
                "replicate -once", "replicate -once -log-level debug",
                "replicate -once -force-snapshot -enforce-retention",
                "replicate -once none.db",
                "replicate -once -restore-if-db-not-exists none.db",
                "replicate app.db bogus", "replicate app.db gopher://x",
                "replicate app.db U -once", "replicate a b c", "replicate x",
                "replicate -once -exec true", "replicate -force-snapshot",
                "replicate -exec true", "replicate -exec 'sh -c \"exit 3\"'",
                "replicate -exec /none"):
            got = []
            for binary in self.both():
                self.world()
                words = self.words(key)
                if words[-1] == "none.db":
                    words.append(self.url)
                elif "app.db" not in words and words[-1] not in "abcx":
                    words += ["app.db", self.url]
                status, out, err = self.run_in(binary, words)
                got.append((status, [
                    (msg, {k: v for k, v in attrs.items()
                           if k in ("path", "level", "type")})
                    for level, msg, attrs in records(out)
                    if level == "INFO" and msg not in mine | set(THEIRS) -
                    {"enforcing retention"}], err))
            if got[1][1] == []:  # an error before the start is said at once
                self.assertLessEqual([m for m, _ in got[0][1]],
                                     ["litestream"])
                got[0] = got[0][0], [], got[0][2]
            if "-restore-if" in key:
                got = [(a, b, "") for a, b, _ in got]
            self.same(key, *got)

    def test_signal_with_exec(self):
        """A child that dies of the signal that was passed on is success."""
        for key, child in (
                ("TERM with -exec 'sleep 60'", "sleep 60"),
                ("TERM with -exec 'trap \"exit 0\" TERM'",
                 "sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'"),
                ("TERM with -exec 'trap \"exit 7\" TERM'",
                 "sh -c 'trap \"exit 7\" TERM; while :; do sleep 0.1; "
                 "done'")):
            got = []
            for binary in self.both():
                self.world()
                p = spawn([binary, "replicate", "-exec", child,
                           self.w / "app.db", self.url], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, env=self.env)
                self.procs.append(p)
                wait_until(lambda: subprocess.run(
                    ["pgrep", "-P", str(p.pid)],
                    stdout=subprocess.DEVNULL).returncode == 0, 10, "child")
                time.sleep(0.3)  # it sets its trap
                p.send_signal(signal.SIGTERM)
                out, err = p.communicate(timeout=60 * SLOW)
                said = [m for _, m, _ in records(out)
                        if "signal" in m or "waiting" in m]
                got.append((p.returncode, said, err))
            self.same(key, *got)

    # ---- forms of values ----------------------------------------------------

    def test_wal_sizes(self):
        """`status` counts bytes as upstream does, over all its units."""
        for size in (0, 1, 999, 1000, 1049, 1050, 9949, 9950, 99499, 999499,
                     999500, 1000000, 1234567, 99949999, 999999999):
            got = []
            for binary in self.both():
                self.world()
                (self.w / "app.db-wal").unlink(missing_ok=True)
                with open(self.w / "app.db-wal", "wb") as f:
                    f.truncate(size)
                got.append(self.run_in(binary, ["status", "-json",
                                                self.w / "app.db"]))
            self.same(f"a WAL of {size} bytes", *got)

    def test_timestamps_of_points(self):
        """Forms of -timestamp that are taken, and those that are not."""
        for t in ("2200-01-01T00:00:00Z", "2200-01-01T00:00:00.5Z",
                  "2200-01-01T00:00:00,5Z", "2200-01-01T00:00:00+02:00",
                  "2200-01-01T00:00:00.123456789-11:30",
                  "2200-01-01t00:00:00z", "2200-01-01 00:00:00Z",
                  "2200-01-01T00:00:00", "2200-02-30T00:00:00Z",
                  "2200-01-01T24:00:00Z", "2200-01-01T00:00:60Z",
                  "2200-1-1T0:0:0Z", "2200-01-01T00:00:00+25:00",
                  "2200-01-01T00:00:00Zx", "1700000000", "5 minutes ago"):
            got = []
            for binary in self.both():
                self.world()
                self.run_in(self.peer, self.words("replicate -once app.db U"))
                got.append(self.run_in(binary, [
                    "restore", "-timestamp", t, "-o", "o.db", "app.db"]))
            self.same(f"restore -timestamp {t}", *got)

    def test_zz_every_entry_was_asked_for(self):
        """The last one, when all of them ran."""
        if not {"databases", "info", "POST /start", "replicate -once",
                "TERM with -exec 'sleep 60'"} <= ASKED:
            self.skipTest("not all tests ran")
        self.assertEqual(set(AGREED) - ASKED, set())


if __name__ == "__main__":
    main()
