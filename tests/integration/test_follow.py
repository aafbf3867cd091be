#!/usr/bin/env python3
"""`restore -f`: the copy moves on beside readers that never see half a commit,
through kill -9 at any moment, files that expired meanwhile, another history,
readers that do not let go, and strangers that write to it."""
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import (LONG, WRAP, Case, clean_env, connect, main,  # noqa
                     wait_until)

# A reader: each transaction must see both tables' sums agree, and a serial
# that never goes back. Reports how often it looked.
READER = """
import random, signal, sqlite3, sys, time
db, seed = sys.argv[1], int(sys.argv[2])
going = True
def end(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, end)
r = random.Random(seed)
mode = "ro" if seed % 2 else "rw"
c = sqlite3.connect("file:%s?mode=%s" % (db, mode), uri=True, timeout=30,
                    isolation_level=None)
last = n = 0
while going:
    if r.random() < 0.05:
        c.close()
        c = sqlite3.connect("file:%s?mode=%s" % (db, mode), uri=True,
                            timeout=30, isolation_level=None)
    try:
        c.execute("BEGIN")
        a = c.execute("SELECT sum(v) FROM a").fetchone()[0]
        time.sleep(r.random() * 0.01)
        b = c.execute("SELECT sum(v) FROM b").fetchone()[0]
        s = c.execute("SELECT max(v) FROM serial").fetchone()[0]
        if n % 20 == 0:
            got = c.execute("PRAGMA integrity_check").fetchone()[0]
            assert got == "ok", got
        c.execute("COMMIT")
    except sqlite3.OperationalError as e:
        # Between a kill and the next start only those may read that may
        # write: they roll the journal back.
        assert mode == "ro", e
        if c.in_transaction:
            c.execute("ROLLBACK")
        time.sleep(0.005)
        continue
    assert a == b, "sums differ: %d %d" % (a, b)
    assert s >= last, "the copy went back"
    last, n = s, n + 1
print(n, last)
"""


class Source:
    """Two tables whose sums agree after every commit; grows and shrinks."""

    def __init__(self, path, rows=300):
        self.c = connect(path)
        self.rng = random.Random(3)
        self.c.executescript(
            "CREATE TABLE a(v INT, pad BLOB); CREATE TABLE b(v INT, pad BLOB);"
            "CREATE TABLE serial(v INT); INSERT INTO serial VALUES(0);")
        self.n = 0
        self.step(rows)

    def step(self, rows=None):
        c, r = self.c, self.rng
        self.n += 1
        c.execute("BEGIN IMMEDIATE")
        for _ in range(rows or r.randint(1, 40)):
            v = r.randrange(1000)
            for t in "ab":
                c.execute(f"INSERT INTO {t} VALUES(?,?)", (
                    v, r.randbytes(r.randint(1, 3000))))
        if r.random() < 0.2:
            k = r.randint(2, 5)
            for t in "ab":
                c.execute(f"DELETE FROM {t} WHERE v % ? = 0", (k,))
        c.execute("UPDATE serial SET v=?", (self.n,))
        c.execute("COMMIT")
        if r.random() < 0.05:
            c.execute("VACUUM")
        return self.n


class Follow(Case):
    def setUp(self):
        super().setUp()
        self.db, self.rep = self.tmp / "app.db", self.tmp / "r"
        self.url = f"file://{self.rep}"
        self.copy = self.tmp / "copy.db"
        self.mark = Path(f"{self.copy}-txid")
        self.log = self.tmp / "follow.log"
        self.src = Source(self.db)
        self.d = self.daemon({self.db: self.url},
                             top={"l0-retention": "1h"}).start()
        self.d.sync()
        self.f = None

    def follow(self, *args):
        with open(self.log, "ab") as out:
            self.f = self.spawn(
                [*WRAP, self.bin, "restore", "-f", "-follow-interval", "20ms",
                 *args, "-o", self.copy, self.url], stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, env=clean_env())
        return self.f

    def end(self, sig=signal.SIGTERM):
        self.f.send_signal(sig)
        self.assertEqual(self.f.wait(30), 0, self.text())

    def text(self):
        return self.log.read_text(errors="replace")

    def at(self):
        """The copy's TXID; our first mark is there before the copy is, and
        upstream's comes after it."""
        there = self.copy.exists() and self.mark.exists()
        return int(self.mark.read_text(), 16) if there else 0

    def reach(self, txid, timeout=30):
        def there():
            if self.f.poll() is not None:
                self.fail(f"the follower ended: {self.text()}")
            return self.at() >= txid
        try:
            wait_until(there, timeout, f"TXID {txid} in the copy")
        except TimeoutError:
            self.fail(f"at {self.at()}, not {txid}: {self.text()[-3000:]}")

    def newest(self):
        return max(b for level in range(10)
                   for _, b, _ in ltx.list_dir(self.rep, level))

    def assert_copy(self):
        """The copy is the source, but for what page 1 says of journals."""
        want = bytearray(self.checkpointed(self.db).read_bytes())
        got = bytearray(self.copy.read_bytes())
        self.assertEqual(got[18:20], b"\1\1")
        for b in (want, got):
            b[18:20], b[24:28], b[92:96] = bytes(2), bytes(4), bytes(4)
        self.assertEqual(len(got), len(want))
        self.assertTrue(got == want, "bytes differ")
        self.assert_whole(self.copy)
        left = sorted(p.name for p in self.tmp.glob("copy.db*"))
        self.assertEqual(left, ["copy.db", "copy.db-txid"])

    def test_follows_and_resumes(self):
        self.follow()
        for _ in range(20):
            self.src.step()
            self.d.sync()
        self.reach(self.newest())
        self.assertIn("entering follow mode", self.text())
        self.end(signal.SIGINT)
        self.assertIn("follow mode stopped", self.text())
        self.assert_copy()
        self.assertRegex(self.mark.read_text(), r"\A[0-9a-f]{16}\n\Z")
        for _ in range(5):
            self.src.step()
            self.d.sync()
        self.follow()
        self.reach(self.newest())
        self.end()
        self.assertIn("resuming follow mode", self.text())
        self.assert_copy()

    def test_needs_its_mark(self):
        self.follow()
        self.reach(1)
        self.end()
        self.mark.unlink()
        r = self.run_cli("restore", "-f", "-o", self.copy, self.url, ok=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("cannot resume follow mode: database exists but no "
                      "-txid file found; delete the database to re-restore: "
                      f"{self.copy}", r.stderr)

    def test_no_replica(self):
        url = f"file://{self.tmp}/none"
        r = self.run_cli("restore", "-f", "-o", self.copy, url, ok=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("no matching backup files available", r.stderr)
        self.run_cli("restore", "-f", "-if-replica-exists", "-o", self.copy,
                     url)
        self.assertFalse(self.copy.exists())

    def test_a_reader_sees_each_state_in_an_open_connection(self):
        """Caches of a connection that stays are dropped at each apply."""
        self.follow()
        self.reach(1)
        c = sqlite3.connect(f"file:{self.copy}?mode=ro", uri=True, timeout=30)
        self.addCleanup(c.close)
        for _ in range(15):
            n = self.src.step()
            self.reach(self.d.sync())
            self.assertEqual(
                c.execute("SELECT v FROM serial").fetchone()[0], n)

    def test_waits_for_a_reader(self):
        """A reader inside a transaction keeps its state, other readers come
        and go, and the follower goes on when it ends."""
        self.follow()
        self.reach(1)
        c = sqlite3.connect(f"file:{self.copy}?mode=ro", uri=True,
                            isolation_level=None)
        self.addCleanup(c.close)
        c.execute("BEGIN")
        seen = c.execute("SELECT v FROM serial").fetchone()
        before = self.at()
        self.src.step()
        txid = self.d.sync()
        wait_until(lambda: "waiting for readers" in self.text(), 40,
                   "word about the reader")
        other = sqlite3.connect(f"file:{self.copy}?mode=ro", uri=True,
                                timeout=10)
        self.assertEqual(other.execute("SELECT v FROM serial").fetchone(),
                         seen)
        other.close()
        self.assertEqual(c.execute("SELECT v FROM serial").fetchone(), seen)
        self.assertEqual(self.at(), before)
        c.execute("COMMIT")
        self.reach(txid)
        self.assertEqual(self.text().count("waiting for readers"), 1)
        self.end()
        self.assert_copy()

    def test_kills_beside_readers(self):
        self.follow()
        self.reach(1)
        rng = random.Random(11)
        readers = [self.spawn([sys.executable, "-c", READER, self.copy, i],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                   for i in range(3)]
        limit = time.monotonic() + (90 if LONG else 20)
        kills = 0
        while time.monotonic() < limit:
            for _ in range(rng.randint(1, 4)):
                self.src.step()
                self.d.sync()
            time.sleep(rng.uniform(0, 0.08))  # a random moment
            self.f.kill()
            self.f.wait()
            kills += 1
            self.follow()
        self.reach(self.newest(), 60)
        for p in readers:
            p.terminate()
            out, err = p.communicate(timeout=60)
            self.assertEqual(err.decode(), "")
            looks, last = map(int, out.split())
            self.assertGreater(looks, 10)
            self.assertGreater(last, 1)
        self.assertGreater(kills, 15)
        self.end()
        self.assert_copy()
        self.assertNotIn("nothing stored continues", self.text())

    def test_beside_a_writer_and_pruning(self):
        """For 20 s (LS_LONG: 10 minutes, LS_SECONDS: that long) a writer, a
        daemon that compacts and expires within seconds, readers, and a
        follower that sleeps or dies longer than files live."""
        self.assertEqual(self.d.stop(), 0)
        self.d = self.daemon({self.db: self.url}, top={
            "levels": [{"interval": "1s"}, {"interval": "2s"}],
            "snapshot": {"interval": "2s", "retention": "3s"},
            "l0-retention": "1s", "l0-retention-check-interval": "200ms"},
            replica={"sync-interval": "50ms"}).start()
        self.follow()
        self.reach(1)
        readers = [self.spawn([sys.executable, "-c", READER, self.copy, i],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                   for i in range(2)]
        rng = random.Random(17)
        start = time.monotonic()
        end = start + float(os.environ.get("LS_SECONDS", 600 if LONG else 20))
        back, left = start + 2, None
        while time.monotonic() < end or left:
            self.src.step()
            if self.src.n % 50 == 0:  # it stays small
                self.src.c.execute("DELETE FROM a")
                self.src.c.execute("DELETE FROM b")
                self.src.c.execute("VACUUM")
            time.sleep(rng.uniform(0, 0.1))
            if time.monotonic() < back:
                continue
            if left == "stopped":
                self.f.send_signal(signal.SIGCONT)
            elif left:
                self.follow()
            left = None if left else rng.choice(("stopped", "dead"))
            if left == "stopped":
                self.f.send_signal(signal.SIGSTOP)
            elif left:
                self.f.kill()
                self.f.wait()
            else:
                self.reach(self.d.sync(), 60)
            back = time.monotonic() + rng.uniform(0.5, 6)
        self.reach(self.d.sync(), 60)
        for p in readers:
            p.terminate()
            out, err = p.communicate(timeout=60)
            self.assertEqual(err.decode(), "")
            self.assertGreater(int(out.split()[0]), 10)
        self.end()
        self.assert_copy()
        self.assertGreater(self.d.text().count("retention complete"), 3)
        self.assertGreater(ltx.list_dir(self.rep)[0][0], 2)
        self.assertGreater(ltx.list_dir(self.rep, 9)[0][1], 2)

    def test_kills_while_the_pages_are_written(self):
        """Kill when the journal is there: the moment that needs it."""
        self.follow()
        self.reach(1)
        journal = Path(f"{self.copy}-journal")
        hot = 0
        for _ in range(12):
            self.f.kill()
            self.f.wait()
            self.src.step(400)
            self.d.sync()
            self.follow()
            wait_until(lambda: journal.exists() or self.at() >= self.newest(),
                       20, "apply")
            self.f.kill()
            self.f.wait()
            hot += journal.exists() and journal.stat().st_size > 0
            c = sqlite3.connect(self.copy)  # a reader that may write
            a, b = (c.execute(f"SELECT sum(v) FROM {t}").fetchone()
                    for t in "ab")
            c.close()
            self.assertEqual(a, b)
            self.assert_whole(self.copy)
        self.assertGreater(hot, 0)
        self.follow()
        self.reach(self.newest())
        self.end()
        self.assert_copy()

    def stop_and_drop_chain(self):
        """While the follower is away: commits, then a base takes the place of
        every file that would continue its copy."""
        self.follow()
        self.reach(self.newest())
        self.end()
        for _ in range(10):
            self.src.step()
            self.d.sync()
        newest = self.newest()
        out = self.restore(self.url, self.tmp / "state.db")
        self.assertEqual(self.d.stop(), 0)
        # A base of the newest state, made by a second daemon over a copy.
        rep2 = self.tmp / "r2"
        d2 = self.daemon({out: f"file://{rep2}"}).start()
        d2.sync()
        d2.stop()
        return newest, rep2

    def test_pruned_while_away(self):
        newest, rep2 = self.stop_and_drop_chain()
        base = bytearray(ltx.list_dir(rep2)[0][2].read_bytes())
        shutil.rmtree(self.rep / "ltx/0")
        (self.rep / "ltx/9").mkdir(parents=True, exist_ok=True)
        name = f"{1:016x}-{newest:016x}.ltx"
        (self.rep / "ltx/9" / name).write_bytes(retitle(base, newest))
        self.follow()
        self.reach(newest)
        self.end()
        self.assertIn("nothing stored continues the copy", self.text())
        self.assertEqual(
            sqlite3.connect(self.copy).execute("SELECT v FROM serial")
            .fetchone()[0], self.src.n)
        self.assert_copy()

    def test_replica_made_anew(self):
        """The replica begins again at TXID 1: said, and followed."""
        self.follow()
        for _ in range(5):
            self.src.step()
            self.reach(self.d.sync())
        self.assertEqual(self.d.stop(), 0)
        shutil.rmtree(self.rep)
        shutil.rmtree(self.tmp / f".{self.db.name}-litestream")
        self.src.step()
        n = self.src.n
        self.d = self.daemon({self.db: self.url}).start()
        self.d.sync()
        wait_until(lambda: "nothing stored continues" in self.text(), 30,
                   "word about the new history")
        wait_until(lambda: self.at() == self.newest(), 30, "the new history")
        for _ in range(10):
            n = self.src.step()
            self.reach(self.d.sync())
        c = sqlite3.connect(f"file:{self.copy}?mode=ro", uri=True)
        self.assertEqual(c.execute("SELECT v FROM serial").fetchone()[0], n)
        c.close()
        self.end()
        self.assert_copy()

    def stranger(self, steps):
        self.follow()
        self.reach(1)
        for _ in range(steps):
            self.src.step()
            self.reach(self.d.sync())
        c = sqlite3.connect(self.copy, timeout=10, isolation_level=None)
        c.execute("DELETE FROM a")
        c.close()
        self.src.step()
        self.reach(self.d.sync())
        self.end()
        self.assertIn("another program wrote to the copy", self.text())
        self.assert_copy()

    def test_a_stranger_writes_to_the_first_copy(self):
        self.stranger(0)

    def test_a_stranger_writes_to_the_copy(self):
        self.stranger(2)

    def test_a_stranger_writes_while_nobody_follows(self):
        self.follow()
        self.src.step()
        self.reach(self.d.sync())
        self.end()
        c = sqlite3.connect(self.copy, isolation_level=None)
        c.execute("DELETE FROM a")
        c.close()
        self.follow()
        wait_until(lambda: "is not as it was left" in self.text(), 30,
                   "word about the stranger")
        self.src.step()
        self.reach(self.d.sync())
        self.end()
        self.assert_copy()

    def test_upstreams_copy_is_taken_over(self):
        """Both programs' -txid files are the same; one goes on where the
        other stopped."""
        peer = self.need_upstream()

        def theirs():
            p = self.spawn([peer, "restore", "-f", "-follow-interval",
                            "100ms", "-o", self.copy, self.url],
                           stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, env=clean_env())
            wait_until(lambda: self.at() >= self.newest(), 30, "upstream")
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(20), 0)
        theirs()
        self.src.step()
        self.d.sync()
        self.follow()
        self.reach(self.newest())
        self.end()
        self.assert_copy()


def retitle(ltx_bytes, max_txid):
    """The same pages as the file of TXIDs 1..max_txid."""
    import struct
    b = bytearray(ltx_bytes)
    struct.pack_into(">QQ", b, 16, 1, max_txid)
    struct.pack_into(">Q", b, 72, 0)    # no lineage
    b[80:100] = bytes(20)               # no database checksum
    return resum(b)


def resum(b):
    """Set the file checksum, from the format's description."""
    import struct
    ps = struct.unpack_from(">I", b, 8)[0]
    crc = crc64(bytes(b[:100]), 0)
    at = 100
    while b[at:at + 6] != bytes(6):
        n = struct.unpack_from(">I", b, at + 6)[0]
        crc = crc64(bytes(b[at:at + 10]), crc)
        crc = crc64(lz4_block(bytes(b[at + 10:at + 10 + n]), ps), crc)
        at += 10 + n
    crc = crc64(bytes(b[at:-8]), crc)
    b[-8:] = struct.pack(">Q", crc | 1 << 63)
    return bytes(b)


def _table():
    out = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0xd800000000000000 if i & 1 else 0)
        out.append(i)
    return out


TABLE = _table()


def crc64(data, crc):
    """CRC-64/GO-ISO, continued."""
    crc ^= (1 << 64) - 1
    for x in data:
        crc = TABLE[(crc ^ x) & 255] ^ crc >> 8
    return crc ^ (1 << 64) - 1


def lz4_block(src, size):
    """Decompress an LZ4 block."""
    out, i = bytearray(), 0

    def length(n):
        nonlocal i
        if n == 15:
            while True:
                n += src[i]
                i += 1
                if src[i - 1] != 255:
                    break
        return n
    while i < len(src):
        token = src[i]
        i += 1
        n = length(token >> 4)
        out += src[i:i + n]
        i += n
        if i >= len(src):
            break
        back = src[i] | src[i + 1] << 8
        i += 2
        n = length(token & 15) + 4
        for _ in range(n):
            out.append(out[-back])
    assert len(out) == size
    return bytes(out)


if __name__ == "__main__":
    main()
