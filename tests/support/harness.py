"""The frame of the integration tests: a test case with a folder of its own,
the daemon under test, an application that writes, and comparisons.

The daemon is LITESTREAMD (default: build/litestreamd). Set it to the upstream
binary and most tests check the harness itself. A test program ends with
harness.main(): status 77 (ctest: skipped) when every test of it was skipped.

Traps kept out of here on purpose:
 - Closing any descriptor of a database or -shm file drops this process's POSIX
   locks on it, so files of a live database are only ever copied by a child.
 - Bytes are compared with a *checkpointed copy* of the source; the source
   itself is never checkpointed by a comparison.
"""
import filecmp
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import ltx  # noqa: E402
import servers  # noqa: E402
from proc import (CI, LONG, ROOT, SLOW, clean_env, end, our_binary,  # noqa
                  spawn, upstream_binary, wait_until)

SANITIZER = re.compile(rb"(AddressSanitizer|ThreadSanitizer|LeakSanitizer|"
                       rb"runtime error:)")
WRAP = os.environ.get("LS_WRAP", "").split()  # e.g. setarch -R, for TSan


def is_upstream(binary):
    out = subprocess.run([binary, "version"], capture_output=True, text=True)
    return out.stdout.strip() == "0.5.17"


class UnixHTTP(http.client.HTTPConnection):
    """HTTP over the daemon's control socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """`replicate` with a configuration file of one or more databases.

    dbs: {path: replica URL}. top, db and replica are further keys of the
    configuration at these three places."""

    def __init__(self, case, dbs, binary=None, top=None, db=None,
                 replica=None, env=None, args=()):
        self.case, self.dbs = case, dbs
        self.binary = binary or case.bin
        self.args, self.env = list(args), env or {}
        n = len(case.daemons)
        self.sock = case.tmp / f"s{n}.sock"
        self.config = case.tmp / f"d{n}.yml"
        self.log = case.tmp / f"d{n}.log"
        self.proc = None
        case.daemons.append(self)
        doc = {"socket": {"enabled": True, "path": str(self.sock)},
               "logging": {"level": "debug"}, **(top or {})}
        doc["dbs"] = [{"path": str(p), **(db or {}),
                       "replica": {"url": url, **(replica or {})}}
                      for p, url in dbs.items()]
        self.config.write_text(json.dumps(doc, indent=1))  # JSON is YAML

    def start(self, ready=True):
        with open(self.log, "ab") as out:
            self.proc = spawn([*WRAP, self.binary, "replicate", "-config",
                               self.config, *self.args], stdout=out,
                              stderr=out, stdin=subprocess.DEVNULL,
                              env=clean_env(**self.env))
        if ready:
            self.ready()
        return self

    def ready(self):
        def answers():
            if self.proc.poll() is not None:
                raise AssertionError(f"the daemon ended with status "
                                     f"{self.proc.returncode}")
            try:
                return self.call("GET", "/info")[0] == 200
            except OSError:
                return False
        wait_until(answers, 20, "answer on the control socket")

    def call(self, method, path, body=None, timeout=40):
        c = UnixHTTP(self.sock, timeout * SLOW)
        try:
            c.request(method, path, json.dumps(body) if body else None)
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def sync(self, db=None, wait=True, timeout=40):
        """Barrier: every commit before the call is captured, and with wait
        stored. Gives the local TXID."""
        db = str(db or next(iter(self.dbs)))
        ask = {"path": db, "wait": wait, "timeout": int(timeout * SLOW)}
        last = None

        def done():
            nonlocal last
            code, raw = self.call("POST", "/sync", ask, timeout + 10)
            last = (code, raw)
            doc = json.loads(raw) if code == 200 else {}
            if code != 200 or not doc["txid"]:
                return None
            if wait and doc.get("replicated_txid", 0) < doc["txid"]:
                return None
            return doc["txid"]
        try:
            return wait_until(done, timeout, "sync", 0.02)
        except TimeoutError:
            raise TimeoutError(f"no sync of {db}: {last}") from None

    def stop(self, sig=signal.SIGTERM, timeout=40):
        return end(self.proc, sig, timeout)

    def kill(self):
        self.proc.kill()
        return self.proc.wait()

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_log(self, pattern, timeout=20, start=0):
        return wait_until(lambda: re.search(pattern, self.text()[start:]),
                          timeout, f"log line like {pattern!r}", 0.02)


class Case(unittest.TestCase):
    """One folder, one set of processes; both are gone afterwards."""
    bin = our_binary()
    maxDiff = 2000

    def setUp(self):
        self.tmp = Path(tempfile.mkdtemp(prefix="ls-"))
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.daemons, self.procs = [], []
        self.addCleanup(self._end_all)

    def tearDown(self):
        self._end_all()
        logs = [d.log for d in self.daemons if d.log.exists()]
        found = [m[0] for log in logs for m in
                 [SANITIZER.search(log.read_bytes())] if m]
        bad = self._outcome.result
        if found or any(t is self for t, _ in bad.failures + bad.errors):
            for log in logs:
                tail = log.read_text(errors="replace").splitlines()[-60:]
                print(f"--- {self.id()} {log.name}", *tail, sep="\n",
                      file=sys.stderr)
        self.assertFalse(found, "a sanitizer spoke")

    def _end_all(self):
        for p in [d.proc for d in self.daemons if d.proc] + self.procs:
            end(p)

    def daemon(self, dbs, **kw):
        return Daemon(self, dbs, **kw)

    def spawn(self, cmd, **kw):
        self.procs.append(spawn(cmd, **kw))
        return self.procs[-1]

    def run_cli(self, *args, binary=None, env=None, timeout=60, ok=True):
        """Run a command to its end. With ok, its status must be 0."""
        cmd = [*WRAP, binary or self.bin, *[str(a) for a in args]]
        r = subprocess.run(cmd, capture_output=True, text=True,
                           env=clean_env(**(env or {})), errors="replace",
                           stdin=subprocess.DEVNULL, timeout=timeout * SLOW)
        self.assertIsNone(SANITIZER.search(r.stderr.encode()), r.stderr)
        if ok:
            self.assertEqual(r.returncode, 0,
                             f"{' '.join(cmd)}\n{r.stdout}{r.stderr}")
        return r

    def restore(self, url, out, txid=None, binary=None, env=None,
                timeout=120):
        at = ["-txid", f"{txid:016x}"] if txid else []
        self.run_cli("restore", *at, "-o", out, url, binary=binary, env=env,
                     timeout=timeout)
        return Path(out)

    def need_upstream(self):
        """Path of the upstream binary; skips without, but not in CI."""
        path = upstream_binary()
        if not path:
            if CI:
                self.fail("upstream's binary is not installed")
            self.skipTest("upstream's binary is not installed")
        return path

    def need_s3(self):
        """(client, bucket) on Ceph RGW: the shared one of this ctest run, or
        one of this test's own."""
        state = os.environ.get("LS_CEPH_STATE")
        if state:
            s3, why = servers.shared(state)
        elif servers.Ceph.missing():
            s3, why = None, "Ceph RGW is not installed"
        else:
            cls = type(self)
            if not hasattr(cls, "own_ceph"):
                cls.own_ceph = servers.Ceph().start()
                unittest.addModuleCleanup(cls.own_ceph.stop)
            s3, why = cls.own_ceph.client(), None
        if not s3:
            if CI:
                self.fail(why)
            self.skipTest(why)
        bucket = f"t{os.getpid()}-{time.monotonic_ns()}"
        s3.make_bucket(bucket)
        return s3, bucket

    def checkpointed(self, db, name="source"):
        """A copy of db with its WAL folded in: what a restore must equal."""
        out = self.tmp / f"{name}.copy"
        wal = Path(f"{db}-wal")

        def stat():
            return [(s.st_size, s.st_mtime_ns, s.st_ino) for s in
                    (os.stat(p) for p in (db, wal) if p.exists())]
        for _ in range(100):  # somebody may checkpoint between both copies
            before = stat()
            subprocess.run(["cp", "--sparse=always", db, out], check=True)
            Path(f"{out}-wal").unlink(missing_ok=True)
            if wal.exists():
                subprocess.run(["cp", wal, f"{out}-wal"], check=True)
            if stat() == before:
                break
        else:
            self.fail(f"{db} does not hold still")
        c = sqlite3.connect(out)
        self.assertEqual(
            c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0], 0)
        c.close()
        return out

    def assert_same(self, got, want, what=""):
        """Byte for byte; says which pages differ."""
        if filecmp.cmp(got, want, shallow=False):
            return
        with open(got, "rb") as a, open(want, "rb") as b:
            ps = int.from_bytes(b.read(18)[16:], "big")
            ps = 65536 if ps == 1 else max(ps, 512)
            b.seek(0)
            bad, n = [], 0
            while True:
                x, y = a.read(ps), b.read(ps)
                n += 1
                if not x and not y:
                    break
                if x != y:
                    bad.append(n)
        self.fail(f"{what}: {got} ({os.path.getsize(got)} bytes) is not "
                  f"{want} ({os.path.getsize(want)}): {len(bad)} pages of "
                  f"{ps} differ: {bad[:20]}")

    def assert_whole(self, path):
        c = sqlite3.connect(path)
        try:
            self.assertEqual(
                c.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        finally:
            c.close()


def connect(db, page_size=None, auto_vacuum=None, timeout=10):
    """An application's connection in WAL mode, autocommit."""
    c = sqlite3.connect(db, isolation_level=None, timeout=timeout)
    if page_size:
        c.execute(f"PRAGMA page_size={page_size}")
    if auto_vacuum:
        c.execute(f"PRAGMA auto_vacuum={auto_vacuum}")
    mode = c.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    assert mode == "wal", f"journal_mode is {mode}"
    c.execute("PRAGMA synchronous=NORMAL")
    return c


class Workload:
    """An application whose every step is exactly one commit: growth, changes
    in place, deletion, shrinking by incremental_vacuum and by VACUUM."""

    def __init__(self, db, page_size=4096, seed=1):
        self.rand = random.Random(seed)
        self.c = connect(db, page_size, "incremental")
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, k INT, b BLOB)")
        self.n = 0

    def _rows(self, n):
        size = self.rand.choice((20, 300, 2000, 9000))
        for _ in range(n):
            self.c.execute("INSERT INTO t(k,b) VALUES(?,?)", (
                self.n, self.rand.randbytes(self.rand.randint(1, size))))

    def _in_one(self, fn, *args):
        self.c.execute("BEGIN IMMEDIATE")
        fn(*args)
        self.c.execute("INSERT INTO t(k) VALUES(?)", (self.n,))  # never empty
        self.c.execute("COMMIT")

    def step(self):
        self.n += 1
        kind = self.n % 25
        if kind == 24:
            self.c.execute("VACUUM")
        elif kind == 12:
            self._in_one(self._rows, 150)
        elif kind in (13, 20):
            self._in_one(self.c.execute,
                         "DELETE FROM t WHERE id % 3 = ?", (self.n % 3,))
        elif kind in (14, 21):
            self._in_one(lambda: self.c.execute(
                "PRAGMA incremental_vacuum(15)").fetchall())
        elif kind % 4 == 3:
            self._in_one(self.c.execute, "UPDATE t SET k=k+1, b=randomblob("
                         "length(b)) WHERE id % 7 = ?", (self.n % 7,))
        else:
            self._in_one(self._rows, self.rand.randint(1, 8))

    def close(self):
        self.c.close()


def main():
    """Run the tests of the calling program."""
    skipped = []

    class Result(unittest.TextTestResult):
        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            skipped.append(test)
            print(f"SKIP: {test.id()}: {reason}", flush=True)

    p = unittest.main(exit=False, verbosity=2, testRunner=unittest.
                      TextTestRunner(resultclass=Result, verbosity=2))
    if not p.result.wasSuccessful():
        sys.exit(1)
    if skipped and len(skipped) >= p.result.testsRun:
        sys.exit(77)
    sys.exit(0 if p.result.testsRun else 1)
