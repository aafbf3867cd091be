#!/usr/bin/env python3
"""The configuration beside the released binary: every form of a value, every
way to write an entry. Both programs run `replicate -once` with the same file;
compared are the status and what the start record says of the replica (type,
path, interval, bucket, region, endpoint). An error of ours is one line that
begins with the file and, where it has one, the line.

What we refuse and upstream takes stands in STRICTER, the other way round in
KINDER, each with its reason. Which keys there are is unit/config's matter."""
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from fakes3 import FakeS3  # noqa: E402
from harness import Case, connect, is_upstream, main  # noqa: E402
from proc import clean_env  # noqa: E402

R = "  replica: {path: W/r}\n"
A = "dbs:\n- path: W/a.db\n"

NAMED = "nothing that is written is ignored"
STRICTER = {
    "interval 1": ("a bare integer is no duration", "invalid duration"),
    "interval 300": ("a bare integer is no duration", "invalid duration"),
    "two documents": (NAMED, "only one YAML document"),
    "a key twice": (NAMED, "stands here twice"),
    "an unknown key": (NAMED, "unknown key"),
    "an anchor of its own": (NAMED, "unknown key"),
    "recursive without dir": (NAMED, "need 'dir'"),
    "pattern without dir": (NAMED, "need 'dir'"),
    "host at top level": (NAMED, "host is not supported yet"),
    "host of a folder": (NAMED, "host is not supported yet"),
    "dir is a file": ("it is none", "is not a directory"),
    "integer 1e3": ("a whole number is one", "is not a whole number"),
    "integer 1.0": ("a whole number is one", "is not a whole number"),
    "max-sync-wal-bytes -1": ("0 = none", "greater than or equal to 0"),
    "max-sync-ltx-files -1": ("0 = none", "greater than or equal to 0"),
    "monitor-interval -1s": ("0 = none", "greater than or equal to 0"),
    "checkpoint-interval -1s": ("0 = none", "greater than or equal to 0"),
    "busy-timeout -1s": ("0 = none", "greater than or equal to 0"),
    "concurrency -1": ("none is none", "out of range"),
    "mode 07777": ("a socket has no such bits", "out of range"),
    "url file:r": ("relative to what?", "scheme required"),
    "state in the replica": ("one would destroy the other", "would share"),
}
KINDER = {
    'bool "true"': "quoted or not", 'integer "5"': "quoted or not",
    'mode "0600"': "quoted or not",
}


def top(text):
    return text + "\n" + A + R


def of_db(text):
    return A + f"  {text}\n" + R


def of_replica(text):
    return A + f"  replica:\n    path: W/r\n    {text}\n"


def instead(text):
    return A + f"  replica: {{{text}}}\n"


def many():
    yield from ((f"interval {v}", of_replica(f"sync-interval: {v}")) for v in (
        "1s", "500ms", "1h30m", "1.5h", "1us", "1µs", ".5s", "1.s", "-1s", "0",
        "0s", "1d", "1", "300", "''", "null", "~", "1 s", "1S", "1e3s",
        "9223372036854775807ns", "9223372036854775808ns", "300000h",
        "3000000h", "1h1h", "+1s", "'1s'", "1m30.25s", "true", "[1s]"))
    yield from ((f"file {n}", text) for n, text in (
        ("empty", ""), ("comment", "# x\n"), ("null", "~\n"), ("list", "- a"),
        ("scalar", "abc\n"), ("CRLF", top("").replace("\n", "\r\n")),
        ("BOM", "\ufeff" + top("")), ("tab", "dbs:\n\t- path: x\n")))
    yield from ((f"dbs {v}", f"dbs: {v}\n") for v in ("", "[]", "x", "{a: b}"))
    yield "two documents", top("") + "---\ndbs: []\n"
    yield "a key twice", top('addr: ""\naddr: ""')
    yield "an unknown key", top("zzz: 1")
    yield "an anchor of its own", f"x: &r {{path: W/r}}\n{A}  replica: *r\n"
    yield "merge", A + ("  replica: &r {path: W/r, sync-interval: 7s}\n"
                        "- path: W/b.db\n  replica: {<<: *r, path: W/q}\n")
    yield "a database twice", A + R + "- path: W/a.db\n  replica: {path: W/q}\n"
    yield from ((f"replica {v}", A + f"  {v}\n") for v in (
        "replicas: [{path: W/r}]", "replicas: [{path: W/r}, {path: W/q}]",
        "replicas: []", "replicas: {path: W/r}", "replica: [{path: W/r}]",
        "replica: file:///x", "replica:", "replica: {}",
        "replica: {path: W/r}\n  replicas: [{path: W/q}]"))
    yield from ((f"place {v}", instead(v)) for v in (
        'url: "file://W/r"', 'url: "FILE://W/r"', 'url: "file:W/r"',
        'url: "file://W/r/../q/"', 'url: "file://W/r?x=1"',
        'url: "file://W/r%20x"', 'url: "W/r"', 'url: "x://y"',
        'url: "file://W/r", path: /x', 'url: "s3://b/p", bucket: x',
        'url: "file://W/r", bucket: x', 'path: "s3://b/p"', "path: r",
        "path: ~/no-such-user-here", "type: s3, path: p",
        'type: s3, url: "file://W/r"', "type: FILE, path: W/r",
        "type: zzz, path: W/r", 'type: "", path: W/r', 'url: "", path: W/r',
        'bucket: "", path: W/r', 'path: ""', 'path: "W/r$HERE-$NONE-${HERE}"',
        'path: "W/r$"', 'path: "W/r$$x$1$*"', 'path: "W/r${}x"'))
    yield "url file:r", instead('url: "file:r"')
    yield from ((f"entry {v}", f"dbs:\n- {v}\n" + R) for v in (
        "path: W/a.db\n  dir: W", "meta-path: W/m", "dir: W", "dir: W/none\n"
        "  pattern: '*.db'", "dir: W\n  pattern: '*.zzz'",
        "dir: W\n  pattern: '[a'", "path: W/a.db\n  watch: true",
        "path: W/a.db\n  meta-dir: W/m", "path: a.db", "path: sqlite://W/a.db",
        "path: sqlite3://W/a.db", 'path: ""', "path: W/a.db\n  dir: ''",
        "path: W/a.db\n  pattern: ''", "path: W/a.db\n  meta-path: ''",
        "path: W/a.db\n  meta-path: W/other",
        "dir: W\n  pattern: '*'\n  meta-dir: W/m\n  meta-path: W/n",
        "path: $HERE/a.db", "path: W/a.db # $HERE"))
    yield "recursive without dir", of_db("recursive: true")
    yield "pattern without dir", of_db("pattern: '*'")
    yield "dir is a file", "dbs:\n- dir: W/a.db\n  pattern: '*.db'\n" + R
    yield "state in the replica", of_db("meta-path: W/r")
    yield from ((f"bool {v}", top(f"verify-compaction: {v}")) for v in (
        "yes", "on", "True", "n", "1", '"true"', "", "maybe"))
    yield from ((f"integer {v}", of_db(f"min-checkpoint-page-count: {v}"))
                for v in ("1_000", "0x10", "010", "1e3", "1.0", '"5"', "0",
                          "-1", "99999999999999999999", "", "x"))
    yield from ((f"{k} {v}", of_db(f"{k}: {v}")) for k, v in (
        ("truncate-page-n", 0), ("truncate-page-n", -1),
        ("max-sync-wal-bytes", 0), ("max-sync-wal-bytes", -1),
        ("max-sync-wal-bytes", "64MB"), ("monitor-interval", "0s"),
        ("monitor-interval", "-1s"), ("checkpoint-interval", "0s"),
        ("checkpoint-interval", "-1s"), ("busy-timeout", "0s"),
        ("busy-timeout", "-1s"), ("snapshot", "{interval: 1h}"),
        ("snapshot", "{interval: 0s}"), ("max-checkpoint-page-count", 9)))
    yield from ((f"{k} {v}", of_replica(f"{k}: {v}")) for k, v in (
        ("max-sync-ltx-files", 0), ("max-sync-ltx-files", -1), ("name", "x"),
        ("retention", "1h"), ("validation-interval", "1h"),
        ("age", "{}"), ("age", "{identities: [x]}"), ("auto-recover", "yes"),
        ("age", "{recipients: [x]}"), ("part-size", "5MB"),
        ("part-size", "x"), ("part-size", '""'), ("concurrency", -1),
        ("concurrency", "x")))
    yield "host of a folder", of_replica("host: x")
    yield "host at top level", top("host: x")
    yield from ((f"mode {v}", top(f"socket: {{permissions: {v}}}")) for v in (
        "0600", '"0600"', "384", "0o600", "07777", "-1"))
    yield from ((f"top {v}", top(v)) for v in (
        "levels: []", "levels:", "levels: [{interval: 0s}]", "levels: [{}]",
        f"levels: [{', '.join(['{interval: 1m}'] * 8)}]",
        f"levels: [{', '.join(['{interval: 1m}'] * 9)}]",
        "levels: [{interval: 1m, retention: 1h}]", "snapshot: {interval: 0s}",
        "snapshot: {retention: 0s}", "snapshot: {interval: , retention: }",
        "l0-retention: 0s", "l0-retention: -1s", "l0-retention:",
        "l0-retention-check-interval: 0s", "heartbeat-url: ftp://x",
        "heartbeat-interval: 30s", "shutdown-sync-timeout: 0s",
        "shutdown-sync-timeout: -1s", "shutdown-sync-interval: 0s",
        "logging: {level: zzz}", "logging: {level: WARNING}", "logging:",
        'logging: {type: "", level: ""}', "sync-interval: 3s",
        "addr: localhost", "addr: ':0'", 'addr: ""', 'region: ""',
        'endpoint: ""', 'bucket: ""', 'exec: ""', "retention: {enabled: no}",
        "validation: {interval: 1m}"))
    yield "two intervals", A + ("  snapshot: {interval: 1h}\n" + R +
                                "- path: W/b.db\n  snapshot: {interval: 2h}\n"
                                "  replica: {path: W/q}\n")


class Settings(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("it would be compared with itself")
        self.peer = self.need_upstream()
        self.w = self.tmp / "w"

    def run_with(self, binary, text, env=None):
        subprocess.run(["rm", "-rf", self.w], check=True)
        self.w.mkdir()
        for name in ("a", "b"):
            c = connect(self.w / f"{name}.db")
            c.execute("CREATE TABLE t(x)")
            c.close()
        (self.w / "c.yml").write_bytes(
            text.replace("W/", f"{self.w}/").replace(
                "dir: W\n", f"dir: {self.w}\n").encode())
        return subprocess.run(
            [binary, "replicate", "-once", "-config", "c.yml"], cwd=self.w,
            env=clean_env(HERE=self.w, **(env or {})), capture_output=True,
            text=True, stdin=subprocess.DEVNULL, timeout=120)

    def said(self, r):
        """Of each replica, what upstream's record says of it."""
        rows = re.findall(r'msg="replicating to" (.*)', r.stdout)
        return [[w for w in re.findall(r'([\w-]+=(?:"[^"]*"|\S+))', row)
                 if not w.startswith("db=")] for row in rows]

    def test_forms(self):
        met = set()
        for name, text in many():
            theirs, ours = (self.run_with(b, text)
                            for b in (self.peer, self.bin))
            with self.subTest(name):
                if name in STRICTER:
                    met.add(name)
                    want = 0, 1
                    self.assertIn(STRICTER[name][1], ours.stderr)
                elif name in KINDER:
                    met.add(name)
                    want = 1, 0
                else:
                    want = [int(theirs.returncode != 0)] * 2
                self.assertEqual(
                    (int(theirs.returncode != 0), ours.returncode),
                    tuple(want), f"{theirs.stderr}\n{ours.stderr}")
                if want[1]:
                    first = ours.stderr.splitlines()[0]
                    self.assertRegex(first, r"^Error: (c\.yml(:\d+)?: |/\S+: |"
                                     "no SQLite databases found in)")
                elif not want[0] and "dir:" not in text:
                    self.assertEqual(self.said(ours), self.said(theirs))
        self.assertEqual(met, set(STRICTER) | set(KINDER))

    # ---- what reaches the store ---------------------------------------------

    KEYS = ("", "force-path-style: true", "sign-payload: false",
            "sign-payload: true", "storage-class: STANDARD_IA",
            "require-content-md5: false", "region: eu-west-3",
            "sse-kms-key-id: my-key", "sse-customer-key: "
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "part-size: 6MB", "concurrency: 2", "region: ''",
            "storage-class: ''")

    def put(self, binary, text):
        """Headers of the PUT of the first level-0 file, those that a setting
        decides."""
        s3 = FakeS3(keys={"AK": "SK"}).start()
        self.addCleanup(s3.stop)
        r = self.run_with(binary, A + (
            "  replica:\n    type: s3\n    bucket: bkt\n    path: p\n"
            f"    endpoint: http://127.0.0.1:{s3.port}\n"
            f"    access-key-id: AK\n    secret-access-key: SK\n    {text}\n"))
        self.assertEqual(r.returncode, 0, r.stderr)
        for q in s3.log:
            if q.method == "PUT" and "/0000/" in q.path:
                return self.decided(q)
        self.fail("no PUT")

    def decided(self, q):
        h = {k.lower(): v for k, v in q.headers}
        scope = re.search(r"Credential=\w+/\d+/([^/]+)/", h["authorization"])
        body = h["x-amz-content-sha256"]
        return {"path": q.path, "region": scope[1],
                "signed": body != "UNSIGNED-PAYLOAD",
                **{k: v for k, v in h.items() if k.startswith(
                    ("x-amz-server-side", "x-amz-storage-class"))}}

    def test_keys_that_the_store_sees(self):
        for text in self.KEYS:
            with self.subTest(text):
                self.assertEqual(self.put(self.bin, text),
                                 self.put(self.peer, text))


if __name__ == "__main__":
    main()
