#!/usr/bin/env python3
"""What we wrote through the extension is upstream's to read and to go on with,
and the other way round: its binary restores, its extension reads, and either
daemon and our extension continue one chain in turns."""
import hashlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from writekit import WriteCase, write_uri  # noqa: E402
from harness import CI, connect, main  # noqa: E402
from proc import clean_env, upstream_extension  # noqa: E402

# One reader in a process of its own: the digest of all it sees.
READER = """
import hashlib, json, re, sqlite3, sys
m = sqlite3.connect(':memory:')
m.enable_load_extension(True)
m.execute("SELECT load_extension(?, 'sqlite3_litestreamvfs_init')",
          (sys.argv[1],))
c = sqlite3.connect(sys.argv[2], uri=True, isolation_level=None)
# It keeps the pages behind a shrink in the size that it shows: not our files'.
whole = [line for line, in c.execute('PRAGMA integrity_check')
         if not re.fullmatch('(Page [0-9]+ is never used\\n?)+|ok', line.split(
             'main ***\\n')[-1])]
text = '\\n'.join(c.iterdump()).encode()
print(json.dumps([whole, hashlib.sha256(text).hexdigest()]))
"""


def digest(path):
    c = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    text = "\n".join(c.iterdump()).encode()
    c.close()
    return hashlib.sha256(text).hexdigest()


class Exchange(WriteCase):
    def write(self, last, **params):
        app = self.app("run", write_uri(self.url, self.buffer, **params),
                       str(last), sync=5)
        self.assertEqual(app.finish(), 0, app.error)

    def theirs_reads(self, want):
        ext = upstream_extension()
        if not ext:
            if CI:
                self.fail("upstream's extension is not installed")
            self.skipTest("upstream's extension is not installed")
        r = subprocess.run(
            ["/usr/bin/python3", "-c", READER, ext,
             "file:app.db?vfs=litestream"], capture_output=True, text=True,
            timeout=100, env=clean_env(LITESTREAM_REPLICA_URL=self.url,
                                       LITESTREAM_LOG_FILE="/dev/null"))
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(json.loads(r.stdout.splitlines()[-1]),
                         [[], want])

    def all_agree(self, n):
        """Both binaries and their extension show state n; gives a copy."""
        for binary in (self.need_upstream(), None):
            self.assertEqual(self.stored(binary), (n, self.model(n)), binary)
        out = self.tmp / "restored.db"
        self.theirs_reads(digest(out))
        return out

    def test_upstream_reads_what_we_wrote(self):
        at = 0
        for interval in ("0", "20ms", "1h"):
            self.write(at + 40, sync_interval=interval)
            at += 40
            self.all_agree(at)

    def go_on_with_a_daemon(self, copy, binary, n):
        """The usual way over: restore, then replicate; gives the new n."""
        db = self.tmp / f"life{n}.db"
        copy.rename(db)
        connect(db).close()  # WAL mode
        d = self.daemon({db: self.url}, binary=binary).start()
        r = subprocess.run(["sqlite3", str(db)], text=True, input=(
            "CREATE TABLE IF NOT EXISTS by_daemon(n INTEGER, b);"
            f"INSERT INTO by_daemon VALUES({n},zeroblob(9000));"),
            capture_output=True)
        self.assertEqual(r.stderr, "")
        d.sync()
        self.assertEqual(d.stop(), 0)
        return db

    def takes_turns(self, binary):
        self.write(20)
        for n in (20, 50, 80):
            out = self.tmp / f"o{n}.db"
            self.restore(self.url, out, binary=binary)
            self.assertEqual(self.show(f"file:{out}")[0], n)
            db = self.go_on_with_a_daemon(out, binary, n)
            want = digest(db)
            self.write(n)  # open and close: nothing to do
            for b in (self.need_upstream(), None):
                self.stored(b)
                self.assertEqual(digest(self.tmp / "restored.db"), want)
            self.theirs_reads(want)
            self.write(n + 30)
            shown = self.show(write_uri(self.url, self.buffer))
            for b in (self.need_upstream(), None):
                self.assertEqual(self.stored(b), shown)
            self.theirs_reads(digest(self.tmp / "restored.db"))

    def test_turns_with_upstreams_daemon(self):
        self.takes_turns(self.need_upstream())

    def test_turns_with_our_daemon(self):
        self.takes_turns(None)


class Sizes(Exchange):
    """Every page size, born through the extension."""
    test_upstream_reads_what_we_wrote = None
    test_turns_with_upstreams_daemon = test_turns_with_our_daemon = None

    def test_page_sizes(self):
        up = self.need_upstream()
        for size in (512, 1024, 2048, 8192, 16384, 32768, 65536):
            self.url = f"file://{self.tmp}/p{size}"
            app = self.app(
                "run", write_uri(self.url, self.tmp / f"b{size}"), "12",
                sync=4, env={"LS_APP_PAGE": size})
            self.assertEqual(app.finish(), 0, app.error)
            for b in (up, None):
                n, _ = self.stored(b)
                self.assertEqual(n, 12, (size, b))
            c = sqlite3.connect(self.tmp / "restored.db")
            self.assertEqual(c.execute("PRAGMA page_size").fetchone(),
                             (size,))
            c.close()
            self.theirs_reads(digest(self.tmp / "restored.db"))


if __name__ == "__main__":
    main()
